"""The shares that several devices have in the rows of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BatchError
from .bound import Bound
from .checked import CheckedBatch
from .loaded import Loaded


def shares(rows: int, devices: int) -> list[int]:
    """Return how many rows each device takes: as many as the others, or one more where it comes first.

    Example:
        >>> shares(8, 3)
        [3, 3, 2]
    """
    return [-(-(rows - number) // devices) for number in range(devices)]


def cut(batch: CheckedBatch, devices: int) -> list[tuple[int, CheckedBatch]]:
    """Return the first row and all rows of each device's share of a batch; the last devices may have none."""
    found, begin = [], 0
    for rows in shares(batch.rows, devices):
        if rows:
            found.append((begin, batch.between(begin, begin + rows)))
        begin += rows
    return found


def check_can_be_split(batch: CheckedBatch) -> None:
    """Check that the rows of a batch can go to several devices.

    Raises:
        BatchError: They cannot.
    """
    if batch.carry_at is not None:
        raise BatchError(
            "the batch does not fit:\n  windows that overlap are not split over devices: take stream(..., overlap=0)"
        )


class Share(NamedTuple):
    """The rows of a batch that one device takes.

    Attributes:
        number: Which device it is, from 0.
        begin: The first row.
        bound: The graph that they go through.
        loaded: The rows on their way.
    """

    number: int
    begin: int
    bound: Bound
    loaded: Loaded


class SharesKept:
    """Who has what came with the shares of a batch.

    Args:
        parts: The shares on their way.
        lengths: The length name of each port that is a sequence.
    """

    def __init__(self, parts: Sequence[Loaded], lengths: Mapping[str, str | None]) -> None:
        """Take them."""
        self._parts = parts
        self._lengths = lengths

    def kept(self, turn: int, batch: CheckedBatch, name: str) -> NDArray[Any]:
        """Return a copy of what came for a port; waits for NDArrays.

        Raises:
            MXNetError: It was an output of a pass that failed.
        """
        found = [part.kept(name) for part in self._parts]
        length = self._lengths[name]
        if length is None:
            return np.concatenate(found)
        whole = np.zeros((batch.rows, batch.longest[length], *found[0].shape[2:]), found[0].dtype)
        begin = 0
        for part in found:
            whole[begin : begin + len(part), : part.shape[1]] = part
            begin += len(part)
        return whole
