"""Kernels: loops over raw memory, compiled by numba, that MXNet's engine runs like operators of its own.

MXNet's own are slow where it counts: its Adam takes five times as long as memory needs, and to queue an operator costs
5 microseconds. A kernel makes one pass over many arrays, in one call. Where there are none, because the device is not
the host or numba does not load, operators do the same work with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import capi
from .capi import address_of, prepared, pushed
from .host_memory import host_slot


def usable(context: Any) -> bool:
    """Tell whether kernels can run on a device."""
    return context.device_type == "cpu" and capi.available() and _numba_loads()


@lru_cache(None)
def _numba_loads() -> bool:
    try:
        from .. import compiling  # noqa: F401 - to see whether it can be imported
    except Exception:  # noqa: BLE001 - not every platform has a numba that loads, which can fail in many ways
        return False
    return True


def block_of(words: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.int64], Any]:
    """Return what a kernel is given, as memory of the host and as an NDArray of int64."""
    host, array = host_slot(len(words), "int64")
    host[:] = words
    return host, array


def in_turn(calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
    """Return a function that makes some calls, one after the other."""

    def call_all() -> None:
        for call in calls:
            call()

    return call_all


def copying(pairs: Sequence[tuple[Any, Any]], reads: Sequence[Any], writes: Sequence[Any]) -> Callable[[], None]:
    """Return a function that queues copies of NDArrays to others of their shape and dtype, all of them in one call.

    Args:
        pairs: Sources and targets.
        reads: The arrays that sources are views of, each once, and what else it is to wait for, and to fail with.
        writes: The arrays that targets are views of, each once.
    """
    if not usable(writes[0].context):
        return in_turn([prepared("_copyto", [source], [target]) for source, target in pairs])
    from .copy_kernel import copy_kernel

    words = [len(pairs)]
    for source, target in pairs:
        words += [address_of(source), address_of(target), target.size * np.dtype(target.dtype).itemsize]
    return pushed(copy_kernel(), block_of(words)[1], reads, writes)
