"""Layers that run a net of their own on the items of sequences: what Fold and Map have in common.

Unlike those of other layers, these files lie above `net.py`, so `layers/__init__.py` does not import them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Callable, ClassVar, NamedTuple

from ..._mxnet import mx
from ...errors import ArgumentError, NetError
from ..derived import settled_net
from ..graph import Graph, Source, Types, infer, undetermined
from ..net import NetGraph
from ..storage import allocate
from ..types import PortType, Sequence, item_if_known, on_device
from .base import Declared, Layer, MismatchError, Node, Ports, Symbol, check_padding, set_fields

Known = dict[str, "PortType | None"]


@dataclass(frozen=True, repr=False)
class NetLayer(Layer):
    """The base of layers that run a net on items.

    Its ports are those of the net: an input or an output that is neither a state nor unchanged is a Sequence, and all
    of these have one length.
    """

    masks_padding: ClassVar[bool] = True
    net: NetGraph

    def __post_init__(self) -> None:
        """Check the net.

        Raises:
            ArgumentError: It is no net.
            NetError: It has a loss, or takes a sequence where it gets one item.
        """
        name = type(self).__name__
        if not isinstance(self.net, NetGraph):
            raise ArgumentError(
                f"{name}: takes a net, as in {name}(mxt.NetChain([mxt.Linear(3)]){self._example()}), got {self.net!r}"
            )
        set_fields(self, net=self.net.with_arrays({}))
        for path, node in self.net.graph.nodes.items():
            if node.layer.is_loss:
                raise NetError(
                    f'{name}: its net has the loss "{path}" ({node.layer!r}); put it after the {name}, over the whole '
                    f"sequence"
                )

    def _example(self) -> str:
        return ""

    def _check_types(self) -> None:
        """Find what cannot be, whatever the layer will get."""
        name = type(self).__name__
        for port in (*self.stepped, *self.states):
            found = self.net.inputs[port]
            if isinstance(found, Sequence):
                raise NetError(
                    f'{name}: the input "{port}" of its net is {found!r}, but gets one item at each step; '
                    f"give its type as {found.item!r}{self._instead(port)}"
                )
        try:
            self.deduce(Ports(dict.fromkeys(self.input_ports()), dict.fromkeys(self.output_ports())))
        except MismatchError as mismatch:
            raise NetError(f"{name}: {mismatch}") from None

    def _instead(self, port: str) -> str:
        return ""

    # What it does with the ports of the net

    def loops(self) -> Mapping[str, str]:
        """Return the input that each output becomes at the next step."""
        return {}

    def unchanged(self) -> tuple[str, ...]:
        """Return the inputs that are the same at every step."""
        return ()

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]  # a class attribute of other layers
        """The inputs that an output becomes."""
        fed = self.loops().values()
        return tuple(port for port in self.net.inputs if port in fed)

    @property
    def random(self) -> bool:  # type: ignore[override]  # a class attribute of other layers
        """Whether a layer of the net draws random numbers."""
        return any(node.layer.random for node in self.net.graph.nodes.values())

    @property
    def stepped(self) -> tuple[str, ...]:
        """The inputs that are sequences, of which the net gets one step."""
        return tuple(port for port in self.net.inputs if port not in (*self.states, *self.unchanged()))

    @property
    def emitted(self) -> tuple[str, ...]:
        """The outputs that are sequences, of which the net gives one step."""
        return tuple(port for port in self.net.output_sources if port not in self.states)

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return sequences, what is unchanged, and states."""
        return (*self.stepped, *self.unchanged(), *self.states)

    def output_ports(self) -> tuple[str, ...]:
        """Return sequences and states."""
        return (*self.emitted, *self.states)

    # Being made of a net

    def nets(self) -> tuple[NetGraph, ...]:
        """Return the net."""
        return (self.net,)

    def with_nets(self, change: Callable[[NetGraph], NetGraph]) -> Layer:
        """Return the layer with its net changed."""
        return replace(self, net=change(self.net))

    def settled(self, ports: Ports) -> Layer:
        """Return the layer with a net that has these types."""
        return replace(self, net=settled_net(self.net, self.inner_types(ports)))

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the arrays of the net under their paths in it.

        Raises:
            MismatchError: The types in the net are not determined, or its arrays cannot be.
        """
        types = self.inner_types(ports)
        missing = undetermined(self.net.graph, types)
        if missing is not None:
            raise MismatchError(f"in its net, {missing}")
        try:
            return allocate(self.net.graph, types).arrays
        except NetError as error:
            raise MismatchError(f"in its net, {error}") from None

    def packs(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups of the net's layers, where nothing in it is shared."""
        graph = self.net.graph
        groups = [(path, names) for path, node in graph.nodes.items() for names in node.layer.packs()]
        return () if graph.share else tuple(tuple(f"{path}.{name}" for name in names) for path, names in groups)

    # Types

    def deduce(self, ports: Ports) -> None:
        """Infer the types in the net from those around it, and the other way round."""
        types, length = self.inner_types(ports), self._length(ports)
        for port in self.unchanged():
            _settle(ports.set_input, port, types.inputs[port])
        for port in self.states:
            _settle(ports.set_input, port, types.inputs[port])
            _settle(ports.set_output, port, types.inputs[port])
        made = {port: types.of(self.net.graph.outputs[port]) for port in self.emitted}
        for port, found in made.items():
            if isinstance(found, Sequence):
                raise MismatchError(f'the output "{port}" of its net is {found!r}, but must be one item')
            if length is not None:
                _settle(ports.set_output, port, found and Sequence(length, found))
        if length is not None:
            for port in self.stepped:
                item = item_if_known(types.inputs[port])
                _settle(ports.set_input, port, item and Sequence(length, item))

    def inner_types(self, ports: Ports) -> Types:
        """Return the types in the net, given those of the layer's ports as far as they are known.

        Raises:
            MismatchError: The types cannot be.
        """
        inputs, needed = self._inner_inputs(ports), self._inner_outputs(ports)
        while True:
            try:
                types = infer(self.net.graph, inputs, needed)
            except NetError as error:
                raise MismatchError(f"in its net, {error}{self._fed_back(inputs)}") from None
            if not self._carry_types(types, inputs, needed):
                return types

    def _inner_inputs(self, ports: Ports) -> Known:
        outer: Known = {port: item_if_known(ports.inputs[port]) for port in self.stepped}
        outer.update({port: ports.inputs[port] for port in self.unchanged()})
        outer.update({port: ports.inputs[port] or ports.outputs[port] for port in self.states})
        inputs: Known = {}
        for port, inner in self.net.inputs.items():
            found = outer[port]
            needed = inner and on_device(inner)
            if port in self.states and isinstance(found, Sequence):
                raise MismatchError(f'port "{port}" gets {found!r}, but a state is one item, without steps')
            if found is not None and needed is not None and found != needed:
                at = " at each step" if port in self.stepped else ""
                raise MismatchError(f'port "{port}" gets {found!r}{at}, but its net needs {needed!r} there')
            inputs[port] = found or needed
        return inputs

    def _inner_outputs(self, ports: Ports) -> Known:
        return {port: item_if_known(ports.outputs[port]) for port in self.emitted}

    def _fed_back(self, inputs: Known) -> str:
        """Say which outputs become which states, after the text of an error."""
        known = {output: state for output, state in self.loops().items() if inputs[state] is not None}
        fed = [f'"{output}" becomes the state "{state}", {inputs[state]!r}' for output, state in known.items()]
        return f"; {', '.join(fed)}" if fed else ""

    def _carry_types(self, types: Types, inputs: Known, needed: Known) -> bool:
        """Give a state and the output that becomes it one type; tell whether that is new."""
        new = False
        for output, state in self.loops().items():
            made, taken = types.of(self.net.graph.outputs[output]), types.inputs[state]
            if made is not None and taken is not None and made != taken:
                raise MismatchError(
                    f'the output "{output}" of its net is {made!r}, but becomes the state "{state}", which is '
                    f"{taken!r}; both must have one type"
                )
            new = new or made != taken
            inputs[state] = needed[output] = made or taken
        return new

    def _length(self, ports: Ports) -> str | None:
        """Return the name of the one length of all sequences."""
        tables = ((self.stepped, ports.inputs, "gets"), (self.emitted, ports.outputs, "is to give"))
        found: dict[str, Sequence] = {}
        for names, table, verb in tables:
            for port in names:
                known = table[port]
                if known is not None and not isinstance(known, Sequence):
                    raise MismatchError(
                        f'port "{port}" {verb} {known!r}, but this layer needs a Sequence("t", ...) there'
                    )
                if known is not None:
                    found[port] = known
        for port, known in found.items():
            first = next(iter(found))
            if known.length != found[first].length:
                raise MismatchError(
                    f'ports "{first}" and "{port}" need sequences of one length, got {found[first]!r} and {known!r}'
                )
        return next((known.length for known in found.values()), None)

    def needs(self, ports: Ports) -> str:
        """Say which type to give, and where."""
        for port in (*self.stepped, *self.unchanged()):
            if ports.inputs[port] is None:
                return (
                    f'give the type of its input "{port}" in inputs={{...}}, a Sequence("t", ...) unless it is constant'
                )
        for port in self.states:
            if ports.inputs[port] is None:
                return f'give it in the inputs of its net, as in inputs={{"{port}": mxt.Vector(8)}}'
        return f"in its net, {undetermined(self.net.graph, self.inner_types(ports))}"

    def inside(self, ports: Ports) -> Inside:
        """Return the net, ready to be lowered."""
        types = self.inner_types(ports)
        graph = self.net.graph
        return Inside(graph, types, allocate(graph, types).used, _read(graph))


