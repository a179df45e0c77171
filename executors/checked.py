"""A batch that has been checked: what a graph is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from .rows import Stream


@dataclass(frozen=True)
class Steps:
    """Sequences without padding: the steps of all examples, one after the other.

    Attributes:
        values: ``(steps of all, *item)``.
        lengths: The number of steps of each example, ``(rows,)``.
    """

    values: NDArray[Any]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.lengths)

    def __getitem__(self, rows: slice) -> Steps:
        """Return some examples."""
        ends = np.cumsum(self.lengths)
        lengths = self.lengths[rows]
        begin = int(ends[rows.start] - self.lengths[rows.start]) if rows.start < len(ends) else len(self.values)
        return Steps(self.values[begin : begin + int(lengths.sum())], lengths)

    def between(self, begin: int, end: int) -> NDArray[Any]:
        """Return some steps of all examples, ``(rows, end - begin, *item)``, with any numbers where one has ended."""
        first = np.cumsum(self.lengths) - self.lengths + begin
        places = first[:, None] + np.arange(end - begin)
        steps: NDArray[Any] = self.values[np.minimum(places, len(self.values) - 1)]
        return steps

    def dense(self, target: NDArray[Any]) -> None:
        """Copy into ``(rows, t, *item)``, with zeros over padding."""
        inside = np.arange(target.shape[1]) < self.lengths[:, None]
        if not inside.all():
            target[...] = 0
        target[inside] = self.values


Host = Union[NDArray[Any], Steps]


@dataclass
class CheckedBatch:
    """A batch that fits the plan.

    Attributes:
        rows: The number of examples.
        lengths: The true number of steps of each example, ``(rows,)``, by length name.
        host: By port, a numpy array, or sequences without padding, to be copied.
        device: NDArrays by port, to be copied on the device: at least as many rows and steps as the batch has.
        left_out: Ports that start at their initial values, or at carried ones.
        nans: How many NaN each port holds, for ports that hold any.
        streams: The stream of each row; None: its number.
        reset: Whether each row begins a sequence, ``(rows,)``; None: none does.
        loss_from: How many first steps of each row have no loss, ``(rows,)``; None: all steps have one.
        carry_at: After how many steps carried states are taken; None: at the end.
        form: What it has in common with other batches; None where it came as something else than plain arrays.
    """

    rows: int = 0
    lengths: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    host: dict[str, Host] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    nans: dict[str, int] = field(default_factory=dict)
    streams: tuple[Stream, ...] | None = None
    reset: NDArray[np.bool_] | None = None
    loss_from: NDArray[np.int64] | None = None
    carry_at: int | None = None
    form: object = None

    # What is asked for several times a step is computed once. (functools.cached_property takes a lock before Python
    # 3.12, and 10 microseconds with it.)
    _totals: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    @property
    def longest(self) -> dict[str, int]:
        """The longest example's number of steps, by length name."""
        return self._total("max")

    @property
    def shortest(self) -> dict[str, int]:
        """The shortest example's number of steps, by length name."""
        return self._total("min")

    @property
    def true_steps(self) -> dict[str, int]:
        """The number of steps of all examples together, by length name."""
        return self._total("sum")

    @property
    def steps_with_loss(self) -> dict[str, int]:
        """The number of steps of all examples together that have a loss, by length name."""
        if self.loss_from is None:
            return self.true_steps
        skipped = int(self.loss_from.sum())
        return {name: steps - skipped for name, steps in self.true_steps.items()}

    def _total(self, kind: str) -> dict[str, int]:
        found = self._totals.get(kind)
        if found is None:
            found = {name: int(getattr(lengths, kind)()) for name, lengths in self.lengths.items()}
            self._totals[kind] = found
        return found

    def pads(self, lengths: Mapping[str, int]) -> bool:
        """Tell whether an example is shorter than the bucket of these lengths."""
        return any(steps < lengths[name] for name, steps in self.shortest.items())

    def between(self, begin: int, end: int) -> CheckedBatch:
        """Return some rows as a batch; each is its own stream."""
        return CheckedBatch(
            rows=end - begin,
            lengths={name: found[begin:end] for name, found in self.lengths.items()},
            host={name: value[begin:end] for name, value in self.host.items()},
            device={name: array[begin:end] for name, array in self.device.items()},
            left_out=self.left_out,
            streams=tuple(range(begin, end)) if self.streams is None else self.streams[begin:end],
            reset=None if self.reset is None else self.reset[begin:end],
            loss_from=None if self.loss_from is None else self.loss_from[begin:end],
            carry_at=self.carry_at,
        )
