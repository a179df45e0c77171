"""Weights from and to PyTorch: the arrays of a state dict, by the names of its modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Union

from ...arguments import is_integer
from ...errors import ArgumentError
from ..layers.base import Layer
from ..layers.convolution import Convolution
from ..layers.linear import Embedding, Linear
from ..layers.normalization import BatchNorm, LayerNorm
from ..layers.recurrent import GRU, LSTM, BasicRecurrent, Bidirectional, Recurrent
from ..net import NetGraph
from .weights import Mapped, Numbers, Problems, Weight, match, read, write

Place = Union[str, tuple[str, int]]

_BIASES = Weight(("Biases",), absent=0.0)
_AFFINE = {"weight": Weight(("Weights",)), "bias": _BIASES}
MODULES: dict[type[Layer], dict[str, Weight]] = {
    Linear: _AFFINE,
    Convolution: _AFFINE,
    Embedding: {"weight": Weight(("Weights",))},
    LayerNorm: {"weight": Weight(("Scaling",)), "bias": _BIASES},
    BatchNorm: {
        "running_mean": Weight(("MovingMean",)),
        "running_var": Weight(("MovingVariance",)),
        "weight": Weight(("Scaling",), absent=1.0),
        "bias": _BIASES,
    },
}
RECURRENT = {  # gates are in the same order here and there
    "weight_ih_l": Weight(("InputWeights",)),
    "weight_hh_l": Weight(("StateWeights",)),
    "bias_ih_l": Weight(("InputBiases",), absent=0.0),
    "bias_hh_l": Weight(("StateBiases",), absent=0.0),
}
COUNTER = "num_batches_tracked"  # of a BatchNorm that has seen batches; it is no weight


def from_torch(net: NetGraph, state: Mapping[str, Any], names: Mapping[str, Place] | None = None) -> NetGraph:
    """Return the net with arrays read from a PyTorch state dict; the arrays of other layers stay as they are.

    PyTorch is not needed: what numpy can read is read, such as tensors on the CPU. Linear, Embedding, BasicRecurrent,
    LSTM, GRU, Bidirectional, Convolution, BatchNorm and LayerNorm have counterparts. Biases that a module does not have
    become 0, and the scaling of a BatchNorm without one 1. Learned initial states stay as they are.

    Args:
        net: The net.
        state: ``module.state_dict()``, all of which must be used: arrays of the shapes that PyTorch gives them.
        names: The prefix of each layer's module in the state dict, ``{"encoder.lstm": "model.rnn"}``; "" where it is
            the module itself. A layer of an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` that has several is ``("rnn", 1)``,
            counted from 0. None: every layer that has arrays, under its own path.

    Raises:
        ArgumentError: Names, shapes or kinds of layers do not fit; one message has all that does not.
        NetError: The net's types are not determined.

    Example:
        >>> import numpy as np
        >>> from mxtrainer import Linear, NetChain, Vector
        >>> state = {"decoder.weight": np.ones((2, 3), "float32"), "decoder.bias": np.zeros(2, "float32")}
        >>> net = NetChain([Linear(2)], inputs={"Input": Vector(3)})
        >>> from_torch(net, state, {"linear": "decoder"}).arrays["linear.Weights"].shape
        (2, 3)
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ArgumentError(f"from_torch takes module.state_dict(), a mapping from names, got {type(state).__name__}")
    problems = Problems("from_torch: the state dict does not fit the net:")
    layers = match(net, names, _weights, "PyTorch", problems)
    _check_all_used(state, layers, problems)
    return read(net, layers, state, problems)


def to_torch(net: NetGraph, names: Mapping[str, Place] | None = None) -> dict[str, Numbers]:
    """Return arrays for ``module.load_state_dict``, under the names that PyTorch has for them.

    They are copies, of the dtypes that the net's arrays have; ``torch.from_numpy`` makes tensors of them. Recurrent
    layers always have both biases; a Linear or a Convolution has one unless it is made with ``biases=False``. Learned
    initial states are left out, as PyTorch takes states as inputs.

    Args:
        net: The net, with values for the arrays of these layers, such as ``trainer.net()``.
        names: As for `from_torch`.

    Returns:
        The arrays by their names in a state dict.

    Raises:
        ArgumentError: A layer is unknown or has no counterpart, or an array has no values; one message has all.
        NetError: The net's types are not determined.

    Example:
        >>> import numpy as np
        >>> from mxtrainer import Linear, NetChain, Vector
        >>> net = NetChain([Linear(2)], inputs={"Input": Vector(3)})
        >>> net = net.with_arrays({"linear.Weights": np.ones((2, 3)), "linear.Biases": np.zeros(2)})
        >>> {name: array.shape for name, array in to_torch(net, {"linear": "decoder"}).items()}
        {'decoder.weight': (2, 3), 'decoder.bias': (2,)}
    """
    problems = Problems("to_torch: the net cannot be written as a state dict:")
    return write(net, match(net, names, _weights, "PyTorch", problems), problems)


def _weights(layer: Layer, place: object) -> dict[str, Weight] | None:
    """Return the arrays of a layer's module by their names in the state dict."""
    prefix, number = _split(place)
    if not isinstance(prefix, str) or not (number is None or (is_integer(number) and number >= 0)):
        raise ArgumentError(
            f'its name must be a prefix in the state dict, or with a layer\'s number, as in ("rnn", 1), got {place!r}'
        )
    recurrent = isinstance(layer, (Recurrent, Bidirectional))
    if number is not None and not recurrent:
        raise ArgumentError(f'only recurrent modules have layers with numbers; give "{prefix}", not {place!r}')
    weights = _recurrent(layer, number or 0) if recurrent else MODULES.get(type(layer))
    start = f"{prefix}." if prefix else ""
    return weights and {f"{start}{name}": weight for name, weight in weights.items()}


def _split(place: Any) -> tuple[Any, Any]:
    """Return a prefix and a layer number, or None."""
    return place if isinstance(place, tuple) and len(place) == 2 else (place, None)


def _recurrent(layer: Layer, number: int) -> dict[str, Weight] | None:
    sides = {"": ""}
    if isinstance(layer, Bidirectional):
        layer, sides = layer.layer, {"": "forward.", "_reverse": "backward."}
    if type(layer) not in {BasicRecurrent, LSTM, GRU}:
        return None
    return {
        f"{name}{number}{end}": replace(weight, names=tuple(side + own for own in weight.names))
        for end, side in sides.items()
        for name, weight in RECURRENT.items()
    }


def _check_all_used(state: Mapping[str, Any], layers: list[Mapped], problems: Problems) -> None:
    used = {name for layer in layers for name in layer.weights}
    counters = {f"{name[: -len('running_mean')]}{COUNTER}" for name in used if name.endswith("running_mean")}
    for name in state:
        if name in used or name in counters:
            continue
        near = next((layer.holder for layer in layers if _split(layer.place)[0] == name.rpartition(".")[0]), None)
        other = f", also not by {near}, which has no such array" if near else ""
        problems.add(f'"{name}" is used by no layer{other}; name a layer for it, or leave it out of the state dict')
