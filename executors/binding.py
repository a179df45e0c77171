"""The only caller of MXNet's bind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .._mxnet import mx
from ..errors import Error
from ..plans.lowering import Lowered

_SUBGRAPHS = "MXNET_SUBGRAPH_BACKEND"


def bind(
    lowered: Lowered, arguments: Mapping[str, Any], gradients: Mapping[str, Any], context: Any, bucket: str
) -> Any:
    """Return MXNet's executor for a graph.

    It is always run in training mode: what differs in evaluation is left out by the lowering. MXNet's own evaluation
    mode lets oneDNN reorder convolution weights in place, which scrambles the flat array that they are views of; and
    its subgraph pass deletes Dropout and copies every weight where there are no gradients, so it is off there.

    Args:
        lowered: The graph.
        arguments: An NDArray for each argument.
        gradients: An NDArray for each argument that gets a gradient; it is overwritten by every backward pass.
        context: The device.
        bucket: What to call it in errors.

    Raises:
        Error: MXNet refuses the graph, or cannot allocate its memory.
    """
    names = lowered.symbol.list_arguments()
    requests = {name: "write" if name in gradients else "null" for name in names}
    try:
        with _subgraphs_off() if not gradients else _unchanged():
            return lowered.symbol.bind(
                context, args={name: arguments[name] for name in names}, args_grad=dict(gradients), grad_req=requests
            )
    except (mx.MXNetError, RuntimeError) as error:  # MXNet raises either
        text = str(error)
        reason = "there is not enough memory for it" if "allocate" in text else "MXNet refuses the graph"
        raise Error(f"cannot instantiate the bucket {bucket}: {reason}\n{text}") from error


@contextmanager
def _unchanged() -> Iterator[None]:
    yield


@contextmanager
def _subgraphs_off() -> Iterator[None]:
    """Turn MXNet's subgraph pass off; it reads the variable at each bind."""
    before = os.environ.get(_SUBGRAPHS)
    os.environ[_SUBGRAPHS] = "NONE"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SUBGRAPHS]
        else:
            os.environ[_SUBGRAPHS] = before
