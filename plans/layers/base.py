"""What a layer is: one class that says its ports, its arrays, its shapes, and its MXNet operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, ClassVar

from ..._mxnet import mx
from ...arguments import positive_int, real_number
from ...errors import ArgumentError, Error, nearest
from ...mappings import FrozenMapping
from ...values import Value
from ..initializers import Initializer
from ..types import Array, Index, Item, PortType, Sequence, item_if_known, item_of, length_of, with_item

if TYPE_CHECKING:
    from ..net import NetGraph

Symbol = Any
NO_INITIALIZERS: Mapping[str, Initializer] = FrozenMapping()
LEARNED = "learned"  # an initial state that is a parameter


class MismatchError(Exception):
    """Two types meet at a port and differ; `net.py` turns it into a NetError that names the layer."""


class Ports:
    """The types of one layer's ports, as far as they are known; layers fill in what follows from what is known."""

    def __init__(self, inputs: dict[str, PortType | None], outputs: dict[str, PortType | None]) -> None:
        """Take the tables of inputs and outputs, None where a type is unknown."""
        self.inputs = inputs
        self.outputs = outputs

    def set_input(self, port: str, found: PortType) -> None:
        """Make the type of an input known.

        Raises:
            MismatchError: It is known and another.
        """
        self._set(self.inputs, port, found)

    def set_output(self, port: str, found: PortType) -> None:
        """Make the type of an output known.

        Raises:
            MismatchError: It is known and another.
        """
        self._set(self.outputs, port, found)

    def _set(self, table: dict[str, PortType | None], port: str, found: PortType) -> None:
        known = table[port]
        if known is None:
            table[port] = found
        elif known != found:
            side = "gets" if table is self.inputs else "is to give"
            raise MismatchError(f'port "{port}" {side} {known!r}, but this layer needs {found!r} there')

    def input_item(self, port: str = "Input") -> Item:
        """Return the type of one step of a known input."""
        return item_of(self.input(port))

    def output_item(self, port: str = "Output") -> Item:
        """Return the type of one step of a known output."""
        return item_of(self.output(port))

    def input(self, port: str = "Input") -> PortType:
        """Return the type of an input that is known by now."""
        found = self.inputs[port]
        assert found is not None  # compile_plan refuses nets with unknown types before anyone asks
        return found

    def output(self, port: str = "Output") -> PortType:
        """Return the type of an output that is known by now."""
        found = self.outputs[port]
        assert found is not None  # as above
        return found


@dataclass(frozen=True)
class Declared:
    """An array that a layer needs.

    Attributes:
        shape: Its shape.
        initializer: Its default initializer.
        auxiliary: Whether the forward pass moves it (and the optimizer does not).
    """

    shape: tuple[int, ...]
    initializer: Initializer
    auxiliary: bool = False


