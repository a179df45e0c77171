"""The net description: layers, who feeds whom, and the types of the ports; a value that cannot change."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, FileFormatError, NetError, nearest
from ..mappings import FrozenMapping
from ..tables import table
from ..values import canonical_json, from_data, parse_json, register, to_data
from .graph import Graph, Source, Types, flatten, infer
from .layers.base import Layer
from .paths import Edges, parse_paths, source_of, split_name
from .types import PortType, check_port_type

FORMAT, VERSION = "mxtrainer-net", 1
InputTypes = Mapping[str, PortType]
NO_ENTRIES: Mapping[str, Any] = FrozenMapping()


@register
class NetGraph(Layer):
    """A net: named layers and the paths between them.

    In a path, a string is a layer, a layer's port as ``"layer.port"``, or, at an end only, a port of the net. A bare
    layer name means its first input, or its first output; a list at the beginning feeds a layer's inputs in order.
    An input that no path feeds becomes an input of the net under the port's own name (a loss brings "Target"), except
    a recurrent state, which then starts at zeros. A net is a layer: nets can be nested.

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
    _declared: Mapping[str, PortType]

    def __init__(
        self,
        layers: Mapping[str, Layer],
        paths: Iterable[tuple[str | list[str], ...]],
        inputs: InputTypes = NO_ENTRIES,
        share: Mapping[str, str] = NO_ENTRIES,
    ) -> None:
        """Parse the paths, and find what cannot be."""
        _check_layers(layers)
        edges = parse_paths(layers, paths if isinstance(paths, str) or paths is None else list(paths))
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
        if not isinstance(inputs, Mapping):
            raise NetError(f"inputs must map port names to types, got {inputs!r}")
        names = [*edges.inputs, *_brought(layers, edges)]
        for name, port in inputs.items():
            if name not in names:
                raise NetError(
                    f'inputs: the net has no input "{name}"{nearest(name, names) or "."} Its inputs: {", ".join(names)}'
                )
            check_port_type(port, f'inputs: "{name}"')
        fields = vars(self)
        fields.update(
            layers=FrozenMapping(layers, "layer", "the net"),
            layer_inputs=FrozenMapping(edges.ports),
            feeds=dict(edges.feeds),
            output_sources=FrozenMapping(edges.outputs, "output", "the net"),
            inputs=FrozenMapping({name: inputs.get(name) for name in names}, "input", "the net"),
            share=FrozenMapping(share),
            arrays=FrozenMapping({}, "array", "the net"),
            _declared=dict(inputs),
        )
        _check_used(layers, edges)
        fields["graph"] = graph = flatten(self)
        fields["types"] = types = infer(graph, self.inputs)
        known = {name: inputs.get(name) or types.inputs[name] for name in names}
        fields["inputs"] = FrozenMapping(known, "input", "the net")
        _check_share(self)
        for node in graph.nodes.values():
            node.layer.check_feeds(
                node.path, {port: graph.nodes[source.node].layer for port, source in node.feeds.items() if source.node}
            )

    def __setattr__(self, name: str, found: object) -> None:
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
        net = self._with_states("", pattern)
        if net is self:
            raise NetError(f'with_states("{pattern}"): the net has no recurrent state there that is not fed yet')
        return net

    def _with_states(self, prefix: str, pattern: str) -> NetGraph:
        layers = dict(self.layers)
        edges = self._edges()
        for name, layer in self.layers.items():
            path = prefix + name
            chosen = fnmatch.fnmatchcase(path, pattern) or path.startswith(f"{pattern}.")
            if isinstance(layer, NetGraph):
                layers[name] = layer._with_states(f"{path}.", pattern)  # noqa: SLF001 - of the same class
                edges.ports[name] = layers[name].input_ports()
                chosen = True  # its own states have been chosen by now
            for port in layers[name].states if chosen else ():
                if (name, port) not in edges.feeds and port in layers[name].output_ports():
                    edges.inputs.append(f"{name}.{port}")
                    edges.feeds[name, port] = Source(None, f"{name}.{port}")
                    edges.outputs[f"{name}.{port}"] = Source(name, port)
        if len(edges.inputs) == len(self._edges().inputs):
            return self
        derived = NetGraph.from_edges(layers, edges, self._declared, self.share)
        return derived.with_arrays(self.arrays) if self.arrays else derived

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
        if not isinstance(outputs, Mapping) or not outputs:
            raise NetError(f'take: outputs must map new ports to layers, as in {{"Output": "linear"}}, got {outputs!r}')
        whole = self._edges()
        cut: dict[tuple[str, str], Source] = {}
        for port, text in inputs.items():
            cut[self._input_of(text)] = Source(None, port)
        sources = {port: source_of(self.layers, text, f'take: "{port}"') for port, text in outputs.items()}
        for port, source in sources.items():
            if source.node is None:
                raise NetError(f'take: "{port}" needs a layer{nearest(source.port, self.layers)}, got "{source.port}"')
        feeds = {**whole.feeds, **cut}
        kept = _reached(sources.values(), feeds)
        edges = Edges(
            feeds={key: source for key, source in feeds.items() if key[0] in kept},
            outputs=sources,
            ports={name: ports for name, ports in whole.ports.items() if name in kept},
        )
        used = [source.port for source in edges.feeds.values() if source.node is None]
        edges.inputs = [port for port in (*self.inputs, *inputs) if port in used]
        layers = {name: layer for name, layer in self.layers.items() if name in kept}
        types = {port: self.inputs[port] for port in edges.inputs if port in self.inputs}
        types.update({source.port: self._type_of(key) for key, source in cut.items() if source.port in edges.inputs})
        declared = {port: found for port, found in types.items() if found is not None}
        return self._part(layers, edges, declared)

    def _part(self, layers: Mapping[str, Layer], edges: Edges, declared: InputTypes) -> NetGraph:
        """Return the net of some layers; who shared with a layer that is gone now owns its arrays."""
        owners: dict[str, str] = {}
        share: dict[str, str] = {}
        moved: dict[str, str] = {}
        for user, owner in self.share.items():
            if user.partition(".")[0] not in layers:
                continue
            if owner.partition(".")[0] in layers:
                share[user] = owner
            elif owner in owners:
                share[user] = owners[owner]
            else:
                owners[owner] = user
                moved[user] = owner
        part = NetGraph.from_edges(layers, edges, declared, share)
        if not self.arrays:
            return part
        arrays = {path: found for path, found in self.arrays.items() if path.partition(".")[0] in layers}
        for user, owner in moved.items():
            for path, found in self.arrays.items():
                if path == owner or path.startswith(f"{owner}."):
                    arrays[user + path[len(owner) :]] = found
        return part.with_arrays(arrays)

    def _input_of(self, text: str) -> tuple[str, str]:
        found = split_name(self.layers, text)
        if found is None:
            raise NetError(f'take: there is no layer "{text.partition(".")[0]}"{nearest(text, self.layers)}')
        name, port = found
        ports = self.layer_inputs[name]
        if port is not None and port not in ports:
            raise NetError(f'take: layer "{name}" has no input "{port}"; its inputs: {", ".join(ports)}')
        return name, port or ports[0]

    def _type_of(self, key: tuple[str, str]) -> PortType | None:
        name, port = key
        layer = self.layers[name]
        return layer.inputs[port] if isinstance(layer, NetGraph) else self.types.nodes[name].inputs[port]

    def with_arrays(self, arrays: Mapping[str, ArrayLike]) -> NetGraph:
        """Return the net with values for its arrays, copied; they take part in ``==``, not in `to_json`.

        Args:
            arrays: numpy arrays by path, all or a part; `compile_plan` checks nothing of them, ``arrays=`` does.

        Raises:
            ArgumentError: It is no mapping.
        """
        if not isinstance(arrays, Mapping):
            raise ArgumentError(f"with_arrays takes a mapping from array names to arrays, got {type(arrays).__name__}")
        derived = NetGraph.__new__(NetGraph)
        vars(derived).update(vars(self))
        copies = {path: np.array(found) for path, found in arrays.items()}
        for found in copies.values():
            found.flags.writeable = False
        vars(derived)["arrays"] = FrozenMapping(copies, "array", "the net")
        return derived

    def _edges(self) -> Edges:
        brought = set(_brought(self.layers, Edges(dict(self.feeds), ports=dict(self.layer_inputs))))
        return Edges(
            dict(self.feeds),
            dict(self.output_sources),
            dict(self.layer_inputs),
            [port for port in self.inputs if port not in brought],
        )

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
            "inputs": {name: to_data(port) for name, port in self._declared.items()},
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
            _check_layers(layers)
            edges = Edges(
                feeds={(name, port): Source(node, source) for (name, port), (node, source) in data["feeds"]},
                outputs={port: Source(node, source) for port, (node, source) in data["outputs"].items()},
                ports={name: tuple(ports) for name, ports in data["ports"].items()},
                inputs=list(data["order"]),
            )
            _check_edges(layers, edges)
            inputs = {name: from_data(port) for name, port in data["inputs"].items()}
            return NetGraph.from_edges(layers, edges, inputs, data["share"])
        except (KeyError, TypeError, ValueError, AttributeError, NetError) as error:
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
        data = parse_json(text, "net")
        if data.get("format") != FORMAT:
            raise FileFormatError(f'net: expected format "{FORMAT}", found {data.get("format")!r}')
        if data.get("version") != VERSION:
            raise FileFormatError(
                f"net: this version of mxtrainer reads version {VERSION}, found {data.get('version')!r}"
            )
        return NetGraph.from_data(data.get("net", {}))

    def _description(self) -> tuple[Any, ...]:
        feeds = frozenset(self.feeds.items())
        return (self.layers, feeds, self.output_sources, FrozenMapping(self._declared), self.share)

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
        return "\n".join([*heads, *tails, "", table(["layer", "kind", "inputs", "outputs"], rows)])


