"""Layers that take a sequence to one item, or one sequence to another by attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._mxnet import mx
from ...arguments import is_integer
from ...errors import ArgumentError
from ...values import register
from ..types import Array, Item, PortType, Sequence, item_of, length_of, with_item
from .base import (
    ItemLayer,
    Layer,
    MismatchError,
    Node,
    Ports,
    Symbol,
    axis_of,
    check_choice,
    real,
    set_fields,
    vector,
)


@register
@dataclass(frozen=True, repr=False)
class SequenceLast(Layer):
    """The last true step of a sequence.

    Example:
        >>> SequenceLast()
        SequenceLast()
    """

    masks_padding: ClassVar[bool] = True

    def deduce(self, ports: Ports) -> None:
        """Give the item of the sequence."""
        if ports.inputs["Input"] is not None:
            ports.set_output("Output", _step(ports.inputs["Input"]))

    def needs(self, ports: Ports) -> str:
        """Ask for the sequence."""
        return 'give the type of its input, as in inputs={...: Sequence("t", Vector(3))}'

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return one slice, or one SequenceLast."""
        return {"Output": last_step(node, node.inputs["Input"], node.ports.input())}


def last_step(node: Node, symbol: Symbol, port: PortType) -> Symbol:
    """Return the last true step of ``(batch, t, *item)``, as ``(batch, *item)``."""
    steps = node.true_steps(port)
    if steps is not None:
        return mx.sym.SequenceLast(symbol, steps, use_sequence_length=True, axis=1)
    return mx.sym.reshape(mx.sym.slice_axis(symbol, axis=1, begin=-1, end=None), shape=(-3, -2))


