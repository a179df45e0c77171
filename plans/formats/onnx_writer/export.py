"""A net as an ONNX file, written from the net's own graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....arguments import as_path, positive_int
from ....errors import ArgumentError, NetError, nearest
from ....whole_files import write_whole
from ...graph import Source
from ...net import NetGraph
from ...plan import Plan
from ...types import PortType, item_of, length_of
from ..outputs import plan_of, sources_of
from .graph import Builder, Place
from .layers import add_layer

OPSET, IR_VERSION = 17, 8
LARGEST = 2**31 - 2**20  # bytes of arrays: the format's files end at 2**31, and the rest takes some
BATCH = "batch"  # the name of the batch axis
NEXT = ".next"  # what the name of an output ends with that would be the name of an input
NO_LENGTHS: Mapping[str, int] = {}


def to_onnx(
    net: NetGraph,
    path: str | os.PathLike[str],
    *,
    outputs: Sequence[str] | None = None,
    batch_size: int | None = None,
    lengths: Mapping[str, int] | None = None,
) -> None:
    """Write a net with arrays as an ONNX file: opset 17, in evaluation mode, in the dtype of the net's arrays.

    Inputs and outputs have the names of ports, and are batch first: ``(batch, *item)``, or ``(batch, t, *item)`` for a
    sequence, whose rows all have their full number of steps. An input is of its type's dtype, int32 for an Index, and
    none may be left out. States that are ports (`NetGraph.with_states`) are inputs and outputs; the output is called
    "lstm.State.next", as no two values of a file have one name. Other states begin at their initial value.

    The file replaces one that is there, in one piece. It needs the extra "onnx".

    Args:
        net: The net, as `Trainer.net` gives it.
        path: The file.
        outputs: Ports of the net, or any layer's, as "linear" or "lstm.State". None: the outputs of the net that need
            no loss; where there are only losses (and states), what the loss layer gets, as "Output", or under the
            layers' names if there are several. Inputs that the outputs do not need are not in the file.
        batch_size: The number of rows of each input. None: any.
        lengths: The number of steps by length name; any for others.

    Raises:
        NetError: The net has no values for an array, or a layer that cannot be written: a loss, a `Fold`, one of
            your own.
        ArgumentError: An argument is not usable, or the file cannot be written.
        UnknownNameError: An output is unknown.
        MissingExtraError: onnx is not installed.

    Example:
        >>> import tempfile
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Vector
        >>> net = NetChain([Linear(1), MeanSquaredLoss()], inputs={"Input": Vector(2)})
        >>> net = net.with_arrays({"linear.Weights": [[1.0, -1.0]], "linear.Biases": [0.5]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     to_onnx(net, f"{folder}/net.onnx")
    """
    target = Path(as_path(path, "path"))
    plan = plan_of(net, "to_onnx")
    symbols = _symbols(plan, batch_size, {} if lengths is None else lengths)
    sources = sources_of(plan, outputs, "to_onnx")
    write_whole(target, [_model(net, plan, sources, symbols).SerializeToString()])


class Symbols(NamedTuple):
    """The extents of leading axes: numbers where they are fixed, else names."""

    batch: int | str
    lengths: dict[str, int | str]

    def shape(self, port: PortType) -> list[int | str]:
        """Return the shape of all rows of a port."""
        length = length_of(port)
        steps = [] if length is None else [self.lengths[length]]
        return [self.batch, *steps, *item_of(port).shape]


def _symbols(plan: Plan, batch_size: int | None, lengths: Mapping[str, int]) -> Symbols:
    if not isinstance(lengths, Mapping):
        raise ArgumentError(f'lengths must map length names to numbers of steps, as in {{"t": 64}}, got {lengths!r}')
    for name in lengths:
        if name not in plan.lengths:
            known = ", ".join(plan.lengths) or "none"
            raise ArgumentError(f'lengths: the net has no length "{name}"{nearest(name, plan.lengths)}; known: {known}')
    fixed = {name: positive_int(steps, f'lengths: "{name}"') for name, steps in lengths.items()}
    batch = BATCH if batch_size is None else positive_int(batch_size, "batch_size")
    if batch == BATCH and BATCH in plan.lengths and BATCH not in fixed:
        raise NetError(
            f'to_onnx: the net has a length of the name "{BATCH}", which is that of the batch axis in the file; fix '
            f"batch_size= or lengths=, or give the length another name"
        )
    return Symbols(batch, {name: fixed.get(name, name) for name in plan.lengths})


# The file


def _model(net: NetGraph, plan: Plan, sources: Mapping[str, Source], symbols: Symbols) -> Any:
    graph, types = plan.graph_of_nodes, plan.types
    needed = graph.inputs_of(tuple(sources.values()))
    inputs = [port for port in plan.inputs if port in needed]
    outputs = {name + NEXT if name in inputs else name: source for name, source in sources.items()}
    builder = Builder(net.arrays, plan.dtype, [*inputs, *outputs])
    values = {Source(None, port): _input(builder, plan, port) for port in inputs}
    for path in graph.needed_by(tuple(sources.values())):
        node = graph.nodes[path]
        fed = {port: values[source] for port, source in node.feeds.items()}
        place = Place(builder, path, node.layer, types.nodes[path], fed, plan.nodes[path].arrays)
        values.update({Source(path, port): value for port, value in add_layer(place).items()})
    for name, source in outputs.items():
        builder.nodes.append(builder.onnx.helper.make_node("Identity", [values[source]], [name], name))
    given = [_port(builder, port, plan.inputs[port].transfer_dtype, plan.inputs[port].type, symbols) for port in inputs]
    shown = [_port(builder, name, *_typed(plan, source), symbols) for name, source in outputs.items()]
    return _whole(builder, given, shown)


def _input(builder: Builder, plan: Plan, port: str) -> str:
    """Return an input in the dtype that it has between layers."""
    spec = plan.inputs[port]
    if spec.transfer_dtype == spec.dtype:
        return port
    return builder.operators(port, "Cast", [port], 1, to=_code(builder, spec.dtype))[0]


def _typed(plan: Plan, source: Source) -> tuple[str, PortType]:
    port = plan.types.of(source)
    assert port is not None  # by compile_plan
    return item_of(port).dtype or plan.dtype, port


def _port(builder: Builder, name: str, dtype: str, port: PortType, symbols: Symbols) -> Any:
    return builder.onnx.helper.make_tensor_value_info(name, _code(builder, dtype), symbols.shape(port))


def _code(builder: Builder, dtype: str) -> int:
    return int(builder.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _whole(builder: Builder, given: list[Any], shown: list[Any]) -> Any:
    onnx, size = builder.onnx, sum(array.nbytes for array in builder.constants.values())
    if size > LARGEST:
        raise ArgumentError(f"to_onnx: the arrays take {size:,} bytes, and an ONNX file holds no more than {LARGEST:,}")
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in builder.constants.items()]
    graph = onnx.helper.make_graph(builder.nodes, "net", given, shown, constants)
    model = onnx.helper.make_model(
        graph,
        producer_name="mxtrainer",
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model
