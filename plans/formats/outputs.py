"""What a net gives where nothing is trained: the ports that are no losses, or what comes before the losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arguments import names
from ...errors import ArgumentError, NetError, unknown
from ..compile import compile_plan
from ..graph import Graph, Source
from ..net import NetGraph
from ..plan import Plan


def plan_of(net: object, caller: str) -> Plan:
    """Return the plan of a net for evaluation, in the dtype of its arrays.

    Raises:
        ArgumentError: It is no net.
    """
    if not isinstance(net, NetGraph):
        raise ArgumentError(f"{caller} takes a net with arrays, such as trainer.net(), got {net!r}")
    doubles = bool(net.arrays) and all(array.dtype == np.float64 for array in net.arrays.values())
    return compile_plan(net, dict.fromkeys(net.output_sources, 0.0), dtype="float64" if doubles else "float32")


def sources_of(plan: Plan, outputs: Sequence[str] | None, caller: str) -> dict[str, Source]:
    """Return the source of each output by its name.

    Args:
        plan: The plan.
        outputs: Ports of the net, or any layer's. None: the outputs that need no loss; where there are only losses
            (and states), what the loss layer gets, as "Output", or under the layers' names if there are several.
        caller: The function that was called, for errors.

    Raises:
        ArgumentError: No output is named.
        UnknownNameError: There is no such output.
        NetError: The net gives nothing but losses of its inputs.
    """
    graph = plan.graph_of_nodes
    if outputs is None:
        return _default_sources(plan, caller)
    wanted = names(outputs, "outputs")
    if not wanted:
        raise ArgumentError(f"{caller}: outputs names nothing that the file is to give")
    found = {name: graph.outputs.get(name) or graph.source_of(name) for name in wanted}
    for name, source in found.items():
        if source is None:
            raise unknown("output or layer", name, [*graph.outputs, *graph.nets, *graph.nodes], "the net")
    return {name: source for name, source in found.items() if source is not None}


def _default_sources(plan: Plan, caller: str) -> dict[str, Source]:
    graph = plan.graph_of_nodes
    found = {port: source for port, source in graph.outputs.items() if not _losses_of(graph, source)}
    if set(found) <= set(plan.states.values()):
        found = _before_losses(graph) | found
    if not found:
        raise NetError(f"{caller}: the net has losses of its inputs and nothing else; name layers in outputs=")
    return found


def _losses_of(graph: Graph, source: Source) -> list[str]:
    return [path for path in graph.needed_by((source,)) if graph.nodes[path].layer.is_loss]


def _before_losses(graph: Graph) -> dict[str, Source]:
    """Return what the first inputs of losses get from layers that need no loss themselves."""
    losses = [path for source in graph.outputs.values() for path in _losses_of(graph, source)]
    feeds = [graph.nodes[path].feeds[graph.nodes[path].inputs[0]] for path in losses]
    fed = [feed for feed in dict.fromkeys(feeds) if feed.node is not None and not _losses_of(graph, feed)]
    one = len(fed) == 1 and "Output" not in graph.outputs
    return {"Output": fed[0]} if one else {graph.name_of(feed): feed for feed in fed}
