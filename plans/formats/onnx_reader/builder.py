"""The net in the making, and what a function for an operator gets to see of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ArgumentError, FileFormatError, NetError
from ...graph import Source, reached
from ...layers.base import Layer, MismatchError, Ports
from ...layers.elementwise import Catenate, Flatten, Reshape
from ...net import NetGraph
from ...paths import Edges
from ...types import PortType, item_of
from .file import FileNode
from .values import ONE, Fill, Stack, Tensor, Value


@dataclass
class Builder:
    """Layers, who feeds whom, and arrays, as far as they are.

    Attributes:
        reserved: Names that no layer may have: those of the net's ports.
        allowance: How many numbers may still be made from those in the file, so that a small file makes no large net.
        fixed: The extents, by symbol, that a file has where ours differ from batch to batch.
    """

    reserved: set[str]
    allowance: int
    fixed: dict[str, int] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    feeds: dict[tuple[str, str], Source] = field(default_factory=dict)
    types: dict[Source, PortType] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        """Return a name for a layer that nothing has yet."""
        name = wanted
        while name in self.reserved or name in self.layers:
            self.numbers[wanted] = self.numbers.get(wanted, 1) + 1
            name = f"{wanted}_{self.numbers[wanted]}"
        return name

    def spend(self, shape: Sequence[int]) -> None:
        """Count the numbers of an array that is to be made.

        Raises:
            FileFormatError: They are far more than the file has.
        """
        self.allowance -= math.prod(shape)
        if self.allowance < 0:
            raise FileFormatError(f"makes an array of shape {tuple(shape)}, and so far more numbers than the file has")

    def add(
        self, wanted: str, layer: Layer, inputs: Mapping[str, Tensor], arrays: Mapping[str, NDArray[Any]]
    ) -> dict[str, Tensor]:
        """Add a layer; return its outputs, without axes.

        Raises:
            NetError: It cannot take what it gets.
            ArgumentError: Its arrays have other shapes.
        """
        name = self.name(wanted)
        names = layer.input_ports(len(inputs))
        ports = Ports(
            {port: inputs[port].port if port in inputs else None for port in names},
            dict.fromkeys(layer.output_ports()),
        )
        try:
            layer.deduce(ports)
            declared = layer.declare(ports) if arrays else {}
        except MismatchError as mismatch:
            raise NetError(f"as {layer!r}: {mismatch}") from None
        if None in ports.outputs.values():
            raise NetError(f"as {layer!r}: the type of its output does not follow from what it gets")
        _check_arrays(layer, declared, arrays)
        self.layers[name] = layer
        self.feeds.update({(name, port): tensor.source for port, tensor in inputs.items()})
        for array, values in arrays.items():
            self.spend(values.shape)
            self.arrays[f"{name}.{array}"] = _own(values)
        found = {port: Tensor(Source(name, port), ports.output(port), ()) for port in layer.output_ports()}
        self.types.update({tensor.source: tensor.port for tensor in found.values()})
        return found

    def reshaped(self, wanted: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor with another shape of its item, and without axes; a reshape of a reshape is one."""
        source = tensor.source
        if source.node is not None and isinstance(self.layers[source.node], (Flatten, Reshape)):
            source = self.feeds[source.node, "Input"]
        port = self.types[source]
        if item_of(port).shape == shape:
            return Tensor(source, port, (), private=False)
        layer = Flatten() if len(shape) == 1 else Reshape(shape)
        return self.add(wanted, layer, {"Input": Tensor(source, port, ())}, {})["Output"]

    def net(self, inputs: Mapping[str, PortType], outputs: Mapping[str, Source]) -> NetGraph:
        """Return the net of what the outputs need.

        Raises:
            NetError: The net cannot be.
        """
        feeds_of: dict[str, list[Source]] = {name: [] for name in self.layers}
        for (name, _), source in self.feeds.items():
            feeds_of[name].append(source)
        kept = reached(outputs.values(), feeds_of.__getitem__)
        feeds = {place: source for place, source in self.feeds.items() if place[0] in kept}
        used = {source.port for source in feeds.values() if source.node is None}
        layers = {name: layer for name, layer in self.layers.items() if name in kept}
        edges = Edges(
            feeds=feeds,
            outputs=dict(outputs),
            ports={name: layer.input_ports(len(feeds_of[name])) for name, layer in layers.items()},
            inputs=[port for port in inputs if port in used],
        )
        net = NetGraph.from_edges(layers, edges, {port: inputs[port] for port in edges.inputs})
        return net.with_arrays({path: found for path, found in self.arrays.items() if path.partition(".")[0] in kept})


def _own(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, "float64" if array.dtype == np.float64 else "float32")


