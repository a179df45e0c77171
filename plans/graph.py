"""A net without nesting: nodes by path, who feeds whom, and the type of every port."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..errors import NetError
from ..mappings import FrozenMapping
from .layers.base import Layer, MismatchError, Ports
from .types import PortType, on_device

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

    from .net import NetGraph


NOTHING: Mapping[str, PortType | None] = FrozenMapping()


class Source(NamedTuple):
    """Where an edge begins: an output of a node, or a port of the net where `node` is None."""

    node: str | None
    port: str

    def __str__(self) -> str:
        """Show as a user writes it."""
        return self.port if self.node is None else f"{self.node}.{self.port}"


@dataclass(frozen=True)
class GraphNode:
    """A layer at its place.

    Attributes:
        path: Its name, with the names of the nets around it, as in ``"encoder.lstm"``.
        layer: The layer.
        inputs: Its input ports.
        feeds: The source of each connected input.
        given: The types that the nets around it give its inputs.
    """

    path: str
    layer: Layer
    inputs: tuple[str, ...]
    feeds: FrozenMapping[Source]
    given: FrozenMapping[PortType]


@dataclass(frozen=True)
class Graph:
    """A flat net.

    Attributes:
        nodes: The nodes by path, in the order in which they were written.
        order: Their paths, each after those that feed it, otherwise as written.
        inputs: The net's input ports.
        outputs: The source of each output port of the net.
        nets: The sources of the output ports of each net in the net, by its path.
        share: Whose arrays a node, or an array, uses.
    """

    nodes: FrozenMapping[GraphNode]
    order: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: FrozenMapping[Source]
    nets: FrozenMapping[FrozenMapping[Source]]
    share: FrozenMapping[str]

    def source_of(self, name: str) -> Source | None:
        """Return the source that a layer, "lstm", a net in the net, or a port of either, "lstm.State", stands for."""
        path, _, port = name.rpartition(".")
        if name in self.nodes:
            return Source(name, self.nodes[name].layer.output_ports()[0])
        if name in self.nets:
            return next(iter(self.nets[name].values()))
        if path in self.nodes and port in self.nodes[path].layer.output_ports():
            return Source(path, port)
        return self.nets[path].get(port) if path in self.nets else None

    def name_of(self, source: Source) -> str:
        """Return what `source_of` takes for a source: a layer's name where it is its first output."""
        bare = source.node is not None and self.source_of(source.node) == source
        return source.node if bare and source.node else str(source)

    def inputs_of(self, sources: tuple[Source, ...]) -> set[str]:
        """Return the net's input ports that these sources need."""
        feeds = [feed for path in self.needed_by(sources) for feed in self.nodes[path].feeds.values()]
        return {feed.port for feed in feeds if feed.node is None}

    def owner_of(self, path: str) -> str:
        """Return the path of the array that an array's path stands for.

        Raises:
            NetError: Nets inside one another share in a circle.
        """
        found = path
        for _ in range(len(self.share) + 1):
            user = next((user for user in self.share if found == user or found.startswith(f"{user}.")), None)
            if user is None:
                return found
            found = self.share[user] + found[len(user) :]
        raise NetError(f'share: "{path}" uses "{found}", which uses it in turn; one of them must own the arrays')

    def needed_by(self, sources: tuple[Source, ...]) -> tuple[str, ...]:
        """Return the nodes that these sources need, in order."""
        needed = reached(sources, lambda path: self.nodes[path].feeds.values())
        return tuple(path for path in self.order if path in needed)


def shared_lines(share: Mapping[str, str]) -> list[str]:
    """Say who uses whose arrays, one line each, for printed nets and plans."""
    return [f"{user} uses {owner}" for user, owner in share.items()]


def reached(sources: Iterable[Source], feeds: Callable[[str], Iterable[Source]]) -> set[str]:
    """Return the nodes that some sources need, given what feeds a node."""
    found: set[str] = set()
    waiting = [source.node for source in sources]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting.extend(source.node for source in feeds(node))
    return found


