"""Linear and Embedding: layers that multiply by a weight matrix or look a row of it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..._mxnet import mx
from ...arguments import shape_of_ints
from ...errors import ArgumentError
from ...values import register
from ..initializers import Initializer, Xavier, Zeros
from ..types import Array, Index, Item
from .base import (
    NO_INITIALIZERS,
    Declared,
    ItemLayer,
    MismatchError,
    Node,
    Ports,
    Symbol,
    check_initializers,
    check_size,
    flat_size,
    flatten,
    real,
    set_fields,
)


@register
@dataclass(frozen=True, repr=False)
class Linear(ItemLayer):
    """``W x + b`` of the flattened item; a scalar counts as one number.

    Arrays: ``Weights (output, input)``, ``Biases (output,)``.

    Args:
        size: The output: a number gives a Vector, ``()`` a Scalar, a tuple an Array; None infers it from what follows.
        biases: Whether to add biases.
        initializers: Initializers by array name.

    Raises:
        ArgumentError: The size is not positive.

    Example:
        >>> Linear(10)
        Linear(10)
    """

    size: int | tuple[int, ...] | None = None
    biases: bool = True
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check the size."""
        if self.size is not None:
            shape = shape_of_ints(self.size, "Linear: size")
            set_fields(self, size=shape[0] if len(shape) == 1 else shape)
        if not isinstance(self.biases, bool):
            raise ArgumentError(f"Linear: biases must be True or False, got {self.biases!r}")
        check_initializers(self)

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Take the output from the size, where it is given."""
        if source is not None:
            real(source)
        if self.size is None:
            return source, target and real(target, "Output")
        return source, Array(shape_of_ints(self.size, "Linear: size"))

    def needs(self, ports: Ports) -> str:
        """Say which of size and input is missing."""
        if ports.inputs["Input"] is not None:
            return "give its size, as in Linear(10)"
        return "give the type of its input in inputs={...}"

    def settled(self, ports: Ports) -> Linear:
        """Return the layer with the size that was inferred."""
        return replace(self, size=ports.output_item().shape) if ports.outputs["Output"] is not None else self

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the weights and the biases."""
        outputs = flat_size(ports.output_item())
        declared = {"Weights": Declared((outputs, flat_size(ports.input_item())), Xavier())}
        if self.biases:
            declared["Biases"] = Declared((outputs,), Zeros())
        return declared

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Return one FullyConnected."""
        source, target = node.ports.input_item(), node.ports.output_item()
        arrays = {"weight": node.array("Weights")}
        if self.biases:
            arrays["bias"] = node.array("Biases")
        lowered = mx.sym.FullyConnected(
            flatten(symbol, source), num_hidden=flat_size(target), no_bias=not self.biases, **arrays
        )
        return lowered if len(target.shape) == 1 else mx.sym.reshape(lowered, shape=(-1, *target.shape))


@register
@dataclass(frozen=True, repr=False)
class Embedding(ItemLayer):
    """A vector for each index: row ``x`` of the weights.

    Arrays: ``Weights (count, size)``; the count is that of the ``Index(count)`` that comes in.

    Args:
        size: The size of the vectors.
        initializers: Initializers by array name.

    Raises:
        ArgumentError: The size is not positive.

    Example:
        >>> Embedding(64)
        Embedding(64)
    """

    size: int
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check the size."""
        check_size(self, "size")
        check_initializers(self)

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Require an Index."""
        if isinstance(source, Array):
            raise MismatchError(f'port "Input" gets {source!r}, but this layer needs an Index there')
        return source, Array((self.size,))

    def needs(self, ports: Ports) -> str:
        """Ask for the count."""
        return "give the number of different indices, as in inputs={...: Index(256)}"

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the table."""
        item = ports.input_item()
        assert isinstance(item, Index)  # by `items`
        return {"Weights": Declared((item.count, self.size), Xavier())}

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Return one Embedding."""
        item = node.ports.input_item()
        assert isinstance(item, Index)  # by `items`
        return mx.sym.Embedding(
            symbol, weight=node.array("Weights"), input_dim=item.count, output_dim=self.size, dtype=node.dtype
        )
