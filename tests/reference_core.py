"""Types and small helpers that every oracle shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Arrays = dict[str, Real]


class Gradients(NamedTuple):
    """Gradients of the heads, one array for each real input and each trained array."""

    inputs: Arrays
    arrays: Arrays


class Result(NamedTuple):
    """Outputs by port, and the backward pass from output gradients (a missing port counts as zero)."""

    outputs: Arrays
    backward: Callable[[Arrays], Gradients]


Oracle = Callable[..., Result]


def leading(sequence: bool) -> int:
    """Return how many axes come before the item: batch, or batch and t."""
    return 2 if sequence else 1


def merged(x: NDArray[Any], sequence: bool) -> NDArray[Any]:
    """Return the items of all steps as one batch: (batch, t, *item) becomes (batch * t, *item)."""
    return x.reshape(-1, *x.shape[leading(sequence) :])


def head(heads: Arrays, port: str, like: Real) -> Real:
    """Return the gradient at an output port, zeros where the caller gave none."""
    return heads[port] if port in heads else np.zeros(like.shape)


def numbered(inputs: Arrays) -> list[str]:
    """Return the ports "1", "2", ... in the order of their numbers."""
    return sorted(inputs, key=int)


def sigmoid(x: Real) -> Real:
    """Return 1 / (1 + exp(-x)), by the logarithm, so that nothing overflows."""
    result: Real = np.exp(-np.logaddexp(0.0, -x))
    return result


def log_softmax(x: Real) -> Real:
    """Return the logarithm of softmax over the last axis, shifted by the maximum."""
    shifted = x - x.max(axis=-1, keepdims=True)
    result: Real = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def softmax(x: Real) -> Real:
    """Return softmax over the last axis."""
    result: Real = np.exp(log_softmax(x))
    return result


def softmax_backward(y: Real, gradient: Real) -> Real:
    """Return the gradient before a softmax over the last axis whose output was y."""
    inner: Real = (gradient * y).sum(axis=-1, keepdims=True)
    return y * (gradient - inner)


def exact(oracle: Oracle) -> Oracle:
    """Return the oracle with inputs and arrays widened to float64 first; index inputs stay as they are."""

    def widened(inputs: Arrays, arrays: Arrays, **fields: Any) -> Result:
        return oracle(_wide(inputs), _wide(arrays), **fields)

    return widened


def _wide(arrays: Arrays) -> Arrays:
    return {name: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x for name, x in arrays.items()}