def _check_arrays(layer: Layer, declared: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if name not in declared or declared[name].shape != array.shape:
            expected = declared[name].shape if name in declared else "none"
            raise ArgumentError(f"as {layer!r}: its {name} would be of shape {expected}, the file has {array.shape}")


@dataclass(frozen=True)
class Call:
    """A node of the file at its turn.

    Attributes:
        build: The net in the making.
        node: The node.
        opset: The version of the file's operators.
        inputs: The values that it gets, None where one is left out.
        used: The places of its outputs that something reads.
    """

    build: Builder
    node: FileNode
    opset: int
    inputs: tuple[Value | None, ...]
    used: frozenset[int]

    @property
    def wanted(self) -> str:
        """A name for the node's layer: that of the module around the operator, as torch.onnx writes it, or its own."""
        parts = [part for part in self.node.name.replace(".", "_").split("/") if part and part.isprintable()]
        if len(parts) > 1 and parts[-1].partition("_")[0] == self.node.operator:
            parts.pop()
        return "_".join(parts) or self.node.operator.lower()

    def value(self, place: int) -> Value | None:
        """Return an input, None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def tensor(self, place: int = 0) -> Tensor:
        """Return an input that must depend on the net's inputs.

        Raises:
            NetError: It is a constant.
        """
        found = self.value(place)
        if isinstance(found, Stack):
            return self.joined(found)
        if not isinstance(found, Tensor):
            raise NetError(f"its input {place} is {'left out' if found is None else 'a constant'}, which is not read")
        return found

    def constant(self, place: int, what: str) -> NDArray[Any] | None:
        """Return an input that must be a constant, None where it is left out.

        Raises:
            NetError: It depends on the net's inputs, or on the size of a batch.
        """
        found = self.value(place)
        if found is not None and not isinstance(found, np.ndarray):
            kind = (
                "the size of a batch"
                if isinstance(found, Fill)
                else "the net's inputs; give it in arrays= if it is one"
            )
            raise NetError(f"its {what} must be constant, and depends on {kind}")
        if found is not None and not found.size and found.ndim > 1:
            raise FileFormatError(f"its {what} is of shape {found.shape}, without a number")
        return found

    def needed(self, place: int, what: str) -> NDArray[Any]:
        """Return a constant that must not be left out.

        Raises:
            NetError: It is no constant, or left out.
        """
        found = self.constant(place, what)
        if found is None:
            raise NetError(f"has no {what}")
        return found

    def numbers(self, name: str, place: int) -> tuple[int, ...] | None:
        """Return integers that are an attribute or, in later versions, an input; None where they are left out."""
        found = self.node.attributes.get(name)
        if found is None:
            found = self.constant(place, name)
            found = None if found is None else found.reshape(-1).tolist()
        if found is None or isinstance(found, int):
            return None if found is None else (found,)
        if not all(isinstance(entry, int) for entry in found):
            raise NetError(f"its {name} depend on the size of a batch: {found}")
        return tuple(found)

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute, or its default."""
        found = self.node.attributes.get(name, default)
        if default is not None and not isinstance(found, (type(default), int)):
            raise ArgumentError(f"its {name} is {found!r}")
        return found

    def refuse_unless(self, name: str, *allowed: Any) -> None:
        """Refuse an attribute with another value than these, the first of which is its default.

        Raises:
            NetError: It has another one.
        """
        found = self.node.attributes.get(name, allowed[0])
        if found not in allowed:
            raise NetError(f"{name} is {found!r}; what is read is {' or '.join(map(repr, allowed))}")

    def add(
        self,
        layer: Layer,
        inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
        arrays: Mapping[str, NDArray[Any]] | None = None,
        suffix: str = "",
    ) -> dict[str, Tensor]:
        """Add a layer with the node's name; return its outputs, without axes."""
        if isinstance(inputs, Tensor):
            inputs = {layer.input_ports(1)[0]: inputs}
        elif not isinstance(inputs, Mapping):
            inputs = dict(zip(layer.input_ports(len(inputs)), inputs))
        return self.build.add(self.wanted + suffix, layer, inputs, arrays or {})

    def reshaped(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor with another shape of its item, and without axes."""
        return self.build.reshaped(self.wanted + "_reshape", tensor, shape)

    def joined(self, stack: Stack) -> Tensor:
        """Return a stack as one tensor: its axis becomes one of the item."""
        axes = stack.parts[0].axes
        number = sum(isinstance(axis, int) for axis in axes[: stack.axis])
        shape = stack.parts[0].shape
        parts = [self.reshaped(part, (*shape[:number], 1, *shape[number:])) for part in stack.parts]
        found = self.add(Catenate(number), parts, suffix="_stack")["Output"] if len(parts) > 1 else parts[0]
        shifted = [axis + 1 if isinstance(axis, int) and axis >= number else axis for axis in axes]
        return found.seen_as(*shifted[: stack.axis], number, *shifted[stack.axis + 1 :])

    def as_item(self, tensor: Tensor, place: int) -> Tensor:
        """Return a tensor in which an axis of extent 1 is one of the item."""
        return self.joined(Stack((tensor,), place)) if tensor.axes[place] == ONE else tensor
