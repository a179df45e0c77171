"""Rounds and positions: where a loop over batches stands, and whether a caller's word for it can be right."""

from __future__ import annotations

from ..arguments import is_integer
from ..errors import ArgumentError


def check_round(number: object) -> int:
    """Return the number of a round; the first is 0.

    Raises:
        ArgumentError: It is no integer, or negative.
    """
    if not is_integer(number) or number < 0:
        raise ArgumentError(f"round must be a non-negative integer, got {number!r}")
    return int(number)


def check_position(position: object, batches: int | None = None) -> tuple[int, int]:
    """Return a position: the round, and how many of its batches have been taken.

    Args:
        position: That of a batch.
        batches: How many batches a round has, where that is known.

    Raises:
        ArgumentError: It is none.
    """
    pair = tuple(position) if isinstance(position, (tuple, list)) else ()
    if len(pair) != 2 or not all(is_integer(number) and number >= 0 for number in pair):
        raise not_a_position(position, batches)
    if batches is not None and pair[1] > batches:
        raise not_a_position(position, batches)
    return int(pair[0]), int(pair[1])


def not_a_position(position: object, batches: int | None) -> ArgumentError:
    """Return the error for what is no position of a batch."""
    of = "" if batches is None else f" of {batches}"
    return ArgumentError(f"position must be that of a batch, (round, batches taken{of}), got {position!r}")
