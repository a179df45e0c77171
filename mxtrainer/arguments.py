"""Checks of arguments: integers, numbers, names, seeds, and whatever numpy takes as an array of numbers."""

from __future__ import annotations

import contextlib
import math
import operator
import os
import re
import secrets
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

LARGEST, SMALLEST = (float(bound) for bound in (np.finfo(np.float32).max, np.finfo(np.float32).tiny))
UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_LIMITS = {
    "least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "most": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}


def is_integer(value: object) -> TypeGuard[int]:
    """Tell whether the value is an integer of Python or numpy; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def positive_int(value: object, what: str) -> int:
    """Return the value as an int of at least 1.

    Raises:
        ArgumentError: It is not one.
    """
    if not is_integer(value) or value < 1:
        raise ArgumentError(f"{what} must be a positive integer, got {value!r}")
    return int(value)


def non_negative_int(value: object, what: str) -> int:
    """Return the value as an int of at least 0.

    Raises:
        ArgumentError: It is not one.
    """
    if not is_integer(value) or value < 0:
        raise ArgumentError(f"{what} must be a non-negative integer, got {value!r}")
    return int(value)


def byte_count(value: object, what: str) -> int:
    """Return a number of bytes, given as one or as text such as "512MB", of 2**20 bytes each.

    Raises:
        ArgumentError: It is neither.

    Example:
        >>> byte_count("1.5KB", "bytes")
        1536
    """
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"(\d{1,15})|(\d{1,15}(?:\.\d{1,15})?)\s*(KB|MB|GB)", text)
    count = value
    if match is not None:
        count = int(match[1]) if match[1] else int(float(match[2]) * UNITS[match[3]])
    if not is_integer(count) or count < 1:
        raise ArgumentError(f'{what} must be a positive integer, or text such as "512MB", got {value!r}')
    return int(count)


def names(value: object, what: str) -> tuple[str, ...]:
    """Return a sequence of names as a tuple.

    Raises:
        ArgumentError: It is none, or a single string.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ArgumentError(f'{what} must be a list of names, as in ["Input"], got {value!r}')
    return tuple(value)


def as_path(value: object, what: str) -> str:
    """Return the path of a file as text.

    Raises:
        ArgumentError: It is no path.
    """
    try:
        path = os.fspath(value)  # type: ignore[call-overload]  # what it is, is being found out
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ArgumentError(f"{what} must be the path of a file, got {value!r}")
    return path


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether the value is a real number of Python or numpy; True and False are none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def real_number(value: object, what: str) -> float:
    """Return the value as a float that MXNet can take: its operators read numbers in float32.

    One that is smaller than every float32 becomes 0.

    Raises:
        ArgumentError: It is not a number, not finite, or larger than every float32.
    """
    number = math.nan
    if is_number(value):
        with contextlib.suppress(OverflowError):  # an int beyond all floats
            number = float(value)
    if not abs(number) <= LARGEST:  # NaN, too
        large = ", which is too large for float32" if math.isfinite(number) else ""
        raise ArgumentError(f"{what} must be a finite number, got {value!r}{large}")
    return number if abs(number) >= SMALLEST else 0.0


def number_within(value: object, what: str, **limits: float) -> float:
    """Return the value as `real_number` does, if it is within the limits ``least``, ``above``, ``most`` and ``below``.

    Raises:
        ArgumentError: It is no such number, or not within them.

    Example:
        >>> number_within(1, "factor", least=0.0, below=1.0)
        Traceback (most recent call last):
        mxtrainer.errors.ArgumentError: factor must be at least 0 and below 1, got 1
    """
    number = real_number(value, what)
    if not all(_LIMITS[kind][0](number, limit) for kind, limit in limits.items()):
        expected = " and ".join(f"{_LIMITS[kind][1]} {limit:g}" for kind, limit in limits.items())
        raise ArgumentError(f"{what} must be {expected}, got {value!r}")
    return number


def shape_of_ints(value: object, what: str) -> tuple[int, ...]:
    """Return a shape: one positive integer or a sequence of them.

    Raises:
        ArgumentError: It is something else.
    """
    many = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    entries = value if many else (value,)
    try:
        return tuple(positive_int(entry, what) for entry in entries)  # type: ignore[attr-defined]  # by the lines above
    except ArgumentError:
        raise ArgumentError(f"{what} must be a positive integer, or a tuple of them, got {value!r}") from None


def check_seed(seed: object) -> int:
    """Return a seed; None draws one.

    Raises:
        ArgumentError: It is no integer, or negative.
    """
    if seed is None:
        return secrets.randbits(31)
    if not is_integer(seed) or seed < 0:
        raise ArgumentError(f"seed must be a non-negative integer, or None to draw one, got {seed!r}")
    return int(seed)


def as_array(value: Any) -> NDArray[Any]:
    """Return whatever numpy takes, an NDArray or a handle as numpy's array; reading the latter two waits.

    Raises:
        ArgumentError: It is masked, or its rows have different shapes.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError("is a masked array, whose mask would be lost; give array.filled(0.0), or another filling")
    if hasattr(value, "asnumpy"):
        read: NDArray[Any] = value.asnumpy()
        return read
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy below 1.24 only warns of ragged lists
            return np.asarray(value)
    except (ValueError, TypeError, Warning):
        raise ArgumentError("is ragged: its rows have different shapes; give one array") from None


def as_numbers(value: Any, dtype: str) -> NDArray[Any]:
    """Return real numbers, integers or booleans as numpy's array, not yet in the dtype that they are to be copied into.

    Raises:
        ArgumentError: It is none, or the dtype cannot hold them.

    Example:
        >>> as_numbers([1, 2], "float32")
        array([1, 2])
    """
    array = as_array(value)
    if array.dtype.kind not in "fiub":
        raise ArgumentError(f"expected real numbers, found {kind_of(array)}")
    check_range(array, dtype)
    return array


def kind_of(array: NDArray[Any]) -> str:
    """Say what an array holds that holds no numbers."""
    if array.dtype.kind != "O" or not array.size:
        return str(array.dtype)
    return f"objects, the first of them of type {type(array.flat[0]).__name__}"


def check_range(array: NDArray[Any], dtype: str) -> None:
    """Refuse finite floats that would become infinite in a dtype.

    Raises:
        ArgumentError: There are some.
    """
    if dtype == "float32" and array.dtype.kind == "f" and array.dtype.itemsize > 4:
        large = (np.abs(array) > LARGEST) & np.isfinite(array)
        if large.any():
            raise ArgumentError(f"holds {array[large].flat[0]!r}, which is too large for float32")
