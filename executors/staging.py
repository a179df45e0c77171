"""Input arrays on the device, and how a batch gets into them without waiting for what is queued."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..arrays import MOST_ELEMENTS
from ..errors import ArgumentError
from ..plans.lowering import SKIPPED
from .checked import CheckedBatch, Host, Steps
from .host_memory import bytes_of, host_slot, zeros
from .kernels import Stage, copying, queueing

GROWTH = 1.5
MOST_WAYS = 1024  # that are remembered, of a form and a slot each


class Want(NamedTuple):
    """An input array that a graph reads.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
        length: The name of the length of its second axis, if it is a sequence.
        initial: What all of it is where a batch leaves it out.
    """

    shape: tuple[int, ...]
    dtype: str
    length: str | None = None
    initial: float = 0.0

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The size in memory."""
        return self.size * np.dtype(self.dtype).itemsize


def check_elements(name: str, want: Want) -> None:
    """Check that MXNet can hold an input array.

    Raises:
        ArgumentError: It has too many elements.
    """
    if want.size > MOST_ELEMENTS:
        raise ArgumentError(
            f'input "{name}": {want.shape} has more than the {MOST_ELEMENTS:,} elements that MXNet can hold; '
            f"take a smaller batch size, or shorter sequences"
        )


class Way(NamedTuple):
    """How batches of one form get into one slot.

    Attributes:
        views: What each port is copied to.
        copy: What queues the copies to the device; None where there is more to do than to copy.
    """

    views: list[tuple[str, NDArray[Any]]]
    copy: Callable[[], None] | None


class InputBuffers:
    """The memory behind the input arrays of several graphs: for each port one array, and slots of host memory.

    Every graph has views into them, so that many cost what the largest does. MXNet's own ways from numpy to an NDArray
    wait for everything that is queued (24 to 71 ms under a busy engine). Here a batch is copied into a slot, which
    numpy does at once, and the slot's copy to the device is queued.

    Args:
        context: The device.
        slots: How many batches can be on their way.
        keeps: Whether what comes as NDArrays is kept in slots too, for `Staging.kept`.
    """

    def __init__(self, context: Any, slots: int, keeps: bool = False) -> None:
        """Allocate nothing yet."""
        self.context = context
        self.slots = slots
        self.keeps = keeps
        self.turn = 0
        self.contents: dict[str, tuple[Any, object]] = {}  # what arrays are known to hold, with the memory that does
        self._device: dict[tuple[str, str], Any] = {}
        self._host: dict[str, list[tuple[NDArray[Any], Any]]] = {}

    def device(self, name: str, want: Want, kind: str = "input") -> Any:
        """Return a view of an array of the device; a larger one than before leaves earlier views where they are."""
        check_elements(name, want)
        flat = self._device.get((kind, name))
        if flat is None or flat.size < want.size:
            size = want.size if flat is None else min(max(want.size, int(flat.size * GROWTH)), MOST_ELEMENTS)
            flat = zeros((size,), self.context, want.dtype)
            self._device[kind, name] = flat
        return flat[: want.size].reshape(want.shape)

    def hold(self, wanted: Mapping[str, Want]) -> bool:
        """Tell whether there is memory for all of these, so that they take no more."""
        inputs = ((self._device.get(("input", name)), want) for name, want in wanted.items())
        return all(flat is not None and flat.size >= want.size for flat, want in inputs)

    def memory(self, name: str) -> Any:
        """Return what the newest view of an input array is a view of."""
        return self._device["input", name]

    def host(self, name: str, want: Want) -> list[tuple[NDArray[Any], Any]]:
        """Return each slot's memory for an array, for numpy and for MXNet."""
        slots = self._host.get(name)
        if slots is None or slots[0][0].size < want.size:
            size = want.size if slots is None else max(want.size, int(slots[0][0].size * GROWTH))
            slots = [host_slot(size, want.dtype) for _ in range(self.slots)]
            self._host[name] = slots
        return [
            (host[: want.size].reshape(want.shape), staged[: want.size].reshape(want.shape)) for host, staged in slots
        ]

    def clear(self) -> None:
        """Let go of all memory; views that graphs have keep theirs alive."""
        self._device.clear()
        self._host.clear()
        self.contents.clear()

    @property
    def bytes(self) -> int:
        """The size of all of it in memory, but for gradients of inputs."""
        device = bytes_of(flat for (kind, _), flat in self._device.items() if kind != "gradient")
        host = sum(slot[0].nbytes for slots in self._host.values() for slot in slots)
        return int(device + host)


