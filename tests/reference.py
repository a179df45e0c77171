"""What every layer computes, in plain numpy float64 with backward passes by hand: the independent oracle.

Arrays are batch first: (batch, *item), and (batch, t, *item) for a Sequence. An oracle is
`oracle(inputs, arrays, *, sequence, **fields)`: inputs by port, arrays by name, the layer's fields with its defaults.
"""

# ruff: noqa: ARG001 - every oracle takes the same arguments, so that one table can call them all

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from reference_core import (
    Arrays,
    Gradients,
    Oracle,
    Real,
    Result,
    exact,
    head,
    leading,
    merged,
    numbered,
    softmax_backward,
)
from reference_core import softmax as softmax_of
from reference_losses import (
    contrastive_loss,
    cross_entropy_loss,
    error_rate,
    mean_absolute_loss,
    mean_squared_loss,
)
from reference_optimizers import adam, sgd
from reference_pointwise import aggregate, elementwise, threading
from reference_recurrent import basic_recurrent, bidirectional, fold, gru, lstm
from reference_spatial import convolution, pooling

__all__ = ["ORACLES", "Arrays", "Gradients", "Result", "adam", "sgd"]


def linear(
    inputs: Arrays, arrays: Arrays, *, sequence: bool = False, output: tuple[int, ...], biases: bool = True
) -> Result:
    """Take W flatten(x) + b of each item, in the shape `output`."""
    x, weights = inputs["Input"], arrays["Weights"]
    lead = x.shape[: leading(sequence)]
    flat = x.reshape(int(np.prod(lead)), -1)
    product = flat @ weights.T
    y = (product + arrays["Biases"] if biases else product).reshape(*lead, *output)

    def backward(heads: Arrays) -> Gradients:
        gradient = head(heads, "Output", y).reshape(product.shape)
        slopes = {"Weights": gradient.T @ flat}
        if biases:
            slopes["Biases"] = gradient.sum(axis=0)
        return Gradients({"Input": (gradient @ weights).reshape(x.shape)}, slopes)

    return Result({"Output": y}, backward)


def embedding(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, size: int) -> Result:
    """Look up the row of each index, counted from 0."""
    rows, weights = inputs["Input"].astype(np.int64), arrays["Weights"]
    y = weights[rows].reshape(*rows.shape, size)

    def backward(heads: Arrays) -> Gradients:
        slope = np.zeros(weights.shape)
        # A row met twice gets both gradients, which `+=` would not give.
        np.add.at(slope, rows, head(heads, "Output", y))
        return Gradients({}, {"Weights": slope})

    return Result({"Output": y}, backward)


def catenate(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, axis: int = 0) -> Result:
    """Join the inputs "1", "2", ... along an item axis."""
    ports = numbered(inputs)
    along = axis + leading(sequence) if axis >= 0 else axis
    y = np.concatenate([inputs[port] for port in ports], axis=along)
    cuts = np.cumsum([inputs[port].shape[along] for port in ports])[:-1]

    def backward(heads: Arrays) -> Gradients:
        return Gradients(dict(zip(ports, np.split(head(heads, "Output", y), cuts, axis=along))), {})

    return Result({"Output": y}, backward)


def reshape(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, shape: tuple[int, ...]) -> Result:
    """Give each item another shape, in C order."""
    x = inputs["Input"]
    y = x.reshape(*x.shape[: leading(sequence)], *shape)

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": head(heads, "Output", y).reshape(x.shape)}, {})

    return Result({"Output": y}, backward)


def flatten(inputs: Arrays, arrays: Arrays, *, sequence: bool = False) -> Result:
    """Make each item one vector, in C order."""
    size = int(np.prod(inputs["Input"].shape[leading(sequence) :]))
    return reshape(inputs, arrays, sequence=sequence, shape=(size,))


def dropout(
    inputs: Arrays,
    arrays: Arrays,
    *,
    sequence: bool = False,
    probability: float = 0.5,
    mask: Real | None = None,
) -> Result:
    """Multiply by the mask, which is scaled by 1 / (1 - probability) already; without one, evaluation, keep all."""
    x = inputs["Input"]
    scale = np.ones(x.shape) if mask is None else mask
    y = x * scale

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": head(heads, "Output", y) * scale}, {})

    return Result({"Output": y}, backward)


class Statistics(NamedTuple):
    """Mean and biased variance of each channel, (1, c, 1), and each element's part in them, (n, 1, 1)."""

    mean: Real
    variance: Real
    parts: Real


def _channelled(x: Real, sequence: bool) -> Real:
    """Return (items, channels, the rest of the item); a Scalar has one channel."""
    items = merged(x, sequence)
    channels = items.shape[1] if items.ndim > 1 else 1
    return items.reshape(len(items), channels, -1)


