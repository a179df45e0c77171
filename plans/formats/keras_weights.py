"""Weights from and to Keras: the arrays that `get_weights` gives for each layer, by the layers' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import ArgumentError, nearest
from ..layers.base import Layer
from ..layers.convolution import Convolution
from ..layers.linear import Embedding, Linear
from ..layers.normalization import BatchNorm, LayerNorm
from ..layers.recurrent import GRU, LSTM, BasicRecurrent, Bidirectional
from ..net import NetGraph
from .weights import Mapped, Numbers, Problems, Weight, match, read, write

RESET_BEFORE = (
    "; one of (3 * units,) is that of reset_after=False, which no layer here computes: train with reset_after=True, "
    "the default of Keras"
)


def _transposed(ours: Numbers) -> Numbers:
    return ours.T


def _read_transposed(theirs: Numbers) -> tuple[Numbers, ...]:
    return (theirs.T,)


def _read_kernel(theirs: Numbers) -> tuple[Numbers, ...]:
    """Return ``(channels, input channels, *kernel)`` for ``(*kernel, input channels, channels)``."""
    return (np.moveaxis(theirs, (-1, -2), (0, 1)),)


def _write_kernel(ours: Numbers) -> Numbers:
    return np.moveaxis(ours, (0, 1), (-1, -2))


def _read_sum(theirs: Numbers) -> tuple[Numbers, ...]:
    """Return two biases that add up to one."""
    return theirs, np.zeros_like(theirs)


def _swapped(gates: Numbers) -> Numbers:
    """Return gates z, r, n along the first axis in the order r, z, n, or the other way round."""
    first, second, third = np.split(gates, 3)
    return np.concatenate([second, first, third])


def _read_gates(theirs: Numbers) -> tuple[Numbers, ...]:
    return (_swapped(theirs.T),)


def _write_gates(ours: Numbers) -> Numbers:
    return _swapped(ours).T


def _read_gate_biases(theirs: Numbers) -> tuple[Numbers, ...]:
    return tuple(map(_swapped, theirs))


def _write_gate_biases(*ours: Numbers) -> Numbers:
    return np.stack([_swapped(biases) for biases in ours])


_BIAS = Weight(("Biases",), absent=0.0)
_RECURRENT = {  # of an LSTM, gates are in the same order here and there
    "kernel": Weight(("InputWeights",), _read_transposed, _transposed),
    "recurrent_kernel": Weight(("StateWeights",), _read_transposed, _transposed),
    "bias": Weight(("InputBiases", "StateBiases"), _read_sum, np.add, absent=0.0),
}
LAYERS: dict[type[Layer], dict[str, Weight]] = {  # in the order of get_weights
    Linear: {"kernel": Weight(("Weights",), _read_transposed, _transposed), "bias": _BIAS},
    Convolution: {"kernel": Weight(("Weights",), _read_kernel, _write_kernel), "bias": _BIAS},
    Embedding: {"embeddings": Weight(("Weights",))},
    BasicRecurrent: _RECURRENT,
    LSTM: _RECURRENT,
    GRU: {
        "kernel": Weight(("InputWeights",), _read_gates, _write_gates),
        "recurrent_kernel": Weight(("StateWeights",), _read_gates, _write_gates),
        "bias": Weight(
            ("InputBiases", "StateBiases"), _read_gate_biases, _write_gate_biases, absent=0.0, note=RESET_BEFORE
        ),
    },
    LayerNorm: {"gamma": Weight(("Scaling",)), "beta": Weight(("Biases",))},
    BatchNorm: {
        "gamma": Weight(("Scaling",)),
        "beta": Weight(("Biases",)),
        "moving_mean": Weight(("MovingMean",)),
        "moving_variance": Weight(("MovingVariance",)),
    },
}


def from_keras(net: NetGraph, weights: Mapping[str, Sequence[Any]], names: Mapping[str, str] | None = None) -> NetGraph:
    """Return the net with arrays read from the weights of Keras layers; the arrays of other layers stay as they are.

    Keras is not needed. Linear (Dense), Embedding, BasicRecurrent (SimpleRNN), LSTM, GRU, Bidirectional, Convolution
    (Conv1D, Conv2D), BatchNorm and LayerNorm have counterparts. The one bias of an LSTM or a SimpleRNN goes to
    ``InputBiases``; ``StateBiases``, and biases that a layer does not have, become 0. Learned initial states stay as
    they are. A GRU must be one with ``reset_after=True``, and a Bidirectional one that joins its outputs.

    Args:
        net: The net.
        weights: ``{layer.name: layer.get_weights() for layer in model.layers}``, all of which must be used.
        names: The name of each layer's counterpart, ``{"encoder.lstm": "lstm_1"}``. None: every layer that has arrays,
            under its own path.

    Raises:
        ArgumentError: Names, shapes or kinds of layers do not fit; one message has all that does not.
        NetError: The net's types are not determined.

    Example:
        >>> import numpy as np
        >>> from mxtrainer import Linear, NetChain, Vector
        >>> weights = {"input": [], "dense": [np.ones((3, 2), "float32"), np.zeros(2, "float32")]}
        >>> net = NetChain([Linear(2)], inputs={"Input": Vector(3)})
        >>> from_keras(net, weights, {"linear": "dense"}).arrays["linear.Weights"].shape
        (2, 3)
    """
    if not isinstance(weights, Mapping):
        raise ArgumentError(
            f"from_keras takes {{layer.name: layer.get_weights() for layer in model.layers}}, "
            f"got {type(weights).__name__}"
        )
    for name, listed in weights.items():
        if not isinstance(listed, (list, tuple)):
            raise ArgumentError(
                f'from_keras: "{name}" must be the list that get_weights() gives, got {type(listed).__name__}'
            )
    problems = Problems("from_keras: the weights do not fit the net:")
    layers = match(net, names, _weights, "Keras", problems)
    used = {layer.place for layer in layers}
    for name, listed in weights.items():
        if listed and name not in used:
            problems.add(f'the weights of "{name}" are used by no layer; name a layer for them, or leave them out')
    given: dict[str, Any] = {}
    readable = []
    for layer in layers:
        named = _by_name(layer, weights, problems)
        if named is not None:
            given.update(named)
            readable.append(layer)
    return read(net, readable, given, problems)


def to_keras(net: NetGraph, names: Mapping[str, str] | None = None) -> dict[str, list[Numbers]]:
    """Return arrays for the ``set_weights`` of Keras layers, by the layers' names.

    They are copies, of the dtypes that the net's arrays have. The two biases of an LSTM or a BasicRecurrent are added
    up. Recurrent layers always have biases; a Linear or a Convolution has them unless it is made with ``biases=False``.
    Learned initial states are left out, as Keras takes states as inputs.

    Args:
        net: The net, with values for the arrays of these layers, such as ``trainer.net()``.
        names: As for `from_keras`.

    Returns:
        The arrays of each layer, in the order of ``get_weights``.

    Raises:
        ArgumentError: A layer is unknown or has no counterpart, or an array has no values; one message has all.
        NetError: The net's types are not determined.

    Example:
        >>> import numpy as np
        >>> from mxtrainer import Linear, NetChain, Vector
        >>> net = NetChain([Linear(2)], inputs={"Input": Vector(3)})
        >>> net = net.with_arrays({"linear.Weights": np.ones((2, 3)), "linear.Biases": np.zeros(2)})
        >>> {name: [array.shape for array in arrays] for name, arrays in to_keras(net, {"linear": "dense"}).items()}
        {'dense': [(3, 2), (2,)]}
    """
    problems = Problems("to_keras: the net cannot be written as weights of Keras:")
    layers = match(net, names, _weights, "Keras", problems)
    written = write(net, layers, problems)
    return {layer.place: [written[name] for name in layer.weights] for layer in layers}


def _weights(layer: Layer, place: object) -> dict[str, Weight] | None:
    """Return the arrays of a layer's counterpart, in the order of its weights, by names that start with its own."""
    if not isinstance(place, str):
        raise ArgumentError(f"its name must be that of a Keras layer, got {place!r}")
    if isinstance(layer, Bidirectional):
        inner = LAYERS.get(type(layer.layer), {})
        weights = {
            f"{side}.{name}": replace(weight, names=tuple(f"{side}.{own}" for own in weight.names))
            for side in ("forward", "backward")
            for name, weight in inner.items()
        }
    else:
        weights = LAYERS.get(type(layer), {})
    return {f"{place}.{name}": weight for name, weight in weights.items()} or None


def _by_name(layer: Mapped, weights: Mapping[str, Sequence[Any]], problems: Problems) -> dict[str, Any] | None:
    """Return a layer's arrays by name, those that it has; None where it is not clear which they are."""
    holder, place = layer.holder, layer.place
    if place not in weights:
        problems.add(f'{holder}: there is no layer "{place}"{nearest(place, weights)}')
        return None
    required = [name for name, weight in layer.weights.items() if weight.absent is None]
    for names in (list(layer.weights), required):
        if len(weights[place]) == len(names):
            return dict(zip(names, weights[place]))
    expected = ", ".join(f"{name} {holder.expected(weight)}" for name, weight in layer.weights.items())
    problems.add(f"{holder}: needs {expected}, found shapes {[np.shape(array) for array in weights[place]]}")
    return None