class Staging:
    """The input arrays of one graph.

    Args:
        wanted: What the graph reads, by port; true lengths are under "length:" and their name, and which rows of a
            port start at what was learned under "begins:" and its name.
        fed: Ports that someone else fills where a batch leaves them out.
        buffers: The memory that they are views of. Whoever calls `load` must know that the copy out of the slot that
            comes next is done, or call `wait`.
        before: What is queued before the copies of a batch, in one call with them.

    Attributes:
        arrays: The input arrays by port, ``(batch_size, *item)`` or ``(batch_size, t, *item)``.
    """

    def __init__(
        self, wanted: Mapping[str, Want], fed: Collection[str], buffers: InputBuffers, before: Sequence[Stage] = ()
    ) -> None:
        """Take views.

        Raises:
            ArgumentError: An input array would have more elements than MXNet can hold.
        """
        self._wanted = dict(wanted)
        self._fed = frozenset(fed)
        self._before, self._alone = before, queueing(before)
        self._begins = {name: name.partition(":")[2] for name in wanted if name.startswith("begins:")}
        self._buffers = buffers
        self.arrays = {name: buffers.device(name, want) for name, want in wanted.items()}
        self._memory = {name: buffers.memory(name) for name in wanted}
        self._slots = {name: buffers.host(name, want) for name, want in wanted.items()}
        self._copies: dict[tuple[tuple[str, ...], int], Callable[[], None]] = {}
        self._ways: dict[tuple[object, int], Way] = {}

    def load(self, batch: CheckedBatch) -> int:
        """Copy a batch privately and queue its way to the device; return the slot. Does not wait."""
        turn = self._buffers.turn
        self._buffers.turn = (turn + 1) % self._buffers.slots
        if not self._load_as_before(batch, turn):
            self._load(batch, turn)
        if batch.left_out or self._begins:
            self._fill_in(frozenset(batch.left_out))
        return turn

    def take_back(self, slot: int) -> None:
        """Let the batch that was loaded last not have been loaded: its slot is the next one again."""
        self._buffers.turn = slot

    def set_threads(self) -> None:
        """Queue what comes before the copies of a batch, alone."""
        for call in self._alone:
            call()

    def _load_as_before(self, batch: CheckedBatch, turn: int) -> bool:
        """Load a batch if its form is known to be copied as it is; return whether."""
        if batch.form is None:
            return False
        way = self._ways.get((batch.form, turn))
        if way is None:
            if len(self._ways) >= MOST_WAYS:  # of forms that are long forgotten
                self._ways.clear()
            way = self._ways[batch.form, turn] = self._way(batch, turn)
        if way.copy is None:
            return False
        contents = self._buffers.contents
        for name, host in way.views:
            host[...] = batch.host[name]
            if contents:
                contents.pop(name, None)
        way.copy()
        return True

    def _way(self, batch: CheckedBatch, turn: int) -> Way:
        views = [(name, self._slots[name][turn][0]) for name in batch.host if name in self._wanted]
        beside = batch.loss_from is not None or any(f"length:{name}" in self._wanted for name in batch.lengths)
        fits = all(getattr(batch.host[name], "shape", None) == host.shape for name, host in views)
        if not views or batch.device or beside or not fits:
            return Way([], None)
        return Way(views, self._copying(tuple(name for name, _ in views), turn))

    def _load(self, batch: CheckedBatch, turn: int) -> None:
        beside = {f"length:{name}": found for name, found in batch.lengths.items()}
        if batch.loss_from is not None:
            beside[SKIPPED] = batch.loss_from
        loaded = []
        for name, value in (*beside.items(), *batch.host.items()):
            if name in self._wanted:
                self._load_host(name, value, batch, turn)
                loaded.append(name)
        if loaded:
            self._copying(tuple(loaded), turn)()
        else:
            self.set_threads()
        for name, array in batch.device.items():
            if name in self._wanted:
                self._load_device(name, array, batch)
                if self._buffers.keeps:
                    self.arrays[name].copyto(self._kept(name, turn))

    def _copying(self, names: tuple[str, ...], turn: int) -> Callable[[], None]:
        """Return what queues the copies of some arrays out of a slot, in one call."""
        copy = self._copies.get((names, turn))
        if copy is None:
            pairs = [(self._slots[name][turn][1], self.arrays[name]) for name in names]
            copies = copying(pairs, [source for source, _ in pairs], [target for _, target in pairs])
            (copy,) = queueing([*self._before, copies])
            self._copies[names, turn] = copy
        return copy

    def _fill_in(self, left_out: frozenset[str]) -> None:
        """Give initial values to what is left out, unless someone else fills it."""
        for name in left_out - self._fed:
            if name in self._wanted:
                self._fill(name, self._wanted[name].initial)
        for name, port in self._begins.items():
            if port not in left_out or port not in self._fed:
                self._fill(name, float(port in left_out))

    def _fill(self, name: str, number: float) -> None:
        if self._learns(name, (self._wanted[name].shape, number)):
            self.arrays[name][:] = number

    def _learns(self, name: str, what: object) -> bool:
        """Note what an array holds from now on; return whether it is new."""
        before, self._buffers.contents[name] = self._buffers.contents.get(name), (self._memory[name], what)
        return before is None or before[0] is not self._memory[name] or before[1] != what

    def forget(self, name: str) -> None:
        """Note that it is no longer known what an array holds."""
        self._buffers.contents.pop(name, None)

    def place(self, name: str, turn: int, numbers: NDArray[Any], what: object) -> None:
        """Copy numbers through a slot, unless the array holds what these are; queued, does not wait."""
        if self._learns(name, what):
            self._slots[name][turn][0].reshape(-1)[:] = numbers
            self._copying((name,), turn)()

    def _kept(self, name: str, turn: int) -> Any:
        return self._buffers.device(name, self._wanted[name], f"kept {turn}")

    def kept(self, turn: int, batch: CheckedBatch, name: str) -> NDArray[Any]:
        """Return what came for a port, from a slot that has not been loaded again since; waits for NDArrays.

        Raises:
            MXNetError: It was an output of a pass that failed.
        """
        array = self._slots[name][turn][0] if name in batch.host else self._kept(name, turn).asnumpy()
        length = self._wanted[name].length
        steps = () if length is None else (slice(batch.longest[length]),)
        kept: NDArray[Any] = array[(slice(batch.rows), *steps)].copy()
        return kept

    def _load_host(self, name: str, value: Host, batch: CheckedBatch, turn: int) -> None:
        self.forget(name)
        host = self._slots[name][turn][0]
        rows, length = len(value), self._wanted[name].length
        if isinstance(value, Steps):
            value.dense(host[:rows])
        elif length is None or batch.shortest[length] == value.shape[1] == host.shape[1]:
            np.copyto(host[:rows], value, casting="unsafe")
        else:
            _copy_padded(host[:rows], value, batch.lengths[length], batch.longest[length])
        if rows < len(host):  # rows that are missing take part in the arithmetic: let them be harmless
            host[rows:] = host[rows - 1]

    def _load_device(self, name: str, array: Any, batch: CheckedBatch) -> None:
        self.forget(name)
        target, length = self.arrays[name], self._wanted[name].length
        if array.shape[0] > batch.rows:
            array = array[: batch.rows]
        if length is not None:
            array = self._fit_steps(array, target.shape[1], length, batch)
        if batch.rows == target.shape[0]:
            array.copyto(target)
            return
        array.copyto(target[: batch.rows])
        missing = target[batch.rows :]
        mx.nd.broadcast_to(target[batch.rows - 1 : batch.rows], shape=missing.shape, out=missing)

    def _fit_steps(self, array: Any, steps: int, length: str, batch: CheckedBatch) -> Any:
        """Return ``(rows, steps, ...)`` with zeros over padding; queued."""
        longest = batch.longest[length]
        if array.shape[1] > longest:
            array = mx.nd.slice_axis(array, axis=1, begin=0, end=longest)
        if longest < steps:
            rest = (array.shape[0], steps - longest, *array.shape[2:])
            array = mx.nd.concat(array, mx.nd.zeros(rest, ctx=array.context, dtype=array.dtype), dim=1)
        if batch.shortest[length] < longest:
            true = self.arrays[f"length:{length}"][: batch.rows]
            array = mx.nd.SequenceMask(array, true, use_sequence_length=True, axis=1)
        return array

    def wait(self, ports: Iterable[str]) -> None:
        """Wait until the last batch is in the arrays of some ports; all slots but one are free then."""
        for name in ports:
            self.arrays[name].wait_to_read()

    @property
    def bytes(self) -> int:
        """The size in memory of what its views show, in the slots too."""
        return sum(want.bytes for want in self._wanted.values()) * (1 + self._buffers.slots)


def _copy_padded(host: NDArray[Any], value: NDArray[Any], lengths: NDArray[np.int64], longest: int) -> None:
    """Copy true steps into ``(rows, t, ...)``, and zeros over padding, where there may be any numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(host[:, :longest], value[:, :longest], casting="unsafe")
    host[np.arange(host.shape[1]) >= lengths[:, None]] = 0