@register
@dataclass(frozen=True, repr=False)
class SequenceReverse(Layer):
    """The true steps of a sequence in reverse order.

    Example:
        >>> SequenceReverse()
        SequenceReverse()
    """

    masks_padding: ClassVar[bool] = True

    def deduce(self, ports: Ports) -> None:
        """Give either side the other's type."""
        known = ports.inputs["Input"] or ports.outputs["Output"]
        if known is not None:
            _step(known)
            ports.set_input("Input", known)
            ports.set_output("Output", known)

    def needs(self, ports: Ports) -> str:
        """Ask for the sequence."""
        return 'give the type of its input, as in inputs={...: Sequence("t", Vector(3))}'

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return one reversal, with time as the first axis."""
        steps = mx.sym.swapaxes(node.inputs["Input"], dim1=0, dim2=1)
        turned = reverse(steps, node.true_steps(node.ports.input()))
        return {"Output": mx.sym.swapaxes(turned, dim1=0, dim2=1)}


def reverse(symbol: Symbol, steps: Symbol | None) -> Symbol:
    """Return ``(t, batch, *item)`` with the true steps in reverse order; padding stays where it is."""
    if steps is None:
        return mx.sym.reverse(symbol, axis=0)
    return mx.sym.SequenceReverse(symbol, steps, use_sequence_length=True)


def _step(port: PortType | None) -> Item:
    if not isinstance(port, Sequence):
        raise MismatchError(f'port "Input" gets {port!r}, but this layer needs a Sequence("t", ...) there')
    return port.item


def _norm(symbol: Symbol, axis: tuple[int, ...]) -> Symbol:
    squares = mx.sym.sum(mx.sym.square(symbol), axis=axis)
    zero = squares == 0  # the root's slope at 0 is infinite: there the norm is 0 and so is the gradient
    return mx.sym.sqrt(squares + zero) * (1 - zero)


def _max(symbol: Symbol, axis: tuple[int, ...]) -> Symbol:
    """Return the maximum; elements tied for it share its gradient, which MXNet gives to each of them in full."""
    kept = mx.sym.max(symbol, axis=axis, keepdims=True)
    count = mx.sym.sum(mx.sym.broadcast_equal(symbol, mx.sym.BlockGrad(kept)), axis=axis)
    largest = mx.sym.sum(kept, axis=axis)  # of one element each
    value = mx.sym.BlockGrad(largest)
    tied = (count > 1) * (value - value == 0)  # finite: below, infinity less itself would be NaN
    return mx.sym.where(tied, value + (largest - value) / count, largest)


HIDDEN = -1e30  # a score so low that its weight is exactly 0
LOWEST = -3.4e38  # a float32 that is no maximum of anything
AGGREGATES = {"sum": mx.sym.sum, "mean": mx.sym.mean, "max": _max, "norm": _norm}


@register
@dataclass(frozen=True, repr=False)
class Aggregate(ItemLayer):
    """The sum, mean, maximum or Euclidean norm: of a sequence over its steps, or over axes of the item.

    Elements tied for a maximum share its gradient; the norm of the zero vector has gradient 0.

    Args:
        function: sum, mean, max or norm.
        axes: Axes of the item, 0 the first. None: over the steps of a sequence (giving one item), or over all axes
            of an item that is no sequence (giving a Scalar).

    Raises:
        ArgumentError: The function is unknown, or the axes are not integers.

    Example:
        >>> Aggregate("mean")
        Aggregate('mean')
    """

    function: str
    axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check function and axes."""
        check_choice(self, "function", AGGREGATES)
        if self.axes is None:
            return
        axes = tuple(self.axes) if isinstance(self.axes, (tuple, list)) else (self.axes,)
        if not axes or not all(is_integer(axis) for axis in axes):
            raise ArgumentError(f"Aggregate: axes must be integers such as (1, 2), got {self.axes!r}")
        set_fields(self, axes=tuple(int(axis) for axis in axes))

    def deduce(self, ports: Ports) -> None:
        """Drop the steps, or the axes."""
        source = ports.inputs["Input"]
        if source is None:
            return
        real(item_of(source))
        if self.axes is None and isinstance(source, Sequence):
            ports.set_output("Output", source.item)
        else:
            super().deduce(ports)

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Drop the axes of the item."""
        assert source is not None  # by deduce
        gone = self._item_axes(source)
        return source, Array(tuple(extent for axis, extent in enumerate(source.shape) if axis not in gone))

    def _item_axes(self, item: Item) -> tuple[int, ...]:
        axes = range(len(item.shape)) if self.axes is None else self.axes
        return tuple(axis_of(axis, item, "axis") for axis in axes)

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Aggregate over the steps, or step by step."""
        if self.axes is None and isinstance(node.ports.input(), Sequence):
            return {"Output": self._over_steps(node)}
        return super().lower(node)

    def _over_steps(self, node: Node) -> Symbol:
        port = node.ports.input()
        symbol = node.hide(node.inputs["Input"], port, LOWEST if self.function == "max" else 0.0)
        if self.function in ("mean", "sum"):
            return (mean_over_steps if self.function == "mean" else sum_over_steps)(node, symbol, port)
        return AGGREGATES[self.function](symbol, axis=(1,))

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Aggregate over the item's axes."""
        axes = tuple(axis + 1 for axis in self._item_axes(node.ports.input_item()))
        if axes:
            return AGGREGATES[self.function](symbol, axis=axes)
        return mx.sym.abs(symbol) if self.function == "norm" else symbol  # of one number


def sum_over_steps(node: Node, hidden: Symbol, port: PortType) -> Symbol:
    """Return the sum over the steps of ``(batch, t, *item)``, which is 0 over padding.

    A product with ones: MXNet's own sum over an axis that is not the last one takes six times as long.
    """
    steps = node.steps(port)
    if not item_of(port).shape:
        return mx.sym.reshape(mx.sym.dot(hidden, mx.sym.ones((steps, 1), dtype=node.dtype)), shape=(-1,))
    rows = mx.sym.reshape(mx.sym.swapaxes(hidden, dim1=0, dim2=1), shape=(steps, -1))
    total = mx.sym.dot(mx.sym.ones((1, steps), dtype=node.dtype), rows)
    return mx.sym.reshape(total, shape=(-1, *item_of(port).shape))


