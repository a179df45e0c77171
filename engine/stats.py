"""What a trainer counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..mappings import FrozenMapping


@dataclass(frozen=True)
class Stats:
    """What has gone through a trainer.

    Attributes:
        steps: The number of queued steps.
        examples: The number of their rows.
        nan_inputs: How many NaN each input port has brought, for ports that brought any; those in NDArrays are not
            counted, as that would wait for the device.
    """

    steps: int = 0
    examples: int = 0
    nan_inputs: Mapping[str, int] = FrozenMapping()

    def counting(self, rows: int, nans: Mapping[str, int]) -> Stats:
        """Return the stats with one more step."""
        if nans:
            total = {port: self.nan_inputs.get(port, 0) + nans.get(port, 0) for port in {**self.nan_inputs, **nans}}
            return Stats(self.steps + 1, self.examples + rows, FrozenMapping(total))
        return Stats(self.steps + 1, self.examples + rows, self.nan_inputs)

    def __str__(self) -> str:
        """Show in one line."""
        nans = ", ".join(f"{count} NaN in {port}" for port, count in self.nan_inputs.items())
        return f"{self.steps} steps, {self.examples} examples" + (f", {nans}" if nans else "")
