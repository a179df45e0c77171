"""A batch of long sequences in segments, and how what each gives counts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..plans.segmentation import Kind
from .checked import CheckedBatch, Host, Steps


class Segment(NamedTuple):
    """Some steps of all examples of a batch.

    Attributes:
        number: Which it is, from 0.
        begin: The first step, from 0.
        end: The step after the last.
        last: Whether no example goes on after it.
        true: The number of steps of each example in it, ``(rows,)``; 0 for those that have ended before.
        of: The number of steps of each example in all.
    """

    number: int
    begin: int
    end: int
    last: bool
    true: NDArray[np.int64]
    of: NDArray[np.int64]

    @property
    def goes_on(self) -> NDArray[np.bool_]:
        """Whether each example has steps in it, ``(rows,)``."""
        return self.true > 0

    @property
    def repeated(self) -> NDArray[np.int64]:
        """The row that each row is in the arithmetic, ``(rows,)``: itself, or where it has ended one that goes on."""
        return np.where(self.goes_on, np.arange(len(self.true)), self.true.argmax())

    def pads(self, steps: int) -> bool:
        """Tell whether an example that goes on in it has fewer steps than these."""
        return bool((self.goes_on & (self.true < steps)).any())

    def shares(self, kind: Kind, rows: int) -> NDArray[np.float64]:
        """Return the factor of each row of an output of this kind, ``(rows,)``; the sum over segments is the whole.

        Args:
            kind: The kind.
            rows: The number of rows, missing ones included, whose factor is 0.
        """
        found = np.zeros(rows)
        if kind is Kind.MEAN:
            found[: len(self.true)] = self.true / self.of
        elif kind is Kind.SUM:
            found[: len(self.true)] = self.goes_on
        else:
            found[: len(self.true)] = self.goes_on & (self.of <= self.end)
        return found


def segments_of(batch: CheckedBatch, length: str, steps: int) -> list[Segment]:
    """Return the segments of so many steps of a batch; the last one may have fewer."""
    of = batch.lengths[length]
    longest = batch.longest[length]
    return [
        Segment(number, begin, min(begin + steps, longest), begin + steps >= longest, np.clip(of - begin, 0, steps), of)
        for number, begin in enumerate(range(0, longest, steps))
    ]


def piece_of(
    batch: CheckedBatch, segment: Segment, length: str, sequences: Collection[str], states: Collection[str]
) -> CheckedBatch:
    """Return a segment of a batch as a batch; after the first one without states, which someone else gives it.

    Examples that have ended before it take part in the arithmetic: they repeat one that goes on, so as to be harmless.
    So must their states.

    Args:
        batch: The batch.
        segment: The segment.
        length: The name of the length.
        sequences: The ports that are sequences.
        states: The ports that are states.
    """
    rows = None if segment.goes_on.all() else segment.repeated
    gone = states if segment.number else ()
    host = {
        port: _steps_of(found, segment, rows) if port in sequences else found
        for port, found in batch.host.items()
        if port not in gone
    }
    device = {port: array for port, array in batch.device.items() if port not in gone}
    left_out = tuple(port for port in batch.left_out if port not in gone)
    true = segment.true if rows is None else segment.true[rows]
    return CheckedBatch(batch.rows, {length: true}, host, device, left_out)


def _steps_of(found: Host, segment: Segment, rows: NDArray[np.int64] | None) -> NDArray[Any]:
    """Return ``(rows, t, *item)`` of a segment, of other rows where these are given."""
    if isinstance(found, Steps):
        part = found.between(segment.begin, segment.end)
    else:
        part = found[:, segment.begin : segment.end]
    return part if rows is None else part[rows]
