"""The optimizer's moves of the parameters, which the guard of a step may hold back on the device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..executors.capi import address_of
from ..executors.guard import Move
from ..executors.host_memory import zeros
from ..executors.kernels import Stage, Task, block_of, usable
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


class Moves:
    """Makes the moves of one trainer's parameters, and owns the optimizer's state.

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
            zeros((states, gradients.size), store.context, store.plan.dtype) if states else None,
            zeros((len(self.places),), store.context, "float64"),
        )

    @property
    def moved(self) -> list[Any]:
        """The parameters and the optimizer's state."""
        parameters, _, states, counts = self._arrays
        return [parameters, *([] if states is None else [states]), counts]

    @property
    def counts(self) -> Any:
        """``(arrays,)`` float64: how often each array has moved."""
        return self._arrays.counts

    @property
    def states(self) -> list[Any]:
        """The optimizer's state, if it has any."""
        return [] if self._arrays.states is None else [self._arrays.states]

    def close(self) -> None:
        """Let go of the state."""
        self._arrays = self._arrays._replace(states=None)

    def move(self, paths: tuple[str, ...], scale: Any) -> Move:
        """Return the move of some arrays.

        Args:
            paths: The arrays.
            scale: ``(1,)``: the factor of gradients; where it is 0 or NaN nothing changes a bit.
        """
        places = tuple(self.places[path] for path in paths)
        if not usable(self._arrays.parameters.context):
            return OperatorMove(self._formula, self._constants, places, self._arrays, scale)
        words = words_of(places, self._constants)
        return KernelMove(self._formula, words, self._arrays, scale, self._slots, clips=self._clips)


class KernelMove:
    """The move of some arrays by a kernel.

    Args:
        formula: The formula.
        words: What the kernel is given, without addresses and rate.
        arrays: All arrays.
        scale: ``(1,)``: the factor of gradients; where it is 0 or NaN nothing changes a bit.
        slots: How many moves may be queued and not have happened.
        clips: Whether elements of gradients or parameters may be clipped.
    """

    def __init__(
        self, formula: Formula, words: NDArray[np.int64], arrays: Arrays, scale: Any, slots: int, *, clips: bool
    ) -> None:
        """Lay out what the kernel is given, once for each slot."""
        from .move_kernel import move_kernel  # numba takes its time to be imported

        parameters, gradients, states, counts = arrays
        dtype = np.dtype(parameters.dtype)
        words = words.copy()
        words[[PARAMETERS, GRADIENTS, COUNTS, SCALE]] = [
            address_of(array) for array in (parameters, gradients, counts, scale)
        ]
        moved = [parameters, counts]
        if states is not None:
            words[[STATES, STRIDE]] = address_of(states), dtype.itemsize * gradients.size
            moved.append(states)
        kernel = move_kernel(formula, dtype.name, clips)
        blocks = [block_of(words) for _ in range(slots)]
        self._reals = [host.view(np.float64) for host, _ in blocks]
        self._tasks = [Task(kernel, block, (gradients, scale), tuple(moved)) for _, block in blocks]

    def prepare(self, rate: float, slot: int) -> None:
        """Say at what learning rate the next move in a slot happens."""
        self._reals[slot][RATE] = rate

    def stage(self, slot: int) -> Stage:
        """Return the move in a slot."""
        return self._tasks[slot]


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
