"""The optimizer's move of the parameters, which the guard of a step may hold back on the device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .._mxnet import mx
from ..executors.guard import Guard
from ..executors.replay import Culprit
from .optimizers import Optimizer


class Moves:
    """Queues the moves of one trainer's parameters.

    Args:
        optimizer: The optimizer.
        parameters: ``(elements,)``.
        gradients: ``(elements,)``.

    Attributes:
        state: The optimizer's state.
    """

    def __init__(self, optimizer: Optimizer, parameters: Any, gradients: Any) -> None:
        """Make the optimizer's state."""
        self._optimizer = optimizer
        self._parameters = parameters
        self._gradients = gradients
        self.state = tuple(optimizer.start(parameters))
        # MXNet has the operators that skip in float32 alone
        self._scaled = getattr(optimizer, "scaled", None) if np.dtype(parameters.dtype) == np.float32 else None
        self._copy: list[Any] | None = None
        self._prepared: weakref.WeakKeyDictionary[Guard, Callable[[int], None]] = weakref.WeakKeyDictionary()

    @property
    def arrays(self) -> list[Any]:
        """Everything that a move writes."""
        return [self._parameters, *self.state, *(self._copy or ())]

    def close(self) -> None:
        """Let go of the state."""
        self.state, self._copy = (), None
        self._prepared.clear()

    def queue(self, step: int, guard: Guard | None) -> None:
        """Queue the move of a step; with a guard, nothing changes a bit unless that says go."""
        if guard is None:
            self._optimizer.apply(step, self._parameters, self._gradients, self.state)
        elif self._scaled is not None:
            move = self._prepared.get(guard)
            if move is None:
                move = self._scaled(self._parameters, self._gradients, self.state, guard.scale)
                self._prepared[guard] = move
            move(step)
        else:
            self._queue_on_copy(step, guard.go)

    def trial(self, step: int) -> Culprit | None:
        """Apply the move of a step to copies, and see whether it fails; waits."""
        parameters, *state = [array.copy() for array in (self._parameters, *self.state)]
        try:
            self._optimizer.apply(step, parameters, self._gradients, tuple(state))
            for array in (parameters, *state):
                array.wait_to_read()
        except mx.MXNetError as error:
            return Culprit(None, None, cause=error)
        return None

    def _queue_on_copy(self, step: int, go: Any) -> None:
        """Apply the move to a copy, and take that over where the guard says go."""
        arrays = [self._parameters, *self.state]
        if self._copy is None:
            self._copy = [mx.nd.zeros_like(array) for array in arrays]
        for array, copy in zip(arrays, self._copy):
            array.copyto(copy)
        self._optimizer.apply(step, self._copy[0], self._gradients, tuple(self._copy[1:]))
        go = mx.nd.concat(go, *(copy.reshape((-1,))[:1] for copy in self._copy), dim=0)[
            :1
        ]  # fails where one of the copies has
        for array, copy in zip(arrays, self._copy):
            row = array.reshape((1, -1))
            mx.nd.where(go, copy.reshape((1, -1)), row, out=row)
