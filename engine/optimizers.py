"""Optimizers: value objects that say how parameters move, one operator for all of them at once."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .._mxnet import mx
from ..arguments import real_number
from ..errors import ArgumentError
from ..executors.capi import prepared
from ..values import Value, register


class Optimizer(Protocol):
    """What a trainer asks of an optimizer.

    `start` makes its state for a flat array of parameters, NDArrays of the same dtype; `apply` queues one update of it.
    Neither waits. `apply` may be given copies, and be called again to find out what has failed: it keeps nothing of its
    own.

    An optimizer that can leave everything as it is on the device's own decision has a method ``scaled`` too. It takes
    parameters, gradients, state and ``scale (1,)``, all of which stay the same NDArrays, and returns a function that
    queues the update of a number: gradients are multiplied by the scale, and where that is NaN neither parameters nor
    state change a bit. For others the trainer applies the update to a copy, and takes that over or not.
    """

    @property
    def learning_rate(self) -> float:
        """The step size."""

    def start(self, parameters: Any) -> tuple[Any, ...]:
        """Return the state, NDArrays of zeros, for parameters ``(elements,)``."""

    def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
        """Queue the update of parameters ``(elements,)`` and state in place; the first update is number 1."""


@register
@dataclass(frozen=True, repr=False)
class Adam(Value):
    """Adam: steps by the mean of the gradient over the root of the mean of its square, both corrected for their start.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g**2``,
    ``w -= learning_rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon)``.

    Args:
        learning_rate: The step size.
        beta1: How much of the mean stays at each step.
        beta2: How much of the mean square stays at each step.
        epsilon: Added to the root, at least 1e-30.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Kingma and Ba 2014, "Adam: a method for stochastic optimization", Algorithm 1.

    Example:
        >>> Adam(learning_rate=1e-2)
        Adam(0.01)
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, "learning_rate", least=0.0)
        _check(self, "beta1", least=0.0, below=1.0)
        _check(self, "beta2", least=0.0, below=1.0)
        _check(self, "epsilon", least=1e-30)  # its product with the root is still a float32

    def start(self, parameters: Any) -> tuple[Any, ...]:
        """Return the means of gradient and square, both zeros."""
        return mx.nd.zeros_like(parameters), mx.nd.zeros_like(parameters)

    def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
        """Queue one adam_update; the correction of the square is moved into rate and epsilon, which is the same."""
        mx.nd.adam_update(parameters, gradients, *state, out=parameters, **self._numbers(update))

    def scaled(self, parameters: Any, gradients: Any, state: tuple[Any, ...], scale: Any) -> Callable[[int], None]:
        """Return what queues one _mp_adamw_update, without weight decay, which is Adam."""
        arrays = [parameters, gradients, *state, parameters, scale]
        varying = ("lr", "epsilon")
        update = prepared(
            "_mp_adamw_update", arrays, [parameters], varying, eta=1.0, wd=0.0, beta1=self.beta1, beta2=self.beta2
        )

        def queue(number: int) -> None:
            numbers = self._numbers(number)
            update(*(numbers[name] for name in varying))

        return queue

    def _numbers(self, update: int) -> dict[str, float]:
        root = math.sqrt(1.0 - self.beta2**update)
        return {
            "lr": real_number(self.learning_rate * root / (1.0 - self.beta1**update), "Adam: learning_rate"),
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon * root,
        }


@register
@dataclass(frozen=True, repr=False)
class SGD(Value):
    """Stochastic gradient descent, with momentum: ``m = momentum * m - learning_rate * g``, ``w += m``.

    Args:
        learning_rate: The step size.
        momentum: How much of the last move stays, from 0 to below 1.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Polyak 1964, "Some methods of speeding up the convergence of iteration methods".

    Example:
        >>> SGD(0.1, momentum=0.9)
        SGD(0.1, momentum=0.9)
    """

    learning_rate: float = 0.01
    momentum: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, "learning_rate", least=0.0)
        _check(self, "momentum", least=0.0, below=1.0)

    def start(self, parameters: Any) -> tuple[Any, ...]:
        """Return the last move, zeros; nothing without momentum."""
        return (mx.nd.zeros_like(parameters),) if self.momentum else ()

    def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
        """Queue one sgd_mom_update, or one sgd_update."""
        if self.momentum:
            mx.nd.sgd_mom_update(
                parameters, gradients, *state, out=parameters, lr=self.learning_rate, momentum=self.momentum
            )
        else:
            mx.nd.sgd_update(parameters, gradients, out=parameters, lr=self.learning_rate)


def _check(optimizer: Any, field: str, **limits: float) -> None:
    """Check that a field is a number within its limits."""
    what = f"{type(optimizer).__name__}: {field}"
    found = real_number(getattr(optimizer, field), what)
    object.__setattr__(optimizer, field, found)
    holds = {"least": operator.ge, "below": operator.lt}
    words = {"least": "at least", "below": "below"}
    if not all(holds[kind](found, limit) for kind, limit in limits.items()):
        expected = " and ".join(f"{words[kind]} {limit:g}" for kind, limit in limits.items())
        raise ArgumentError(f"{what} must be {expected}, got {found:g}")
