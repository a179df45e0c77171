"""How much memory an executor or a trainer takes, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from ..tables import table
from .graph_memory import GraphMemory


@dataclass(frozen=True)
class MemoryReport:
    """What an executor or a trainer takes in memory, in bytes; prints as a table.

    Attributes:
        title: What it is of.
        bytes_parameters: The flat array of parameters.
        bytes_auxiliary: The flat array of auxiliary arrays.
        bytes_gradients: The flat array of gradients.
        bytes_optimizer: The state of the optimizer.
        bytes_accumulated: The sum of gradients that `accumulate` has, from its first call on.
        bytes_states: The states that are carried from step to step.
        bytes_segments: What a step in segments keeps between them: states, and the sum of gradients.
        bytes_snapshot: The copy that `recover` goes back to, of a guard of every nth step.
        bytes_inputs: The input arrays, and the host memory in front of them.
        bytes_input_gradients: The gradients of inputs that were asked for.
        bytes_heads: The gradients that come back through outputs.
        bytes_planned: What MXNet plans for outputs and everything in between, of the largest graph: all share it.
        bytes_operators: What operators keep for themselves, about, in all graphs.
        bytes_scratch: What operators take in turn, about, of the graph that needs most.
        graphs: The graphs one by one.
    """

    title: str
    bytes_parameters: int
    bytes_auxiliary: int
    bytes_gradients: int
    bytes_optimizer: int
    bytes_accumulated: int
    bytes_states: int
    bytes_segments: int
    bytes_snapshot: int
    bytes_inputs: int
    bytes_input_gradients: int
    bytes_heads: int
    bytes_planned: int
    bytes_operators: int
    bytes_scratch: int
    graphs: tuple[GraphMemory, ...]

    @property
    def bytes_total(self) -> int:
        """The sum of the parts."""
        return sum(found for _, found in self._parts())

    @property
    def bytes_kept(self) -> int:
        """How much of what is planned the forward pass leaves for the backward pass, in the graph that leaves most."""
        return max((graph.bytes_kept for graph in self.graphs), default=0)

    def _parts(self) -> list[tuple[str, int]]:
        names = [field.name for field in fields(self) if field.name.startswith("bytes_")]
        return [(name[len("bytes_") :].replace("_", " "), int(getattr(self, name))) for name in names]

    def __str__(self) -> str:
        """Show the parts that there are, and the graphs where there are several."""
        rows = [[name, f"{found:,}"] for name, found in self._parts() if found]
        text = table([self.title, "bytes"], [*rows, ["total", f"{self.bytes_total:,}"]])
        return text if len(self.graphs) < 2 else f"{text}\n{_table_of(self.graphs)}"


def report_of(title: str, graphs: Sequence[GraphMemory], **parts: int) -> MemoryReport:
    """Return the report on some graphs, given the parts that do not follow from them."""

    def most(part: str) -> int:
        return max((int(getattr(graph, part)) for graph in graphs), default=0)

    shared = ("bytes_input_gradients", "bytes_heads", "bytes_planned", "bytes_scratch")
    found = {"bytes_operators": sum(graph.bytes_operators for graph in graphs), **{name: most(name) for name in shared}}
    none = dict.fromkeys((field.name for field in fields(MemoryReport) if field.name.startswith("bytes_")), 0)
    return MemoryReport(title=title, graphs=tuple(graphs), **{**none, **found, **parts})


def _table_of(graphs: Iterable[GraphMemory]) -> str:
    rows = []
    for one in graphs:
        found = (one.bytes_planned, one.bytes_kept, one.bytes_operators)
        rows.append([one.bucket, *(f"{count:,}" for count in found), f"{one.repeated:.0%}"])
    return table(["graph", "planned", "kept for backward", "operators", "runs again"], rows)
