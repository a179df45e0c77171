"""How much memory an executor or a trainer takes, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..plots import axes_of, height_of, stacked_bars
from ..tables import Part, Printed, Table
from .graph_memory import GraphMemory


@dataclass(frozen=True)
class MemoryReport(Printed):
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
        return sum(found for _, found in self._sizes())

    @property
    def bytes_kept(self) -> int:
        """How much of what is planned the forward pass leaves for the backward pass, in the graph that leaves most."""
        return max((graph.bytes_kept for graph in self.graphs), default=0)

    def _sizes(self) -> list[tuple[str, int]]:
        names = [field.name for field in fields(self) if field.name.startswith("bytes_")]
        return [(name[len("bytes_") :].replace("_", " "), int(getattr(self, name))) for name in names]

    def _parts(self) -> list[Part]:
        rows = [[name, f"{found:,}"] for name, found in self._sizes() if found]
        parts = Table([self.title, "bytes"], [*rows, ["total", f"{self.bytes_total:,}"]])
        return [parts] if len(self.graphs) < 2 else [parts, _table_of(self.graphs)]

    def plot(self, ax: Any = None) -> Any:
        """Draw the parts that there are as bars, in MB of 2**20 bytes.

        Args:
            ax: Axes of matplotlib to draw into; None: those of a new figure.

        Returns:
            The axes.

        Raises:
            ArgumentError: They are no axes.
            MissingExtraError: matplotlib is not installed (the extra ``plots``).
        """
        sizes = {name: found / 2**20 for name, found in self._sizes() if found}
        ax = axes_of(ax, "MemoryReport.plot", height_of(len(sizes)))
        stacked_bars(ax, list(sizes), {"bytes": list(sizes.values())}, [f"{found:,.1f}" for found in sizes.values()])
        ax.set(xlabel="MB", title=f"{self.title}: {self.bytes_total / 2**20:,.1f} MB")
        return ax


def report_of(title: str, graphs: Sequence[GraphMemory], **parts: int) -> MemoryReport:
    """Return the report on some graphs, given the parts that do not follow from them."""

    def most(part: str) -> int:
        return max((int(getattr(graph, part)) for graph in graphs), default=0)

    shared = ("bytes_input_gradients", "bytes_heads", "bytes_planned", "bytes_scratch")
    found = {"bytes_operators": sum(graph.bytes_operators for graph in graphs), **{name: most(name) for name in shared}}
    none = dict.fromkeys((field.name for field in fields(MemoryReport) if field.name.startswith("bytes_")), 0)
    return MemoryReport(title=title, graphs=tuple(graphs), **{**none, **found, **parts})


def _table_of(graphs: Iterable[GraphMemory]) -> Table:
    rows = []
    for one in graphs:
        found = (one.bytes_planned, one.bytes_kept, one.bytes_operators)
        rows.append([one.bucket, *(f"{count:,}" for count in found), f"{one.repeated:.0%}"])
    return Table(["graph", "planned", "kept for backward", "operators", "runs again"], rows)
