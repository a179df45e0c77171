"""Handles on arrays of the device: live ones on parameters, versioned ones on outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._mxnet import mx
from ..arguments import as_numbers
from ..arrays import ArraySpec
from ..errors import ArgumentError, StaleHandleError
from ..mappings import FrozenMapping

if TYPE_CHECKING:
    from ..plans.plan import Plan
    from .checked import CheckedBatch
    from .store import ParameterStore


class ArrayHandle:
    """A live view of a parameter, an auxiliary array or a gradient.

    ``handle[:]`` reads a numpy copy and waits for what is queued; ``handle[:] = values`` waits and copies in.
    It is never stale.

    Attributes:
        path: The array's path.
        shape: Its shape.
        dtype: Its dtype, as numpy has it.
    """

    def __init__(
        self, spec: ArraySpec, array: Any, collect: Callable[[], None], store: ParameterStore | None = None
    ) -> None:
        """Take the NDArray, what waits for its owner's work, and the store that a write changes, if any."""
        self.path = spec.path
        self.shape = spec.shape
        self.dtype = np.dtype(spec.dtype)
        self._array = array
        self._collect = collect
        self._store = store

    @property
    def array(self) -> Any:
        """The live NDArray; a Scalar's has shape (1,). MXNet's own rules hold for it: nothing is checked."""
        if self._store is not None:
            self._store.expose()
        return self._array

    def asnumpy(self) -> NDArray[Any]:
        """Return a copy; waits for what is queued.

        Raises:
            StepError: What is queued failed.
        """
        self._collect()
        copied: NDArray[Any] = self._array.asnumpy().reshape(self.shape)
        return copied

    def copy(self) -> Any:
        """Return a copy on the device as an NDArray; queued, does not wait."""
        return self._array.copy()

    @overload
    def __getitem__(self, key: slice) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, key: Any) -> Any: ...

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of a part, ``[:]`` of all; waits."""
        return self.asnumpy()[key] if self.shape else self.asnumpy()

    def __setitem__(self, key: Any, values: ArrayLike) -> None:
        """Copy values in, a number or exactly the shape of the part; waits.

        Raises:
            ArgumentError: The values have another shape, or are no numbers.
        """
        new = self.asnumpy()
        part = new if not self.shape else new[key]
        try:
            found = as_numbers(values, self.dtype.name)
        except ArgumentError as error:
            raise ArgumentError(f'array "{self.path}": {error}') from None
        if found.shape not in {(), part.shape}:
            raise ArgumentError(f'array "{self.path}": expected {part.shape}, or one number, found {found.shape}')
        new[key if self.shape else ...] = found
        self._array[:] = new.reshape(self._array.shape)
        if self._store is not None:
            self._store.touch()

    def __array__(self, dtype: Any = None) -> NDArray[Any]:
        """Let numpy read it; waits."""
        copied = self.asnumpy()
        return copied if dtype is None else copied.astype(dtype)

    def __repr__(self) -> str:
        """Show path, shape and dtype."""
        return f'<array "{self.path}" {self.shape} {self.dtype}>'


class InputGradientHandle(ArrayHandle):
    """The gradient of an input in one pass, without missing rows and padding; it is read, and not written.

    It is stale once the next pass has been queued, which may have other rows and steps.
    """

    def __init__(self, spec: ArraySpec, array: Any, collect: Callable[[], None], clock: Clock) -> None:
        """Take the NDArray, what waits for its owner's work, and its owner's clock."""
        super().__init__(spec, array, collect)
        self._clock = clock
        self._ticket = clock.ticket

    def asnumpy(self) -> NDArray[Any]:
        """Return a copy; waits for what is queued.

        Raises:
            StaleHandleError: A later pass has been queued.
            StepError: What is queued failed.
        """
        if self._clock.ticket != self._ticket:
            raise StaleHandleError(f'the gradient of "{self.path}" was overwritten by a later pass: take a new handle')
        self._collect()
        copied: NDArray[Any] = self._array.asnumpy()[tuple(slice(extent) for extent in self.shape)]
        return copied

    def __setitem__(self, key: Any, values: ArrayLike) -> None:
        """Refuse.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(f'gradient "{self.path}" of an input is only read')


