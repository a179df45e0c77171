"""Kernels: loops over raw memory, compiled by numba, that MXNet's engine runs like operators of its own.

MXNet's own are slow where it counts: its Adam takes five times as long as memory needs, and to queue an operator costs
5 microseconds. A kernel makes one pass over many arrays, in one call. Where there are none, because the device is not
the host or numba does not load, operators do the same work, with the same bits but for sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
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


def load_kernels() -> None:
    """Load the kernels that every trainer uses, so that processes which are copies of this one have them."""
    if usable(mx.cpu()):
        from .copy_kernel import copy_kernel
        from .guard_kernel import judge_kernel
        from .judges import HEAD, STAMPS
        from .sequence_kernel import sequence_kernel

        copy_kernel()
        judge_kernel("float32", STAMPS, HEAD)
        sequence_kernel()


def block_of(words: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.int64], Any]:
    """Return what a kernel is given, as memory of the host and as an NDArray of int64."""
    host, array = host_slot(len(words), "int64")
    host[:] = words
    return host, array


class Task(NamedTuple):
    """A kernel that is to be queued.

    Attributes:
        kernel: As `pushed` takes it.
        block: What it is given.
        reads: The NDArrays that it reads. What of them is in `writes` too may be named in both.
        writes: The NDArrays that it writes.
    """

    kernel: Any
    block: Any
    reads: tuple[Any, ...]
    writes: tuple[Any, ...]


Stage = Union[Task, Callable[[], None]]  # what is to be queued, or a function that queues it


def queueing(stages: Sequence[Stage]) -> list[Callable[[], None]]:
    """Return the functions that queue some stages in order; tasks side by side are one call, and fail together."""
    calls: list[Callable[[], None]] = []
    tasks: list[Task] = []
    for stage in stages:
        if isinstance(stage, Task):
            tasks.append(stage)
            continue
        if tasks:
            calls.append(_pushed(tasks))
            tasks = []
        calls.append(stage)
    return [*calls, _pushed(tasks)] if tasks else calls


def _pushed(tasks: Sequence[Task]) -> Callable[[], None]:
    kernel, block, *_ = tasks[0]
    if len(tasks) > 1:
        from .sequence_kernel import sequence_kernel

        words = [number for task in tasks for number in (task.kernel.address, address_of(task.block))]
        kernel, block = sequence_kernel(), block_of([len(tasks), *words])[1]
    writes = {id(array): array for task in tasks for array in task.writes}
    reads = {id(array): array for task in tasks for array in (task.block, *task.reads) if id(array) not in writes}
    reads.pop(id(block), None)
    name = ", ".join(task.kernel.__name__.strip("_").partition("_")[0] for task in tasks)
    alive = [task.kernel for task in tasks]
    return pushed(kernel, block, list(reads.values()), list(writes.values()), name, alive)


def copying(pairs: Sequence[tuple[Any, Any]], reads: Sequence[Any], writes: Sequence[Any]) -> Stage:
    """Return copies of NDArrays to others of their shape and dtype.

    Args:
        pairs: Sources and targets.
        reads: The arrays that sources are views of, each once, and what else it is to wait for, and to fail with.
        writes: The arrays that targets are views of, each once.
    """
    if not usable(writes[0].context):
        calls = [prepared("_copyto", [source], [target]) for source, target in pairs]

        def copy() -> None:
            for call in calls:
                call()

        return copy
    from .copy_kernel import copy_kernel

    words = [len(pairs)]
    for source, target in pairs:
        words += [address_of(source), address_of(target), target.size * np.dtype(target.dtype).itemsize]
    return Task(copy_kernel(), block_of(words)[1], tuple(reads), tuple(writes))