def _batch_statistics(x: Real, true: NDArray[np.bool_]) -> Statistics:
    parts = np.where(true, 1.0, 0.0).reshape(-1, 1, 1) / (true.sum() * x.shape[2])
    mean: Real = (parts * x).sum(axis=(0, 2), keepdims=True)
    variance: Real = (parts * (x - mean) ** 2).sum(axis=(0, 2), keepdims=True)
    return Statistics(mean, variance, parts)


def _moving_statistics(x: Real, arrays: Arrays) -> Statistics:
    mean, variance = (arrays[name].reshape(1, -1, 1) for name in ("MovingMean", "MovingVariance"))
    return Statistics(mean, variance, np.zeros((len(x), 1, 1)))


def _true_items(x: Real, sequence: bool, rows: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    rows = np.ones(len(x), dtype=np.bool_) if rows is None else np.asarray(rows, dtype=np.bool_)
    return np.repeat(rows, x.shape[1]) if sequence else rows


def _moved(arrays: Arrays, momentum: float, used: Statistics) -> Arrays:
    new = {"MovingMean": used.mean, "MovingVariance": used.variance}
    return {name: momentum * arrays[name] + (1 - momentum) * x.ravel() for name, x in new.items()}


def batch_norm(
    inputs: Arrays,
    arrays: Arrays,
    *,
    sequence: bool = False,
    training: bool,
    rows: NDArray[np.bool_] | None = None,
    momentum: float = 0.9,
    epsilon: float = 1e-3,
) -> Result:
    """Normalize each channel (the first item axis) over the batch, or by the moving statistics in evaluation.

    Args:
        inputs: "Input".
        arrays: "Scaling", "Biases", "MovingMean" and "MovingVariance", each (channels,).
        sequence: Whether there is a step axis after the batch's.
        training: Whether to use the batch's statistics, and to give the new moving ones as outputs of their names.
        rows: (batch,) bool, the rows that count in the batch's statistics; None for all.
        momentum: How much of the moving statistics stays.
        epsilon: Added to the variance.

    Returns:
        Outputs, and a backward pass that takes the heads of all rows into account.
    """
    x = _channelled(inputs["Input"], sequence)
    true = _true_items(inputs["Input"], sequence, rows)
    used = _batch_statistics(x, true) if training else _moving_statistics(x, arrays)
    scaling, biases = arrays["Scaling"].reshape(1, -1, 1), arrays["Biases"].reshape(1, -1, 1)
    inverse: Real = 1 / np.sqrt(used.variance + epsilon)
    normal = (x - used.mean) * inverse
    y = (normal * scaling + biases).reshape(inputs["Input"].shape)

    def backward(heads: Arrays) -> Gradients:
        gradient = head(heads, "Output", y).reshape(x.shape)
        d_normal = gradient * scaling
        pull = d_normal.sum(axis=(0, 2), keepdims=True)
        pull = pull + normal * (d_normal * normal).sum(axis=(0, 2), keepdims=True)
        d_x = inverse * (d_normal - used.parts * pull)
        slopes = {"Scaling": (gradient * normal).sum(axis=(0, 2)), "Biases": gradient.sum(axis=(0, 2))}
        return Gradients({"Input": d_x.reshape(y.shape)}, slopes)

    return Result({"Output": y, **(_moved(arrays, momentum, used) if training else {})}, backward)


def layer_norm(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, epsilon: float = 1e-5) -> Result:
    """Normalize each item over all its axes, by its biased variance."""
    x, scaling = inputs["Input"], arrays["Scaling"]
    lead = tuple(range(leading(sequence)))
    over = tuple(range(len(lead), x.ndim))
    inverse = 1 / np.sqrt(x.var(axis=over, keepdims=True) + epsilon)
    normal = (x - x.mean(axis=over, keepdims=True)) * inverse
    y: Real = normal * scaling + arrays["Biases"]

    def backward(heads: Arrays) -> Gradients:
        gradient = head(heads, "Output", y)
        d_normal = gradient * scaling
        pull = d_normal.mean(axis=over, keepdims=True)
        pull = pull + normal * (d_normal * normal).mean(axis=over, keepdims=True)
        slopes = {"Scaling": (gradient * normal).sum(axis=lead), "Biases": gradient.sum(axis=lead)}
        return Gradients({"Input": inverse * (d_normal - pull)}, slopes)

    return Result({"Output": y}, backward)


def softmax(inputs: Arrays, arrays: Arrays, *, sequence: bool = False) -> Result:
    """Take softmax over the last item axis."""
    y = softmax_of(inputs["Input"])

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": softmax_backward(y, head(heads, "Output", y))}, {})

    return Result({"Output": y}, backward)


def sequence_last(inputs: Arrays, arrays: Arrays, *, sequence: bool = True) -> Result:
    """Take the last step."""
    x = inputs["Input"]
    y = x[:, -1]

    def backward(heads: Arrays) -> Gradients:
        slope = np.zeros(x.shape)
        slope[:, -1] = head(heads, "Output", y)
        return Gradients({"Input": slope}, {})

    return Result({"Output": y}, backward)


def sequence_reverse(inputs: Arrays, arrays: Arrays, *, sequence: bool = True) -> Result:
    """Turn the steps around."""
    y = inputs["Input"][:, ::-1]

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": head(heads, "Output", y)[:, ::-1]}, {})

    return Result({"Output": y}, backward)


def _seen(queries: int, keys: int, causal: bool) -> NDArray[np.bool_]:
    everything = np.ones((queries, keys), dtype=np.bool_)
    return np.tril(everything) if causal else everything


def attention(
    inputs: Arrays, arrays: Arrays, *, sequence: bool = True, scaled: bool = True, causal: bool = False
) -> Result:
    """Mix the Values by softmax over the keys of Query . Key; the Query is a Sequence of Vectors or one Vector."""
    single = inputs["Query"].ndim == 2
    if single and causal:
        raise ValueError("causal attention needs a Sequence as Query, not one Vector")
    query = inputs["Query"][:, None] if single else inputs["Query"]
    key, value = inputs["Key"], inputs["Value"]
    scale = 1 / np.sqrt(query.shape[-1]) if scaled else 1.0
    scores = np.einsum("bqd,bkd->bqk", query, key) * scale
    weights = softmax_of(np.where(_seen(query.shape[1], key.shape[1], causal), scores, -np.inf))
    y = weights @ value
    output = y[:, 0] if single else y

    def backward(heads: Arrays) -> Gradients:
        gradient = head(heads, "Output", output).reshape(y.shape)
        d_scores = softmax_backward(weights, gradient @ value.swapaxes(1, 2)) * scale
        d_query = (d_scores @ key).reshape(inputs["Query"].shape)
        d_key = d_scores.swapaxes(1, 2) @ query
        return Gradients({"Query": d_query, "Key": d_key, "Value": weights.swapaxes(1, 2) @ gradient}, {})

    return Result({"Output": output}, backward)


def map_of_sums(inputs: Arrays, arrays: Arrays, *, sequence: bool = True, output: tuple[int, ...]) -> Result:
    """Take the sum of what a linear layer gives at each step."""
    products = linear(
        inputs, {name[len("linear.") :]: x for name, x in arrays.items()}, sequence=sequence, output=output
    )
    y = products.outputs["Output"]

    def backward(heads: Arrays) -> Gradients:
        total = y.sum(axis=-1)
        slopes = products.backward({"Output": np.broadcast_to(head(heads, "Output", total)[..., None], y.shape)})
        return Gradients(slopes.inputs, {f"linear.{name}": x for name, x in slopes.arrays.items()})

    return Result({"Output": y.sum(axis=-1)}, backward)


def gradient_scale(inputs: Arrays, arrays: Arrays, *, sequence: bool = False, scale: float) -> Result:
    """Pass the input on and multiply its gradient."""
    x = inputs["Input"]

    def backward(heads: Arrays) -> Gradients:
        return Gradients({"Input": head(heads, "Output", x) * scale}, {})

    return Result({"Output": x}, backward)


def learned_weight(inputs: Arrays, arrays: Arrays, *, sequence: bool = False) -> Result:
    """Weigh each number by exp(-s), and add s: Kendall, Gal and Cipolla 2018, section 3."""
    x, s = inputs["Input"], arrays["LogVariance"]
    y = np.exp(-s) * x + s

    def backward(heads: Arrays) -> Gradients:
        g = head(heads, "Output", y)
        return Gradients({"Input": g * np.exp(-s)}, {"LogVariance": np.array([np.sum(g * (1 - np.exp(-s) * x))])})

    return Result({"Output": y}, backward)


_LAYERS: dict[str, Oracle] = {
    "Linear": linear,
    "Embedding": embedding,
    "Elementwise": elementwise,
    "Threading": threading,
    "Aggregate": aggregate,
    "Catenate": catenate,
    "Reshape": reshape,
    "Flatten": flatten,
    "Dropout": dropout,
    "BatchNorm": batch_norm,
    "LayerNorm": layer_norm,
    "Convolution": convolution,
    "Pooling": pooling,
    "Softmax": softmax,
    "SequenceLast": sequence_last,
    "SequenceReverse": sequence_reverse,
    "BasicRecurrent": basic_recurrent,
    "LSTM": lstm,
    "GRU": gru,
    "Bidirectional": bidirectional,
    "Fold": fold,
    "Map": map_of_sums,
    "Attention": attention,
    "GradientScale": gradient_scale,
    "LearnedWeight": learned_weight,
    "MeanSquaredLoss": mean_squared_loss,
    "MeanAbsoluteLoss": mean_absolute_loss,
    "CrossEntropyLoss": cross_entropy_loss,
    "ContrastiveLoss": contrastive_loss,
    "ErrorRate": error_rate,
}
ORACLES: dict[str, Oracle] = {name: exact(oracle) for name, oracle in _LAYERS.items()}
