"""The memory that graphs may take, and how they are made to fit: others go, then operators run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MemoryBudgetError
from ..plans.recompute import Choice, choices, mark
from .blueprint import Blueprint
from .graph_memory import GraphMemory, dry_bind
from .host_memory import give_back_always
from .memory import MemoryReport, report_of


class Room:
    """How many bytes an executor or a trainer may take in all.

    Args:
        total: So many.
        fixed: What is taken whatever the graphs are, by the parts of a `MemoryReport`.
        slots: How many batches can be on their way.
        context: The device.

    Attributes:
        total: As given.
        context: As given.
        hint: What else a user whose graph does not fit can do.

    Raises:
        MemoryBudgetError: What is fixed does not fit.
    """

    def __init__(self, total: int, fixed: Mapping[str, int], slots: int, context: Any) -> None:
        """Check what is fixed."""
        self.total = total
        self._fixed = dict(fixed)
        self._slots = slots
        self.context = context
        self.hint = ""
        give_back_always()
        alone = self.report("without any batch", [])
        if alone.bytes_total > total:
            raise MemoryBudgetError(f"the arrays alone take more than the memory_budget of {total:,} bytes:\n{alone}")

    def reserve(self, **parts: int) -> None:
        """Take so much more whatever the graphs are, by the parts of a `MemoryReport`."""
        self._fixed.update(parts)

    def report(self, title: str, graphs: Sequence[GraphMemory], inputs: int = 0) -> MemoryReport:
        """Return what some graphs take together with what is fixed, and with so many bytes of inputs or more."""
        needed = max((graph.bytes_inputs for graph in graphs), default=0) * (1 + self._slots)
        return report_of(title, graphs, **self._fixed, bytes_inputs=max(needed, inputs))

    def holds(self, graphs: Sequence[GraphMemory], inputs: int = 0) -> bool:
        """Tell whether some graphs fit together, with so many bytes of inputs or more."""
        return self.report("", graphs, inputs).bytes_total <= self.total

    def fit(self, blueprint: Blueprint) -> GraphMemory:
        """Let operators of a graph run again, as few as it takes for it to fit alone, none where it does.

        Returns:
            What it then takes.

        Raises:
            MemoryBudgetError: It does not fit, whatever runs again.
        """
        memory, graph = dry_bind(blueprint, self.context)
        if self.holds([memory]):
            return memory
        smallest = memory
        possible = choices(blueprint.lowered.symbol, graph.shapes, graph.sizes, graph.kept)
        for choice in possible if blueprint.bucket.training else []:
            repeat(blueprint, choice)
            found, _ = dry_bind(blueprint, self.context)
            if self.holds([found]):
                return found
            smallest = min(smallest, found, key=lambda one: self.report("", [one]).bytes_total)
        raise self._refusal(memory, smallest)

    def _refusal(self, memory: GraphMemory, smallest: GraphMemory) -> MemoryBudgetError:
        needed = self.report(f"the bucket {memory.bucket}", [memory])
        least = self.report("", [smallest]).bytes_total
        hint = f"the smallest budget that it fits into is {least:,} bytes"
        if smallest is not memory:
            hint += f", where {smallest.repeated:.0%} of the forward pass run again"
        return MemoryBudgetError(
            f"it does not fit into the memory_budget of {self.total:,} bytes; {hint}; for less take fewer rows or "
            f"shorter sequences{self.hint}:\n{needed}"
        )


def repeat(blueprint: Blueprint, choice: Choice) -> None:
    """Let some operators of a graph run again in the backward pass, and no others."""
    mark(blueprint.lowered.symbol, choice.names)
    blueprint.repeated = choice.work