def NetChain(  # noqa: N802 - reads as the net it makes
    layers: Iterable[Layer] | Mapping[str, Layer],
    inputs: InputTypes = NO_ENTRIES,
    share: Mapping[str, str] = NO_ENTRIES,
) -> NetGraph:
    """A net whose layers feed one another in a straight line; the last layer's outputs are the net's.

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
    _check_layers(named)
    edges = Edges()
    before: str | None = None
    for name, layer in named.items():
        edges.ports[name] = ports = layer.input_ports()
        if before is not None:
            if not ports:
                raise NetError(f'layer "{name}" ({layer!r}) has no input that "{before}" could feed')
            edges.feeds[name, ports[0]] = Source(before, named[before].output_ports()[0])
        before = name
    assert before is not None  # _check_layers refuses an empty net
    first = named[before].output_ports()[0]
    edges.outputs[first] = Source(before, first)
    return NetGraph.from_edges(named, edges, inputs, share)


def _numbered(layers: Iterable[Layer]) -> dict[str, Layer]:
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for layer in layers:
        kind = type(layer).__name__.lower()
        counts[kind] = counts.get(kind, 0) + 1
        named[kind if counts[kind] == 1 else f"{kind}_{counts[kind]}"] = layer
    return named


def _check_layers(layers: object) -> None:
    if not isinstance(layers, Mapping) or not layers:
        raise NetError(
            f'layers must be a mapping with one layer or more, as in {{"linear": Linear(3)}}, got {layers!r}'
        )
    for name, layer in layers.items():
        if not isinstance(name, str) or not name or "." in name:
            raise NetError(f"a layer's name must be a string without a dot, got {name!r}")
        if not isinstance(layer, Layer):
            hint = f"; write {layer.__name__}()" if isinstance(layer, type) and issubclass(layer, Layer) else ""
            raise NetError(f'layer "{name}" must be a layer or a net, got {layer!r}{hint}')


def _brought(layers: Mapping[str, Layer], edges: Edges) -> list[str]:
    """Return the ports that unconnected inputs bring, and connect them.

    Raises:
        NetError: Two bring the same name.
    """
    brought: dict[str, str] = {}
    for name, layer in layers.items():
        for port in edges.ports[name]:
            source = edges.feeds.get((name, port))
            if source is None and port not in layer.states:
                _check_name_is_free(port, name, brought, edges)
                brought[port] = name
    for port, name in brought.items():
        edges.feeds[name, port] = Source(None, port)
    return [port for port in brought if port not in edges.inputs]


def _check_name_is_free(port: str, name: str, brought: Mapping[str, str], edges: Edges) -> None:
    other = brought.get(port)
    if other is None and port in edges.inputs:
        other = next((owner for (owner, _), source in edges.feeds.items() if source == Source(None, port)), "a path")
    if other is not None:
        raise NetError(
            f'"{other}" and "{name}" both bring an input "{port}". If both are to get the same, add the path '
            f'("{port}", "{name}.{port}")'
            + (f' and ("{port}", "{other}.{port}")' if other in brought.values() else "")
            + f'; if not, give one of them a name of its own, as in ("{name.capitalize()}{port}", "{name}.{port}")'
        )


def _check_used(layers: Mapping[str, Layer], edges: Edges) -> None:
    if not edges.outputs:
        raise NetError('the net has no output: let a path end with a name, as in ("linear", "Output")')
    for port in {*edges.inputs, *edges.outputs}:
        if port in layers:
            raise NetError(f'"{port}" is the name of a layer and of a port of the net; rename one of them')
    used = {source.node for source in (*edges.feeds.values(), *edges.outputs.values())}
    for name, layer in layers.items():
        if name not in used:
            port = layer.output_ports()[0]
            raise NetError(
                f'layer "{name}" ({layer!r}) is not used: no path goes on from its outputs'
                f'{_misspelt(name, edges)}; take it out as a port of the net, ("{name}", "{port}"), or remove it'
            )


def _misspelt(name: str, edges: Edges) -> str:
    hint = nearest(name, [*edges.inputs, *edges.outputs])
    return hint.replace("did you mean", "is it meant by").rstrip("?") if hint else ""


def _check_edges(layers: Mapping[str, Layer], edges: Edges) -> None:
    """Check edges that were read from a file."""
    for name, layer in layers.items():
        if edges.ports[name] != layer.input_ports(len(edges.ports[name])):
            raise NetError(f'layer "{name}" has no inputs {edges.ports[name]}')
    for name, port in edges.feeds:
        if port not in edges.ports[name]:
            raise NetError(f'layer "{name}" has no input "{port}"')
    for source in (*edges.feeds.values(), *edges.outputs.values()):
        if source.node is not None and source.port not in layers[source.node].output_ports():
            raise NetError(f'layer "{source.node}" has no output "{source.port}"')
    if any(source.node is None for source in edges.outputs.values()):
        raise NetError("an output must come from a layer")


def _check_share(net: NetGraph) -> None:
    for user, owner in net.share.items():
        for text in (user, owner):
            if not isinstance(text, str) or text.partition(".")[0] not in net.layers:
                raise NetError(f'share: there is no layer or array "{text}"{nearest(text, net.layers)}')
        if user == owner or owner in net.share:
            raise NetError(f'share: "{user}" must use the arrays of a layer that has its own, and "{owner}" has not')


def _reached(sources: Iterable[Source], feeds: Mapping[tuple[str, str], Source]) -> set[str]:
    """Return the layers that these sources need."""
    kept: set[str] = set()
    waiting = [source.node for source in sources]
    while waiting:
        name = waiting.pop()
        if name is not None and name not in kept:
            kept.add(name)
            waiting.extend(source.node for (owner, _), source in feeds.items() if owner == name)
    return kept


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
