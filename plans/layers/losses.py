"""Losses: layers that give one number per example, to be made small, and ErrorRate, which is only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..._mxnet import mx
from ...arguments import real_number
from ...errors import ArgumentError, NetError
from ...values import register
from .. import native
from ..types import Array, Index, Item, Sequence, item_if_known, with_item
from .base import Layer, MismatchError, Node, Ports, Symbol, check_choice, flat_size, flatten, real, set_fields, vector
from .normalization import Softmax
from .sequence import sum_over_steps

AVERAGES = ("examples", "steps")
MOST_CLASSES = 2**24  # that a float32 tells apart


class Loss(Layer):
    """The base of the losses: ports Input and Target; Loss ``(batch,)``.

    Over a sequence, ``average="examples"`` gives each example the mean over its true steps; ``average="steps"`` gives
    the sum over them, and the batch's mean then counts every true step alike.
    """

    is_loss: ClassVar[bool] = True
    masks_padding: ClassVar[bool] = True
    #: Whether it may be trained; a measure has no gradient.
    trained: ClassVar[bool] = True
    average: str = "examples"

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return input and target."""
        return ("Input", "Target")

    def output_ports(self) -> tuple[str, ...]:
        """Return the loss."""
        return ("Loss",)

    def deduce(self, ports: Ports) -> None:
        """Give input and target one length; the loss is a number."""
        ports.set_output(self.output_ports()[0], Array(()))
        known = ports.inputs["Input"] or ports.inputs["Target"]
        if known is None:
            return
        source, target = (item_if_known(port) for port in ports.inputs.values())
        new_source, new_target = self.pair(source, target)
        if new_source is not None:
            ports.set_input("Input", with_item(known, new_source))
        if new_target is not None:
            ports.set_input("Target", with_item(known, new_target))

    def pair(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Return the types of one step of input and target; by default both are the same, and real."""
        known = source or target
        assert known is not None  # deduce has one of them
        item = real(known, "Input" if source else "Target")
        return item, item

    def needs(self, ports: Ports) -> str:
        """Ask for either."""
        return "give the type of its Input or Target in inputs={...}"

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Apply `per_item` to every step, then reduce over the steps."""
        port, safe = node.ports.input(), self.harmless()
        inputs = dict(node.inputs)
        if safe is not None:
            inputs["Input"] = node.hide(inputs["Input"], port, safe)
        merged = (node.merge(inputs[name], node.ports.input(name)) for name in self.input_ports())
        values = node.split(self.per_item(node, *merged), port)
        if isinstance(port, Sequence):
            values = sum_over_steps(node, node.with_loss(values, port), Sequence(port.length, Array(())))
            if self.average == "examples":
                values = values / node.steps_with_loss(port)
        return {self.output_ports()[0]: values}

    def harmless(self) -> float | None:
        """Return an input that gives a finite loss and slope, where not every finite one does."""
        return None

    def per_item(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        """Return ``(n,)`` for ``(n, *item)`` of input and target."""
        raise TypeError(f"{type(self).__name__} does not define per_item(node, source, target)")


def _mean_of_elements(node: Node, symbol: Symbol) -> Symbol:
    """Return the mean of each row of elements."""
    count = flat_size(node.ports.input_item())
    return _sum_of_elements(node, symbol) / count if count > 1 else mx.sym.reshape(symbol, shape=(-1,))


def _sum_of_elements(node: Node, symbol: Symbol) -> Symbol:
    """Return the sum of each row of elements: a product with ones, in a fifth of the time of the operator sum."""
    item = node.ports.input_item()
    ones = mx.sym.ones((flat_size(item), 1), dtype=node.dtype)
    return mx.sym.reshape(mx.sym.dot(flatten(symbol, item), ones), shape=(-1,))


@register
@dataclass(frozen=True, repr=False)
class MeanSquaredLoss(Loss):
    """The mean over the item's elements of ``(input - target)**2``.

    Args:
        average: "examples" or "steps": how a sequence's steps count (see `Loss`).

    Raises:
        ArgumentError: The average is neither.

    Example:
        >>> MeanSquaredLoss()
        MeanSquaredLoss()
    """

    average: str = "examples"

    def __post_init__(self) -> None:
        """Check the average."""
        check_choice(self, "average", AVERAGES)

    def per_item(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        """Return the mean of the squares."""
        return _mean_of_elements(node, mx.sym.square(source - target))


@register
@dataclass(frozen=True, repr=False)
class MeanAbsoluteLoss(Loss):
    """The mean over the item's elements of ``|input - target|``; its gradient at 0 is 0.

    Args:
        average: "examples" or "steps": how a sequence's steps count (see `Loss`).

    Raises:
        ArgumentError: The average is neither.

    Example:
        >>> MeanAbsoluteLoss()
        MeanAbsoluteLoss()
    """

    average: str = "examples"

    def __post_init__(self) -> None:
        """Check the average."""
        check_choice(self, "average", AVERAGES)

    def per_item(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        """Return the mean of the absolute values."""
        return _mean_of_elements(node, mx.sym.abs(source - target))


@register
@dataclass(frozen=True, repr=False)
class CrossEntropyLoss(Loss):
    """The cross-entropy between predicted and target probabilities, in nats.

    ``"index"``: Input ``Vector(n)``, Target ``Index(n)``: ``-log p[target]``.
    ``"probabilities"``: Target like Input: ``-sum(target * log p)``.
    ``"binary"``: Target like Input, each element a probability of its own: the mean over the elements of
    ``-(target * log p + (1 - target) * log(1 - p))``.

    Args:
        target: "index", "probabilities" or "binary".
        input: "logits": ``p`` is the softmax of Input (its sigmoid for "binary"), computed without overflow;
            "probabilities": ``p`` is Input, as a Softmax or a sigmoid gives it.
        average: "examples" or "steps": how a sequence's steps count (see `Loss`).

    Raises:
        ArgumentError: An argument is none of its choices.

    Example:
        >>> CrossEntropyLoss("index")
        CrossEntropyLoss('index')
    """

    target: str
    input: str = "logits"
    average: str = "examples"

    def __post_init__(self) -> None:
        """Check the choices."""
        check_choice(self, "target", ("index", "probabilities", "binary"))
        check_choice(self, "input", ("logits", "probabilities"))
        check_choice(self, "average", AVERAGES)

    def check_feeds(self, path: str, feeds: Mapping[str, Layer]) -> None:
        """Refuse a Softmax before a loss of logits: it would be taken twice."""
        if self.input == "logits" and isinstance(feeds.get("Input"), Softmax):
            raise NetError(
                f'layer "{path}": a CrossEntropyLoss takes logits, what comes before a Softmax. Feed it those and take '
                f'the Softmax out beside it, or write CrossEntropyLoss("{self.target}", input="probabilities")'
            )

    def pair(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Give an index target its count; otherwise both are the same."""
        if self.target == "index":
            return _classes(source, target)
        if self.target == "probabilities" and source is not None:
            vector(source)
        return super().pair(source, target)

    def harmless(self) -> float | None:
        """Return a probability whose logarithm is finite, and that of its complement."""
        return 0.5 if self.input == "probabilities" else None

    def per_item(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        """Return the cross-entropy of each item."""
        if self.target == "binary":
            return _mean_of_elements(node, self._binary(source, target))
        if self.target == "index":
            return self._index(node, source, target)
        if self.input == "logits":
            largest, log = (mx.sym.expand_dims(found, axis=1) for found in _largest(source))
            costs = mx.sym.broadcast_sub(mx.sym.broadcast_sub(largest, source), log)
        else:
            costs = 0.0 - _safe_log(source, target)  # 0 - 0 is 0, where the negative of 0 shows as -0
        return _sum_of_elements(node, target * costs)

    def _index(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        few = flat_size(node.ports.input_item()) <= MOST_CLASSES
        kernel = native.cross_entropy() if self.input == "logits" and node.kernels and few else None
        if kernel is not None:
            return kernel(source, mx.sym.cast(target, dtype="float32"), name="cross_entropy")
        chosen = mx.sym.pick(source, target, axis=1)
        if self.input == "logits":
            largest, log = _largest(source)
            return largest - chosen - log
        return 0.0 - mx.sym.log(chosen)  # picked first: the slope of log 0 elsewhere would be 0 * inf

    def _binary(self, source: Symbol, target: Symbol) -> Symbol:
        if self.input == "logits":  # -log sigmoid(x) = softplus(-x): no cancellation at either end
            return target * _softplus(mx.sym.negative(source)) + (1 - target) * _softplus(source)
        other = 1 - target
        return 0.0 - (target * _safe_log(source, target) + other * _safe_log(1 - source, other))


def _largest(logits: Symbol) -> tuple[Symbol, Symbol]:
    """Return the largest logit of each row, and the logarithm of its probability.

    Their difference normalizes the row: ``-log softmax(x) = (largest - x) - log``. In float32 oneDNN's log_softmax is
    off by up to 5e-6, which makes small losses negative and turns the gradient of a sure and right prediction around;
    this is exact to rounding (1e-7). 700 x 10,000 on one thread, forward and backward: 55 ms, as many as with
    log_softmax, whose backward pass is slow; 8 by the kernel that stands here in float32, see `native`.
    """
    best = mx.sym.argmax(logits, axis=1)
    probability = mx.sym.pick(mx.sym.softmax(logits, axis=-1), best, axis=1)
    return mx.sym.pick(logits, best, axis=1), mx.sym.log(probability)


def _softplus(symbol: Symbol) -> Symbol:
    """Return ``log(1 + exp(x))``, exact also far below 0, where MXNet's own gives 0; above 40 it is x."""
    return mx.sym.log1p(mx.sym.exp(mx.sym.minimum(symbol, 40.0))) + mx.sym.relu(symbol - 40.0)


def _safe_log(probability: Symbol, weight: Symbol) -> Symbol:
    """Return the logarithm, 0 where probability and weight are 0, so that ``0 * log 0`` is 0 in value and gradient."""
    return mx.sym.log(probability + (probability == 0) * (weight == 0))


def _classes(source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
    """Return Vector(n) for the input and Index(n) for the target, as far as they follow."""
    if source is not None:
        return source, Index(vector(source))
    if not isinstance(target, Index):
        raise MismatchError(f'port "Target" gets {target!r}, but this layer needs an Index there')
    return Array((target.count,)), target


@register
@dataclass(frozen=True, repr=False)
class ContrastiveLoss(Loss):
    """``target * d**2 + (1 - target) * max(0, margin - d)**2`` of a distance ``d``.

    Ports: Input, a Scalar distance such as ``Aggregate("norm")`` gives; Target, a Scalar: 1 for a similar pair, 0 for
    another; Loss.

    Args:
        margin: The distance from which another pair costs nothing.
        average: "examples" or "steps": how a sequence's steps count (see `Loss`).

    Raises:
        ArgumentError: The margin is not a positive number.

    Reference: Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping".

    Example:
        >>> ContrastiveLoss()
        ContrastiveLoss()
    """

    margin: float = 0.5
    average: str = "examples"

    def __post_init__(self) -> None:
        """Check margin and average."""
        set_fields(self, margin=real_number(self.margin, "ContrastiveLoss: margin"))
        if self.margin <= 0.0:
            raise ArgumentError(f"ContrastiveLoss: margin must be positive, got {self.margin}")
        check_choice(self, "average", AVERAGES)

    def pair(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Require numbers."""
        for item, port in ((source, "Input"), (target, "Target")):
            if item is not None and (isinstance(item, Index) or item.shape):
                raise MismatchError(f'port "{port}" gets {item!r}, but this layer needs a Scalar there')
        return Array(()), Array(())

    def per_item(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        """Return the two squares, weighted."""
        near = mx.sym.square(source)
        far = mx.sym.square(mx.sym.relu(self.margin - source))
        return target * near + (1 - target) * far


@register
@dataclass(frozen=True, repr=False)
class ErrorRate(Loss):
    """1 where the largest element of the input is not the target, else 0: read like a loss, never trained.

    Ports: Input ``Vector(n)``, Target ``Index(n)``; ErrorRate ``(batch,)``.

    Args:
        average: "examples" or "steps": how a sequence's steps count (see `Loss`).

    Raises:
        ArgumentError: The average is neither.

    Example:
        >>> ErrorRate()
        ErrorRate()
    """

    trained: ClassVar[bool] = False
    average: str = "examples"

    def __post_init__(self) -> None:
        """Check the average."""
        check_choice(self, "average", AVERAGES)

    def output_ports(self) -> tuple[str, ...]:
        """Return the rate."""
        return ("ErrorRate",)

    def pair(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Give the target its count."""
        return _classes(source, target)

    def per_item(self, node: Node, source: Symbol, target: Symbol) -> Symbol:
        """Compare the largest element's place with the target."""
        best = mx.sym.cast(mx.sym.argmax(source, axis=1), dtype="int32")
        return mx.sym.cast(best != target, dtype=node.dtype)
