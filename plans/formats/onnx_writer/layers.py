"""What each layer is in ONNX: one function a layer, which adds its operators and returns the value of each output."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, Callable, cast

from ...graph import Source
from ...layers.base import Layer, axis_of, flat_size
from ...layers.convolution import Convolution, Pooling, Sliding, along_steps
from ...layers.elementwise import Catenate, Dropout, Elementwise, Flatten, GradientScale, Reshape, Threading
from ...layers.linear import Embedding, Linear
from ...layers.map import Map
from ...layers.normalization import BatchNorm, LayerNorm, Softmax
from ...layers.recurrent import GRU, LSTM, BasicRecurrent, Bidirectional
from ...layers.sequence import HIDDEN, Aggregate, Attention, SequenceLast, SequenceReverse
from ...layers.weighting import LearnedWeight
from .functions import FUNCTIONS, THREADED
from .graph import Place, unknown_layer
from .recurrent import bidirectional, recurrent

LOWEST_INTEGER = -(2**63)  # before the first element, for a slice that goes backwards


def _of_item(place: Place, value: str) -> dict[str, str]:
    """Return an output whose last axes are to be those of its item."""
    return {"Output": place.with_item(value, place.ports.output_item().shape)}


def _identity(place: Place) -> dict[str, str]:
    return {"Output": place.inputs["Input"]}


# Products


def _linear(place: Place) -> dict[str, str]:
    layer = cast(Linear, place.layer)
    source, target, x = place.ports.input_item(), place.ports.output_item(), place.inputs["Input"]
    if len(source.shape) != 1:
        x = place.with_item(x, (flat_size(source),))
    weights, biases = place.array("Weights"), [place.array("Biases")] if layer.biases else []
    if place.leading() == 1:
        product = place.operator("Gemm", x, weights, *biases, transB=1)
    else:  # Gemm takes matrices alone
        product = place.operator("MatMul", x, place.operator("Transpose", weights, perm=[1, 0]))
        product = place.operator("Add", product, *biases) if biases else product
    return {"Output": product} if len(target.shape) == 1 else _of_item(place, product)


def _embedding(place: Place) -> dict[str, str]:
    return {"Output": place.operator("Gather", place.array("Weights"), place.inputs["Input"], axis=0)}


def _attention(place: Place) -> dict[str, str]:
    layer = cast(Attention, place.layer)
    query, key, values = (place.inputs[port] for port in ("Query", "Key", "Value"))
    many = place.leading("Query") == 2
    if not many:
        query = place.operator("Unsqueeze", query, place.integers(1))
    scores = place.operator("MatMul", query, place.operator("Transpose", key, perm=[0, 2, 1]))
    if layer.scaled:
        scores = place.operator("Div", scores, place.number(math.sqrt(place.ports.input_item("Query").shape[0])))
    if layer.causal:
        steps = place.operator("Shape", place.inputs["Key"], start=1, end=2)
        square = place.operator("Expand", place.number(HIDDEN), place.operator("Concat", steps, steps, axis=0))
        scores = place.operator("Add", scores, place.operator("Trilu", square, place.integer(1), upper=1))
    output = place.operator("MatMul", place.operator("Softmax", scores, axis=-1), values)
    return {"Output": output if many else place.operator("Squeeze", output, place.integers(1))}


# Element by element


def _elementwise(place: Place) -> dict[str, str]:
    return {"Output": FUNCTIONS[cast(Elementwise, place.layer).function](place, place.inputs["Input"])}


def _threading(place: Place) -> dict[str, str]:
    kind = THREADED[cast(Threading, place.layer).function]
    return {"Output": reduce(lambda left, right: place.operator(kind, left, right), place.inputs.values())}


def _learned_weight(place: Place) -> dict[str, str]:
    variance = place.array("LogVariance")
    precision = place.operator("Exp", place.operator("Neg", variance))
    return {"Output": place.operator("Add", place.operator("Mul", place.inputs["Input"], precision), variance)}


# Shapes


def _reshape(place: Place) -> dict[str, str]:
    return _of_item(place, place.inputs["Input"])


def _catenate(place: Place) -> dict[str, str]:
    axis = axis_of(cast(Catenate, place.layer).axis, place.ports.output_item(), "axis")
    return {"Output": place.operator("Concat", *place.inputs.values(), axis=place.leading("1") + axis)}


def _sequence_last(place: Place) -> dict[str, str]:
    return {"Output": place.operator("Gather", place.inputs["Input"], place.integer(-1), axis=1)}


def _sequence_reverse(place: Place) -> dict[str, str]:
    begin, end, axis = place.integers(-1), place.integers(LOWEST_INTEGER), place.integers(1)
    return {"Output": place.operator("Slice", place.inputs["Input"], begin, end, axis, place.integers(-1))}


# Over axes


def _aggregate(place: Place) -> dict[str, str]:
    layer, item, x = cast(Aggregate, place.layer), place.ports.input_item(), place.inputs["Input"]
    chosen = range(len(item.shape)) if layer.axes is None else [axis_of(axis, item, "axis") for axis in layer.axes]
    over_steps = layer.axes is None and place.leading() == 2
    axes = [1] if over_steps else sorted({place.leading() + axis for axis in chosen})
    if not axes:
        return {"Output": x if layer.function != "norm" else place.operator("Abs", x)}
    if layer.function == "sum":  # takes its axes as an input, as the others do from opset 18 on
        return {"Output": place.operator("ReduceSum", x, place.integers(*axes), keepdims=0)}
    kind = {"mean": "ReduceMean", "max": "ReduceMax", "norm": "ReduceL2"}[layer.function]
    return {"Output": place.operator(kind, x, axes=axes, keepdims=0)}


def _softmax(place: Place) -> dict[str, str]:
    return {"Output": place.operator("Softmax", place.inputs["Input"], axis=-1)}


def _layer_norm(place: Place) -> dict[str, str]:
    item, x = place.ports.input_item(), place.inputs["Input"]
    arrays = [place.array(name) for name in ("Scaling", "Biases")]
    if not item.shape:
        x = place.with_item(x, (1,))
        arrays = [place.operator("Reshape", array, place.integers(1)) for array in arrays]
    epsilon = cast(LayerNorm, place.layer).epsilon
    normed = place.operator("LayerNormalization", x, *arrays, axis=place.leading(), epsilon=epsilon)
    return {"Output": normed} if item.shape else _of_item(place, normed)


def _batch_norm(place: Place) -> dict[str, str]:
    item, x = place.ports.input_item(), place.merge()
    if not item.shape:  # one channel
        x = place.operator("Reshape", x, place.integers(-1, 1))
    arrays = [place.array(name) for name in ("Scaling", "Biases", "MovingMean", "MovingVariance")]
    normed = place.operator("BatchNormalization", x, *arrays, epsilon=cast(BatchNorm, place.layer).epsilon)
    if not item.shape:
        normed = place.operator("Reshape", normed, place.integers(-1))
    return {"Output": place.split(normed)}


# Windows


def _sliding(place: Place, slide: Callable[[Place, str, dict[str, Any]], str]) -> dict[str, str]:
    """Slide along the steps, with the channels before them, or over the space of each item."""
    layer, port = cast(Sliding, place.layer), place.ports.input()
    along = along_steps(port)
    windows = layer.windows(1 if along else len(place.ports.input_item().shape) - 1)
    fields = {"kernel_shape": windows["kernel"], "strides": windows["stride"], "pads": windows["pad"] * 2}
    if "dilate" in windows:
        fields["dilations"] = windows["dilate"]
    if not along:
        return {"Output": place.split(slide(place, place.merge(), fields))}
    slid = slide(place, place.operator("Transpose", place.inputs["Input"], perm=[0, 2, 1]), fields)
    return {"Output": place.operator("Transpose", slid, perm=[0, 2, 1])}


def _convolution(place: Place) -> dict[str, str]:
    names = ("Weights", "Biases") if cast(Convolution, place.layer).biases else ("Weights",)
    return _sliding(
        place, lambda place, x, fields: place.operator("Conv", x, *(place.array(name) for name in names), **fields)
    )


def _pooling(place: Place) -> dict[str, str]:
    if cast(Pooling, place.layer).function == "max":
        return _sliding(place, lambda place, x, fields: place.operator("MaxPool", x, **fields))
    return _sliding(place, lambda place, x, fields: place.operator("AveragePool", x, count_include_pad=0, **fields))


# Nets


def _map(place: Place) -> dict[str, str]:
    """Merge the steps into the batch, add the layers of the net, and split again."""
    layer = cast(Map, place.layer)
    inside = layer.inside(place.ports)
    values = {Source(None, port): place.merge(port) for port in layer.stepped}
    for path in inside.graph.needed_by(tuple(inside.graph.outputs.values())):
        node = inside.graph.nodes[path]
        inner = Place(
            place.builder,
            f"{place.path}.{path}",
            node.layer,
            inside.types.nodes[path],
            {port: values[source] for port, source in node.feeds.items()},
            {name: place.arrays[owner] for name, owner in inside.arrays[path].items()},
        )
        values.update({Source(path, port): value for port, value in add_layer(inner).items()})
    outputs = inside.graph.outputs.items()
    return {port: place.split(values[source], port, layer.stepped[0]) for port, source in outputs}


def add_layer(place: Place) -> dict[str, str]:
    """Add a layer's operators; return the value of each of its outputs.

    Raises:
        NetError: It is of a kind that is not in the table, or the net has no values for its arrays.
    """
    write = LAYERS.get(type(place.layer))
    if write is None:
        raise unknown_layer(place.path, place.layer, LAYERS)
    return write(place)


LAYERS: dict[type[Layer], Callable[[Place], dict[str, str]]] = {
    Aggregate: _aggregate,
    Attention: _attention,
    BasicRecurrent: recurrent,
    BatchNorm: _batch_norm,
    Bidirectional: bidirectional,
    Catenate: _catenate,
    Convolution: _convolution,
    Dropout: _identity,
    Elementwise: _elementwise,
    Embedding: _embedding,
    Flatten: _reshape,
    GRU: recurrent,
    GradientScale: _identity,
    LSTM: recurrent,
    LayerNorm: _layer_norm,
    LearnedWeight: _learned_weight,
    Linear: _linear,
    Map: _map,
    Pooling: _pooling,
    Reshape: _reshape,
    SequenceLast: _sequence_last,
    SequenceReverse: _sequence_reverse,
    Softmax: _softmax,
    Threading: _threading,
}
