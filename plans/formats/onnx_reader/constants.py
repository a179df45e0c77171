"""Nodes that only compute with constants and with the shapes of tensors, as exporters write them around the layers.

A shape that is known only once there is a batch is an array of objects: numbers, and symbols for what is not known.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from ....errors import ArgumentError, NetError
from .builder import Call
from .file import DTYPES
from .values import Fill, Stack, Tensor, Value, uniform

Constant = NDArray[Any]


def fold(call: Call) -> list[Value | None] | None:
    """Return the outputs of a node that computes with constants alone; None where it is none."""
    name = call.node.operator
    if name == "Constant":
        return [_constant(call)]
    if name == "Shape":
        return [_shape(call)]
    if any(isinstance(value, (Tensor, Stack)) for value in call.inputs) or name not in FOLDED:
        return None
    if any(isinstance(value, Fill) for value in call.inputs):
        return [_of_fill(call)] if name in MOVING else None
    return [FOLDED[name](call)]


def _of_fill(call: Call) -> Value:
    """Return the same number of whatever shape."""
    found = call.value(0)
    if not isinstance(found, Fill):
        raise NetError("has a shape that depends on the values of a constant")
    return found


def _constant(call: Call) -> Constant:
    for name, found in call.node.attributes.items():
        if name in {"value", "value_float", "value_floats", "value_int", "value_ints"} and found is not None:
            dtype = {"value_float": "float32", "value_floats": "float32"}.get(name)
            return np.asarray(found, dtype)
    raise NetError("is a constant that is no tensor of numbers")


def _shape(call: Call) -> Constant:
    found = call.value(0)
    if isinstance(found, np.ndarray):
        extents: list[Any] = list(found.shape)
    elif isinstance(found, Fill) or found is None:
        raise NetError("asks for a shape that is not known")
    else:
        tensor = call.tensor()
        extents = [tensor.extent(axis) for axis in tensor.axes]
    begin, end = call.node.attributes.get("start", 0), call.node.attributes.get("end")
    return as_shape(extents[begin:end])


def as_shape(extents: Sequence[Any]) -> Constant:
    """Return extents as an array of integers, or of objects where there are symbols."""
    return np.array(extents, np.int64 if all(isinstance(extent, int) for extent in extents) else object)


def _extents(call: Call, place: int) -> tuple[int, ...] | None:
    """Return a shape that is an input, None where it has symbols."""
    found = call.needed(place, "shape").reshape(-1).tolist()
    return None if any(isinstance(extent, str) for extent in found) else tuple(map(int, found))


def _spread(call: Call, found: Any, shape: tuple[int, ...]) -> Constant:
    call.build.spend(shape)
    return np.broadcast_to(found, shape)


def _filled(call: Call) -> Value:
    value = call.node.attributes.get("value", np.zeros(1, np.float32)).reshape(-1)
    shape = _extents(call, 0)
    return Fill(float(value[0])) if shape is None else _spread(call, value[0], shape)


def _expanded(call: Call) -> Value:
    found, shape = call.needed(0, "input"), _extents(call, 1)
    if shape is not None:
        return _spread(call, found, np.broadcast_shapes(found.shape, shape))
    number = uniform(found)
    if number is None:
        raise NetError("repeats a constant of several numbers over a batch; what is read is one number")
    return Fill(number)


def _gathered(call: Call) -> Value:
    table, indices = call.needed(0, "input"), call.needed(1, "indices").astype(np.int64)
    axis = call.get("axis", 0)
    call.build.spend((*indices.shape, *np.delete(table.shape, axis)))
    return np.asarray(np.take(table, indices, axis=axis))


def _joined(call: Call) -> Value:
    parts = [call.needed(place, "input") for place in range(len(call.inputs))]
    call.build.spend((sum(part.size for part in parts),))
    return np.asarray(np.concatenate([np.atleast_1d(part) for part in parts], axis=call.get("axis", 0)))


def _sliced(call: Call) -> Value:
    found = call.needed(0, "input")
    for axis, begin, end, step in slices(call, found.ndim):
        found = found[(slice(None),) * axis + (slice(begin, end if end > -(2**31) else None, step),)]
    return found


def slices(call: Call, rank: int) -> list[tuple[int, int, int, int]]:
    """Return what a Slice takes: axis, begin, end and step."""
    begins, ends = call.numbers("starts", 1), call.numbers("ends", 2)
    if begins is None or ends is None or len(begins) != len(ends):
        raise ArgumentError(f"its starts are {begins} and its ends {ends}")
    axes = call.numbers("axes", 3) or tuple(range(len(begins)))
    steps = call.numbers("steps", 4) or (1,) * len(begins)
    return [(axis_within(axis, rank), *rest) for axis, *rest in zip(axes, begins, ends, steps)]  # type: ignore[misc]


def axis_within(axis: int, rank: int) -> int:
    """Return an axis counted from the first.

    Raises:
        ArgumentError: There is no such axis.
    """
    if not -rank <= axis < rank:
        raise ArgumentError(f"there is no axis {axis} among {rank}")
    return axis % rank


def _squeezed(call: Call) -> Value:
    return np.squeeze(call.needed(0, "input"), call.numbers("axes", 1))


def _unsqueezed(call: Call) -> Value:
    return np.expand_dims(call.needed(0, "input"), call.numbers("axes", 1) or ())


def _reshaped(call: Call) -> Value:
    found, shape = call.needed(0, "input"), _extents(call, 1)
    if shape is None:
        raise NetError("gives a constant a shape that depends on a batch")
    call.build.spend(found.shape)
    return found.reshape([found.shape[place] if extent == 0 else extent for place, extent in enumerate(shape)])


def _transposed(call: Call) -> Value:
    return np.transpose(call.needed(0, "input"), call.node.attributes.get("perm"))


def _same(call: Call) -> Value:
    return call.needed(0, "input")


def _cast(call: Call) -> Value:
    found = call.needed(0, "input")
    dtype = DTYPES[call.get("to", 0)][0]
    call.build.spend(found.shape)
    return found if found.dtype == object else found.astype(dtype)


def _range(call: Call) -> Value:
    begin, end, step = (call.needed(place, "limits").item() for place in range(3))
    call.build.spend((max(0, math.ceil((end - begin) / step)),))
    return np.arange(begin, end, step)


def _where(call: Call) -> Value:
    chosen, left, right = (call.needed(place, "input") for place in range(3))
    call.build.spend(np.broadcast_shapes(chosen.shape, left.shape, right.shape))
    return np.where(chosen, left, right)


def _two(function: Callable[[Any, Any], Any]) -> Callable[[Call], Value]:
    def computed(call: Call) -> Value:
        left, right = call.needed(0, "input"), call.needed(1, "input")
        call.build.spend(np.broadcast_shapes(left.shape, right.shape))
        if function is not operator.eq and object in {left.dtype, right.dtype}:
            raise NetError("computes with the size of a batch, which is known only once there is one")
        with np.errstate(all="ignore"):
            return np.asarray(function(left, right))

    return computed


def _divided(left: Constant, right: Constant) -> Constant:
    """Divide as ONNX does: integers towards zero."""
    whole = left.dtype.kind in "iu"
    return np.trunc(left / right).astype(left.dtype) if whole else np.asarray(left / right)


FOLDED: dict[str, Callable[[Call], Value]] = {
    "Add": _two(operator.add),
    "Cast": _cast,
    "Concat": _joined,
    "ConstantOfShape": _filled,
    "Div": _two(_divided),
    "Equal": _two(operator.eq),
    "Expand": _expanded,
    "Gather": _gathered,
    "Identity": _same,
    "Mul": _two(operator.mul),
    "Range": _range,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Squeeze": _squeezed,
    "Sub": _two(operator.sub),
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Where": _where,
}
#: Those that leave a constant of one number one.
MOVING = ("Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