class _Scope:
    """A net at its place among the nets around it."""

    def __init__(self, net: NetGraph, prefix: str, parent: _Scope | None, name: str) -> None:
        self.net = net
        self.prefix = prefix
        self.parent = parent
        self.name = name
        self.inner = {
            name: _Scope(layer, f"{prefix}{name}.", self, name) for name, layer in net.layers.items() if is_net(layer)
        }

    def resolve(self, source: Source) -> Source | None:
        """Return the flat source, or None for a state that nobody feeds."""
        if source.node is None:
            if self.parent is None:
                return source
            outer = self.parent.net.feeds.get((self.name, source.port))
            return outer and self.parent.resolve(outer)
        if source.node in self.inner:
            inner = self.inner[source.node]
            return inner.resolve(inner.net.output_sources[source.port])
        return Source(self.prefix + source.node, source.port)

    def nets(self) -> Iterator[tuple[str, FrozenMapping[Source]]]:
        """Yield the nets in this one with the sources of their outputs, depth first."""
        for name, inner in self.inner.items():
            found = {port: inner.resolve(source) for port, source in inner.net.output_sources.items()}
            outputs = {port: source for port, source in found.items() if source is not None}
            yield self.prefix + name, FrozenMapping(outputs, "output", f'the net "{self.prefix}{name}"')
            yield from inner.nets()

    def share(self) -> Iterator[tuple[str, str]]:
        """Yield who uses whose arrays, outer nets first."""
        for user, owner in self.net.share.items():
            yield self.prefix + user, self.prefix + owner
        for inner in self.inner.values():
            yield from inner.share()

    def nodes(self) -> Iterator[GraphNode]:
        """Yield the nodes, depth first."""
        for name, layer in self.net.layers.items():
            if name in self.inner:
                yield from self.inner[name].nodes()
                continue
            ports = self.net.layer_inputs[name]
            found = {port: self.net.feeds.get((name, port)) for port in ports}
            feeds = {port: self.resolve(source) for port, source in found.items() if source is not None}
            connected = {port: source for port, source in feeds.items() if source is not None}
            given = {port: self.given(source) for port, source in found.items() if source is not None}
            known = {port: on_device(given) for port, given in given.items() if given is not None}
            yield GraphNode(self.prefix + name, layer, ports, FrozenMapping(connected), FrozenMapping(known))

    def given(self, source: Source) -> PortType | None:
        """Return the type that this net, or one around it, gives the source."""
        if source.node is not None or self.parent is None:
            return None
        outer = self.parent.net.feeds.get((self.name, source.port))
        return self.net.inputs[source.port] or (outer and self.parent.given(outer))


def is_net(layer: Layer) -> TypeGuard[NetGraph]:
    """Tell whether a layer is a net; net.py, which defines nets, lies above this file."""
    return isinstance(getattr(layer, "graph", None), Graph)


def flatten(net: NetGraph) -> Graph:
    """Return the net without nesting.

    Raises:
        NetError: It has a cycle, or shares arrays in one.
    """
    scope = _Scope(net, "", None, "")
    nodes = {node.path: node for node in scope.nodes()}
    resolved = {port: scope.resolve(source) for port, source in net.output_sources.items()}
    outputs = {port: source for port, source in resolved.items() if source is not None}
    graph = Graph(
        FrozenMapping(nodes, "layer", "the net"),
        _sorted(nodes),
        tuple(net.inputs),
        FrozenMapping(outputs, "output", "the net"),
        FrozenMapping(dict(scope.nets())),
        FrozenMapping(dict(scope.share())),
    )
    for user in graph.share:
        graph.owner_of(user)
    return graph


def _sorted(nodes: Mapping[str, GraphNode]) -> tuple[str, ...]:
    """Return the paths so that each comes after those that feed it, otherwise as written.

    Raises:
        NetError: It cannot be done.
    """
    number = {path: place for place, path in enumerate(nodes)}
    before = {path: _feeding(node) for path, node in nodes.items()}
    after: dict[str, list[str]] = {path: [] for path in nodes}
    for path, feeders in before.items():
        for feeder in feeders:
            after[feeder].append(path)
    missing = {path: len(feeders) for path, feeders in before.items()}
    ready = [(number[path], path) for path, count in missing.items() if not count]
    order: list[str] = []
    while ready:
        _, path = heapq.heappop(ready)
        order.append(path)
        for user in after[path]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, (number[user], user))
    if len(order) < len(nodes):
        raise NetError(
            f"the net has a cycle: {' -> '.join(_cycle(before, set(order)))}. A net has none; to use a value of the "
            f"step before, take it out as an output and feed it as an input of the next batch."
        )
    return tuple(order)


