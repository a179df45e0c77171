"""Functions of every element, of two tensors, and of a tensor and a constant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from ....errors import NetError
from ...layers.convolution import Convolution
from ...layers.elementwise import Elementwise, Threading
from ...layers.linear import Linear
from .builder import Call
from .values import ONE, Fill, Stack, Tensor, Value, uniform

FUNCTIONS = {
    "Abs": "abs", "Cos": "cos", "Erf": "erf", "Exp": "exp", "Gelu": "gelu", "Log": "log", "Neg": "negative",
    "Reciprocal": "reciprocal", "Relu": "relu", "Selu": "selu", "Sigmoid": "sigmoid", "Sin": "sin",
    "Softplus": "softplus", "Softsign": "softsign", "Sqrt": "sqrt", "Tanh": "tanh",
}  # fmt: skip
THREADED = {
    "Add": "plus", "Div": "divide", "Max": "maximum", "Min": "minimum", "Mul": "times", "Pow": "power",
    "Sub": "subtract", "Sum": "plus",
}  # fmt: skip
POWERS = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}
SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}


def function(call: Call) -> list[Value | None]:
    """Return one function of every element."""
    if call.node.operator == "Selu":
        for name, expected in SELU.items():
            if abs(call.get(name, expected) - expected) > 1e-6:
                raise NetError(f"{name} is {call.get(name, expected)}; what is read is {expected}")
    call.refuse_unless("approximate", "none")
    return [_elementwise(call, FUNCTIONS[call.node.operator], call.tensor())]


def _elementwise(call: Call, name: str, x: Tensor) -> Tensor:
    return call.add(Elementwise(name), x)["Output"].seen_as(*x.axes)


def threaded(call: Call) -> list[Value | None]:
    """Return one function of the elements of two tensors or more, or of one and a constant."""
    name = THREADED[call.node.operator]
    if len(call.inputs) == 2 and not all(isinstance(value, (Tensor, Stack)) for value in call.inputs):
        place = 0 if isinstance(call.inputs[0], (Tensor, Stack)) else 1
        return [_with_constant(call, name, call.tensor(place), call.inputs[1 - place], place == 0)]
    tensors = _aligned([call.tensor(place) for place in range(len(call.inputs))])
    axes, found = tensors[0].axes, tensors[0]
    if len(tensors) > 1 and name == "plus":
        found = call.add(Threading(name), tensors)["Output"]
    else:
        for tensor in tensors[1:]:
            found = call.add(Threading(name), [found, tensor])["Output"]
    return [found.seen_as(*axes)]


def _aligned(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors with the same axes; missing ones at the front are of extent 1."""
    rank = max(len(tensor.axes) for tensor in tensors)
    found = [tensor.seen_as(*(ONE,) * (rank - len(tensor.axes)), *tensor.axes) for tensor in tensors]
    if len({(tensor.axes, tensor.port) for tensor in found}) > 1:
        raise NetError(
            f"combines {' and '.join(tensor.shown() for tensor in tensors)}; what is read is tensors of one shape and "
            f"one length, without repetition"
        )
    return found


def _with_constant(call: Call, name: str, x: Tensor, value: Value | None, first: bool) -> Tensor:
    """Return one function of a tensor and a constant, with the tensor first or second."""
    if isinstance(value, np.ndarray) and not _fits(x, value):
        raise NetError(f"repeats {x.shown()} to fit a constant of shape {value.shape}, which is not read")
    number = uniform(value)
    if name == "power" and first and number in POWERS:
        return _elementwise(call, POWERS[number], x)
    neutral = {"plus": 0.0, "subtract": 0.0, "times": 1.0, "divide": 1.0, "power": 1.0}.get(name)
    if number is not None and number == neutral and (first or name in {"plus", "times"}):
        return x
    if number == -1.0 and (name == "times" or (name == "divide" and first)):
        return _elementwise(call, "negative", x)
    if not first and ((number == 1.0 and name == "divide") or (number == 0.0 and name == "subtract")):
        return _elementwise(call, {"divide": "reciprocal", "subtract": "negative"}[name], x)
    vector = np.asarray(value.number) if isinstance(value, Fill) else value
    if name in CHANGES and isinstance(vector, np.ndarray) and (first or name != "divide"):
        changed = _in_the_layer(call, x, vector, CHANGES[name] if first else REVERSED[name])
        if changed is not None:
            return changed
    raise NetError(
        f"combines a tensor with a constant{'' if number is None else f', {number:g}'}; what is read follows a MatMul, "
        f"Gemm or Conv that nothing else reads, whose weights and biases it becomes a part of; or is the power of 2, "
        f"0.5 or -1, a negative or a reciprocal"
    )


#: What a constant makes of weights and biases: a factor of both, and what comes to the biases.
CHANGES: dict[str, Callable[[NDArray[Any]], tuple[Any, Any]]] = {
    "plus": lambda constant: (1.0, constant),
    "subtract": lambda constant: (1.0, -constant),
    "times": lambda constant: (constant, 0.0),
    "divide": lambda constant: (1.0 / constant, 0.0),
}
REVERSED = {**CHANGES, "subtract": lambda constant: (-1.0, constant)}


def _in_the_layer(
    call: Call, x: Tensor, constant: NDArray[Any], change: Callable[[NDArray[Any]], tuple[Any, Any]]
) -> Tensor | None:
    """Change the weights and biases of the layer that gives a tensor; None where they cannot do the same."""
    name = x.source.node
    layer = call.build.layers[name] if name is not None else None
    vector = _per_channel(x, constant)
    if name is None or vector is None or not x.private or not isinstance(layer, (Linear, Convolution)):
        return None
    arrays = call.build.arrays
    weights = arrays[f"{name}.Weights"]
    factor, shift = change(vector.astype(weights.dtype))
    biases = arrays.get(f"{name}.Biases", np.zeros(len(vector), weights.dtype))
    scale = np.broadcast_to(np.asarray(factor, weights.dtype), vector.shape)
    arrays[f"{name}.Weights"] = weights * scale.reshape(-1, *(1,) * (weights.ndim - 1))
    if layer.biases or np.any(shift):
        arrays[f"{name}.Biases"] = biases * scale + shift
        call.build.layers[name] = replace(layer, biases=True)
    return x


def _fits(x: Tensor, constant: NDArray[Any]) -> bool:
    """Tell whether a constant leaves a tensor's shape as it is."""
    if constant.ndim > len(x.axes):
        return all(extent == 1 for extent in constant.shape)
    return all(extent in {1, x.extent(axis)} for extent, axis in zip(constant.shape[::-1], x.axes[::-1]))


def _per_channel(x: Tensor, constant: NDArray[Any]) -> NDArray[Any] | None:
    """Return a constant as one number for each extent of the item's first axis, None where it is none."""
    rank = len(x.axes)
    if constant.ndim > rank or not x.shape:
        return None
    extents = (*(1,) * (rank - constant.ndim), *constant.shape)
    if any(extent != 1 and axis != 0 for extent, axis in zip(extents, x.axes)):
        return None
    return np.broadcast_to(constant.reshape(-1), (x.shape[0],))
