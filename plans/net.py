"""The net description: layers, who feeds whom, and the types of the ports; a value that cannot change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, FileFormatError, NetError
from ..mappings import FrozenMapping
from ..pictures import Picture
from ..tables import html_of, table
from ..values import UNREADABLE, canonical_json, from_data, open_json, register, to_data
from . import derived
from .checks import brought, check_edges, check_inputs, check_layers, check_share, check_used, depth
from .graph import Graph, Source, Types, flatten, infer, shared_lines
from .layers.base import Layer
from .paths import Edges, parse_paths
from .types import PortType

FORMAT, VERSION = "mxtrainer-net", 1
InputTypes = Mapping[str, PortType]
NO_ENTRIES: Mapping[str, Any] = FrozenMapping()


@register
class NetGraph(Layer):
    """A net: named layers and the paths between them.

    In a path, a string is a layer, a layer's port as ``"layer.port"``, or, at an end only, a port of the net. A bare
    layer name means its first input, or its first output; a list at the beginning feeds a layer's inputs in order.
    An input that no path feeds becomes an input of the net under the port's own name (a loss brings "Target"), except
    a recurrent state, which then starts at its initial value. A net is a layer: nets can be nested.

    Args:
        layers: Layers (or nets) by name; names have no dot.
        paths: Tuples of names.
        inputs: Types of the net's inputs; those that follow from others need not be given.
        share: Whose arrays a layer, or an array, uses: ``{"right": "left", "linear.Weights": "embedding.Weights"}``.

    Raises:
        NetError: The net cannot be; the text names the layer and the port.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, Scalar
        >>> net = NetGraph(
        ...     {"linear": Linear(), "loss": MeanSquaredLoss()},
        ...     [("Input", "linear", "loss", "Loss"), ("linear", "Output")],
        ...     inputs={"Input": Scalar(), "Target": Scalar()},
        ... )
        >>> dict(net.inputs)
        {'Input': Scalar(), 'Target': Scalar()}
        >>> tuple(net.outputs)
        ('Loss', 'Output')
    """

    layers: FrozenMapping[Layer]
    layer_inputs: FrozenMapping[tuple[str, ...]]
    feeds: Mapping[tuple[str, str], Source]
    output_sources: FrozenMapping[Source]
    inputs: FrozenMapping[PortType | None]
    share: FrozenMapping[str]
    arrays: FrozenMapping[NDArray[Any]]
    graph: Graph
    types: Types
    depth: int

    def __init__(
        self,
        layers: Mapping[str, Layer],
        paths: Iterable[tuple[str | list[str], ...]],
        inputs: InputTypes = NO_ENTRIES,
        share: Mapping[str, str] = NO_ENTRIES,
    ) -> None:
        """Parse the paths, and find what cannot be."""
        check_layers(layers)
        edges = parse_paths(layers, paths)
        self._set(layers, edges, inputs, share)

    @staticmethod
    def from_edges(
        layers: Mapping[str, Layer],
        edges: Edges,
        inputs: InputTypes = NO_ENTRIES,
        share: Mapping[str, str] = NO_ENTRIES,
    ) -> NetGraph:
        """Return the net of layers and edges that are already worked out.

        Raises:
            NetError: The net cannot be.
        """
        net = NetGraph.__new__(NetGraph)
        net._set(layers, edges, inputs, share)  # noqa: SLF001 - of the same class
        return net

    def _set(self, layers: Mapping[str, Layer], edges: Edges, inputs: InputTypes, share: Mapping[str, str]) -> None:
        """Fill all fields, checking that they make a net."""
        edges.inputs += [port for port in brought(layers, edges) if port not in edges.inputs]
        check_inputs(edges.inputs, inputs)
        check_used(layers, edges)
        check_share(layers, share)
        places = [(name, port) for name in layers for port in edges.ports[name] if (name, port) in edges.feeds]
        fields = vars(self)
        fields.update(
            layers=FrozenMapping(layers, "layer", "the net"),
            layer_inputs=FrozenMapping({name: edges.ports[name] for name in layers}),
            feeds=MappingProxyType({place: edges.feeds[place] for place in places}),
            output_sources=FrozenMapping(edges.outputs, "output", "the net"),
            inputs=FrozenMapping({name: inputs.get(name) for name in edges.inputs}, "input", "the net"),
            share=FrozenMapping(dict(sorted(share.items()))),
            arrays=FrozenMapping({}, "array", "the net"),
            depth=1 + max(map(depth, layers.values())),
        )
        fields["graph"] = graph = flatten(self)
        fields["types"] = types = infer(graph, self.inputs)
        known = {name: inputs.get(name) or types.inputs[name] for name in edges.inputs}
        fields["inputs"] = FrozenMapping(known, "input", "the net")
        for path, node in graph.nodes.items():
            before = {port: graph.nodes[source.node].layer for port, source in node.feeds.items() if source.node}
            node.layer.check_feeds(path, before)

    def __setattr__(self, name: str, found: object) -> None:
        """Refuse: a net is a value."""
        raise AttributeError("a net cannot be changed; build another one")

    def __delattr__(self, name: str) -> None:
        """Refuse: a net is a value."""
        raise AttributeError("a net cannot be changed; build another one")

    # Being a layer

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return the names of the net's inputs."""
        return tuple(self.inputs)

    def output_ports(self) -> tuple[str, ...]:
        """Return the names of the net's outputs."""
        return tuple(self.output_sources)

    @property
    def outputs(self) -> FrozenMapping[PortType | None]:
        """The types of the output ports, None where not determined."""
        found = {port: self.types.of(source) for port, source in self.graph.outputs.items()}
        return FrozenMapping(found, "output", "the net")

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]  # a class attribute of other layers
        """The inputs that feed only recurrent states, which may stay unconnected."""
        fed: dict[str, list[bool]] = {port: [] for port in self.inputs}
        for (name, port), source in self.feeds.items():
            if source.node is None:
                fed[source.port].append(port in self.layers[name].states)
        return tuple(port for port, found in fed.items() if found and all(found))

    # Derived nets

    def with_states(self, pattern: str = "*") -> NetGraph:
        """Return the net with its recurrent states as ports, in and out: ``"lstm.State"``, ``"lstm.CellState"``.

        States that a path feeds already, and those of Bidirectional layers, stay as they are.

        Args:
            pattern: A glob over layer paths, such as ``"decoder.*"``; a layer's name is all under it.

        Raises:
            NetError: There is no such state.

        Example:
            >>> from mxtrainer import LSTM, Linear, NetChain, Sequence, Vector
            >>> net = NetChain([LSTM(4), Linear(1)], inputs={"Input": Sequence("t", Vector(2))}).with_states()
            >>> tuple(net.inputs), tuple(net.outputs)
            (('Input', 'lstm.State', 'lstm.CellState'), ('Output', 'lstm.State', 'lstm.CellState'))
        """
        return derived.with_states(self, pattern)

    def take(self, outputs: Mapping[str, str], inputs: Mapping[str, str] = NO_ENTRIES) -> NetGraph:
        """Return the part of the net that gives some outputs, and only the inputs that these need.

        Args:
            outputs: ``{"Output": "linear", "Hidden": "lstm.State"}``: a new output port from each layer's port.
            inputs: ``{"Start": "decoder.State"}``: a new input port in place of what feeds a layer's port.

        Raises:
            NetError: A name is unknown.

        Example:
            >>> from mxtrainer import CrossEntropyLoss, Linear, NetChain, Vector
            >>> net = NetChain([Linear(3), CrossEntropyLoss("index")], inputs={"Input": Vector(2)})
            >>> net.take({"Output": "linear"})
            NetGraph(Input -> Output, 1 layer)
        """
        return derived.take(self, outputs, inputs)

    def with_arrays(self, arrays: Mapping[str, ArrayLike]) -> NetGraph:
        """Return the net with values for its arrays, copied; they take part in ``==``, not in `to_json`.

        Args:
            arrays: numpy arrays by path, all or a part; `compile_plan` checks nothing of them, ``arrays=`` does.

        Raises:
            ArgumentError: It is no mapping from names to arrays of numbers.
        """
        if not isinstance(arrays, Mapping):
            raise ArgumentError(f"with_arrays takes a mapping from array names to arrays, got {type(arrays).__name__}")
        copies = {path: _copy(path, found) for path, found in arrays.items()}
        net = NetGraph.__new__(NetGraph)
        vars(net).update(vars(self))
        vars(net)["arrays"] = FrozenMapping(copies, "array", "the net")
        return net

    def edges(self) -> Edges:
        """Return a copy of who feeds whom."""
        return Edges(dict(self.feeds), dict(self.output_sources), dict(self.layer_inputs), list(self.inputs))

    # Being a value

    def to_data(self) -> dict[str, Any]:
        """Return the description as plain JSON data."""
        return {
            "type": "NetGraph",
            "layers": {name: to_data(layer) for name, layer in self.layers.items()},
            "feeds": [[[name, port], list(source)] for (name, port), source in self.feeds.items()],
            "outputs": {port: list(source) for port, source in self.output_sources.items()},
            "ports": {name: list(ports) for name, ports in self.layer_inputs.items()},
            "order": list(self.inputs),
            "inputs": {name: to_data(port) for name, port in self.inputs.items() if port is not None},
            "share": dict(self.share),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> NetGraph:
        """Return the net that `to_data` wrote.

        Raises:
            FileFormatError: The data describe no net.
        """
        try:
            layers = {str(name): from_data(layer) for name, layer in data["layers"].items()}
            check_layers(layers)
            edges = Edges(
                feeds={(name, port): Source(node, source) for (name, port), (node, source) in data["feeds"]},
                outputs={port: Source(node, source) for port, (node, source) in data["outputs"].items()},
                ports={name: tuple(ports) for name, ports in data["ports"].items()},
                inputs=list(data["order"]),
            )
            check_edges(layers, edges)
            inputs = {name: from_data(port) for name, port in data["inputs"].items()}
            return NetGraph.from_edges(layers, edges, inputs, data["share"])
        except FileFormatError:
            raise
        except UNREADABLE as error:
            raise FileFormatError(f"this is no net: {type(error).__name__}: {error}") from error

    def to_json(self) -> str:
        """Return the description, without arrays, as JSON: same net, same text.

        Example:
            >>> from mxtrainer import Linear, NetChain, NetGraph, Vector
            >>> net = NetChain([Linear(3)], inputs={"Input": Vector(2)})
            >>> NetGraph.from_json(net.to_json()) == net
            True
        """
        return canonical_json({"format": FORMAT, "version": VERSION, "net": self.to_data()})

    @staticmethod
    def from_json(text: str) -> NetGraph:
        """Return the net in a JSON text; builds layers of this package only, and runs no other code.

        Raises:
            FileFormatError: The text is truncated, foreign, or of a newer version.
        """
        return NetGraph.from_data(open_json(text, "net", FORMAT, VERSION).get("net", {}))

    def _description(self) -> tuple[Any, ...]:
        """Return all that makes two nets the same; the order of layers and ports is that of arrays and files."""
        layers, inputs, outputs = (tuple(found.items()) for found in (self.layers, self.inputs, self.output_sources))
        return layers, inputs, outputs, frozenset(self.feeds.items()), self.share

    def __eq__(self, other: object) -> bool:
        """Compare descriptions, and arrays where there are any."""
        if not isinstance(other, NetGraph):
            return NotImplemented
        return self._description() == other._description() and _same_arrays(self.arrays, other.arrays)

    def __hash__(self) -> int:
        """Hash the description."""
        return hash(self._description())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the description and the arrays."""
        return _unpickle, (self.to_data(), dict(self.arrays))

    def __repr__(self) -> str:
        """Show the ports and the number of layers."""
        count = len(self.layers)
        ports = f"{', '.join(self.inputs)} -> {', '.join(self.output_sources)}"
        return f"NetGraph({ports}, {count} layer{'s' if count != 1 else ''})"

    def __str__(self) -> str:
        """Show every layer with the types of its ports, as a table."""
        rows = []
        for path, node in self.graph.nodes.items():
            ports = self.types.nodes[path]
            rows.append([path, repr(node.layer), _shown(ports.inputs), _shown(ports.outputs)])
        heads = [f"input   {name}: {found or 'not determined'}" for name, found in self.inputs.items()]
        tails = [f"output  {name}: {self.outputs[name] or 'not determined'}" for name in self.outputs]
        lines = [*heads, *tails, "", table(["layer", "kind", "inputs", "outputs"], rows)]
        return "\n".join([*lines, *shared_lines(self.graph.share)])

    def picture(self) -> Picture:
        """Return the net as a picture: layers, the types between them, states.

        A notebook shows it where graphviz is installed. Dashed edges are states; dotted ones, arrays that are shared.
        Types may be undetermined. A net that a `Fold` or a `Map` runs has a picture of its own.

        Example:
            >>> from mxtrainer import LSTM, Linear, NetChain, Scalar, Sequence
            >>> net = NetChain([LSTM(16), Linear(())], inputs={"Input": Sequence("t", Scalar())})
            >>> print(net.picture().dot.splitlines()[0])
            digraph net {
        """
        from .drawing import dot_of_net

        return Picture(repr(self), dot_of_net(self))

    def _repr_html_(self) -> str:
        from .net_tables import parts_of

        return html_of(parts_of(self))


def NetChain(  # noqa: N802 - reads as the net it makes
    layers: Iterable[Layer] | Mapping[str, Layer],
    inputs: InputTypes = NO_ENTRIES,
    share: Mapping[str, str] = NO_ENTRIES,
) -> NetGraph:
    """A net whose layers feed one another in a straight line; the last one's first output is the net's.

    Args:
        layers: The layers; named by their class in lower case, numbered from the second on ("lstm", "lstm_2"), or
            given by name.
        inputs: Types of the net's inputs; those that follow from others need not be given.
        share: Whose arrays a layer, or an array, uses (see `NetGraph`).

    Raises:
        NetError: The net cannot be; the text names the layer and the port.

    Example:
        >>> from mxtrainer import LSTM, CrossEntropyLoss, Embedding, Index, Linear, Sequence
        >>> net = NetChain(
        ...     [Embedding(64), LSTM(128), Linear(256), CrossEntropyLoss("index")],
        ...     inputs={"Input": Sequence("t", Index(256))},
        ... )
        >>> net.inputs["Target"]
        Sequence('t', Index(256))
    """
    named = dict(layers) if isinstance(layers, Mapping) else _numbered(layers)
    check_layers(named)
    edges = Edges(ports={name: layer.input_ports() for name, layer in named.items()})
    for before, name in zip(named, list(named)[1:]):
        if not edges.ports[name]:
            raise NetError(f'layer "{name}" ({named[name]!r}) has no input that "{before}" could feed')
        edges.feeds[name, edges.ports[name][0]] = Source(before, named[before].output_ports()[0])
    last = list(named)[-1]
    port = named[last].output_ports()[0]
    edges.outputs[port] = Source(last, port)
    return NetGraph.from_edges(named, edges, inputs, share)


def _numbered(layers: object) -> dict[str, Layer]:
    listed = list(layers) if isinstance(layers, Iterable) and not isinstance(layers, str) else []
    if not listed:
        raise NetError(f"layers must be a list of layers, as in [Linear(3), MeanSquaredLoss()], got {layers!r}")
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for layer in listed:
        kind = (layer if isinstance(layer, type) else type(layer)).__name__.lower()
        counts[kind] = counts.get(kind, 0) + 1
        named[kind if counts[kind] == 1 else f"{kind}_{counts[kind]}"] = layer
    return named


def _copy(path: object, found: ArrayLike) -> NDArray[Any]:
    """Return a copy that cannot be written to."""
    try:
        copy = np.array(found)
        usable = copy.dtype.kind in "biuf"
    except (ValueError, UserWarning):  # lists of different lengths, of which numpy 1.23 only warns
        usable = False
    if not isinstance(path, str) or not usable:
        raise ArgumentError(f"with_arrays: {path!r} must be the name of an array of numbers, got {found!r}")
    copy.flags.writeable = False
    return copy


def _same_arrays(left: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[Any]]) -> bool:
    return set(left) == set(right) and all(
        left[path].dtype == right[path].dtype and np.array_equal(left[path], right[path], equal_nan=True)
        for path in left
    )


def _shown(ports: Mapping[str, PortType | None]) -> str:
    return ", ".join(f"{port} {found or '?'}" for port, found in ports.items())


def _unpickle(data: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> NetGraph:
    net = NetGraph.from_data(data)
    return net.with_arrays(arrays) if arrays else net
