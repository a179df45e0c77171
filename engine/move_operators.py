"""The move of parameters by MXNet's operators, where there is no kernel: the same bits, by many more passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._mxnet import mx
from ..executors.kernels import Stage
from . import formulas
from .formulas import Formula
from .move_block import Arrays, Place


class OperatorMove:
    """The move of some arrays by operators, all of them or none.

    Args:
        formula: The formula.
        constants: What the formula takes.
        places: The arrays that move.
        arrays: All arrays.
        scale: ``(1,)``: the factor of gradients; where it is 0 or NaN nothing changes a bit.
    """

    def __init__(
        self,
        formula: Formula,
        constants: Sequence[float],
        places: tuple[Place, ...],
        arrays: Arrays,
        scale: Any,
    ) -> None:
        """Take views."""
        parameters, gradients, states, counts = arrays
        self._formula = formula
        self._places = places
        self._scale = scale
        self._seal: Any = None
        self._rate = 0.0
        self._context, self._dtype = parameters.context, np.dtype(parameters.dtype).name
        self._constants = [self._number(constant) for constant in constants]
        self._views = [
            (
                parameters[place.parameter : place.parameter + place.size],
                gradients[place.gradient : place.gradient + place.size],
                tuple(states[k][place.gradient : place.gradient + place.size] for k in range(formula.states)),
                counts[place.number : place.number + 1],
            )
            for place in places
        ]

    def prepare(self, rate: float, slot: int) -> None:
        """Say at what learning rate the next move happens."""
        self._rate = rate

    def stage(self, slot: int) -> Stage:
        """Return what queues the move."""
        return self._queue

    def _queue(self) -> None:
        rate = self._rate
        pairs = [pair for place, views in zip(self._places, self._views) for pair in self._moved(place, rate, *views)]
        go = mx.nd.broadcast_greater(self._scale, mx.nd.zeros_like(self._scale))
        firsts = [new[:1].astype(self._dtype) for _, new in pairs]
        if self._seal is None:
            self._seal = mx.nd.zeros((1 + len(firsts),), ctx=self._context, dtype=self._dtype)
        # If one of them has failed none is taken over, whoever is told of it: this is not written then, and says no.
        mx.nd.concat(go, *firsts, dim=0, out=self._seal)
        for old, new in pairs:
            row, taken = old.reshape((1, -1)), new.reshape((1, -1))
            mx.nd.where(self._seal[:1], taken, row, out=row)
        self._seal[:] = 0

    def _moved(
        self, place: Place, rate: float, w: Any, g: Any, states: tuple[Any, ...], count: Any
    ) -> list[tuple[Any, Any]]:
        """Return an array, its state and its count, each with what it becomes."""
        settings, formula = place.settings, self._formula
        counted = count + 1.0
        decay = self._number(settings.weight_decay)
        full = self._number(rate) * self._number(settings.learning_rate_multiplier)
        numbers = formula.numbers(self._real, self._constants, full, decay, counted.as_np_ndarray())
        x = w.as_np_ndarray()
        coupled, clip, limit = (
            self._real(self._number(found))
            for found in (
                0.0 if formula.decoupled else settings.weight_decay,
                settings.clip_gradient,
                settings.clip_weights,
            )
        )
        y = formulas.clipped_gradient(x, g.as_np_ndarray(), self._scale.as_np_ndarray(), clip, coupled)
        new = formula.moments(x, y, tuple(state.as_np_ndarray() for state in states), numbers)
        move = formula.direction(x, y, new, numbers)
        if formula.trusts:
            move = self._length(x, move, numbers[0]) * move
        moved = formulas.clipped(x - move, limit)
        news = [found.as_nd_ndarray() for found in (moved, *new[: formula.states])]
        return [*zip((w, *states), news), (count, counted)]

    def _length(self, w: Any, move: Any, rate: Any) -> Any:
        """Return what makes a direction as long as its array, times the rate."""
        of_array, of_move = (self._square(found.as_nd_ndarray()) for found in (w, move))
        both = (of_array > 0) * (of_move > 0)
        ratio = mx.nd.where(both, mx.nd.sqrt(of_array / of_move), mx.nd.ones_like(both)).as_np_ndarray()
        return self._real(rate.astype("float64") * ratio)

    @staticmethod
    def _square(array: Any) -> Any:
        wide = array.astype("float64")
        return mx.nd.dot(wide, wide)

    def _number(self, number: float) -> Any:
        """Return a number as an array ``(1,)`` float64; written as an attribute of an operator it might be rounded."""
        host = np.array([number], np.float64)
        return mx.nd.from_numpy(host, zero_copy=True).as_in_context(self._context).as_np_ndarray()

    def _real(self, number: Any) -> Any:
        return number.astype(self._dtype)
