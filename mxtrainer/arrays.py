"""What an array is: its name, shape and dtype; the rules for dtypes and devices."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._mxnet import mx
from .errors import ArgumentError

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

REAL_DTYPES = ("float32", "float64")
MOST_ELEMENTS = 2**31 - 1  # of one NDArray: MXNet is built with 32-bit sizes, and notices only when it runs
LARGEST, SMALLEST = (float(bound) for bound in (np.finfo(np.float32).max, np.finfo(np.float32).tiny))
TRANSFER_DTYPES = ("float32", "float64", "uint8", "int8", "int32", "int64")


@dataclass(frozen=True)
class ArraySpec:
    """A parameter or an auxiliary array of a plan.

    Attributes:
        path: The name by net path, for example ``"lstm.InputWeights"``.
        shape: The shape; it depends on no batch size and no length.
        dtype: The dtype on the device.
        initializer: What draws its start value, a value of `mxtrainer.initializers`.
        auxiliary: Whether it is moved by the forward pass and not by the optimizer.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    initializer: Any
    auxiliary: bool = False

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def as_arrays(arrays: object) -> dict[str, Any]:
    """Return the arrays of a net, a trainer's arrays or a mapping as one dict by name.

    Raises:
        ArgumentError: It is none of these.
    """
    source = getattr(arrays, "arrays", arrays)
    if not isinstance(source, Mapping):
        raise ArgumentError(
            f"arrays= must be a net with arrays, trainer.arrays, or a mapping from array names to numpy arrays, "
            f"got {type(arrays).__name__}"
        )
    return dict(source)


def check_dtype(dtype: object) -> str:
    """Return the name of a dtype that a plan can have.

    Raises:
        ArgumentError: MXNet's CPU build cannot train in this dtype.

    Example:
        >>> check_dtype("float64")
        'float64'
    """
    return _dtype_of(dtype, REAL_DTYPES, "dtype")


def check_transfer_dtype(dtype: object) -> str:
    """Return the name of a dtype in which a real port can travel to the device.

    Raises:
        ArgumentError: It cannot.

    Example:
        >>> check_transfer_dtype("uint8")
        'uint8'
    """
    return _dtype_of(dtype, TRANSFER_DTYPES, "Array: dtype")


def _dtype_of(dtype: object, known: tuple[str, ...], what: str) -> str:
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    if name not in known:
        raise ArgumentError(f"{what} must be one of {', '.join(known)}, got {dtype!r}")
    return str(name)


def as_context(device: object) -> Any:
    """Return MXNet's context for a device: ``"cpu"``, ``"gpu:1"``, or a context as it is.

    Raises:
        ArgumentError: The device is unknown, or a GPU that this build of MXNet does not have.

    Example:
        >>> as_context("cpu")
        cpu(0)
    """
    if isinstance(device, mx.Context):
        kind, number = device.device_type, device.device_id
    else:
        match = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", device) if isinstance(device, str) else None
        if match is None:
            raise ArgumentError(f'device must be "cpu", "gpu" or one with a number as in "gpu:1", got {device!r}')
        kind, number = match[1], int(match[2] or 0)
    if kind == "gpu":
        _check_gpu(number)
    return mx.Context(kind, number)


def _check_gpu(number: int) -> None:
    if not mx.runtime.Features().is_enabled("CUDA"):
        raise ArgumentError(
            f'device "gpu:{number}": this build of MXNet has no GPU support. Install one that has in place of '
            f'"mxnet", for example "pip install mxnet-cu112==1.9.1" for CUDA 11.2, or use device="cpu".'
        )
    found = mx.context.num_gpus()
    if number >= found:
        raise ArgumentError(f'device "gpu:{number}": this machine has {found} GPUs, counted from 0')


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


def names(value: object, what: str) -> tuple[str, ...]:
    """Return a sequence of names as a tuple.

    Raises:
        ArgumentError: It is none, or a single string.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ArgumentError(f'{what} must be a list of names, as in ["Input"], got {value!r}')
    return tuple(value)


def real_number(value: object, what: str) -> float:
    """Return the value as a float that MXNet can take: its operators read numbers in float32.

    One that is smaller than every float32 becomes 0.

    Raises:
        ArgumentError: It is not a number, not finite, or larger than every float32.
    """
    number = math.nan
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an int beyond all floats
            number = float(value)
    if not abs(number) <= LARGEST:  # NaN, too
        large = ", which is too large for float32" if math.isfinite(number) else ""
        raise ArgumentError(f"{what} must be a finite number, got {value!r}{large}")
    return number if abs(number) >= SMALLEST else 0.0


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
