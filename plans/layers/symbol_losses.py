"""MXNet's output layers as losses: values whose gradients are those that its operators make up themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..._mxnet import mx
from ...errors import ArgumentError
from ...mappings import FrozenMapping
from ...values import register
from ..operators import LOSSES
from ..symbols import Operation, SymbolGraph
from ..types import Array, Index, Item, PortType, Sequence, item_of, with_item
from .base import MismatchError, Node, Ports, Symbol, check_choice, flat_size, set_fields
from .losses import Loss
from .symbol_shapes import BATCH_FIRST, LAYOUTS, TIME_FIRST, shapes_within

SOFTMAX = frozenset(("SoftmaxOutput", "Softmax"))
MADE = frozenset(("MakeLoss", "make_loss"))
NORMALIZATIONS = ("null", "batch", "valid")


@register
@dataclass(frozen=True, repr=False)
class SymbolLoss(Loss):
    """An output layer of MXNet as a loss, as `from_symbol` makes it.

    MXNet's SoftmaxOutput and its like give predictions, and make up a gradient whatever comes from behind. Here the
    predictions are an output of the layer before, and this one has the loss that has that gradient: with
    ``normalization="null"`` (and for the regressions) the gradient of the mean over the examples is MXNet's divided by
    the batch size, as Module does by ``rescale_grad``; with "batch" and "valid" it is MXNet's.

    Ports: Input, what the operator takes (so logits); Target, the label (not for MakeLoss); Loss ``(batch,)``.

    Args:
        operator: SoftmaxOutput, LinearRegressionOutput, MAERegressionOutput, LogisticRegressionOutput, MakeLoss or
            make_loss.
        attributes: Its parameters, as text.
        merged: Whether each step of a sequence, or each place of an item's first axis, is a row of its own to the
            operator.
        label: A graph of MXNet operators that the label goes through first, in JSON, with one variable.
        layout: "NTC" or "TNC": how sequences lie in that graph.

    Raises:
        ArgumentError: The operator is none of these, or has parameters that are not built: ``out_grad``, and "valid"
            with ``use_ignore`` or for MakeLoss, where what one example counts depends on others.

    Example:
        >>> SymbolLoss("SoftmaxOutput", {"grad_scale": "0.5"})
        SymbolLoss('SoftmaxOutput', attributes={'grad_scale': '0.5'})
    """

    masks_padding: ClassVar[bool] = False

    operator: str
    attributes: Mapping[str, str] = FrozenMapping()
    merged: bool = False
    label: str = ""
    layout: str = BATCH_FIRST

    def __post_init__(self) -> None:
        """Check operator and parameters."""
        check_choice(self, "operator", tuple(LOSSES))
        check_choice(self, "layout", LAYOUTS)
        set_fields(self, attributes=FrozenMapping(self.attributes))
        found = self._operation
        if found.get("normalization", "null") not in NORMALIZATIONS:
            raise ArgumentError(f"SymbolLoss: normalization must be one of {', '.join(NORMALIZATIONS)}")
        valid = found.get("normalization") == "valid"
        if found.flag("out_grad") or (valid and (found.flag("use_ignore") or self.operator in MADE)):
            where = "use_ignore" if found.flag("use_ignore") else "MakeLoss"
            what = "out_grad" if found.flag("out_grad") else f'normalization="valid" and {where}'
            raise ArgumentError(
                f"SymbolLoss: {self.operator} with {what} is not built, as what an example counts would depend on the "
                f'others of its batch; normalization="null" sums over what is not ignored'
            )
        for name in ("grad_scale", "ignore_label", "smooth_alpha"):
            try:
                found.number(name, 0.0)
            except ValueError:
                raise ArgumentError(f"SymbolLoss: {name} must be a number, got {found.get(name)!r}") from None
        if self.label:
            graph = SymbolGraph.parse(self.label)
            if len(graph.variables) != 1 or len(graph.heads) != 1:
                raise ArgumentError("SymbolLoss: label must be a graph with one variable and one output")
            set_fields(self, label=graph.to_text())

    @property
    def _operation(self) -> Operation:
        return Operation(self.operator, "output", tuple(self.attributes.items()))

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return input and target; MakeLoss has no target."""
        return ("Input",) if self.operator in MADE else ("Input", "Target")

    def deduce(self, ports: Ports) -> None:
        """Give the target the type that the operator wants, where none is known."""
        ports.set_output("Loss", Array(()))
        source = ports.inputs["Input"]
        if source is None:
            return
        if isinstance(source, Sequence) and not self.merged and self.operator in SOFTMAX and not self._preserves:
            raise MismatchError(
                f"{self.operator} takes all of a sequence as the classes of one label; set preserve_shape=True, or "
                f"reshape the steps to rows, in the symbol"
            )
        if self.operator in MADE:
            return
        if ports.inputs["Target"] is None:
            ports.set_input("Target", self._usual_target(source))
        self._check_target(source, ports.input("Target"))

    def needs(self, ports: Ports) -> str:
        """Ask for the input."""
        return "give the types of the net's inputs in inputs={...}"

    @property
    def _preserves(self) -> bool:
        return self._operation.flag("preserve_shape")

    def _places(self, item: Item) -> tuple[int, ...]:
        """Return the shape of the labels of one item."""
        if self._operation.flag("multi_output"):
            return item.shape[1:]
        return item.shape[:-1] if self._preserves else ()

    def _row(self, port: PortType) -> tuple[int, Item]:
        """Return how many rows each example, or step, is to the operator, and the type of one."""
        item = item_of(port)
        if self.merged and not isinstance(port, Sequence):
            return item.shape[0], Array(item.shape[1:])
        return 1, item

    def _usual_target(self, source: PortType) -> PortType:
        rows, item = self._row(source)
        places: tuple[int, ...] = () if item.shape == (1,) else item.shape
        if self.operator in SOFTMAX:
            places = self._places(item)
            if not places and rows == 1 and not self._operation.flag("use_ignore"):
                return with_item(source, Index(flat_size(item)))
        return with_item(source, Array((*((rows,) if rows > 1 else ()), *places)))

    def _check_target(self, source: PortType, target: PortType) -> None:
        rows, item = self._row(source)
        wanted = [rows * flat_size(item)]
        if self.operator in SOFTMAX:
            wanted.append(rows * flat_size(Array(self._places(item))))
        same = isinstance(source, Sequence) == isinstance(target, Sequence)
        if not same or flat_size(item_of(target)) not in wanted:
            raise MismatchError(
                f'port "Target" gets {target!r}, but {self.operator} wants {" or ".join(map(str, wanted))} numbers for '
                f"{source!r}"
            )

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return the loss of each example: the sum over all that it has, scaled as the operator scales gradients."""
        source = node.ports.input()
        count, item = self._row(source)
        steps = node.steps(source) if isinstance(source, Sequence) else count
        rows = node.inputs["Input"]
        rows = mx.sym.reshape(rows, shape=(-3, -2)) if count > 1 else node.merge(rows, source)
        if self.operator in MADE:
            values, places = rows, flat_size(item)
        elif self.operator in SOFTMAX:
            values, places = self._cross_entropy(node, rows, item, count), flat_size(Array(self._places(item)))
        else:
            values, places = self._regression(node, rows), flat_size(item)
        summed = mx.sym.sum(mx.sym.reshape(values, shape=(-1, steps * places)), axis=1)
        return {"Loss": summed * self._scale(item, steps, places)}

    def _scale(self, item: Item, steps: int, places: int) -> float:
        scale = self._operation.number("grad_scale", 1.0)
        if self.operator not in SOFTMAX | MADE:
            return scale / (flat_size(item) if self.merged else flat_size(item) * steps)
        if self._operation.flag("multi_output") and self._operation.get("normalization") != "valid":
            scale /= places
        divisor = {"batch": steps if self.merged else 1, "valid": steps * places}
        return scale / divisor.get(self._operation.get("normalization"), 1)

    def _labels(self, node: Node) -> Symbol:
        """Return all labels as one vector, in the order of the input's rows."""
        target = node.ports.input("Target")
        symbol = mx.sym.cast(node.inputs["Target"], dtype=node.dtype)
        if not self.label:
            return mx.sym.reshape(symbol, shape=(-1,))
        graph = SymbolGraph.parse(self.label)
        lengths = tuple(node.lengths.items()) if isinstance(target, Sequence) else ()
        shapes_within(self.label, graph.variables, (target,), self.layout, lengths)
        swapped = isinstance(target, Sequence) and self.layout == TIME_FIRST
        symbol = mx.sym.swapaxes(symbol, dim1=0, dim2=1) if swapped else symbol
        vector = mx.sym.reshape(graph.build({graph.variables[0]: symbol})[0], shape=(-1,))
        if not swapped:
            return vector
        apart = mx.sym.reshape(vector, shape=(node.steps(target), -1, flat_size(item_of(target))))
        return mx.sym.reshape(mx.sym.swapaxes(apart, dim1=0, dim2=1), shape=(-1,))

    def _cross_entropy(self, node: Node, rows: Symbol, item: Item, count: int) -> Symbol:
        """Return the cross entropies, one for each label, in order."""
        operation, labels = self._operation, self._labels(node)
        places = flat_size(Array(self._places(item)))
        classes = flat_size(item) // places
        if operation.flag("multi_output"):  # (rows, classes, places) becomes (rows * places, classes)
            rows = mx.sym.swapaxes(mx.sym.reshape(rows, shape=(-1, classes, places)), dim1=1, dim2=2)
        logs = mx.sym.log_softmax(mx.sym.reshape(rows, shape=(-1, classes)), axis=-1)
        if flat_size(item_of(node.ports.input("Target"))) == count * flat_size(item) and classes > 1:
            return -mx.sym.sum(self._probabilities(labels, classes, places) * logs, axis=-1)
        picked = mx.sym.pick(logs, labels, axis=-1)
        smooth = operation.number("smooth_alpha", 0.0)
        if smooth and not operation.flag("multi_output"):
            others = mx.sym.sum(logs, axis=-1) - picked
            picked = (1.0 - smooth) * picked + smooth / (classes - 1) * others
        if operation.flag("use_ignore"):
            picked = mx.sym.where(labels == operation.number("ignore_label", -1.0), mx.sym.zeros_like(picked), picked)
        return -picked

    def _probabilities(self, labels: Symbol, classes: int, places: int) -> Symbol:
        if self._operation.flag("multi_output"):
            labels = mx.sym.swapaxes(mx.sym.reshape(labels, shape=(-1, classes, places)), dim1=1, dim2=2)
        return mx.sym.reshape(labels, shape=(-1, classes))

    def _regression(self, node: Node, rows: Symbol) -> Symbol:
        flat, labels = mx.sym.reshape(rows, shape=(-1,)), self._labels(node)
        if self.operator == "LogisticRegressionOutput":
            return mx.sym.Activation(flat, act_type="softrelu") - labels * flat
        if self.operator == "MAERegressionOutput":
            return mx.sym.abs(flat - labels)
        return 0.5 * mx.sym.square(flat - labels)