def _settle(settle: Callable[[str, PortType], None], port: str, found: PortType | None) -> None:
    if found is not None:
        settle(port, found)


def _read(graph: Graph) -> dict[str, frozenset[str]]:
    feeds = [source for node in graph.nodes.values() for source in node.feeds.values()]
    sources = (*feeds, *graph.outputs.values())
    return {path: frozenset(source.port for source in sources if source.node == path) for path in graph.nodes}


class Frame(NamedTuple):
    """What the rows are on which layers of an inner net run.

    Attributes:
        outer: The layer around the net.
        seen: ``(n,)``: 1 where a row is a true step, 0 over padding; None where there is no padding.
        repeats: How many rows each example has.
    """

    outer: Node
    seen: Symbol | None
    repeats: int = 1


def all_steps(node: Node, port: PortType) -> Frame:
    """Return the frame of all steps of a sequence, merged into the batch."""
    seen = node.step_mask(port)
    return Frame(node, None if seen is None else mx.sym.reshape(seen, shape=(-1,)), node.steps(port))


class Inside(NamedTuple):
    """The net of a layer.

    Attributes:
        graph: The net.
        types: The types in it.
        arrays: Whose array each array of each node is.
        read: The outputs of each node that something reads.
    """

    graph: Graph
    types: Types
    arrays: Mapping[str, Mapping[str, str]]
    read: Mapping[str, frozenset[str]]

    def lower(self, paths: Iterable[str], values: dict[Source, Symbol], frame: Frame) -> None:
        """Lower some layers, given the values that they read, to which theirs are added."""
        for path in paths:
            node = _InnerNode(self, path, values, frame)
            layer = self.graph.nodes[path].layer
            check_padding(path, layer, node)
            values.update({Source(path, port): symbol for port, symbol in layer.lower(node).items()})


