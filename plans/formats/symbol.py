"""Nets of MXNet symbols: graphs as layers, output layers as losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import ArrayLike, NDArray

from ..._mxnet import mx
from ...arguments import as_array, names
from ...errors import ArgumentError, NetError, nearest
from ...mappings import FrozenMapping
from ..initializers import Initializer
from ..layers.base import NO_INITIALIZERS, Layer, MismatchError
from ..layers.symbol import SymbolLayer, fixed_arrays, port_name
from ..layers.symbol_losses import MADE, SOFTMAX, SymbolLoss
from ..layers.symbol_shapes import BATCH_FIRST, Shapes, shapes_of
from ..net import NetGraph
from ..operators import LOSSES
from ..symbols import Entry, Operation, SymbolGraph
from ..types import PortType, check_port_type, on_device

NO_ARRAYS: Mapping[str, Any] = FrozenMapping()


def from_symbol(
    symbol: Any,
    inputs: Mapping[str, PortType],
    *,
    arrays: Mapping[str, ArrayLike] = NO_ARRAYS,
    constants: Sequence[str] = (),
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS,
    layout: str = BATCH_FIRST,
    name: str = "symbol",
) -> NetGraph:
    """Return the net of an MXNet symbol.

    The graph becomes one layer, and each of MXNet's output layers in its heads (SoftmaxOutput, the regressions,
    MakeLoss) a loss behind it, with MXNet's own gradient; see `SymbolLoss`. Its prediction is an output of the layer:
    ``trainer.evaluate(batch, outputs=["symbol.softmax_output"])``, and so is what goes into it. A label is an input of
    the net under its own name. Other heads are outputs of the net.

    Args:
        symbol: The symbol.
        inputs: The types of the variables that are inputs; labels may be left out: an `Index` for SoftmaxOutput (real
            with ``use_ignore``), what the prediction is for others. All other variables are arrays.
        arrays: Values of arrays by MXNet's names, as in ``{"fc_weight": ...}``; numpy arrays or NDArrays.
        constants: Arrays that nothing trains; those that only a BlockGrad reads are so anyway.
        initializers: Initializers of arrays without values, by MXNet's names; what variables say of that, and of
            multipliers (``init``, ``lr_mult``), is not taken over: `Rule` has the latter.
        layout: "NTC": sequences are ``(batch, t, ...)`` in the graph, or "TNC": ``(t, batch, ...)``. Users' arrays are
            ``(batch, t, ...)`` in any case.
        name: The name of the layer.

    Raises:
        NetError: Shapes do not fit, a batch size is fixed in the graph, or an output layer is not at an end.
        FileFormatError: There is an operator that cannot be taken over, such as a custom one, a loop, or a random one.
        ArgumentError: Something is no symbol, or an input or array is not in it.

    Example:
        >>> import mxtrainer as mxt
        >>> import mxnet as mx
        >>> fc = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc")
        >>> net = mxt.from_symbol(mx.sym.SoftmaxOutput(fc, name="softmax"), {"data": mxt.Vector(2)})
        >>> dict(net.inputs), tuple(mxt.compile_plan(net).parameters)
        ({'data': Vector(2), 'softmax_label': Index(3)}, ('symbol.fc_weight', 'symbol.fc_bias'))
    """
    if not isinstance(symbol, mx.sym.Symbol):
        raise ArgumentError(f"from_symbol takes a symbol of MXNet, got {type(symbol).__name__}")
    options = LayerOptions(layout, names(constants, "constants"), initializers)
    return net_of_graph(SymbolGraph.parse(symbol.tojson()), inputs, arrays, name, options)


class LayerOptions(NamedTuple):
    """What a layer of a graph is told beside the graph."""

    layout: str = BATCH_FIRST
    constants: tuple[str, ...] = ()
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS


def net_of_graph(
    graph: SymbolGraph, inputs: Mapping[str, PortType], arrays: Mapping[str, Any], name: str, options: LayerOptions
) -> NetGraph:
    """Return the net of a graph (see `from_symbol`)."""
    types = _checked_types(graph, inputs)
    values = _checked_values(arrays)
    graph = graph.with_hints(graph.hints() | {path: array.shape for path, array in values.items() if array.shape})
    losses = losses_of(graph)
    body = _body_of(graph, losses)
    layer = SymbolLayer(body.to_text(), tuple(found for found in body.variables if found in types), *options)
    same = next((loss.name for loss in losses if loss.name == name), None)
    if same is not None:
        raise ArgumentError(f'name: "{same}" is the name of an output layer; give another one')
    shapes = _shapes(layer, types, name)
    ports = dict(zip(layer.output_ports(), shapes.outputs))
    layers: dict[str, Layer] = {name: layer}
    paths: list[tuple[str, ...]] = [(port, f"{name}.{port}") for port in layer.input_ports()]
    for loss in losses:
        port = port_name(graph.name_of(loss.entering))
        layers[loss.name] = SymbolLoss(
            loss.operator, loss.attributes, ports[port].merged, loss.label_graph, options.layout
        )
        paths.append((f"{name}.{port}", loss.name, "Loss" if len(losses) == 1 else f"{loss.name}_loss"))
        if loss.label is not None:
            paths.append((port_name(loss.label), f"{loss.name}.Target"))
    others = [port_name(graph.name_of(head)) for head in graph.heads if graph.nodes[head[0]].operator not in LOSSES]
    paths += [(f"{name}.{port}", port) for port in dict.fromkeys(others)]
    net = NetGraph(layers, paths, {port_name(variable): port for variable, port in types.items()})
    return net.with_arrays(_fitting(values, shapes, layer, name))


class OutputLayer(NamedTuple):
    """One of MXNet's output layers.

    Attributes:
        name: The name of our layer.
        operator: MXNet's operator.
        attributes: Its parameters.
        entering: What goes into it.
        label: The variable that the label is; None: there is none.
        label_graph: What is done to it, in JSON; empty: nothing.
    """

    name: str
    operator: str
    attributes: FrozenMapping[str]
    entering: Entry
    label: str | None = None
    label_graph: str = ""


def _checked_types(graph: SymbolGraph, inputs: Mapping[str, PortType]) -> dict[str, PortType]:
    if not isinstance(inputs, Mapping) or not inputs:
        raise ArgumentError(f'inputs must map variables to types, as in {{"data": Vector(2)}}, got {inputs!r}')
    for variable in inputs:
        if variable not in graph.variables:
            raise ArgumentError(
                f"inputs: the graph has no variable {variable!r}{nearest(variable, graph.variables)}; "
                f"it has {', '.join(graph.variables)}"
            )
    return {variable: check_port_type(port, f'inputs: "{variable}"') for variable, port in inputs.items()}


def losses_of(graph: SymbolGraph) -> list[OutputLayer]:
    """Return the output layers among the heads.

    Raises:
        NetError: There is one that is no head, or whose label is more than one variable.
    """
    ends = {number for number, _ in graph.heads}
    inside = {number for node in graph.nodes for number, _ in node.inputs}
    found = []
    for number, node in enumerate(graph.nodes):
        if node.operator not in LOSSES:
            continue
        if number in inside or number not in ends:
            raise NetError(
                f'"{node.name}" ({node.operator}) feeds something: it has a gradient of its own, so it can only end'
            )
        name, attributes = port_name(node.name), FrozenMapping(dict(node.attributes))
        if node.operator in MADE:
            found.append(OutputLayer(name, node.operator, attributes, node.inputs[0]))
            continue
        label = SymbolGraph(graph.nodes, node.inputs[1:]).pruned()
        if len(label.variables) != 1:
            raise NetError(
                f'"{node.name}" ({node.operator}): its label is made of {", ".join(label.variables) or "no variable"}, '
                f"and must be one input"
            )
        text = label.to_text() if label.operations else ""
        found.append(OutputLayer(name, node.operator, attributes, node.inputs[0], label.variables[0], text))
    return found


def _body_of(graph: SymbolGraph, losses: list[OutputLayer]) -> SymbolGraph:
    """Return the graph with predictions in place of output layers, and what goes into these as heads too."""
    nodes = tuple(_prediction(node) if node.operator in LOSSES else node for node in graph.nodes)
    made = {number for number, node in enumerate(graph.nodes) if node.operator in MADE}
    heads = [head for head in graph.heads if head[0] not in made]
    return SymbolGraph(nodes, tuple(dict.fromkeys([*heads, *(loss.entering for loss in losses)]))).pruned()


def _prediction(node: Operation) -> Operation:
    """Return what an output layer gives, without its gradient."""
    if node.operator in SOFTMAX:
        along = {"axis": "1"} if node.flag("multi_output") else {"axis": "-1"}
        whole = not node.flag("multi_output") and not node.flag("preserve_shape")  # all of a row is one distribution
        operator, attributes = ("SoftmaxActivation", {}) if whole else ("softmax", along)
    else:
        operator, attributes = "sigmoid" if node.operator == "LogisticRegressionOutput" else "identity", {}
    return Operation(operator, node.name, tuple(attributes.items()), node.inputs[:1])


def _shapes(layer: SymbolLayer, types: Mapping[str, PortType], name: str) -> Shapes:
    try:
        ports = tuple(on_device(types[variable]) for variable in layer.inputs)
        return shapes_of(layer.graph, layer.inputs, ports, layer.layout)
    except MismatchError as mismatch:
        raise NetError(f'layer "{name}": {mismatch}') from None


def _checked_values(arrays: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not isinstance(arrays, Mapping):
        raise ArgumentError(f"arrays must map MXNet's names to arrays, got {type(arrays).__name__}")
    found = {}
    for path, given in arrays.items():
        try:
            found[path] = as_array(given.asnumpy() if isinstance(given, mx.nd.NDArray) else given)
        except ArgumentError as error:
            raise ArgumentError(f'arrays: "{path}" {error}') from None
    return found


def _fitting(
    values: Mapping[str, NDArray[Any]], shapes: Shapes, layer: SymbolLayer, name: str
) -> dict[str, NDArray[Any]]:
    """Return the values of the net's arrays by their paths."""
    found: dict[str, NDArray[Any]] = {}
    for path, array in values.items():
        if path not in shapes.arrays:
            known = f"{nearest(path, shapes.arrays) or '.'} It has {', '.join(shapes.arrays) or 'none'}"
            raise ArgumentError(f'arrays: the graph has no array "{path}"{known}')
        if array.shape != shapes.arrays[path]:
            raise NetError(f'arrays: "{path}" has the shape {array.shape}, and the net needs {shapes.arrays[path]}')
        if path not in fixed_arrays(layer.parsed):  # which are 1, whatever the file says
            found[f"{name}.{path}"] = array
    return found
