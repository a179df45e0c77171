"""LearnedWeight: a loss weight that is trained with the net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..._mxnet import mx
from ...values import register
from ..initializers import Initializer, Zeros
from ..types import Array, Index, Item
from .base import NO_INITIALIZERS, Declared, ItemLayer, MismatchError, Node, Ports, Symbol, check_initializers


@register
@dataclass(frozen=True, repr=False)
class LearnedWeight(ItemLayer):
    """``exp(-s) * x + s``: a loss times a weight that is learned, and what keeps the weight from becoming 0.

    Where the loss settles at ``x``, the weight does at ``1 / x``: losses of other sizes come to count alike. The output
    is trained in place of the loss: ``losses={"Weighted": 1.0, "Loss": 0.0}``.

    Ports: Input, a Scalar such as a Loss port gives; Output, a Scalar. Arrays: ``LogVariance (1,)``, ``s`` above.

    Args:
        initializers: Initializers by array name.

    Reference: Kendall, Gal and Cipolla 2018, "Multi-task learning using uncertainty to weigh losses for scene geometry
    and semantics", section 3.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetGraph, Scalar, compile_plan
        >>> net = NetGraph(
        ...     {"linear": Linear(), "mse": MeanSquaredLoss(), "weight": LearnedWeight()},
        ...     [("Input", "linear", "mse", "Loss"), ("mse", "weight", "Weighted")],
        ...     inputs={"Input": Scalar(), "Target": Scalar()},
        ... )
        >>> tuple(compile_plan(net, losses={"Weighted": 1.0, "Loss": 0.0}).parameters)
        ('linear.Weights', 'linear.Biases', 'weight.LogVariance')
    """

    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check the initializers."""
        check_initializers(self)

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Require numbers."""
        for item, port in ((source, "Input"), (target, "Output")):
            if item is not None and (isinstance(item, Index) or item.shape):
                raise MismatchError(f'port "{port}" has {item!r}, but this layer needs a Scalar there')
        return Array(()), Array(())

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the logarithm of what the weight is one over."""
        return {"LogVariance": Declared((1,), Zeros())}

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Weigh each number."""
        log_variance = node.array("LogVariance")
        return mx.sym.broadcast_add(mx.sym.broadcast_mul(symbol, mx.sym.exp(0.0 - log_variance)), log_variance)
