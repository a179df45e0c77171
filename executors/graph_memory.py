"""What a graph takes in memory, of one that is bound, or of one that is bound to nothing, to know before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .._mxnet import mx
from ..errors import Error
from .binding import bind
from .blueprint import Blueprint
from .full_graph import FullGraph
from .unplanned import operator_bytes, scratch_bytes


@dataclass(frozen=True)
class GraphMemory:
    """The memory of one graph beside the arrays that graphs share, in bytes.

    Attributes:
        bucket: Batch size and lengths, and whether it has masks or no backward pass.
        bytes_planned: What MXNet plans for outputs and everything in between, which graphs share, without what nobody
            uses.
        bytes_kept: How much of that the forward pass leaves for the backward pass.
        bytes_operators: What operators keep for themselves as long as the graph lives, about.
        bytes_scratch: What operators take in turn, about, which graphs share.
        bytes_inputs: Its input arrays on the device, which graphs share.
        bytes_input_gradients: The gradients of inputs that were asked for, likewise.
        bytes_heads: The gradients that come back through outputs, ours and MXNet's.
        repeated: How much of the forward pass runs again in the backward pass, as a share of its time, about.
    """

    bucket: str
    bytes_planned: int
    bytes_kept: int
    bytes_operators: int
    bytes_scratch: int
    bytes_inputs: int
    bytes_input_gradients: int
    bytes_heads: int
    repeated: float = 0.0

    @property
    def bytes_alone(self) -> int:
        """What it takes beside its inputs, if no other graph is there."""
        return self.bytes_planned + self.bytes_operators + self.bytes_scratch + self.bytes_heads


def memory_of(blueprint: Blueprint, debug_text: str) -> tuple[GraphMemory, FullGraph]:
    """Return what a graph takes, from what MXNet prints of its executor; and the graph."""
    plan, bucket = blueprint.plan, blueprint.bucket
    graph = FullGraph(blueprint.lowered.symbol, blueprint.arguments, debug_text)
    operators = operator_bytes(plan, bucket.batch_size, blueprint.lengths, graph, training=bucket.training)
    memory = GraphMemory(
        bucket=bucket.described,
        bytes_planned=max(planned_bytes(debug_text) - graph.bytes_unused, 0),
        bytes_kept=graph.bytes_kept,
        bytes_operators=operators,
        bytes_scratch=scratch_bytes(plan, bucket.batch_size, blueprint.lengths, graph, training=bucket.training),
        bytes_inputs=blueprint.bytes_inputs,
        bytes_input_gradients=sum(blueprint.wanted[port].bytes for port in blueprint.input_gradients),
        bytes_heads=2 * blueprint.bytes_heads if bucket.training else 0,
        repeated=blueprint.repeated,
    )
    return memory, graph


def dry_bind(blueprint: Blueprint, context: Any) -> tuple[GraphMemory, FullGraph]:
    """Bind a graph to arrays that have no memory, and forget it; return what it would take, and the graph.

    Raises:
        Error: MXNet refuses the graph.
    """
    arguments = blueprint.arguments
    with_gradient = {*blueprint.trained, *(blueprint.argument_of(port) for port in blueprint.input_gradients)}
    arrays, gradients = (
        {name: mx.nd.empty(want.shape, context, want.dtype) for name, want in arguments.items() if name in chosen}
        for chosen in (arguments, with_gradient)
    )
    raw = bind(blueprint.lowered, arrays, gradients, context, str(blueprint.bucket))
    return memory_of(blueprint, raw.debug_str())


def planned_bytes(debug_text: str) -> int:
    """Return what MXNet's `debug_str` of an executor says it allocates, in bytes.

    Raises:
        Error: The text is not MXNet's.

    Example:
        >>> planned_bytes("Total 3 MB allocated")
        3145728
    """
    found = re.search(r"Total (\d+) MB allocated", debug_text)
    if found is None:
        raise Error("MXNet's report on its executor has no line on the memory allocated")
    return int(found[1]) * 2**20
