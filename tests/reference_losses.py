"""Oracles of the losses and of ErrorRate: values are (batch,), one for each example."""

# ruff: noqa: ARG001 - every oracle takes the same arguments, so that one table can call them all

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from reference_core import Arrays, Gradients, Real, Result, head, leading, log_softmax, sigmoid


class Items(NamedTuple):
    """The loss of each item, (batch,) or (batch, t), and its derivative by every real input."""

    losses: Real
    slopes: Arrays


def _per_example(items: Items, sequence: bool, average: str, port: str = "Loss") -> Result:
    """Return each example's mean over its steps ("examples") or their sum ("steps")."""
    if average not in ("examples", "steps"):
        raise ValueError(f"a loss is averaged over 'examples' or 'steps', not {average!r}")
    parts = items.losses.shape[1] if sequence and average == "examples" else 1
    value: Real = items.losses.sum(axis=1) / parts if sequence else items.losses

    def backward(heads: Arrays) -> Gradients:
        gradient = head(heads, port, value) / parts
        return Gradients({name: _by_example(gradient, slope) for name, slope in items.slopes.items()}, {})

    return Result({port: value}, backward)


def _by_example(gradient: Real, slope: Real) -> Real:
    return gradient.reshape(-1, *(1,) * (slope.ndim - 1)) * slope


def _item_axes(x: Real, sequence: bool) -> tuple[int, ...]:
    return tuple(range(leading(sequence), x.ndim))


def _mean_items(elements: Real, slopes: Arrays, sequence: bool) -> Items:
    losses: Real = elements.mean(axis=_item_axes(elements, sequence))
    share = losses.size / elements.size
    return Items(losses, {port: slope * share for port, slope in slopes.items()})


def mean_squared_loss(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, average: str = "examples") -> Result:
    """Take the mean over the item's elements of (Input - Target)^2."""
    gap = inputs["Input"] - inputs["Target"]
    items = _mean_items(gap**2, {"Input": 2 * gap, "Target": -2 * gap}, sequence)
    return _per_example(items, sequence, average)


def mean_absolute_loss(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, average: str = "examples") -> Result:
    """Take the mean over the item's elements of |Input - Target|; the derivative at zero is zero."""
    gap = inputs["Input"] - inputs["Target"]
    items = _mean_items(np.abs(gap), {"Input": np.sign(gap), "Target": -np.sign(gap)}, sequence)
    return _per_example(items, sequence, average)


def _weighed(weight: Real, value: Real) -> Real:
    """Return weight * value, zero wherever the weight is, even if the value is infinite there."""
    result: Real = weight * np.where(weight == 0, 0.0, value)
    return result


def _weighed_log(weight: Real, x: Real) -> Real:
    return _weighed(weight, np.log(np.where(weight == 0, 1.0, x)))


def _weighed_reciprocal(weight: Real, x: Real) -> Real:
    result: Real = weight / np.where(weight == 0, 1.0, x)
    return result


def _log_where(x: Real, weight: Real) -> Real:
    # A term that counts 0 at log 0 has no finite derivative by its weight; it is given none.
    result: Real = np.log(np.where((weight == 0) & (x == 0), 1.0, x))
    return result


def _one_hot(target: NDArray[Any], count: int) -> Real:
    return np.where(np.arange(count) == target[..., None], 1.0, 0.0)


def _index_items(x: Real, target: NDArray[Any], logits: bool, sequence: bool) -> Items:
    hot = _one_hot(target, x.shape[-1])
    if logits:
        logs = log_softmax(x)
        return Items(-_weighed(hot, logs).sum(axis=-1), {"Input": np.exp(logs) - hot})
    return Items(-_weighed_log(hot, x).sum(axis=-1), {"Input": -_weighed_reciprocal(hot, x)})


def _probability_items(x: Real, target: Real, logits: bool, sequence: bool) -> Items:
    axes = _item_axes(x, sequence)
    if logits:
        logs = log_softmax(x)
        # The targets need not add up to one.
        slope = np.exp(logs) * target.sum(axis=-1, keepdims=True) - target
        return Items(-_weighed(target, logs).sum(axis=axes), {"Input": slope, "Target": -logs})
    slopes = {"Input": -_weighed_reciprocal(target, x), "Target": -_log_where(x, target)}
    return Items(-_weighed_log(target, x).sum(axis=axes), slopes)


def _binary_items(x: Real, target: Real, logits: bool, sequence: bool) -> Items:
    other = 1 - target
    if logits:
        elements = _weighed(target, np.logaddexp(0.0, -x)) + _weighed(other, np.logaddexp(0.0, x))
        return _mean_items(elements, {"Input": sigmoid(x) - target, "Target": -x}, sequence)
    elements = -_weighed_log(target, x) - _weighed_log(other, 1 - x)
    slope = _weighed_reciprocal(other, 1 - x) - _weighed_reciprocal(target, x)
    by_target = _log_where(1 - x, other) - _log_where(x, target)
    return _mean_items(elements, {"Input": slope, "Target": by_target}, sequence)


CROSS_ENTROPIES = {"index": _index_items, "probabilities": _probability_items, "binary": _binary_items}


def cross_entropy_loss(
    inputs: Arrays,
    arrays: Arrays,
    *,
    sequence: bool = False,
    target: str,
    input: str = "logits",  # noqa: A002 - the field's name
    average: str = "examples",
) -> Result:
    """Compare logits or probabilities with an index, with probabilities, or with one probability per element."""
    if input not in ("logits", "probabilities"):
        raise ValueError(f"the input is 'logits' or 'probabilities', not {input!r}")
    items = CROSS_ENTROPIES[target](inputs["Input"], inputs["Target"], input == "logits", sequence)
    return _per_example(items, sequence, average)


def contrastive_loss(
    inputs: Arrays, arrays: Arrays, *, sequence: bool = False, margin: float = 0.5, average: str = "examples"
) -> Result:
    """Take t x^2 + (1 - t) max(0, margin - x)^2 of a distance x, with t one for similar and zero for not."""
    x, target = inputs["Input"], inputs["Target"]
    lack: Real = np.maximum(0.0, margin - x)
    slopes = {"Input": 2 * (target * x - (1 - target) * lack), "Target": x**2 - lack**2}
    losses: Real = target * np.square(x) + (1 - target) * np.square(lack)
    return _per_example(Items(losses, slopes), sequence, average)


def error_rate(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, average: str = "examples") -> Result:
    """Count 1 where the largest element (the first of a tie) is not the target's, with no gradient."""
    x = inputs["Input"]
    wrong = np.where(x.argmax(axis=-1) == inputs["Target"], 0.0, 1.0)
    return _per_example(Items(wrong, {"Input": np.zeros(x.shape)}), sequence, average, "ErrorRate")