def mean_over_steps(node: Node, hidden: Symbol, port: PortType) -> Symbol:
    """Return the mean over the true steps of ``(batch, t, *item)``, which is 0 over padding."""
    total, true = sum_over_steps(node, hidden, port), node.true_steps(port)
    if true is None:
        return total / node.steps(port)
    return mx.sym.broadcast_div(total, mx.sym.reshape(true, shape=(-1, *(1 for _ in item_of(port).shape))))


@register
@dataclass(frozen=True, repr=False)
class Attention(Layer):
    """Dot-product attention: for each query, the mean of the values weighted by ``softmax(query . key)``.

    Ports: Query (a Sequence of Vectors, or one Vector), Key and Value (Sequences of Vectors of one length); Output,
    like Query with vectors of Value's size. It has no arrays: put Linear layers before it.

    Args:
        scaled: Whether products are divided by the root of the vectors' size.
        causal: Whether step i of the query sees only the keys up to step i; Query must be a Sequence.

    Raises:
        ArgumentError: A field is not True or False.

    Reference: Vaswani et al. 2017, "Attention is all you need".

    Example:
        >>> Attention(causal=True)
        Attention(causal=True)
    """

    masks_padding: ClassVar[bool] = True
    scaled: bool = True
    causal: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for field in ("scaled", "causal"):
            if not isinstance(getattr(self, field), bool):
                raise ArgumentError(f"Attention: {field} must be True or False, got {getattr(self, field)!r}")

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return query, key and value."""
        return ("Query", "Key", "Value")

    def deduce(self, ports: Ports) -> None:
        """Give the output the query's length and the values' size."""
        query, key, values = (ports.inputs[port] for port in self.input_ports())
        if query is None or key is None or values is None:
            return
        if vector(item_of(query), "Query") != vector(item_of(key), "Key"):
            raise MismatchError(f'ports "Query" and "Key" need vectors of one size, got {query!r} and {key!r}')
        vector(item_of(values), "Value")
        if length_of(key) is None or length_of(key) != length_of(values):
            raise MismatchError(f'ports "Key" and "Value" need sequences of one length, got {key!r} and {values!r}')
        if self.causal and length_of(query) != length_of(key):
            raise MismatchError(f"causal attention needs a query of the keys' length, got {query!r} and {key!r}")
        ports.set_output("Output", with_item(query, item_of(values)))

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return two batched products around a softmax."""
        query, key, values = (node.inputs[port] for port in self.input_ports())
        port = node.ports.input("Query")
        many = isinstance(port, Sequence)
        if not many:
            query = mx.sym.expand_dims(query, axis=1)
        scores = mx.sym.batch_dot(query, key, transpose_b=True)
        if self.scaled:
            scores = scores / vector(item_of(port), "Query") ** 0.5
        if self.causal:
            scores = mx.sym.broadcast_add(scores, self._mask(node.steps(port), node.dtype))
        seen = node.step_mask(node.ports.input("Key"))
        if seen is not None:
            scores = mx.sym.broadcast_add(scores, mx.sym.expand_dims((1 - seen) * HIDDEN, axis=1))
        output = mx.sym.batch_dot(mx.sym.softmax(scores, axis=-1), values)
        return {"Output": output if many else mx.sym.reshape(output, shape=(-3, -2))}

    @staticmethod
    def _mask(steps: int, dtype: str) -> Symbol:
        """Return ``(1, query, key)``: so low a number where the key is later that its weight is exactly 0."""
        numbers = mx.sym.arange(steps, dtype=dtype)
        later = mx.sym.broadcast_greater(
            mx.sym.reshape(numbers, shape=(1, 1, steps)), mx.sym.reshape(numbers, shape=(1, steps, 1))
        )
        return later * HIDDEN
