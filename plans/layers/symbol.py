"""A graph of MXNet operators as a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ..._mxnet import mx
from ...errors import ArgumentError
from ...values import register
from ..initializers import Initializer, Ones, Uniform, Xavier, Zeros
from ..operators import BATCH_NORM, BY_LENGTH, DECONVOLUTION, DROPOUT, LOSSES, RNN
from ..symbols import VARIABLE, Entry, Operation, SymbolGraph, apply_operation
from ..types import Array, PortType, Sequence, item_of, length_of
from .base import NO_INITIALIZERS, Declared, Layer, Node, Ports, Symbol, check_choice, check_initializers, set_fields
from .normalization import BatchNorm
from .symbol_shapes import BATCH_FIRST, LAYOUTS, TIME_FIRST, Output, Shapes, real_as, shapes_of, shapes_within

BLOCKS = frozenset(("BlockGrad", "stop_gradient"))
ONES_BY_NAME = ("_gamma", "_var", "_running_var")
ZEROS_BY_NAME = ("_beta", "_bias", "_mean")


def port_name(name: str) -> str:
    """Return the name of the port that a variable or an output becomes; ports have no dot."""
    return name.replace(".", "_")


@register
@dataclass(frozen=True, repr=False)
class SymbolLayer(Layer):
    """A graph of MXNet operators, as `from_symbol`, `from_mxnet` and `from_gluon` make it.

    Ports: an input for each variable in `inputs`, an output for each head, under MXNet's names (with "_" for dots).
    Arrays: all other variables, under their names. The moving statistics of a BatchNorm are auxiliary, and so is what
    nothing trains: `constants`, and what only a BlockGrad reads.
    BatchNorm is ours, which leaves out the rows that a short batch lacks; all else is MXNet's own. All examples of a
    batch have one length. Arrays start as their names say: ``..._gamma`` and ``..._var`` at 1, ``..._beta``,
    ``..._bias`` and ``..._mean`` at 0, matrices with `Xavier`, other vectors with ``Uniform(0.07)``.

    Args:
        graph: The graph, as MXNet writes it in JSON.
        inputs: The variables that are ports.
        layout: "NTC", or "TNC": in the graph, time comes before the batch in every sequence.
        constants: Arrays that nothing trains.
        initializers: Initializers by array name.

    Raises:
        FileFormatError: The graph is damaged, or has operators that cannot be taken over.
        ArgumentError: An input is no variable of it.

    Example:
        >>> import mxtrainer as mxt
        >>> from mxtrainer._mxnet import mx
        >>> fc = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc")
        >>> SymbolLayer(fc.tojson(), ("data",))
        SymbolLayer(1 operator: data -> fc_output)
    """

    graph: str
    inputs: tuple[str, ...]
    layout: str = BATCH_FIRST
    constants: tuple[str, ...] = ()
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check all of it, and bring the graph into its one form."""
        graph = SymbolGraph.parse(self.graph)
        hints = {name: shape for name, shape in graph.hints().items() if name not in self.inputs}
        set_fields(
            self, graph=graph.with_hints(hints).to_text(), inputs=tuple(self.inputs), constants=tuple(self.constants)
        )
        for field, names in (("inputs", self.inputs), ("constants", self.constants)):
            unknown = [name for name in names if name not in self.parsed.variables]
            if unknown:
                known = ", ".join(self.parsed.variables)
                raise ArgumentError(f"SymbolLayer: {field}: the graph has no variable {unknown[0]!r}; it has {known}")
        for kind, ports in (("inputs", self.input_ports()), ("outputs", self.output_ports())):
            if len(set(ports)) < len(ports):
                raise ArgumentError(f"SymbolLayer: two {kind} have one name: {', '.join(ports)}")
        check_choice(self, "layout", LAYOUTS)
        check_initializers(self)
        for node in self.parsed.operations:
            _check_operation(node, self.parsed)

    def __repr__(self) -> str:
        """Show the ports and how many operators there are."""
        number = len(self.parsed.operations)
        ports = f"{', '.join(self.input_ports())} -> {', '.join(self.output_ports())}"
        return f"SymbolLayer({number} operator{'s' if number != 1 else ''}: {ports})"

    @cached_property
    def parsed(self) -> SymbolGraph:
        """The graph."""
        return _parsed(self.graph)

    @property
    def random(self) -> bool:  # type: ignore[override]  # a class attribute of other layers
        """Whether something is dropped in training."""
        return any(node.operator in {DROPOUT, RNN} and _drops(node) for node in self.parsed.operations)

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return the names of the inputs."""
        return tuple(map(port_name, self.inputs))

    def output_ports(self) -> tuple[str, ...]:
        """Return the names of the heads."""
        return tuple(port_name(self.parsed.name_of(head)) for head in self.parsed.heads)

    def deduce(self, ports: Ports) -> None:
        """Infer the shapes by MXNet, once all inputs are known."""
        known = tuple(ports.inputs[port] for port in self.input_ports())
        if None in known:
            return
        for port, output in zip(self.output_ports(), self._shapes(ports).outputs):
            ports.set_output(port, output.type)

    def needs(self, ports: Ports) -> str:
        """Ask for all inputs."""
        missing = ", ".join(port for port in self.input_ports() if ports.inputs[port] is None)
        return f"give the types of its inputs in inputs={{...}}: {missing or 'none is missing'}"

    def _shapes(self, ports: Ports) -> Shapes:
        return shapes_of(self.graph, self.inputs, tuple(map(ports.input, self.input_ports())), self.layout)

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the variables that are no inputs, those that nothing trains last."""
        shapes, fixed = self._shapes(ports).arrays, fixed_arrays(self.parsed)
        moved = {*moving_arrays(self.parsed), *blocked_arrays(self.parsed), *self.constants}
        declared = {
            name: Declared(shape, initializer_of(name, shape), auxiliary=name in moved)
            for name, shape in shapes.items()
            if name not in fixed
        }
        return dict(sorted(declared.items(), key=lambda item: item[1].auxiliary))

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return the graph, operator by operator."""
        shapes = self._shapes(node.ports)
        known = tuple(map(node.ports.input, self.input_ports()))
        lengths = tuple((name, node.lengths[name]) for name in dict.fromkeys(map(length_of, known)) if name is not None)
        within = shapes_within(self.graph, self.inputs, known, self.layout, lengths, shapes.outputs)
        unread = fixed_arrays(self.parsed) | moving_arrays(self.parsed)  # but by our BatchNorm, which asks for itself
        variables = {name: mx.sym.var(name) if name in unread else node.array(name) for name in shapes.arrays}
        for name, port in zip(self.inputs, self.input_ports()):
            variables[name] = self._entering(node.inputs[port], node.ports.input(port))
        apply = _Applying(node, self.parsed, within)
        heads = self.parsed.build(variables, apply)
        pairs = zip(self.output_ports(), heads, shapes.outputs)
        return {port: self._leaving(node, symbol, output) for port, symbol, output in pairs}

    def _entering(self, symbol: Symbol, port: PortType) -> Symbol:
        swapped = isinstance(port, Sequence) and self.layout == TIME_FIRST
        return mx.sym.swapaxes(symbol, dim1=0, dim2=1) if swapped else symbol

    def _leaving(self, node: Node, symbol: Symbol, output: Output) -> Symbol:
        symbol = mx.sym.cast(symbol, dtype=node.dtype)
        if not isinstance(output.type, Sequence):
            places = item_of(output.type).shape[0] if output.merged else 0
            return mx.sym.reshape(symbol, shape=(-4, -1, places, -2)) if output.merged else symbol
        steps = node.lengths[output.type.length]
        if output.merged:
            parts = (-1, steps) if self.layout == BATCH_FIRST else (steps, -1)
            symbol = mx.sym.reshape(symbol, shape=(-4, *parts, -2))
        return self._entering(symbol, output.type)


def _check_operation(node: Operation, graph: SymbolGraph) -> None:
    """Refuse what can be written and does not work here.

    Raises:
        ArgumentError: It is that; names the node.
    """
    where = f'SymbolLayer: "{node.name}" ({node.operator})'
    if node.operator in LOSSES:
        raise ArgumentError(f"{where} has a gradient of its own; from_symbol makes a loss of it")
    if node.operator == RNN and node.flag("use_sequence_length"):
        raise ArgumentError(f"{where} does not heed use_sequence_length on a CPU")
    if node.operator == "LeakyReLU" and node.get("act_type") == "rrelu":
        raise ArgumentError(f"{where}: rrelu draws numbers in training, which is not built")
    if node.operator == BATCH_NORM:
        _check_norm(node, graph, where)


def _check_norm(node: Operation, graph: SymbolGraph, where: str) -> None:
    if node.get("axis", "1") != "1" or node.flag("output_mean_var"):
        raise ArgumentError(f"{where}: only axis=1 and one output are built")
    arrays = [graph.nodes[number] for number, _ in node.inputs[1:]]
    if any(found.operator != VARIABLE for found in arrays) or len({found.name for found in arrays}) < len(arrays):
        raise ArgumentError(f"{where}: its arrays must be four variables")
    moved = node.inputs[3:]
    if any(moved != other.inputs[3:] and set(moved) & set(other.inputs) for other in graph.nodes):
        raise ArgumentError(f"{where}: something else reads its moving statistics")


def _drops(node: Operation) -> bool:
    return node.number("p", 0.5 if node.operator == DROPOUT else 0.0) > 0


@lru_cache(maxsize=64)
def _parsed(text: str) -> SymbolGraph:
    return SymbolGraph.parse(text)


def _norm_arrays(graph: SymbolGraph, node: Operation) -> dict[str, str]:
    """Return the variable of each array of a BatchNorm by the name that our layer gives it."""
    names = [graph.nodes[number].name for number, _ in node.inputs[1:]]
    return dict(zip(("Scaling", "Biases", "MovingMean", "MovingVariance"), names))


def moving_arrays(graph: SymbolGraph) -> set[str]:
    """Return the variables that the forward pass moves."""
    norms = (_norm_arrays(graph, node) for node in graph.operations if node.operator == BATCH_NORM)
    return {names[part] for names in norms for part in ("MovingMean", "MovingVariance")}


def fixed_arrays(graph: SymbolGraph) -> set[str]:
    """Return the variables that are 1 whatever they hold: the scaling of a BatchNorm that has it fixed."""
    norms = [node for node in graph.operations if node.operator == BATCH_NORM and node.flag("fix_gamma", True)]
    fixed = {node.inputs[1] for node in norms}
    read = {entry for node in graph.operations for entry in node.inputs if not (node in norms and entry in fixed)}
    return {graph.nodes[number].name for number, output in fixed - read}


def blocked_arrays(graph: SymbolGraph) -> set[str]:
    """Return the variables through which no gradient comes."""
    readers: dict[int, set[str]] = {}
    for node in graph.operations:
        for number, _ in node.inputs:
            readers.setdefault(number, set()).add(node.operator)
    ends = {number for number, _ in graph.heads}
    return {graph.nodes[number].name for number, found in readers.items() if found <= BLOCKS and number not in ends}


def initializer_of(name: str, shape: tuple[int, ...]) -> Initializer:
    """Return how an array begins, by MXNet's conventions of names."""
    if name.endswith(ONES_BY_NAME):
        return Ones()
    if name.endswith(ZEROS_BY_NAME):
        return Zeros()
    return Xavier() if len(shape) > 1 else Uniform(0.07)