class Node:
    """What a layer sees while it is lowered: its input symbols, types and arrays.

    Attributes:
        ports: The types of its ports, all known.
        inputs: The symbol of each connected input, batch first: ``(batch, *item)`` or ``(batch, t, *item)``.
        used: The outputs that something reads.
        training: Whether this is the training graph.
        dtype: The dtype of all real arrays.
        lengths: The number of steps by length name, padding included.
        true_lengths: The true number of steps of each example, ``(batch,)`` of the dtype, by length name; empty in a
            graph without padding.
        skipped: How many first steps of each example have no loss, ``(batch,)`` of the dtype; None where all have one.
        split_at: After how many steps the layer is to hand its states over, see `hand_over`; None: not.
        kernels: Whether kernels may take its inputs, see `native`: in float32, where not too much else reads them.
    """

    ports: Ports
    inputs: Mapping[str, Symbol]
    used: frozenset[str]
    training: bool
    dtype: str
    lengths: Mapping[str, int]
    true_lengths: Mapping[str, Symbol]
    skipped: Symbol | None = None
    split_at: int | None = None
    kernels: bool = False

    def array(self, name: str) -> Symbol:
        """Return the symbol of one of the layer's arrays."""
        raise TypeError("Node.array is given by the lowering")

    def packed(self, names: tuple[str, ...]) -> Symbol:
        """Return some arrays as one flat vector, without a copy where they lie side by side."""
        raise TypeError("Node.packed is given by the lowering")

    def row_mask(self) -> Symbol:
        """Return ``(batch,)``: 1 for the rows that the batch has, 0 for the rest of a short batch."""
        raise TypeError("Node.row_mask is given by the lowering")

    def move(self, name: str, new: Symbol) -> None:
        """Give an auxiliary array its value after this pass."""
        raise TypeError("Node.move is given by the lowering")

    def hand_over(self, state: str, symbol: Symbol) -> None:
        """Give a state as it is after `split_at` steps, ``(batch, *item)``."""
        raise TypeError("Node.hand_over is given by the lowering")

    def steps(self, port: PortType) -> int:
        """Return the number of steps of a sequence type."""
        name = length_of(port)
        assert name is not None  # asked of sequences only
        return self.lengths[name]

    def true_steps(self, port: PortType) -> Symbol | None:
        """Return the true number of steps of each example, ``(batch,)``; None where there is no padding."""
        name = length_of(port)
        return None if name is None else self.true_lengths.get(name)

    def hide(self, symbol: Symbol, port: PortType, value: float = 0.0) -> Symbol:
        """Return ``(batch, t, ...)`` with this value over padding, through which no gradient comes."""
        steps = self.true_steps(port)
        if steps is None:
            return symbol
        return mx.sym.SequenceMask(symbol, steps, use_sequence_length=True, axis=1, value=value)

    def step_mask(self, port: PortType) -> Symbol | None:
        """Return ``(batch, t)``: 1 over true steps, 0 over padding; None where there is no padding."""
        steps = self.true_steps(port)
        if steps is None:
            return None
        column = mx.sym.expand_dims(steps, axis=1)
        numbers = mx.sym.reshape(mx.sym.arange(self.steps(port), dtype=self.dtype), shape=(1, -1))
        return mx.sym.broadcast_lesser(numbers, column)

    def with_loss(self, symbol: Symbol, port: PortType) -> Symbol:
        """Return ``(batch, t)`` with 0 over padding and where steps have no loss."""
        symbol = self.hide(symbol, port)
        if self.skipped is None:
            return symbol
        numbers = mx.sym.reshape(mx.sym.arange(self.steps(port), dtype=self.dtype), shape=(1, -1))
        counts = mx.sym.broadcast_greater_equal(numbers, mx.sym.expand_dims(self.skipped, axis=1))
        return mx.sym.where(counts, symbol, mx.sym.zeros_like(symbol))

    def steps_with_loss(self, port: PortType) -> Symbol | int:
        """Return how many steps of each example have a loss: ``(batch,)``, or one number for all."""
        true = self.true_steps(port)
        steps = self.steps(port) if true is None else true
        return steps if self.skipped is None else 0 - (self.skipped - steps)

    def merge(self, symbol: Symbol, port: PortType) -> Symbol:
        """Return a sequence as so many examples of one step: ``(batch * t, *item)``."""
        return mx.sym.reshape(symbol, shape=(-3, -2)) if isinstance(port, Sequence) else symbol

    def split(self, symbol: Symbol, port: PortType) -> Symbol:
        """Undo `merge`."""
        return mx.sym.reshape(symbol, shape=(-4, -1, self.steps(port), -2)) if isinstance(port, Sequence) else symbol


