"""The optimizer's moves of the parameters, which the guard of a step may hold back on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._mxnet import mx
from ..errors import ArgumentError
from ..executors.capi import address_of, pushed
from ..executors.guard import Guard
from ..executors.kernels import block_of, usable
from ..executors.store import ParameterStore
from .formulas import Formula
from .move_block import (
    COUNTS,
    GRADIENTS,
    MOST_CONSTANTS,
    PARAMETERS,
    RATE,
    SCALE,
    STATES,
    STRIDE,
    Arrays,
    Place,
    words_of,
)
from .move_operators import OperatorMove
from .optimizers import Optimizer
from .rules import RuleTable

MOST_STATES, TRUSTING_STATES = 3, 2  # that the kernel has loops for
Move = Callable[[float, int], None]  # of a learning rate, in one of the slots


class Moves:
    """Queues the moves of one trainer's parameters.

    Args:
        optimizer: The optimizer.
        store: The arrays.
        rules: What is done with each array.
        slots: How many moves may be queued and not have happened.
    """

    def __init__(self, optimizer: Optimizer, store: ParameterStore, rules: RuleTable, slots: int) -> None:
        """Make the optimizer's state: zeros."""
        self._formula, self._constants = _checked(optimizer)
        self._slots = slots
        self._clips = any(min(found.clip_gradient, found.clip_weights) < math.inf for found in rules.values())
        self.places = {
            path: Place(number, store.parameters.offsets[path], begin, store.gradients.specs[path].size, rules[path])
            for number, (path, begin) in enumerate(store.gradients.offsets.items())
        }
        gradients, states = store.gradients.array, self._formula.states
        self._arrays = Arrays(
            store.parameters.array,
            gradients,
            mx.nd.zeros((states, gradients.size), ctx=store.context, dtype=store.plan.dtype) if states else None,
            mx.nd.zeros((len(self.places),), ctx=store.context, dtype="float64"),
        )

    @property
    def moved(self) -> list[Any]:
        """The parameters and the optimizer's state."""
        parameters, _, states, counts = self._arrays
        return [parameters, *([] if states is None else [states]), counts]

    def close(self) -> None:
        """Let go of the state."""
        self._arrays = self._arrays._replace(states=None)

    def queue(self, rate: float, slot: int, guard: Guard) -> None:
        """Queue a move of the arrays that the guard has looked at; nothing changes a bit unless it says go."""
        move: Move | None = guard.move
        if move is None:
            places = tuple(self.places[path] for path in guard.paths)
            ours = usable(self._arrays.parameters.context)
            move = self._by_kernel(places, guard.scale) if ours else self._by_operators(places, guard.scale)
            guard.move = move
        move(rate, slot)

    def _by_kernel(self, places: tuple[Place, ...], scale: Any) -> Move:
        from .move_kernel import move_kernel  # numba takes its time to be imported

        parameters, gradients, states, counts = self._arrays
        dtype = np.dtype(parameters.dtype)
        words = words_of(places, self._constants)
        words[[PARAMETERS, GRADIENTS, COUNTS, SCALE]] = [
            address_of(array) for array in (parameters, gradients, counts, scale)
        ]
        if states is not None:
            words[[STATES, STRIDE]] = address_of(states), dtype.itemsize * gradients.size
        kernel = move_kernel(self._formula, dtype.name, self._clips)
        calls = []
        for _ in range(self._slots):
            host, block = block_of(words)
            calls.append((host.view(np.float64), pushed(kernel, block, [gradients, scale], self.moved)))

        def queue(rate: float, slot: int) -> None:
            reals, call = calls[slot]
            reals[RATE] = rate
            call()

        return queue

    def _by_operators(self, places: tuple[Place, ...], scale: Any) -> Move:
        move = OperatorMove(self._formula, self._constants, places, self._arrays, scale)
        return lambda rate, _: move(rate)


def _checked(optimizer: Optimizer) -> tuple[Formula, tuple[float, ...]]:
    """Return an optimizer's formula and constants.

    Raises:
        ArgumentError: There are more states, or more constants, than a move has room for.
    """
    formula, constants, name = optimizer.formula, tuple(optimizer.constants), type(optimizer).__name__
    if not 0 <= formula.states <= MOST_STATES:
        raise ArgumentError(f"{name}: a formula has up to {MOST_STATES} states, got {formula.states}")
    if formula.trusts and formula.states != TRUSTING_STATES:
        raise ArgumentError(f"{name}: a formula that trusts has {TRUSTING_STATES} states, got {formula.states}")
    if len(constants) > MOST_CONSTANTS:
        raise ArgumentError(f"{name}: a formula takes up to {MOST_CONSTANTS} constants, got {len(constants)}")
    return formula, constants
