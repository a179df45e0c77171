"""Oracles of Elementwise, Threading and Aggregate."""

# ruff: noqa: ARG001 - every oracle takes the same arguments, so that one table can call them all

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray
from reference_core import Arrays, Gradients, Real, Result, head, leading, numbered, sigmoid

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


class Curve(NamedTuple):
    """A function of one number and its derivative, both of x."""

    value: Callable[[Real], Real]
    slope: Callable[[Real], Real]


def erf(x: Real) -> Real:
    """Return the error function of every element."""
    return np.array([math.erf(number) for number in x.ravel()], dtype=np.float64).reshape(x.shape)


def _erf_slope(x: Real) -> Real:
    result: Real = 2 / math.sqrt(math.pi) * np.exp(-(x**2))
    return result


def _normal_share(x: Real) -> Real:
    return 0.5 * (1 + erf(x / math.sqrt(2)))


def _tanh_slope(x: Real) -> Real:
    result: Real = 1 - np.square(np.tanh(x))
    return result


def _gelu_slope(x: Real) -> Real:
    density: Real = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return _normal_share(x) + x * density


def _selu(x: Real) -> Real:
    # The minimum keeps the branch that is not taken from overflowing.
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _selu_slope(x: Real) -> Real:
    return SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0)))


CURVES: dict[str, Curve] = {
    "tanh": Curve(np.tanh, _tanh_slope),
    "sigmoid": Curve(sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "relu": Curve(lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "gelu": Curve(lambda x: x * _normal_share(x), _gelu_slope),
    "selu": Curve(_selu, _selu_slope),
    "softplus": Curve(lambda x: np.logaddexp(0.0, x), sigmoid),
    "softsign": Curve(lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2),
    "swish": Curve(lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "exp": Curve(np.exp, np.exp),
    "expm1": Curve(np.expm1, np.exp),
    "log": Curve(np.log, lambda x: 1 / x),
    "log1p": Curve(np.log1p, lambda x: 1 / (1 + x)),
    "sqrt": Curve(np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "square": Curve(np.square, lambda x: 2 * x),
    "abs": Curve(np.abs, np.sign),
    "negative": Curve(np.negative, lambda x: np.full(x.shape, -1.0)),
    "reciprocal": Curve(lambda x: 1 / x, lambda x: -1 / x**2),
    "sin": Curve(np.sin, np.cos),
    "cos": Curve(np.cos, lambda x: -np.sin(x)),
    "erf": Curve(erf, _erf_slope),
}


def elementwise(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, function: str) -> Result:
    """Apply one function to every element."""
    x = inputs["Input"]
    y = CURVES[function].value(x)

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": head(heads, "Output", y) * CURVES[function].slope(x)}, {})

    return Result({"Output": y}, backward)


class Pair(NamedTuple):
    """A function of two numbers and its two partial derivatives."""

    value: Callable[[Real, Real], Real]
    slopes: Callable[[Real, Real], tuple[Real, Real]]


def _share(first: NDArray[np.bool_]) -> tuple[Real, Real]:
    return np.where(first, 1.0, 0.0), np.where(first, 0.0, 1.0)


def _power_slopes(x: Real, y: Real) -> tuple[Real, Real]:
    # 0 ** y does not change with a positive y, where 0 * log 0 would be nan.
    return y * x ** (y - 1), x**y * np.log(np.where(x == 0, 1.0, x))


PAIRS: dict[str, Pair] = {
    "subtract": Pair(lambda x, y: x - y, lambda x, y: (np.ones(x.shape), np.full(y.shape, -1.0))),
    "divide": Pair(lambda x, y: x / y, lambda x, y: (1 / y, -x / y**2)),
    "maximum": Pair(np.maximum, lambda x, y: _share(x >= y)),
    "minimum": Pair(np.minimum, lambda x, y: _share(x <= y)),
    "power": Pair(lambda x, y: x**y, _power_slopes),
}


def _times_slopes(values: list[Real]) -> list[Real]:
    # The product of the others, never the total divided by one: a factor may be zero.
    return [np.prod(values[:i] + values[i + 1 :], axis=0) for i in range(len(values))]


def _thread(function: str, values: list[Real]) -> tuple[Real, list[Real]]:
    if function == "plus":
        return np.sum(values, axis=0), [np.ones(x.shape) for x in values]
    if function == "times":
        return np.prod(values, axis=0), _times_slopes(values)
    x, y = values
    return PAIRS[function].value(x, y), list(PAIRS[function].slopes(x, y))


def threading(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, function: str) -> Result:
    """Combine inputs of one shape element by element; a tie of maximum or minimum goes to the first."""
    ports = numbered(inputs)
    y, slopes = _thread(function, [inputs[port] for port in ports])

    def backward(heads: Arrays) -> Gradients:
        gradient = head(heads, "Output", y)
        return Gradients({port: gradient * slope for port, slope in zip(ports, slopes)}, {})

    return Result({"Output": y}, backward)


Axes = Optional[Union[int, tuple[int, ...]]]


def _reduced_axes(x: Real, sequence: bool, axes: Axes) -> tuple[int, ...]:
    """Return the array's axes that go away, for item axes or, in a Sequence without any, the steps."""
    first = leading(sequence)
    if axes is None:
        return (1,) if sequence else tuple(range(first, x.ndim))
    chosen = (axes,) if isinstance(axes, int) else axes
    return tuple(first + axis if axis >= 0 else x.ndim + axis for axis in chosen)


def _norm_slope(x: Real, norm: Real) -> Real:
    slope: Real = x / np.where(norm == 0, 1.0, norm)
    return slope


def _max_slope(x: Real, largest: Real, over: tuple[int, ...]) -> Real:
    tied = np.where(x == largest, 1.0, 0.0)
    slope: Real = tied / tied.sum(axis=over, keepdims=True)
    return slope


def _aggregate(function: str, x: Real, over: tuple[int, ...]) -> tuple[Real, Real]:
    total: Real = np.sum(x, axis=over, keepdims=True)
    if function == "sum":
        return total, np.ones(x.shape)
    if function == "mean":
        share = total.size / x.size
        return total * share, np.full(x.shape, share)
    if function == "max":
        largest: Real = np.max(x, axis=over, keepdims=True)
        return largest, _max_slope(x, largest, over)
    if function == "norm":
        norm: Real = np.sqrt(np.sum(x**2, axis=over, keepdims=True))
        return norm, _norm_slope(x, norm)
    raise ValueError(f"Aggregate has no function {function!r}; it has sum, mean, max and norm")


def aggregate(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, function: str, axes: Axes = None) -> Result:
    """Reduce item axes, or the steps of a Sequence; elements tied for the maximum share its gradient equally."""
    x = inputs["Input"]
    over = _reduced_axes(x, sequence, axes)
    kept, slope = _aggregate(function, x, over)
    y = kept.squeeze(axis=over)

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": head(heads, "Output", y).reshape(kept.shape) * slope}, {})

    return Result({"Output": y}, backward)
