"""Input arrays on the device, and how a batch gets into them without waiting for what is queued."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..arrays import MOST_ELEMENTS
from ..errors import ArgumentError
from ..plans.plan import PortSpec
from .inputs import CheckedBatch

CACHE_LINE = 64  # bytes


class Staging:
    """The input arrays of an executor, and slots of host memory in front of them.

    MXNet's own ways from numpy to an NDArray wait for everything that is queued (24 to 71 ms under a busy engine).
    Here a batch is copied into a slot, which numpy does at once, and the slot's copy to the device is queued.

    Args:
        ports: The input ports.
        batch_size: The number of rows.
        lengths: The number of steps by length name.
        context: The device.
        slots: How many batches can be on their way. Whoever calls `load` must know that the copy out of the slot that
            comes next is done, or call `wait`.

    Attributes:
        arrays: The input arrays by port, ``(batch_size, *item)`` or ``(batch_size, t, *item)``.
    """

    def __init__(
        self, ports: Mapping[str, PortSpec], batch_size: int, lengths: Mapping[str, int], context: Any, slots: int
    ) -> None:
        """Allocate input arrays and slots.

        Raises:
            ArgumentError: An input array would have more elements than MXNet can hold.
        """
        for name, spec in ports.items():
            shape = spec.shape(batch_size, lengths)
            if math.prod(shape) > MOST_ELEMENTS:
                raise ArgumentError(
                    f'input "{name}": {shape} has more than the {MOST_ELEMENTS:,} elements that MXNet can hold; '
                    f"take a smaller batch size, or shorter sequences"
                )
        self._batch_size = batch_size
        self.arrays = {
            name: mx.nd.zeros(spec.shape(batch_size, lengths), ctx=context, dtype=spec.transfer_dtype)
            for name, spec in ports.items()
        }
        self._slots = [{name: _slot(array) for name, array in self.arrays.items()} for _ in range(slots)]
        self._next = 0
        self._zeroed: set[str] = set()

    def load(self, batch: CheckedBatch) -> None:
        """Copy a batch privately and queue its way to the device; does not wait."""
        slot = self._slots[self._next]
        rows = batch.rows
        for name, value in batch.host.items():
            host, staged = slot[name]
            if host.dtype == value.dtype:
                host[:rows] = value
            else:
                with np.errstate(over="ignore", invalid="ignore"):
                    np.copyto(host[:rows], value, casting="unsafe")
            if rows < self._batch_size:  # rows that are missing take part in the arithmetic: let them be harmless
                host[rows:] = host[rows - 1]
            staged.copyto(self.arrays[name])
        for name, array in batch.device.items():
            _copy_rows(array, self.arrays[name])
        for name in batch.left_out:
            if name not in self._zeroed:
                self.arrays[name][:] = 0
        self._zeroed = set(batch.left_out)
        self._next = (self._next + 1) % len(self._slots)

    def wait(self, ports: Iterable[str]) -> None:
        """Wait until the last batch is in the arrays of some ports; all slots but one are free then."""
        for name in ports:
            self.arrays[name].wait_to_read()

    @property
    def bytes(self) -> int:
        """The size of the input arrays and slots in memory."""
        once = sum(array.size * np.dtype(array.dtype).itemsize for array in self.arrays.values())
        return int(once * (1 + len(self._slots)))


def _copy_rows(array: Any, target: Any) -> None:
    """Queue a copy on the device; missing rows become copies of the last one."""
    rows = array.shape[0]
    if rows == target.shape[0]:
        array.copyto(target)
        return
    array.copyto(target[:rows])
    missing = target[rows:]
    mx.nd.broadcast_to(target[rows - 1 : rows], shape=missing.shape, out=missing)


def _slot(array: Any) -> tuple[NDArray[Any], Any]:
    """Return host memory of an array's shape, and an NDArray over the same memory."""
    dtype = np.dtype(array.dtype)
    raw = np.zeros(array.size * dtype.itemsize + CACHE_LINE, np.uint8)
    begin = -raw.ctypes.data % CACHE_LINE
    host = raw[begin : begin + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
    # from_numpy makes the array that it is given read-only, so it is given a view
    return host, mx.nd.from_numpy(host[:], zero_copy=True)