def _feeding(node: GraphNode) -> list[str]:
    """Return the nodes that feed this one, each once, in the order of its inputs."""
    return list(dict.fromkeys(feed.node for feed in node.feeds.values() if feed.node is not None))


def _cycle(before: Mapping[str, list[str]], done: set[str]) -> list[str]:
    """Return the paths along one cycle, in the direction of the edges; every node not done waits for another."""
    path = next(path for path in before if path not in done)
    seen: list[str] = []
    while path not in seen:
        seen.append(path)
        path = next(feeder for feeder in before[path] if feeder not in done)
    along = seen[seen.index(path) :][::-1]
    first = min(map(list(before).index, along))
    start = along.index(list(before)[first])
    return [*along[start:], *along[: start + 1]]


class Types(NamedTuple):
    """The types of all ports, None where they are not determined."""

    inputs: dict[str, PortType | None]
    nodes: dict[str, Ports]

    def of(self, source: Source) -> PortType | None:
        """Return the type at a source."""
        return self.inputs[source.port] if source.node is None else self.nodes[source.node].outputs[source.port]

    def settle(self, source: Source, found: PortType) -> None:
        """Make the type at a source known."""
        if source.node is None:
            self.inputs[source.port] = found
        else:
            self.nodes[source.node].outputs[source.port] = found


def infer(
    graph: Graph, declared: Mapping[str, PortType | None], needed: Mapping[str, PortType | None] = NOTHING
) -> Types:
    """Return all types that follow from those of the net's inputs, forwards and backwards.

    Args:
        graph: The net.
        declared: The types of its inputs, None where unknown.
        needed: The types that its outputs must have, as far as that is known.

    Raises:
        NetError: Two types meet that differ, or a layer cannot take what it gets.
    """
    types = Types(
        {port: found and on_device(found) for port, found in declared.items()},
        {
            path: Ports({port: node.given.get(port) for port in node.inputs}, dict.fromkeys(node.layer.output_ports()))
            for path, node in graph.nodes.items()
        },
    )
    for port, found in needed.items():
        if found is not None:
            types.settle(graph.outputs[port], found)
    known = -1
    while known != (known := _count(types)):
        for path in (*graph.order, *reversed(graph.order)):
            _infer_node(graph.nodes[path], types)
    return types


def _count(types: Types) -> int:
    tables = [types.inputs, *(table for ports in types.nodes.values() for table in (ports.inputs, ports.outputs))]
    return sum(found is not None for table in tables for found in table.values())


def _infer_node(node: GraphNode, types: Types) -> None:
    ports = types.nodes[node.path]
    for port, source in node.feeds.items():
        given, needed = types.of(source), ports.inputs[port]
        if given is None and needed is not None:
            types.settle(source, needed)
        elif given is not None and needed is None:
            ports.inputs[port] = given
        elif given != needed:
            raise NetError(f'layer "{node.path}", port "{port}": needs {needed!r}, but "{source}" gives {given!r}')
    try:
        node.layer.deduce(ports)
    except MismatchError as mismatch:
        raise NetError(f'layer "{node.path}" ({node.layer!r}): {mismatch}') from None
    for port, source in node.feeds.items():
        needed = ports.inputs[port]
        if needed is not None and types.of(source) is None:
            types.settle(source, needed)


def undetermined(graph: Graph, types: Types) -> str | None:
    """Return what is missing where a type is not determined, or None."""
    for path, node in graph.nodes.items():
        ports = types.nodes[path]
        for table in (ports.inputs, ports.outputs):
            for port, found in table.items():
                if found is None:
                    side = "input" if table is ports.inputs else "output"
                    return (
                        f'layer "{path}" ({node.layer!r}): the type of its {side} "{port}" is not determined; '
                        f"{node.layer.needs(ports)}"
                    )
    return None
