"""The only callers of MXNet's bind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .._mxnet import mx
from ..errors import Error
from ..plans.lowering import Lowered

MIRROR = "MXNET_BACKWARD_DO_MIRROR"
_TOKEN = "token"  # noqa: S105 - a name in the graph


def bind(
    lowered: Lowered,
    arguments: Mapping[str, Any],
    gradients: Mapping[str, Any],
    context: Any,
    bucket: str,
    neighbour: Any = None,
) -> Any:
    """Return MXNet's executor for a graph, to be run in training mode always.

    What differs in evaluation is left out by the lowering, because MXNet's own evaluation mode lets oneDNN reorder
    convolution weights in place, which scrambles the flat array that they are views of.

    A graph without any gradient would go through MXNet's subgraph pass, which deletes Dropout, and copies a weight for
    every operator that uses it (20 uses of 4 MB took 85 MB, against 5). A gradient of one number that is connected to
    nothing turns the pass off.

    Args:
        lowered: The graph.
        arguments: An NDArray for each argument.
        gradients: An NDArray for each argument that gets a gradient; it is overwritten by every backward pass.
        context: The device.
        bucket: What to call it in errors.
        neighbour: Another executor, whose memory for outputs and everything in between this one uses too.

    Raises:
        Error: MXNet refuses the graph, or cannot allocate its memory; or a variable is set that changes all graphs.
    """
    if os.environ.get(MIRROR, "0") not in {"", "0"}:
        raise Error(
            f"the environment variable {MIRROR} is set: it lets operators run again that must not, keeps more than "
            f"memory_budget= does, and is slower; unset it"
        )
    symbol, arguments, gradients = lowered.symbol, dict(arguments), dict(gradients)
    if not gradients:
        symbol = mx.sym.Group([symbol, mx.sym.identity(mx.sym.var(_TOKEN))])
        arguments[_TOKEN], gradients[_TOKEN] = (mx.nd.zeros((1,), ctx=context) for _ in range(2))
    names = symbol.list_arguments()
    requests = {name: "write" if name in gradients else "null" for name in names}
    try:
        return symbol.bind(
            context, [arguments[name] for name in names], args_grad=gradients, grad_req=requests, shared_exec=neighbour
        )
    except (mx.MXNetError, RuntimeError) as error:  # MXNet raises either
        reason = "there is not enough memory for it" if "allocate" in str(error) else "MXNet refuses the graph"
        raise Error(f"cannot instantiate the bucket {bucket}: {reason}\n{error}") from error


def bind_plain(symbol: Any, arguments: Mapping[str, Any], context: Any) -> Any:
    """Return MXNet's executor for a graph of a few operators that has no gradients and no weights.

    Args:
        symbol: The graph.
        arguments: An NDArray for each argument.
        context: The device.
    """
    return symbol.bind(context, [arguments[name] for name in symbol.list_arguments()], grad_req="null")
