"""Nets from and to MXNet's own pair of files: a graph, ``prefix-symbol.json``, and arrays, ``prefix-0000.params``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import as_path, non_negative_int
from ...errors import ArgumentError, FileFormatError, NetError
from ...mappings import FrozenMapping
from ...whole_files import write_whole
from ..layers.symbol import SymbolLayer
from ..layers.symbol_shapes import BATCH_FIRST
from ..lowering import Head, Lowered, check_lengths, lower
from ..net import NetGraph
from ..plan import Plan
from ..symbols import SymbolGraph
from ..types import Array, PortType
from .outputs import plan_of, sources_of
from .params_file import read_params, write_params
from .symbol import LayerOptions, losses_of, net_of_graph

VERSION = ["int", 10901]  # of MXNet, as its files say it
NO_TYPES: Mapping[str, PortType] = FrozenMapping()


def from_mxnet(
    prefix: str | os.PathLike[str],
    inputs: Mapping[str, PortType] = NO_TYPES,
    *,
    epoch: int = 0,
    layout: str = BATCH_FIRST,
    name: str = "symbol",
) -> NetGraph:
    """Return the net in ``prefix-symbol.json``, with the arrays of ``prefix-0000.params``.

    Both are read and checked here, and MXNet's own readers see neither. What becomes of the graph, `from_symbol` says.

    Args:
        prefix: What the names of both files begin with.
        inputs: The types of the variables that are inputs, where the file has no shape with a batch size left open for
            them (`to_mxnet` writes one). Labels may be left out.
        epoch: The number in the name of the second file.
        layout: How sequences lie in the graph, "NTC" or "TNC".
        name: The name of the layer.

    Raises:
        FileFormatError: A file is not there, damaged, or has what cannot be taken over.
        NetError: Graph and arrays do not fit each other or the types, or the type of an input is not known.
        ArgumentError: An argument is not usable.

    Example:
        >>> import tempfile, mxtrainer as mxt
        >>> net = mxt.NetChain([mxt.Linear(1)], inputs={"Input": mxt.Vector(2)})
        >>> net = net.with_arrays({"linear.Weights": [[1.0, -1.0]], "linear.Biases": [0.5]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mxt.to_mxnet(net, f"{folder}/net")
        ...     mxt.from_mxnet(f"{folder}/net")
        NetGraph(Input -> Output_output, 1 layer)
    """
    symbol_path, params_path = _paths(prefix, epoch)
    if symbol_path.name.endswith("-symbol.json-symbol.json"):
        raise ArgumentError(f'prefix is what comes before "-symbol.json", got {os.fspath(prefix)!r}')
    try:
        text = symbol_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{str(symbol_path)!r} cannot be read as a symbol of MXNet: {error}") from error
    graph = SymbolGraph.parse(text, repr(str(symbol_path)))
    arrays = {path.partition(":")[2] or path: array for path, array in read_params(params_path).items()}
    if not isinstance(inputs, Mapping):
        raise ArgumentError(f'inputs must map variables to types, as in {{"data": Vector(2)}}, got {inputs!r}')
    types = _hinted(graph, [path for path in graph.variables if path not in arrays]) | dict(inputs)
    labels = {loss.label for loss in losses_of(graph)}
    untyped = [path for path in graph.variables if path not in arrays and path not in types and path not in labels]
    if untyped:
        raise NetError(
            f'"{untyped[0]}" has no values in {str(params_path)!r}: if it is an input, give its type, as in '
            f'inputs={{"{untyped[0]}": mxt.Vector(3)}}; if it is an array, the file is that of another graph, or one '
            f"of Gluon's save_parameters, which has other names than one of export"
        )
    used = {path: array for path, array in arrays.items() if path in graph.variables}
    return net_of_graph(graph, types, used, name, LayerOptions(layout))


def _paths(prefix: object, epoch: object) -> tuple[Path, Path]:
    start = as_path(prefix, "prefix")
    number = non_negative_int(epoch, "epoch")
    return Path(f"{start}-symbol.json"), Path(f"{start}-{number:04d}.params")


def _hinted(graph: SymbolGraph, names: list[str]) -> dict[str, PortType]:
    """Return the types of variables that say their shape, with a batch size left open."""
    said = {name: shape for name, shape in graph.hints().items() if name in names}
    return {name: Array(shape[1:]) for name, shape in said.items() if shape[0] == 0 and 0 not in shape[1:]}


def to_mxnet(
    net: NetGraph,
    prefix: str | os.PathLike[str],
    *,
    outputs: Sequence[str] | None = None,
    lengths: Mapping[str, int] | None = None,
    epoch: int = 0,
) -> None:
    """Write a net with arrays as ``prefix-symbol.json`` and ``prefix-0000.params``, for Module and SymbolBlock.

    The graph is that of evaluation, for any batch size, and for full rows of these lengths. Variables have the names of
    ports and arrays; arrays that an operator takes as one vector are one, as "lstm.parameters". Outputs have the names
    that MXNet gives: "Output_output" for the port "Output". Each file replaces one that is there in one piece.

    Args:
        net: The net, as `Trainer.net` gives it.
        prefix: What the names of both files begin with.
        outputs: Ports of the net, or any layer's. None: the outputs of the net that need no loss; where there are only
            losses (and states), what the loss layer gets, as "Output", or under the layers' names.
        lengths: The number of steps by length name, as MXNet's graphs have them fixed.
        epoch: The number in the name of the second file.

    Raises:
        NetError: The net has no values for an array, or a state that is learned and a port, or what MXNet's files
            cannot hold, as a loss that is a kernel of this package.
        ArgumentError: An argument is not usable, or a file cannot be written.
        UnknownNameError: An output is unknown.

    Example:
        >>> import tempfile, mxnet as mx, mxtrainer as mxt, numpy as np
        >>> net = mxt.NetChain([mxt.Linear(1)], inputs={"Input": mxt.Vector(2)})
        >>> net = net.with_arrays({"linear.Weights": np.float32([[1, -1]]), "linear.Biases": np.float32([0.5])})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mxt.to_mxnet(net, f"{folder}/net")
        ...     symbol, arrays, _ = mx.model.load_checkpoint(f"{folder}/net", 0)
        >>> symbol.list_arguments(), float(arrays["linear.Biases"].asscalar())
        (['Input', 'linear.Weights', 'linear.Biases'], 0.5)
    """
    symbol_path, params_path = _paths(prefix, epoch)
    graph, arrays, _ = exported(net, outputs, lengths, "to_mxnet")
    write_params(params_path, {f"arg:{name}": array for name, array in arrays.items()})
    write_whole(symbol_path, [_text(graph).encode()])


def exported(
    net: NetGraph, outputs: Sequence[str] | None, lengths: Mapping[str, int] | None, caller: str
) -> tuple[SymbolGraph, dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return a net's graph for MXNet, the values of its arrays, and the names of its inputs in order."""
    plan = plan_of(net, caller)
    sources = sources_of(plan, outputs, caller)
    steps = check_lengths(plan, {} if lengths is None else lengths)
    heads = tuple(Head(output, source, gradient=True) for output, source in sources.items())
    lowered = lower(plan, steps, heads, training=False, padded=False)
    if lowered.begins:
        port = next(iter(lowered.begins.values()))
        raise NetError(f'{caller}: the state "{port}" is learned and a port; export the net without with_states()')
    missing = [path for paths in lowered.arrays.values() for path in paths if path not in net.arrays]
    if missing:
        raise NetError(f'{caller}: the net has no values for "{missing[0]}"; give a net with arrays, as trainer.net()')
    try:
        graph = SymbolGraph.parse(lowered.symbol.tojson())
    except FileFormatError as error:
        raise NetError(f"{caller}: this net has what MXNet's files cannot hold: {error}") from None
    names = _names(plan, lowered)
    arrays = {names[argument]: _joined(net, paths) for argument, paths in lowered.arrays.items()}
    shapes = {port: plan.inputs[port].shape(0, steps) for port in lowered.inputs.values()}
    hints = shapes | {name: array.shape for name, array in arrays.items()}
    fixed = {names[argument] for argument, paths in lowered.arrays.items() if paths[0] in plan.auxiliary}
    return _renamed(graph, names).with_hints(hints).with_blocked(fixed), arrays, tuple(shapes)


def _names(plan: Plan, lowered: Lowered) -> dict[str, str]:
    """Return the name in the file of each argument and head; arrays of one graph of MXNet have their own again."""
    names = dict(lowered.inputs.items()) | {f"output:{head.name}": head.name for head in lowered.heads}
    for argument, paths in lowered.arrays.items():
        names[argument] = paths[0] if len(paths) == 1 else f"{paths[0].rpartition('.')[0]}.parameters"
    owners = {path.partition(".")[0] for paths in lowered.arrays.values() for path in paths}
    layer = plan.net.layers.get(next(iter(owners))) if len(owners) == 1 else None
    if isinstance(layer, SymbolLayer):
        names.update({argument: paths[0].partition(".")[2] for argument, paths in lowered.arrays.items()})
    return names


def _renamed(graph: SymbolGraph, names: Mapping[str, str]) -> SymbolGraph:
    nodes = tuple(node._replace(name=names.get(node.name, node.name)) for node in graph.nodes)
    return SymbolGraph(nodes, graph.heads)


def _joined(net: NetGraph, paths: tuple[str, ...]) -> NDArray[Any]:
    if len(paths) == 1:
        return net.arrays[paths[0]]
    return np.concatenate([net.arrays[path].reshape(-1) for path in paths])


def _text(graph: SymbolGraph) -> str:
    """Return a graph as MXNet's reader takes it, which knows no escapes for characters outside of ASCII."""
    data = {**json.loads(graph.to_text()), "attrs": {"mxnet_version": VERSION}}
    return json.dumps(data, indent=2, ensure_ascii=False)
