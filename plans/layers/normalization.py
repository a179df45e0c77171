"""BatchNorm, LayerNorm and Softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..._mxnet import mx
from ...arguments import real_number
from ...errors import ArgumentError
from ...values import register
from ..initializers import Initializer, Ones, Zeros
from ..types import Item, Sequence
from .base import (
    NO_INITIALIZERS,
    Declared,
    MismatchError,
    Node,
    Ports,
    Symbol,
    check_initializers,
    flatten,
    set_fields,
)
from .elementwise import ShapeKeeping
from .images import settled


@register
@dataclass(frozen=True, repr=False)
class BatchNorm(ShapeKeeping):
    """Each channel brought to mean 0 and variance 1, then scaled and shifted; the channels are the item's first axis.

    Training uses the statistics of the batch's true rows, over all steps and the item's other axes, with the biased
    variance; evaluation uses the moving ones, ``moving = momentum * moving + (1 - momentum) * batch``.
    Arrays: ``Scaling``, ``Biases (channels,)``; auxiliary ``MovingMean``, ``MovingVariance (channels,)``.

    Args:
        momentum: How much of a moving statistic stays at each step, from 0 to 1.
        epsilon: Added to the variance.
        initializers: Initializers by array name.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Ioffe and Szegedy 2015, "Batch normalization".

    Example:
        >>> BatchNorm()
        BatchNorm()
    """

    momentum: float = 0.9
    epsilon: float = 1e-3
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check the numbers."""
        set_fields(self, momentum=real_number(self.momentum, "BatchNorm: momentum"))
        set_fields(self, epsilon=_epsilon(self.epsilon, "BatchNorm"))
        if not 0.0 <= self.momentum <= 1.0:
            raise ArgumentError(f"BatchNorm: momentum must be from 0 to 1, got {self.momentum}")
        check_initializers(self)

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return scaling, biases and moving statistics."""
        shape = (_channels(ports.input_item()),)
        return {
            "Scaling": Declared(shape, Ones()),
            "Biases": Declared(shape, Zeros()),
            "MovingMean": Declared(shape, Zeros(), auxiliary=True),
            "MovingVariance": Declared(shape, Ones(), auxiliary=True),
        }

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Return the normalization in operators of its own.

        MXNet's BatchNorm counts the missing rows of a short batch, and moves its statistics in the backward pass,
        unordered with reads of them.
        """
        item = node.ports.input_item()
        channels = _channels(item)
        spread = mx.sym.reshape(symbol, shape=(0, channels, -1))
        centred, variance = self._statistics(node, spread) if node.training else self._moving(node, spread)
        factor = node.array("Scaling") * mx.sym.rsqrt(variance + self.epsilon)
        scaled = mx.sym.broadcast_mul(centred, _per_channel(factor))
        normed = mx.sym.broadcast_add(scaled, _per_channel(node.array("Biases")))
        return settled(mx.sym.reshape(normed, shape=(-1, *item.shape)), item, node.dtype)

    # Both return the elements less the mean, and the variance. The mean is taken off first: folded into the shift, it
    # would cost as many digits as it is larger than the deviation.

    def _moving(self, node: Node, spread: Symbol) -> tuple[Symbol, Symbol]:
        centred = mx.sym.broadcast_sub(spread, _per_channel(node.array("MovingMean")))
        return centred, node.array("MovingVariance")

    def _statistics(self, node: Node, spread: Symbol) -> tuple[Symbol, Symbol]:
        weights = self._row_weights(node)
        mean = self._mean(weights, spread)
        centred = mx.sym.broadcast_sub(spread, _per_channel(mean))
        variance = self._mean(weights, mx.sym.square(centred))
        for name, batch in (("MovingMean", mean), ("MovingVariance", variance)):
            node.move(name, node.array(name) * self.momentum + batch * (1.0 - self.momentum))
        return centred, variance

    @staticmethod
    def _row_weights(node: Node) -> Symbol:
        """Return ``(1, n)``: the share of each row, or of each step of each row; 0 for missing rows and padding."""
        mask = node.row_mask()
        port = node.ports.input()
        if isinstance(port, Sequence):
            seen = node.step_mask(port)
            if seen is None:
                mask = mx.sym.repeat(mask, repeats=node.steps(port))
            else:
                mask = mx.sym.reshape(mx.sym.broadcast_mul(seen, mx.sym.expand_dims(mask, axis=1)), shape=(-1,))
        return mx.sym.reshape(mx.sym.broadcast_div(mask, mx.sym.sum(mask, axis=0, keepdims=True)), shape=(1, -1))

    @staticmethod
    def _mean(weights: Symbol, spread: Symbol) -> Symbol:
        """Return ``(channels,)``: a product over the rows (MXNet's sum is many times slower), then over the rest."""
        rows = mx.sym.reshape(mx.sym.dot(weights, spread), shape=(-3, -2))
        return mx.sym.mean(rows, axis=1)


def _channels(item: Item) -> int:
    return item.shape[0] if item.shape else 1


def _per_channel(symbol: Symbol) -> Symbol:
    return mx.sym.reshape(symbol, shape=(1, -1, 1))


def _epsilon(number: object, name: str) -> float:
    epsilon = real_number(number, f"{name}: epsilon")
    if epsilon <= 0.0:
        raise ArgumentError(f"{name}: epsilon must be positive, got {number!r}")
    return epsilon


@register
@dataclass(frozen=True, repr=False)
class LayerNorm(ShapeKeeping):
    """Each item brought to mean 0 and variance 1 over all of its axes, then scaled and shifted element by element.

    Arrays: ``Scaling``, ``Biases``, both of the item's shape.

    Args:
        epsilon: Added to the variance; MXNet takes it as a float32.
        initializers: Initializers by array name.

    Raises:
        ArgumentError: The epsilon is not positive.

    Reference: Ba, Kiros and Hinton 2016, "Layer normalization".

    Example:
        >>> LayerNorm()
        LayerNorm()
    """

    epsilon: float = 1e-5
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check the epsilon."""
        set_fields(self, epsilon=_epsilon(self.epsilon, "LayerNorm"))
        check_initializers(self)

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return scaling and biases."""
        shape = ports.input_item().shape
        return {"Scaling": Declared(shape, Ones()), "Biases": Declared(shape, Zeros())}

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Return one LayerNorm over the flattened item."""
        item = node.ports.input_item()
        gamma, beta = (mx.sym.reshape(node.array(name), shape=(-1,)) for name in ("Scaling", "Biases"))
        normed = mx.sym.LayerNorm(flatten(symbol, item), gamma, beta, axis=-1, eps=self.epsilon)
        if len(item.shape) == 1:
            return normed
        return settled(mx.sym.reshape(normed, shape=(-1, *item.shape)), item, node.dtype)


@register
@dataclass(frozen=True, repr=False)
class Softmax(ShapeKeeping):
    """Probabilities over the item's last axis: ``exp(x) / sum(exp(x))``.

    A CrossEntropyLoss wants what comes before it, unless ``input="probabilities"``.

    Example:
        >>> Softmax()
        Softmax()
    """

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Require an axis."""
        known = source or target
        if known is not None and not known.shape:
            raise MismatchError(f'port "Input" gets {known!r}, but this layer needs a Vector or an Array there')
        return super().items(source, target)

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Return one softmax."""
        return mx.sym.softmax(symbol, axis=-1)
