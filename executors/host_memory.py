"""Memory of the host that numpy and MXNet see at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx

CACHE_LINE = 64  # bytes


def host_slot(size: int, dtype: str) -> tuple[NDArray[Any], Any]:
    """Return aligned host memory, and an NDArray over the same memory."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size * itemsize + CACHE_LINE, np.uint8)
    begin = -raw.ctypes.data % CACHE_LINE
    host = raw[begin : begin + size * itemsize].view(dtype)
    # from_numpy makes the array that it is given read-only, so it is given a view
    return host, mx.nd.from_numpy(host[:], zero_copy=True)