class Layer(Value):
    """The base of all layers, which are frozen value objects.

    A subclass says its ports, deduces types, declares arrays, and lowers itself to MXNet operators. To write one of
    your own, make it a frozen dataclass with `mxtrainer.values.register`; derive it from `ItemLayer` where it works
    step by step.
    """

    #: Ports that are an input and an output at once; unconnected, they start at `initial_of`.
    states: ClassVar[tuple[str, ...]] = ()
    #: Whether the output is a loss.
    is_loss: ClassVar[bool] = False
    #: Whether it draws random numbers in training.
    random: ClassVar[bool] = False
    #: Whether padding after an example's last step changes nothing before it. A graph with padding has finite numbers
    #: there, whatever they are, and gradients of 0; a layer that mixes steps uses `Node.hide` and `Node.true_steps`,
    #: and one that is infinite anywhere hides its input.
    masks_padding: ClassVar[bool] = False

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return the names of the inputs in order, given how many a net feeds by one list."""
        return ("Input",)

    def output_ports(self) -> tuple[str, ...]:
        """Return the names of the outputs in order."""
        return ("Output",)

    def deduce(self, ports: Ports) -> None:
        """Fill in the types that follow from the known ones; called until nothing changes.

        Raises:
            MismatchError: The known types cannot be.
        """
        raise TypeError(f"{type(self).__name__} does not define deduce(ports)")

    def settled(self, ports: Ports) -> Layer:
        """Return the layer with its fields as these types have determined them, for a net without what did so."""
        return self

    def nets(self) -> tuple[NetGraph, ...]:
        """Return the nets that the layer runs in a way of its own, as Fold and Map do."""
        return ()

    def with_nets(self, change: Callable[[NetGraph], NetGraph]) -> Layer:
        """Return the layer with each of these nets changed."""
        return self

    def needs(self, ports: Ports) -> str:
        """Say how a user can make the types known, for the error when they are not."""
        return "give the type of its input in inputs={...}"

    def initial_of(self, state: str) -> float | str:
        """Return what a state starts at: a number, or the name of one of the layer's arrays."""
        return 0.0

    def check_feeds(self, path: str, feeds: Mapping[str, Layer]) -> None:
        """Refuse layers that feed this one, at this path, by input port.

        Raises:
            NetError: A layer makes no sense there.
        """

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the layer's arrays by name, auxiliary ones last; all types are known."""
        return {}

    def packs(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups of arrays that an operator takes as one flat vector."""
        return ()

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return the symbol of every output."""
        raise TypeError(f"{type(self).__name__} does not define lower(node)")

    def chosen_initializers(self) -> Mapping[str, Initializer]:
        """Return the initializers that the user gave, by array name."""
        return getattr(self, "initializers", NO_INITIALIZERS)


def check_padding(path: str, layer: Layer, node: Node) -> None:
    """Check that a layer says what it does over padding, where there may be some.

    Raises:
        Error: It does not.
    """
    ports = (*node.ports.inputs.values(), *node.ports.outputs.values())
    if node.true_lengths and not layer.masks_padding and any(isinstance(port, Sequence) for port in ports):
        raise Error(
            f'layer "{path}" ({layer!r}) does not say what it does over padding (Layer.masks_padding), so all '
            f"examples of a batch must have the same length, that of the bucket"
        )


class ItemLayer(Layer):
    """A layer made for one item; over a sequence it is applied to each step."""

    masks_padding: ClassVar[bool] = True

    def harmless(self) -> float | None:
        """Return an input that gives a finite output and slope, where not every finite one does."""
        return None

    def deduce(self, ports: Ports) -> None:
        """Carry the length from one side to the other, and let `items` work out the items."""
        source, target = ports.inputs["Input"], ports.outputs["Output"]
        known = source or target
        if known is None:
            return
        new_source, new_target = self.items(item_if_known(source), item_if_known(target))
        if new_source is not None:
            ports.set_input("Input", with_item(known, new_source))
        if new_target is not None:
            ports.set_output("Output", with_item(known, new_target))

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Return the types of one step of input and output, as far as they follow."""
        raise TypeError(f"{type(self).__name__} does not define items(source, target)")

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Merge the steps into the batch, apply `lower_item`, and split again."""
        source, target = node.ports.input(), node.ports.output()
        safe, symbol = self.harmless(), node.inputs["Input"]
        if safe is not None:
            symbol = node.hide(symbol, source, safe)
        lowered = self.lower_item(node, node.merge(symbol, source))
        return {"Output": node.split(lowered, target)}

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Return the output for ``(n, *item)``."""
        raise TypeError(f"{type(self).__name__} does not define lower_item(node, symbol)")


def real(item: Item, port: str = "Input") -> Array:
    """Return the item as a real array.

    Raises:
        MismatchError: It is an Index.
    """
    if isinstance(item, Index):
        raise MismatchError(f'port "{port}" gets {item!r}, but this layer needs real numbers (an Embedding makes them)')
    return item


def vector(item: Item, port: str = "Input") -> int:
    """Return the size of a vector item.

    Raises:
        MismatchError: It is none.
    """
    if isinstance(item, Index) or len(item.shape) != 1:
        raise MismatchError(f'port "{port}" gets {item!r}, but this layer needs a Vector there')
    return item.shape[0]


def flat_size(item: Item) -> int:
    """Return the number of elements of an item; a scalar counts as one."""
    size = 1
    for extent in item.shape:
        size *= extent
    return size


def flatten(symbol: Symbol, item: Item) -> Symbol:
    """Return ``(n, *item)`` as ``(n, elements)``."""
    if len(item.shape) == 1:
        return symbol
    return mx.sym.reshape(symbol, shape=(0, -1) if item.shape else (-1, 1))


def side_by_side(*matrices: tuple[Symbol, int]) -> Symbol:
    """Return a matrix of the columns of several, each of which comes with its number of columns.

    Columns are joined as rows, and turned before and after that. MXNet's own way to join columns leaks memory in its
    backward pass, 1 kB for each matrix at each pass (that of oneDNN, for two and four axes), or goes element by element
    (for others). It takes longer: 1120 x 128 and 1120 x 1, forward and backward, 0.52 ms against 0.13.
    """
    parts = [mx.sym.reshape(symbol, shape=(-1, columns)) for symbol, columns in matrices]
    if len({columns for _, columns in matrices}) > 1:
        return mx.sym.transpose(mx.sym.concat(*(mx.sym.transpose(part) for part in parts), dim=0))
    stacked = mx.sym.reshape(mx.sym.concat(*parts, dim=0), shape=(-4, len(parts), -1, -2))
    return mx.sym.reshape(mx.sym.transpose(stacked, axes=(1, 0, 2)), shape=(0, -1))


def as_vector(*symbols: Symbol, columns: int) -> Symbol:
    """Return the elements of all symbols as one vector, joined as matrices of so many columns, which is fast.

    Args:
        symbols: The symbols.
        columns: A number that divides the number of elements of each; the larger, the faster.
    """
    rows = (mx.sym.reshape(symbol, shape=(-1, columns)) for symbol in symbols)
    return mx.sym.reshape(mx.sym.concat(*rows, dim=0), shape=(-1,))


def per_row(symbol: Symbol, item: Item, like: Symbol) -> Symbol:
    """Return an item once for each row, ``(batch, *item)``, of which another symbol has as many."""
    return mx.sym.broadcast_like(mx.sym.reshape(symbol, shape=(1, *item.shape)), like, lhs_axes=(0,), rhs_axes=(0,))


def axis_of(axis: int, item: Item, what: str) -> int:
    """Return an item axis counted from 0.

    Raises:
        MismatchError: The item has no such axis.
    """
    rank = len(item.shape)
    if not -rank <= axis < rank:
        raise MismatchError(f"{what} {axis} does not exist in {item!r}, which has {rank} axes")
    return axis % rank


def set_fields(layer: Layer, **fields: Any) -> None:
    """Store checked fields in a frozen layer, from its ``__post_init__``."""
    for name, found in fields.items():
        object.__setattr__(layer, name, found)


def check_initializers(layer: Layer) -> None:
    """Store the layer's initializers as a frozen mapping.

    Raises:
        ArgumentError: It is no mapping from array names to initializers.
    """
    given = layer.chosen_initializers()
    if not isinstance(given, Mapping) or not all(isinstance(entry, Initializer) for entry in given.values()):
        raise ArgumentError(
            f"{type(layer).__name__}: initializers must map array names to initializers, as in "
            f'{{"Weights": mxt.initializers.Normal(0.1)}}, got {given!r}'
        )
    set_fields(layer, initializers=FrozenMapping(given))


def check_initial(layer: Layer) -> None:
    """Store the field `initial` as a number, unless it is to be learned.

    Raises:
        ArgumentError: It is neither.
    """
    found = vars(layer)["initial"]
    if found == LEARNED:
        return
    if isinstance(found, str):
        raise ArgumentError(f'{type(layer).__name__}: initial must be a number, or "{LEARNED}", got {found!r}')
    set_fields(layer, initial=real_number(found, f"{type(layer).__name__}: initial"))


def check_size(layer: Layer, field: str) -> None:
    """Store a field as a positive integer.

    Raises:
        ArgumentError: It is none.
    """
    set_fields(layer, **{field: positive_int(getattr(layer, field), f"{type(layer).__name__}: {field}")})


def check_choice(layer: Layer, field: str, choices: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Check that a field is one of the choices.

    Raises:
        ArgumentError: It is none of them.
    """
    found = getattr(layer, field)
    if not isinstance(found, str) or found not in choices:
        hint = nearest(found, choices)
        raise ArgumentError(f"{type(layer).__name__}: {field} must be one of {', '.join(choices)}, got {found!r}{hint}")