class _InnerNode(Node):
    """What one layer of an inner net sees; its rows are the examples, or all their steps."""

    def __init__(self, inside: Inside, path: str, values: Mapping[Source, Symbol], frame: Frame) -> None:
        self._frame = frame
        self._arrays = inside.arrays[path]
        self.ports = inside.types.nodes[path]
        self.inputs = {port: values[source] for port, source in inside.graph.nodes[path].feeds.items()}
        self.used = inside.read[path]
        self.training = frame.outer.training
        self.dtype = frame.outer.dtype
        self.lengths = frame.outer.lengths
        self.true_lengths = frame.outer.true_lengths

    def array(self, name: str) -> Symbol:
        return self._frame.outer.array(self._arrays[name])

    def packed(self, names: tuple[str, ...]) -> Symbol:
        return self._frame.outer.packed(tuple(self._arrays[name] for name in names))

    def move(self, name: str, new: Symbol) -> None:
        self._frame.outer.move(self._arrays[name], new)

    def row_mask(self) -> Symbol:
        rows = self._frame.outer.row_mask()
        if self._frame.repeats > 1:
            rows = mx.sym.repeat(rows, repeats=self._frame.repeats)
        return rows if self._frame.seen is None else rows * self._frame.seen

    def step_mask(self, port: PortType) -> Symbol | None:
        mask = self._frame.outer.step_mask(port)
        if mask is None or self._frame.seen is None:
            return mask
        return mx.sym.broadcast_mul(mask, mx.sym.expand_dims(self._frame.seen, axis=1))

    def hide(self, symbol: Symbol, port: PortType, value: float = 0.0) -> Symbol:
        hidden = super().hide(symbol, port, value)
        if self._frame.seen is None:
            return hidden
        return mx.sym.where(self._frame.seen, hidden, mx.sym.ones_like(hidden) * value)
