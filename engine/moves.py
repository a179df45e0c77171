"""The optimizer's move of the parameters, which the guard of a step may hold back on the device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .._mxnet import mx
from ..errors import ArgumentError
from ..executors.capi import prepared
from ..executors.guard import Guard
from ..executors.handles import is_ndarray
from ..executors.replay import Culprit
from .optimizers import Optimizer


class Moves:
    """Queues the moves of one trainer's parameters.

    Args:
        optimizer: The optimizer.
        parameters: ``(elements,)``.
        gradients: ``(elements,)``.
        guarded: Whether a guard may hold moves back.

    Attributes:
        state: The optimizer's state.
        token: What `Guard` takes where moves go through a copy, else None.
    """

    def __init__(self, optimizer: Optimizer, parameters: Any, gradients: Any, guarded: bool) -> None:
        """Make the optimizer's state."""
        self._optimizer = optimizer
        self._parameters = parameters
        self._gradients = gradients
        self.state = _state(optimizer, parameters)
        # MXNet has the operators that skip in float32 alone
        scaled = _scaled_of(optimizer) if np.dtype(parameters.dtype) == np.float32 else None
        self._scaled = scaled
        # the operator that a guard can hold back is used without one too: others round otherwise
        one = mx.nd.ones((1,), ctx=parameters.context, dtype=parameters.dtype)
        self._free: Callable[[int], None] | None = self._applying() if scaled is None else self._in_place(scaled, one)
        self._copy: list[Any] = []
        self._prepared: weakref.WeakKeyDictionary[Guard, Callable[[int], None]] = weakref.WeakKeyDictionary()
        self.token: Any = None
        if guarded and scaled is None:
            self._copy = [mx.nd.zeros_like(array) for array in (parameters, *self.state)]
            self.token = mx.nd.zeros((3 + len(self._copy),), ctx=parameters.context, dtype=parameters.dtype)

    @property
    def moved(self) -> list[Any]:
        """The parameters and the optimizer's state."""
        return [self._parameters, *self.state]

    @property
    def written(self) -> list[Any]:
        """Everything that a move writes."""
        return [*self.moved, *self._copy, *([] if self.token is None else [self.token])]

    def close(self) -> None:
        """Let go of the state."""
        self.state, self._copy, self.token = (), [], None
        self._prepared.clear()
        self._free = None

    def queue(self, step: int, guard: Guard | None) -> None:
        """Queue the move of a step; with a guard, nothing changes a bit unless that says go."""
        move = self._free if guard is None else self._prepared.get(guard)
        if move is None:
            assert guard is not None  # that case is prepared
            move = self._on_copy(guard) if self._scaled is None else self._in_place(self._scaled, guard.scale)
            self._prepared[guard] = move
        move(step)

    def _in_place(self, scaled: Callable[..., Callable[[int], None]], scale: Any) -> Callable[[int], None]:
        return scaled(self._parameters, self._gradients, self.state, scale)

    def _applying(self) -> Callable[[int], None]:
        optimizer, arrays = self._optimizer, (self._parameters, self._gradients, self.state)
        return lambda step: optimizer.apply(step, *arrays)

    def _on_copy(self, guard: Guard) -> Callable[[int], None]:
        """Return what applies a move to a copy, and takes that over in whole where the guard says go."""
        optimizer, gradients = self._optimizer, self._gradients
        arrays, copies = self.moved, self._copy
        one = mx.nd.ones((1,), ctx=self._parameters.context, dtype=self._parameters.dtype)
        sealed = [one, guard.go, guard.number, *(copy.reshape((-1,))[:1] for copy in copies)]
        seal = prepared("Concat", sealed, [self.token], num_args=len(sealed), dim=0)
        copying = [prepared("_copyto", [array], [copy]) for array, copy in zip(arrays, copies)]
        rows = [(array.reshape((1, -1)), copy.reshape((1, -1))) for array, copy in zip(arrays, copies)]
        taking = [prepared("where", [self.token[1:2], copy, array], [array]) for array, copy in rows]

        def queue(step: int) -> None:
            for call in copying:
                call()
            optimizer.apply(step, copies[0], gradients, tuple(copies[1:]))
            seal()
            for call in taking:
                call()

        return queue

    def trial(self, step: int) -> Culprit | None:
        """Apply the move of a step to copies, and see whether it fails; waits."""
        parameters, *state = [array.copy() for array in self.moved]
        try:
            self._optimizer.apply(step, parameters, self._gradients, tuple(state))
            for array in (parameters, *state):
                array.wait_to_read()
        except mx.MXNetError as error:
            return Culprit(None, None, cause=error)
        return None


def _state(optimizer: Optimizer, parameters: Any) -> tuple[Any, ...]:
    """Return the optimizer's state at the start.

    Raises:
        ArgumentError: It is no tuple of NDArrays of the parameters' dtype.
    """
    state = optimizer.start(parameters)
    dtype = np.dtype(parameters.dtype)
    if not isinstance(state, (tuple, list)) or not all(is_ndarray(one) and one.dtype == dtype for one in state):
        raise ArgumentError(
            f"{type(optimizer).__name__}: start must return a tuple of NDArrays of {dtype}, got {state!r}"
        )
    return tuple(state)


def _scaled_of(optimizer: Optimizer) -> Callable[..., Callable[[int], None]] | None:
    """Return the optimizer's `scaled`, unless a class that derives from its own has another `apply`."""
    for cls in type(optimizer).__mro__:
        if "scaled" in vars(cls):
            scaled: Callable[..., Callable[[int], None]] = getattr(optimizer, "scaled")  # noqa: B009 - not in the protocol
            return scaled
        if "apply" in vars(cls):
            return None
    return None
