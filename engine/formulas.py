"""The formulas of optimizers: what each does to one number, or to arrays of them.

Every function here is plain arithmetic with numpy's names, so it takes single numbers, which is how kernels are
compiled from it, arrays of numpy, and arrays of MXNet: all give the same bits. There are no constants of Python's in
`moments` and `direction`: they would be float64 to a kernel, and float32 to arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Numbers = tuple[Any, ...]


class Formula(NamedTuple):
    """How an optimizer moves a number ``w`` by its gradient ``g``: ``w - direction``, from its state and its numbers.

    Attributes:
        numbers: ``(real, constants, rate, decay, count)``: what is worked out once an array and update, in float64, and
            then made `real`, the dtype of parameters. `rate` is the learning rate times the array's multiplier, `count`
            how often the array has moved, this time included, and `constants` what `Optimizer.constants` says.
        moments: ``(w, g, state, numbers)``: the new state.
        direction: ``(w, g, state, numbers)``: what is taken from ``w``, by the new state.
        states: How many numbers of state each parameter has.
        decoupled: Whether `direction` has the weight decay in it; else it has been added to the gradient.
        trusts: Whether the direction of each array is made as long as the array, times ``numbers[0]``.
    """

    numbers: Callable[..., Numbers]
    moments: Callable[..., Numbers]
    direction: Callable[..., Any]
    states: int
    decoupled: bool = False
    trusts: bool = False


# Gradient descent


def _rate_alone(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    return (real(rate),)


def _no_moments(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    return state


def _downhill(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * g


def _rate_and_momentum(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    return real(rate), real(constants[0])


def _last_move(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    return (n[1] * state[0] + n[0] * g,)


def _by_last_move(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return state[0]


def _ahead_of_last_move(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[1] * state[0] + n[0] * g


DESCENT = Formula(_rate_alone, _no_moments, _downhill, states=0)
MOMENTUM = Formula(_rate_and_momentum, _last_move, _by_last_move, states=1)
NESTEROV = Formula(_rate_and_momentum, _last_move, _ahead_of_last_move, states=1)


# By the sign


def _rate_and_mean(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    return real(rate), real(constants[0]), real(1.0 - constants[0])


def _sign(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * np.sign(g)


def _mean(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    return (n[1] * state[0] + n[2] * g,)


def _sign_of_mean(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * np.sign(state[0])


SIGN = Formula(_rate_alone, _no_moments, _sign, states=0)
SIGN_OF_MEAN = Formula(_rate_and_mean, _mean, _sign_of_mean, states=1)


# By the root of the mean square


def _adam_numbers(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    beta1, beta2, epsilon = constants[0], constants[1], constants[2]
    root = np.sqrt(1.0 - beta2**count)  # the correction of the square, moved into rate and epsilon, which is the same
    return (
        real(rate * root / (1.0 - beta1**count)),
        real(epsilon * root),
        real(beta1),
        real(1.0 - beta1),
        real(beta2),
        real(1.0 - beta2),
        real(rate * decay),
    )


def _mean_and_square(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    return n[2] * state[0] + n[3] * g, n[4] * state[1] + n[5] * (g * g)


def _adam(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * state[0] / (np.sqrt(state[1]) + n[1])


def _adamw(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * state[0] / (np.sqrt(state[1]) + n[1]) + n[6] * w


def _lamb_numbers(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    beta1, beta2, epsilon = constants[0], constants[1], constants[2]
    root = np.sqrt(1.0 - beta2**count)
    return (
        real(rate),
        real(epsilon * root),
        real(beta1),
        real(1.0 - beta1),
        real(beta2),
        real(1.0 - beta2),
        real(decay),
        real(root / (1.0 - beta1**count)),
    )


def _lamb(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[7] * state[0] / (np.sqrt(state[1]) + n[1]) + n[6] * w


ADAM = Formula(_adam_numbers, _mean_and_square, _adam, states=2)
ADAMW = Formula(_adam_numbers, _mean_and_square, _adamw, states=2, decoupled=True)
LAMB = Formula(_lamb_numbers, _mean_and_square, _lamb, states=2, decoupled=True, trusts=True)


def _rmsprop_numbers(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    beta, epsilon, momentum = constants[0], constants[1], constants[2]
    return real(rate), real(beta), real(1.0 - beta), real(epsilon), real(momentum), real(rate - rate)


def _square(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    return (n[1] * state[0] + n[2] * (g * g),)


def _over_root(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * g / (np.sqrt(state[0]) + n[3])


def _square_and_move(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    square = n[1] * state[0] + n[2] * (g * g)
    return square, n[4] * state[1] + n[0] * g / (np.sqrt(square) + n[3])


def _move_of_square(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return state[1]


def _square_mean_and_move(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    square, mean = n[1] * state[0] + n[2] * (g * g), n[1] * state[1] + n[2] * g
    variance = np.maximum(square - mean * mean, n[5])  # rounding can take it below 0
    return square, mean, n[4] * state[2] + n[0] * g / (np.sqrt(variance) + n[3])


def _move_of_variance(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return state[2]


RMSPROP = Formula(_rmsprop_numbers, _square, _over_root, states=1)
RMSPROP_MOMENTUM = Formula(_rmsprop_numbers, _square_and_move, _move_of_square, states=2)
RMSPROP_CENTRED = Formula(_rmsprop_numbers, _square_mean_and_move, _move_of_variance, states=3)


def _adagrad_numbers(real: Any, constants: Any, rate: Any, decay: Any, count: Any) -> Numbers:
    return real(rate), real(constants[0])


def _sum_of_squares(w: Any, g: Any, state: Numbers, n: Numbers) -> Numbers:
    return (state[0] + g * g,)


def _over_root_of_sum(w: Any, g: Any, state: Numbers, n: Numbers) -> Any:
    return n[0] * g / (np.sqrt(state[0]) + n[1])


ADAGRAD = Formula(_adagrad_numbers, _sum_of_squares, _over_root_of_sum, states=1)


# What is done before a formula, and after it


def raw_gradient(w: Any, g: Any, scale: Any, limit: Any, decay: Any) -> Any:
    """Return the gradient as a formula takes it: scaled, and with the weight decay."""
    return g * scale + decay * w


def clipped_gradient(w: Any, g: Any, scale: Any, limit: Any, decay: Any) -> Any:
    """Return the gradient as a formula takes it: scaled, clipped, and with the weight decay."""
    return np.minimum(np.maximum(g * scale, -limit), limit) + decay * w


def unclipped(w: Any, limit: Any) -> Any:
    """Return a number that has moved, as it is."""
    return w


def clipped(w: Any, limit: Any) -> Any:
    """Return a number that has moved, within its limits."""
    return np.minimum(np.maximum(w, -limit), limit)
