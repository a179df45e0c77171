"""Memory that kernels and numpy see as well as MXNet."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from .capi import address_of

TRIM_THRESHOLD, GIVEN_BACK_FROM = -1, 2**17  # glibc's name for it, and its own default before it learns


def zeros(shape: tuple[int, ...], context: Any, dtype: str) -> Any:
    """Return zeros as an NDArray whose memory is where it will stay; on the host it waits for nothing.

    MXNet allocates memory when it is first asked for: by an operator in the queue, or by the host for an address. Where
    both ask at once each has its own, and a kernel would work on what nobody else ever sees. So the host asks before
    there is anything in the queue, and sets the zeros itself.
    """
    if context.device_type != "cpu":
        return mx.nd.zeros(shape, ctx=context, dtype=dtype)
    array = mx.nd.empty(shape, ctx=context, dtype=dtype)
    ctypes.memset(address_of(array), 0, array.size * np.dtype(dtype).itemsize)
    return array


def host_view(array: Any) -> NDArray[Any]:
    """Return the numbers of an NDArray, no copy of them if they are in the host's memory; waits.

    Raises:
        MXNetError: What was to write it has failed.
    """
    array.wait_to_read()
    if array.context.device_type != "cpu":
        copied: NDArray[Any] = array.asnumpy()
        return copied
    dtype = np.dtype(array.dtype)
    memory: Any = (ctypes.c_char * (array.size * dtype.itemsize)).from_address(address_of(array))
    memory.owner = array  # as in `host_slot`
    return np.frombuffer(memory, dtype).reshape(array.shape)


def host_slot(size: int, dtype: str) -> tuple[NDArray[Any], Any]:
    """Return zeros as an NDArray, and numpy's view of the same memory.

    The memory is MXNet's, which frees it only once everything has run that was queued with it. (`mx.nd.from_numpy` lets
    go of numpy's memory at once, also where a kernel has yet to read it.)
    """
    array = zeros((size,), mx.cpu(), dtype)
    buffer: Any = (ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(address_of(array))
    buffer.owner = array  # numpy's view keeps the buffer alive, and that the memory
    return np.frombuffer(buffer, dtype), array


def bytes_of(arrays: Iterable[Any]) -> int:
    """Return the size in memory of NDArrays; what is None has none."""
    return sum(array.size * np.dtype(array.dtype).itemsize for array in arrays if array is not None)


def return_freed() -> None:
    """Give freed memory back to the system, where the C library can: glibc keeps 38 to 160 MB otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def give_back_always() -> None:
    """Let the C library give freed memory back at once from now on, where it can.

    glibc learns from what is freed how much to keep: up to 64 MB, in each of its arenas and in pieces. A loss over
    10,000 words held 174 MB in a process that had 86 in use. What operators take for a moment costs page faults then.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(TRIM_THRESHOLD, GIVEN_BACK_FROM)
