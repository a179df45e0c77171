"""What an array is: its name, shape and dtype; the rules for dtypes and devices."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._mxnet import mx
from .errors import ArgumentError

REAL_DTYPES = ("float32", "float64")
MOST_ELEMENTS = 2**31 - 1  # of one NDArray: MXNet is built with 32-bit sizes, and notices only when it runs
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
