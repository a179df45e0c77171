"""Memory of the host that numpy and MXNet see at once."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from .capi import address_of


def host_slot(size: int, dtype: str) -> tuple[NDArray[Any], Any]:
    """Return zeros as an NDArray, and numpy's view of the same memory.

    The memory is MXNet's, which frees it only once everything has run that was queued with it. (`mx.nd.from_numpy` lets
    go of numpy's memory at once, also where a kernel has yet to read it.)
    """
    array = mx.nd.zeros((size,), ctx=mx.cpu(), dtype=dtype)
    array.wait_to_read()  # it is filled with zeros in the queue
    buffer: Any = (ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(address_of(array))
    buffer.owner = array  # numpy's view keeps the buffer alive, and that the memory
    return np.frombuffer(buffer, dtype), array