class _Applying:
    """Makes symbols of operations, for one node of ours."""

    def __init__(self, node: Node, graph: SymbolGraph, shapes: Mapping[Entry, tuple[int, ...]]) -> None:
        self._node = node
        self._graph = graph
        self._shapes = shapes

    def __call__(self, operation: Operation, inputs: list[Symbol]) -> Symbol:
        if operation.operator == BATCH_NORM:
            return self._normed(operation, inputs[0])
        if operation.operator in {DROPOUT, RNN} and not self._node.training:
            if operation.operator == DROPOUT and operation.get("mode") != "always":
                return inputs[0]
            operation = operation.but(p="0") if operation.operator == RNN else operation
        if operation.operator == DECONVOLUTION:  # oneDNN's crashes in the backward pass, and has no float64
            wide = apply_operation(operation, [mx.sym.cast(symbol, dtype="float64") for symbol in inputs])
            return mx.sym.cast(wide, dtype=self._node.dtype)
        if operation.operator == "SequenceLast" and len(inputs) == 1:  # its backward pass touches foreign memory
            axis = int(operation.number("axis", 0.0))
            return mx.sym.squeeze(mx.sym.slice_axis(inputs[0], axis=axis, begin=-1, end=None), axis=axis)
        if operation.operator in BY_LENGTH and len(inputs) > 1:
            inputs = [inputs[0], self._within(operation, inputs[1])]
        return apply_operation(real_as(self._node.dtype, operation), inputs)

    def _within(self, operation: Operation, steps: Symbol) -> Symbol:
        """Return numbers of steps as they can be: MXNet touches foreign memory for others, NaN among them."""
        most = self._shapes[operation.inputs[0]][int(operation.number("axis", 0.0))]
        known = mx.sym.where(steps == steps, steps, mx.sym.zeros_like(steps))  # noqa: PLR0124 - NaN is not itself
        return mx.sym.clip(known, a_min=BY_LENGTH[operation.operator], a_max=most)

    def _normed(self, operation: Operation, symbol: Symbol) -> Symbol:
        layer = BatchNorm(operation.number("momentum", 0.9), operation.number("eps", 1e-3))
        names = _norm_arrays(self._graph, operation)
        return layer.lower_item(_NormNode(self._node, operation, names, self._shapes[operation.inputs[0]][1:]), symbol)


class _NormNode(Node):
    """What our BatchNorm sees of one in the graph."""

    def __init__(self, node: Node, operation: Operation, names: Mapping[str, str], item: tuple[int, ...]) -> None:
        port = Array(item)
        self.ports = Ports({"Input": port}, {"Output": port})
        self.training = node.training and not operation.flag("use_global_stats")
        self.dtype = node.dtype
        self._node = node
        self._fixed = operation.flag("fix_gamma", True)
        self._channels = item[0]
        self._names = names

    def array(self, name: str) -> Symbol:
        if name == "Scaling" and self._fixed:
            return mx.sym.ones((self._channels,), dtype=self.dtype)
        return self._node.array(self._names[name])

    def row_mask(self) -> Symbol:
        return self._node.row_mask()

    def move(self, name: str, new: Symbol) -> None:
        self._node.move(self._names[name], new)
