"""An ONNX graph while it is written: its operators, its constants, and what one layer sees of it.

Values are known by their names, as in the format. Arrays are batch first, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import NetError
from ....extras import require
from ...layers.base import Layer, Ports
from ...types import Sequence as SequenceType

OMITTED = ""  # in place of an operator's input that it can do without


class Builder:
    """Operators in order, and constants, each of them once.

    Args:
        net_arrays: The values of the net's arrays, by path.
        dtype: The dtype of all real numbers.
        taken: Names of inputs and outputs, which no other value may have.
    """

    def __init__(self, net_arrays: Mapping[str, NDArray[Any]], dtype: str, taken: Iterable[str]) -> None:
        """Begin with nothing."""
        self.dtype = dtype
        self.onnx = require("onnx", "onnx", "to_onnx")
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._net_arrays = net_arrays
        self._taken = set(taken)

    def operators(self, where: str, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operator of a layer; return its outputs.

        Args:
            where: The layer's path.
            kind: The operator.
            inputs: Its inputs, `OMITTED` among them.
            count: The number of its outputs.
            **attributes: Its attributes.
        """
        name = self._new(f"{where}/{kind}")
        outputs = [name, *(self._new(f"{name}:{number}") for number in range(1, count))]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outputs, name, **attributes))
        return outputs

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Return a constant of this name, which is added if it is new."""
        self.constants.setdefault(name, array)
        return name

    def value(self, path: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the value of an array of the net.

        Raises:
            NetError: The net has none, or one of another shape.
        """
        if path not in self._net_arrays:
            raise NetError(
                f'to_onnx: the net has no values for "{path}"; give a net with arrays, as trainer.net() does'
            )
        found = self._net_arrays[path]
        if found.shape != shape:
            raise NetError(f'to_onnx: "{path}" must have the shape {shape}, got {found.shape}')
        return found.astype(self.dtype)

    def _new(self, name: str) -> str:
        new, number = name, 1
        while new in self._taken:
            number += 1
            new = f"{name}_{number}"
        self._taken.add(new)
        return new


class Place(NamedTuple):
    """A layer at its place in the graph.

    Attributes:
        builder: The graph.
        path: The layer's path.
        layer: The layer.
        ports: The types of its ports.
        inputs: The value of each connected input.
        arrays: The path of each of its arrays; a shared one has its owner's.
    """

    builder: Builder
    path: str
    layer: Layer
    ports: Ports
    inputs: Mapping[str, str]
    arrays: Mapping[str, str]

    def operator(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator; return its one output."""
        return self.operators(kind, inputs, 1, **attributes)[0]

    def operators(self, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operator; return its outputs."""
        return self.builder.operators(self.path, kind, inputs, count, **attributes)

    # Constants

    def array(self, name: str) -> str:
        """Return one of the layer's arrays; one that is shared is in the file once."""
        return self.builder.constant(self.arrays[name], self.value(name))

    def value(self, name: str) -> NDArray[Any]:
        """Return the numbers of one of the layer's arrays.

        Raises:
            NetError: The net has none, or their shape is another.
        """
        return self.builder.value(self.arrays[name], self.layer.declare(self.ports)[name].shape)

    def number(self, number: float) -> str:
        """Return a real number."""
        return self._literal(np.array(number, self.builder.dtype))

    def integers(self, *numbers: int) -> str:
        """Return a vector of integers, such as a shape or axes."""
        return self._literal(np.array(numbers, np.int64))

    def integer(self, number: int) -> str:
        """Return an integer."""
        return self._literal(np.array(number, np.int64))

    def _literal(self, array: NDArray[Any]) -> str:
        return self.builder.constant(f"{array.dtype}:{array.tolist()}", array)

    # Shapes

    def leading(self, port: str = "Input") -> int:
        """Return how many axes an input has before the item's: batch, or batch and steps."""
        return 2 if isinstance(self.ports.input(port), SequenceType) else 1

    def with_item(self, value: str, shape: tuple[int, ...]) -> str:
        """Return a value that has the input's leading axes with items of this shape."""
        return self.operator("Reshape", value, self.integers(*[0] * self.leading(), *shape))  # 0: as it is

    def with_shape(self, value: str, *parts: str) -> str:
        """Return a value in a shape that is put together when the graph runs, of vectors of integers."""
        return self.operator("Reshape", value, self.operator("Concat", *parts, axis=0))

    def merge(self, port: str = "Input") -> str:
        """Return an input as ``(n, *item)``, where n is the batch, or the batch times the steps."""
        if self.leading(port) == 1:
            return self.inputs[port]
        return self.operator("Reshape", self.inputs[port], self.integers(-1, *self.ports.input_item(port).shape))

    def split(self, value: str, output: str = "Output", like: str = "Input") -> str:
        """Undo `merge` for an output, by the leading axes of an input."""
        if not isinstance(self.ports.output(output), SequenceType):
            return value
        leading = self.operator("Shape", self.inputs[like], start=0, end=2)
        return self.with_shape(value, leading, self.integers(*self.ports.output_item(output).shape))


def unknown_layer(path: str, layer: Layer, exportable: Iterable[type[Layer]]) -> NetError:
    """Return the error for a layer that cannot be written."""
    known = ", ".join(sorted(kind.__name__ for kind in exportable))
    return NetError(
        f'to_onnx: layer "{path}" ({layer!r}) cannot be written as ONNX. What can: {known}, and nets of these. '
        f"Name layers before it in outputs=, or put it together from these"
    )
