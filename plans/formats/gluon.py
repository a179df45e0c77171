"""Nets from and to blocks of Gluon."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..._mxnet import mx
from ...errors import ArgumentError, NetError
from ..layers.symbol_shapes import BATCH_FIRST
from ..net import NetGraph
from ..types import PortType
from .mxnet_files import exported
from .symbol import from_symbol


def from_gluon(
    block: Any, inputs: Mapping[str, PortType], *, layout: str | None = None, name: str = "block"
) -> NetGraph:
    """Return the net of a Gluon block that can be hybridized, with its parameters as far as it has values.

    The block is run once on symbols, and what it gives is taken over as `from_symbol` does; it is not changed. What
    it does not train (``grad_req="null"``, constants) nothing trains here.

    Args:
        block: A `HybridBlock`, such as a `HybridSequential` or a layer of ``gluon.rnn``.
        inputs: The types of its inputs, in the order in which it takes them, under names of your choice.
        layout: "NTC", or "TNC" where time comes first in its sequences. None: that of the layer of ``gluon.rnn`` that
            it is, or begins with, which is "TNC" unless that says otherwise; else "NTC".
        name: The name of the layer.

    Raises:
        ArgumentError: It is no such block, or takes other inputs.
        NetError: Shapes do not fit, or a batch size is fixed.
        FileFormatError: There is an operator that cannot be taken over.

    Example:
        >>> import mxnet as mx, mxtrainer as mxt
        >>> block = mx.gluon.nn.Dense(3, in_units=2)
        >>> block.initialize(mx.init.One())
        >>> net = mxt.from_gluon(block, {"Input": mxt.Vector(2)})
        >>> [path.rpartition("_")[2] for path in mxt.compile_plan(net, {port: 0.0 for port in net.outputs}).parameters]
        ['weight', 'bias']
    """
    if not isinstance(block, mx.gluon.HybridBlock):
        raise ArgumentError(f"from_gluon takes a HybridBlock of Gluon, got {type(block).__name__}")
    if not isinstance(inputs, Mapping) or not inputs:
        raise ArgumentError(f'inputs must map names to types, as in {{"Input": Vector(2)}}, got {inputs!r}')
    try:
        given = block(*(mx.sym.var(port) for port in inputs))
    except Exception as error:
        raise ArgumentError(
            f"from_gluon: {type(block).__name__} does not run on symbols of {', '.join(inputs)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    symbols = _flat(given)
    if not all(isinstance(symbol, mx.sym.Symbol) for symbol in symbols):
        raise ArgumentError(f"from_gluon: {type(block).__name__} must give arrays or lists of them, not {given!r}")
    symbol = mx.sym.Group(symbols)
    moved = symbol.list_auxiliary_states()
    arguments = {*symbol.list_arguments(), *moved}
    parameters = {path: found for path, found in block.collect_params().items() if path in arguments}
    constants = [path for path, found in parameters.items() if found.grad_req == "null" and path not in moved]
    values = {path: _values(found) for path, found in parameters.items()}
    arrays = {path: found for path, found in values.items() if found is not None}
    return from_symbol(
        symbol, inputs, arrays=arrays, constants=constants, layout=layout or _layout_of(block), name=name
    )


def _layout_of(block: Any) -> str:
    """Return how sequences lie in a block, as its first layer says."""
    while isinstance(block, mx.gluon.nn.HybridSequential) and len(block):
        block = block[0]
    recurrent = isinstance(block, (mx.gluon.rnn.RNN, mx.gluon.rnn.LSTM, mx.gluon.rnn.GRU))
    return str(block._layout) if recurrent else BATCH_FIRST  # noqa: SLF001 - it is said nowhere else


def _flat(given: Any) -> list[Any]:
    """Return what a block gives without its lists."""
    if isinstance(given, (list, tuple)):
        return [symbol for part in given for symbol in _flat(part)]
    return [given]


def _values(parameter: Any) -> Any:
    """Return a parameter's values, None where it has none yet."""
    try:
        return parameter.data(parameter.list_ctx()[0]).asnumpy()
    except (RuntimeError, mx.gluon.parameter.DeferredInitializationError):
        return None


def to_gluon(net: NetGraph, *, outputs: Sequence[str] | None = None, lengths: Mapping[str, int] | None = None) -> Any:
    """Return a net with arrays as a Gluon block, a ``SymbolBlock`` with copies of the arrays.

    It takes the net's inputs in order, without those of losses, and gives the outputs in order; see `to_mxnet`.

    Args:
        net: The net, as `Trainer.net` gives it.
        outputs: Ports of the net, or any layer's; None: those that need no loss.
        lengths: The number of steps by length name.

    Raises:
        NetError: The net has no values for an array, or what MXNet cannot hold.
        ArgumentError: An argument is not usable.
        UnknownNameError: An output is unknown.

    Example:
        >>> import mxnet as mx, mxtrainer as mxt, numpy as np
        >>> net = mxt.NetChain([mxt.Linear(1)], inputs={"Input": mxt.Vector(2)})
        >>> net = net.with_arrays({"linear.Weights": np.float32([[1, -1]]), "linear.Biases": np.float32([0.5])})
        >>> float(mxt.to_gluon(net)(mx.nd.array([[3.0, 1.0]])).asnumpy()[0, 0])
        2.5
    """
    graph, arrays, inputs = exported(net, outputs, lengths, "to_gluon")
    if not inputs:
        raise NetError("to_gluon: these outputs need no input, and a block has one")
    variables = {variable: mx.sym.var(variable) for variable in graph.variables}
    heads = graph.build(variables)
    symbol = mx.sym.Group(heads) if len(heads) > 1 else heads[0]
    with warnings.catch_warnings():  # it warns that inputs have no dtype; they take the one of what they are given
        warnings.simplefilter("ignore")
        block = mx.gluon.SymbolBlock(symbol, [variables[port] for port in inputs])
    for path, parameter in block.collect_params().items():
        array = arrays[path]
        parameter.shape, parameter.dtype = array.shape, array.dtype
        parameter.initialize(ctx=mx.cpu())
        parameter.set_data(mx.nd.array(array, dtype=array.dtype))
    return block
