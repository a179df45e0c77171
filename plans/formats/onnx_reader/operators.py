"""The operators of ONNX that are read, and the layers that they become."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ....errors import ArgumentError, NetError
from ...layers.convolution import Convolution, Pooling
from ...layers.elementwise import Dropout
from ...layers.linear import Embedding, Linear
from ...layers.normalization import BatchNorm, LayerNorm, Softmax
from ...layers.sequence import Aggregate
from ...types import Index, item_of
from .arithmetic import FUNCTIONS, THREADED, function, threaded
from .axes import concat, flatten, gather, identity, reshape, slice_, split, squeeze, transpose, unsqueeze
from .builder import Call
from .cells import recurrent
from .constants import axis_within
from .values import BATCH, ONE, TIME, Axis, Tensor, Value, ascending, renumbered, uniform

Operator = Callable[[Call], "list[Value | None]"]


def _vector(x: Tensor) -> Tensor:
    """Return a tensor whose last axis is all of its item.

    Raises:
        NetError: There is more in the item.
    """
    if len(x.shape) > 1 or not x.axes or x.axes[-1] not in {0, ONE} or (x.shape and x.axes[-1] != 0):
        raise NetError(
            f"multiplies the last axis of {x.shown()}; what is read is the only axis of the item. If another one is a "
            f'time, say so, as in inputs={{...: Sequence("t", Vector(10))}}'
        )
    return x


def matmul(call: Call) -> list[Value | None]:
    """Return a Linear without biases; those that are added afterwards come into it."""
    x, weights = _vector(call.tensor(0)), call.needed(1, "matrix")
    if weights.ndim != 2:
        raise NetError(f"multiplies with an array of shape {weights.shape}; what is read is a matrix")
    layer = Linear(weights.shape[1], biases=False)
    return [call.add(layer, x, {"Weights": weights.T})["Output"].seen_as(*x.axes[:-1], 0)]


def gemm(call: Call) -> list[Value | None]:
    """Return a Linear."""
    call.refuse_unless("transA", 0)
    x, weights, biases = _vector(call.tensor(0)), call.needed(1, "matrix"), call.constant(2, "C")
    weights = weights if call.get("transB", 0) else weights.T
    size = weights.shape[0]
    arrays = {"Weights": weights * call.get("alpha", 1.0)}
    if biases is not None:
        if biases.size not in {1, size} or biases.shape not in {(), (biases.size,), (1, biases.size)}:
            raise NetError(f"adds an array of shape {biases.shape}; what is read is the same for every row, ({size},)")
        arrays["Biases"] = np.broadcast_to(biases.reshape(-1), (size,)) * call.get("beta", 1.0)
    layer = Linear(size, biases=biases is not None)
    return [call.add(layer, x, arrays)["Output"].seen_as(*x.axes[:-1], 0)]


def embedding(call: Call) -> list[Value | None]:
    """Return an Embedding where indices choose among rows of a constant, else what is cut out of a tensor."""
    indices = call.value(1)
    if not isinstance(indices, Tensor):
        return gather(call)
    table = call.needed(0, "table")
    if table.ndim != 2 or call.get("axis", 0) != 0 or not isinstance(item_of(indices.port), Index):
        raise NetError(
            f"takes rows of an array of shape {table.shape} by {indices.port!r}; what is read is a matrix, and an "
            f"Index, as in inputs={{...: Index({len(table)})}}"
        )
    return [call.add(Embedding(table.shape[1]), indices, {"Weights": table})["Output"].seen_as(*indices.axes, 0)]


# Windows


def _images(call: Call, x: Tensor) -> Tensor:
    """Return a tensor as a window slides over it: ``(batch, channels, *space)``, or ``(batch, channels, time)``."""
    for place in range(1, len(x.axes)):
        x = call.as_item(x, place)
    expected: list[tuple[Axis, ...]] = [(BATCH, *range(len(x.axes) - 1)), (BATCH, 0, TIME)]
    if x.axes not in expected:
        raise NetError(f"slides over {x.shown()}; what is read is (batch, channels, space) or (batch, channels, time)")
    return x


def _window(call: Call, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments that convolution and pooling share, in the shortest form."""
    axes = len(kernel)
    strides = call.node.attributes.get("strides", (1,) * axes)
    dilations = call.node.attributes.get("dilations", (1,) * axes)
    padding = call.node.attributes.get("pads", (0,) * 2 * axes)
    kind = call.get("auto_pad", "NOTSET")
    reach = [dilation * (size - 1) for dilation, size in zip(dilations, kernel)]
    if kind.startswith("SAME") and set(strides) == {1} and not any(one % 2 for one in reach):
        padding = [one // 2 for one in reach] * 2
    elif kind not in {"NOTSET", "VALID"}:
        raise NetError(f"auto_pad is {kind!r}; what is read is equal padding at both ends")
    if tuple(padding[:axes]) != tuple(padding[axes:]):
        raise NetError(f"pads are {tuple(padding)}; what is read is equal padding at both ends")
    found = {"kernel": kernel, "stride": strides, "padding": padding[:axes], "dilation": dilations}
    return {name: _short(tuple(extents)) for name, extents in found.items()}


def _short(extents: tuple[int, ...]) -> int | tuple[int, ...]:
    return extents[0] if extents and len(set(extents)) == 1 else extents


def convolution(call: Call) -> list[Value | None]:
    """Return a Convolution."""
    x, weights, biases = _images(call, call.tensor(0)), call.needed(1, "kernels"), call.constant(2, "B")
    if call.get("group", 1) != 1:
        raise NetError(f"is in {call.get('group', 1)} groups; what is read is one")
    kernel = weights.shape[2:]
    if tuple(call.node.attributes.get("kernel_shape", kernel)) != kernel or not kernel:
        raise ArgumentError(f"its kernel_shape is not that of its kernels, {weights.shape}")
    layer = Convolution(weights.shape[0], biases=biases is not None, **_window(call, kernel))
    arrays = {"Weights": weights} if biases is None else {"Weights": weights, "Biases": biases}
    return [call.add(layer, x, arrays)["Output"].seen_as(*x.axes)]


def pooling(call: Call) -> list[Value | None]:
    """Return a Pooling."""
    x = _images(call, call.tensor())
    call.refuse_unless("ceil_mode", 0)
    call.refuse_unless("storage_order", 0)
    window = _window(call, tuple(call.node.attributes["kernel_shape"]))
    if window.pop("dilation") != 1:
        raise NetError("has dilations, which Pooling has not")
    if call.node.operator == "AveragePool" and np.any(window["padding"]):
        call.refuse_unless("count_include_pad", 0)
    layer = Pooling(function="max" if call.node.operator == "MaxPool" else "mean", **window)
    return [call.add(layer, x)["Output"].seen_as(*x.axes), None]


def global_pooling(call: Call) -> list[Value | None]:
    """Return the mean or the maximum of each channel."""
    x = _images(call, call.tensor())
    kind = "max" if call.node.operator == "GlobalMaxPool" else "mean"
    return [_aggregated(call, kind, x, set(range(2, len(x.axes))))]


# Normalizations


def batch_norm(call: Call) -> list[Value | None]:
    """Return a BatchNorm."""
    x = call.tensor()
    call.refuse_unless("training_mode", 0)
    call.refuse_unless("spatial", 1)
    if len(x.axes) < 2 or x.axes[1] != 0 or not ascending(x.axes):
        raise NetError(f"has the channels in the second axis of {x.shown()}; what is read is the item's first axis")
    names = ("Scaling", "Biases", "MovingMean", "MovingVariance")
    arrays = {name: call.needed(place, name) for place, name in enumerate(names, start=1)}
    layer = BatchNorm(float(call.get("momentum", 0.9)), float(call.get("epsilon", 1e-5)))
    return [call.add(layer, x, arrays)["Output"].seen_as(*x.axes)]


def layer_norm(call: Call) -> list[Value | None]:
    """Return a LayerNorm."""
    x, scaling, biases = call.tensor(0), call.needed(1, "scale"), call.constant(2, "B")
    axis = axis_within(call.get("axis", -1), len(x.axes))
    if x.axes[axis:] != tuple(range(len(x.shape))) or not x.shape:
        raise NetError(f"normalizes the axes from {axis} on of {x.shown()}; what is read is all axes of the item")
    if biases is None:
        biases = np.zeros((), scaling.dtype)
    arrays = {name: np.broadcast_to(found, x.shape) for name, found in (("Scaling", scaling), ("Biases", biases))}
    layer = LayerNorm(float(call.get("epsilon", 1e-5)))
    return [call.add(layer, x, arrays)["Output"].seen_as(*x.axes)]


def softmax(call: Call) -> list[Value | None]:
    """Return a Softmax."""
    x = call.tensor()
    axis = axis_within(call.get("axis", -1 if call.opset >= 13 else 1), len(x.axes))
    if not x.shape or x.axes[axis] != len(x.shape) - 1 or (call.opset < 13 and axis != len(x.axes) - 1):
        raise NetError(f"goes over axis {axis} of {x.shown()}; what is read is the last axis of the item")
    return [call.add(Softmax(), x)["Output"].seen_as(*x.axes)]


def dropout(call: Call) -> list[Value | None]:
    """Return a Dropout."""
    x = call.tensor()
    ratio = uniform(call.value(1)) if call.value(1) is not None else call.get("ratio", 0.5)
    if ratio is None:
        raise NetError("has a ratio that is no constant number")
    return [call.add(Dropout(float(ratio)), x)["Output"].seen_as(*x.axes), None]


def cast(call: Call) -> list[Value | None]:
    """Return the same numbers: between real dtypes, or between those of indices."""
    x = call.tensor()
    index, real = isinstance(item_of(x.port), Index), call.get("to", 0) in {1, 10, 11}
    if index == real:
        raise NetError(f"makes {'numbers of indices' if index else 'integers of numbers'}, which is not read")
    return [x]


# Reductions

REDUCTIONS = {"ReduceL2": "norm", "ReduceMax": "max", "ReduceMean": "mean", "ReduceSum": "sum"}


def reduction(call: Call) -> list[Value | None]:
    """Return the mean, sum, maximum or norm over axes of the item, or over the time."""
    x = call.tensor()
    axes = call.numbers("axes", 1)
    if not axes:
        if call.get("noop_with_empty_axes", 0):
            return [x]
        raise NetError("reduces all axes, and so the batch; what is read is axes of the item, or the time")
    places = {axis_within(axis, len(x.axes)) for axis in axes}
    found = _aggregated(call, REDUCTIONS[call.node.operator], x, places)
    if call.get("keepdims", 1):
        return [found]
    return [found.seen_as(*(axis for place, axis in enumerate(found.axes) if place not in places))]


def _aggregated(call: Call, kind: str, x: Tensor, places: set[int]) -> Tensor:
    """Return an aggregate over axes, which are of extent 1 then."""
    gone = [x.axes[place] for place in sorted(places)]
    if any(isinstance(axis, str) and axis not in {ONE, TIME} for axis in gone):
        raise NetError(f"reduces the batch of {x.shown()}; what is read is axes of the item, or the time")
    items = {axis for axis in gone if isinstance(axis, int)}
    if items:
        axes = renumbered(x.axes, items)
        x = call.add(Aggregate(kind, tuple(sorted(items))), x)["Output"].seen_as(*axes)
    if TIME in gone:
        axes = tuple(ONE if axis == TIME else axis for axis in x.axes)
        x = call.add(Aggregate(kind), x)["Output"].seen_as(*axes)
    return x


OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(FUNCTIONS, function),
    **dict.fromkeys(THREADED, threaded),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), recurrent),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("AveragePool", "MaxPool"), pooling),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), global_pooling),
    "BatchNormalization": batch_norm,
    "Cast": cast,
    "Concat": concat,
    "Conv": convolution,
    "Dropout": dropout,
    "Flatten": flatten,
    "Gather": embedding,
    "Gemm": gemm,
    "Identity": identity,
    "LayerNormalization": layer_norm,
    "MatMul": matmul,
    "Reshape": reshape,
    "Slice": slice_,
    "Softmax": softmax,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