def zero_padding(array: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Return ``(rows, t, ...)`` with zeros over padding."""
    if int(lengths.min()) < array.shape[1]:
        array = array.copy()
        array[np.arange(array.shape[1]) >= lengths[:, None]] = 0
    return array


class ArrayMapping(FrozenMapping[ArrayHandle]):
    """Handles by path, where ``arrays[path] = values`` means ``arrays[path][:] = values``."""

    def __setitem__(self, path: str, values: ArrayLike) -> None:
        """Copy values into an array; waits."""
        self[path][:] = values


class Clock:
    """Counts passes.

    Attributes:
        now: The number of the last pass; of a trainer, of the last step, which may be made of several passes.
        part: Which pass of its step the next one is, from 0.
        ticket: A number that moves with every pass, and never back: a handle of an older one is stale.
        worker: The number of the worker whose passes these are, of several that draw other numbers at random nodes.
    """

    def __init__(self) -> None:
        """Start before the first pass."""
        self.now = 0
        self.part = 0
        self.ticket = 0
        self.worker = 0

    def tick(self) -> None:
        """Count a pass."""
        self.now += 1
        self.ticket += 1

    def turn_back(self, number: int) -> None:
        """Take back the passes after a number."""
        self.now = number
        self.ticket += 1


@dataclass(frozen=True)
class OutputHandle:
    """An output of one pass, on the device; stale once the next pass has been queued.

    Attributes:
        port: The output port.
        step: The pass it belongs to; for a trainer, the step.
        shape: ``(rows, *item)``, or ``(rows, t, *item)`` with the steps of the longest example.
        lengths: The true number of steps of each example, ``(rows,)``, by length name: as `update` takes it.
        length: The name of the output's own length, None where it is no sequence.
    """

    port: str
    step: int
    shape: tuple[int, ...]
    lengths: Mapping[str, NDArray[np.int64]]
    length: str | None
    _array: Any
    _clock: Clock
    _ticket: int
    _kind: str
    _collect: Callable[[], None]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype, as numpy has it."""
        return np.dtype(self._array.dtype)

    @property
    def array(self) -> Any:
        """The live NDArray, of the whole batch size and bucket; unchecked, padding undefined, soon overwritten."""
        return self._array

    def belongs_to(self, clock: Clock) -> bool:
        """Tell whether it is an output of this clock's owner."""
        return self._clock is clock

    def check_fresh(self) -> None:
        """Raise if a later pass has been queued.

        Raises:
            StaleHandleError: It was.
        """
        if self._clock.ticket != self._ticket:
            now = self._clock.now
            later = "taken back" if now < self.step else "overwritten by a later pass"
            fate = f"overwritten by {self._kind} {now}" if now > self.step else later
            raise StaleHandleError(
                f'output "{self.port}" of {self._kind} {self.step} was {fate}. '
                f'Read it before the next {self._kind}, or keep a copy: outputs["{self.port}"].copy()'
            )

    def asnumpy(self) -> NDArray[Any]:
        """Return a copy of the true rows, zero over padding; waits for its pass.

        Raises:
            StaleHandleError: A later pass has been queued.
            StepError: Its pass failed.
        """
        self.check_fresh()
        self._collect()
        copied: NDArray[Any] = self._array.asnumpy()[: self.shape[0]]
        if self.length is not None:
            copied = zero_padding(copied[:, : self.shape[1]], self.lengths[self.length])
        return copied

    def ragged(self) -> list[NDArray[Any]]:
        """Return one copy an example, ``(steps, *item)``; waits for its pass.

        Raises:
            ArgumentError: It is no sequence.
            StaleHandleError: A later pass has been queued.
            StepError: Its pass failed.
        """
        if self.length is None:
            raise ArgumentError(f'output "{self.port}" is no sequence; asnumpy() gives it')
        return [row[:steps].copy() for row, steps in zip(self.asnumpy(), self.lengths[self.length])]

    def copy(self) -> Any:
        """Return a copy on the device as an NDArray, of true rows and zero over padding; queued, does not wait.

        It is never stale. A copy of an output of a step that fails holds no numbers that mean anything.

        Raises:
            StaleHandleError: A later pass has been queued.
        """
        self.check_fresh()
        rows = self.shape[0]
        array = self._array if rows == self._array.shape[0] else self._array[:rows]
        if self.length is not None:
            if self.shape[1] < array.shape[1]:
                array = mx.nd.slice_axis(array, axis=1, begin=0, end=self.shape[1])
            lengths = self.lengths[self.length]
            if int(lengths.min()) < self.shape[1]:
                true = mx.nd.from_numpy(lengths.astype(self.dtype), zero_copy=True).as_in_context(array.context)
                return mx.nd.SequenceMask(array, true, use_sequence_length=True, axis=1)
        return array.copy()

    @overload
    def __getitem__(self, key: slice) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, key: Any) -> Any: ...

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of a part, ``[:]`` of all; waits, and raises as `asnumpy` does."""
        return self.asnumpy()[key]

    def __array__(self, dtype: Any = None) -> NDArray[Any]:
        """Let numpy read it; waits."""
        copied = self.asnumpy()
        return copied if dtype is None else copied.astype(dtype)

    def __repr__(self) -> str:
        """Show port, step, shape and dtype."""
        return f'<output "{self.port}" of {self._kind} {self.step}, {self.shape} {self.dtype}>'


def is_ndarray(value: object) -> bool:
    """Tell whether the value is an NDArray of MXNet."""
    return isinstance(value, mx.nd.NDArray)


def output_handles(
    plan: Plan, outputs: Mapping[str, Any], batch: CheckedBatch, clock: Clock, kind: str, collect: Callable[[], None]
) -> FrozenMapping[OutputHandle]:
    """Return handles on the outputs of a pass.

    Args:
        plan: The plan.
        outputs: NDArrays by name, which the next pass overwrites.
        batch: The batch of the pass.
        clock: Counts the passes.
        kind: What errors call a pass.
        collect: What waits for the pass, and raises if it failed.
    """
    lengths = FrozenMapping(batch.lengths, "length", "the batch")
    found = {}
    for name, array in outputs.items():
        length = plan.outputs[name].length if name in plan.outputs else None
        steps = () if length is None else (batch.longest[length],)
        shape = (batch.rows, *steps, *array.shape[1 + len(steps) :])
        found[name] = OutputHandle(name, clock.now, shape, lengths, length, array, clock, clock.ticket, kind, collect)
    return FrozenMapping(found, "output", "the plan")
