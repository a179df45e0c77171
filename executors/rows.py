"""Checks of what comes once a row beside a batch's arrays: the streams that rows belong to, and flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_array, is_integer
from ..errors import ArgumentError

Stream = Union[str, int]


def check_stream(stream: object, what: str) -> Stream:
    """Return the name of a stream.

    Raises:
        ArgumentError: It is no string and no integer.
    """
    if isinstance(stream, str):
        return str(stream)
    if is_integer(stream):
        return int(stream)
    raise ArgumentError(f"{what} must be a string or an integer, got {stream!r}")


def check_streams(value: Any, rows: int | None = None) -> tuple[Stream, ...]:
    """Return the streams of all rows, which are different ones; `rows` is how many there are to be.

    Raises:
        ArgumentError: They are not.
    """
    if not isinstance(value, (Sequence, np.ndarray)) or isinstance(value, (str, bytes)):
        raise ArgumentError(f'streams must be a list of one stream a row, as in ["a", "b"], got {value!r}')
    streams = tuple(check_stream(stream, f"streams: that of row {row}") for row, stream in enumerate(value))
    if rows is not None and len(streams) != rows:
        raise ArgumentError(f"streams: expected one for each of {rows} rows, found {len(streams)}")
    if len(set(streams)) < len(streams):
        seen: dict[Stream, int] = {}
        for row, stream in enumerate(streams):
            if stream in seen:
                raise ArgumentError(
                    f"streams: rows {seen[stream]} and {row} are both stream {stream!r}; a stream has one row a batch"
                )
            seen[stream] = row
    return streams


def check_flags(value: Any, what: str, rows: int | None = None) -> NDArray[np.bool_]:
    """Return one boolean a row.

    Raises:
        ArgumentError: They are none.
    """
    try:
        array = as_array(value)
    except ArgumentError as error:
        raise ArgumentError(f"{what} {error}") from None
    if array.dtype != np.bool_ or array.ndim != 1:
        raise ArgumentError(f"{what} must be one boolean a row, as in [True, False], got {value!r}")
    if rows is not None and len(array) != rows:
        raise ArgumentError(f"{what}: expected one for each of {rows} rows, found {len(array)}")
    return array


def check_skipped(value: Any, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many first steps of each row have no loss, given how many steps it has.

    Raises:
        ArgumentError: They are no integers, or a row is left without a loss.
    """
    array = as_array(value)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentError(f"loss_from must be one integer a row, got {value!r}")
    if len(array) != len(lengths):
        raise ArgumentError(f"loss_from: expected one for each of {len(lengths)} rows, found {len(array)}")
    wrong = (array < 0) | (array >= lengths)
    if wrong.any():
        row = int(wrong.argmax())
        raise ArgumentError(
            f"loss_from: expected 0 to {lengths[row] - 1} for row {row}, which has {lengths[row]} steps, "
            f"found {array[row]}"
        )
    return array.astype(np.int64)
