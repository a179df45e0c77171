"""Memory that operators take beside MXNet's plan: most of that of recurrent nets, and of loops.

All figures are measured, as what was resident over what was planned, in processes of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from .._mxnet import mx
from ..plans.layers import Bidirectional, Layer, Ports
from ..plans.layers.base import flat_size
from ..plans.layers.inner import NetLayer
from ..plans.layers.recurrent import Recurrent
from ..plans.layers.scan import phases
from ..plans.plan import Plan
from ..plans.types import PortType, length_of
from .full_graph import FullGraph

# In elements of the output or the input of a recurrent layer, beside `Recurrent.reserve` for each of the output's.
INPUT, WIDER_INPUT = 2.2, 1.65  # for each element of the input, and for each by which it is wider than the output
ONCE = 2.2  # for each of the largest output, once for all layers
COPIES, COPIES_FORWARD = 4.5, 1.6  # of a recurrent layer's weights, in another order, with gradients and without
TURNED, MOST_TURNED = 0.5, 4_000_000  # of the largest weights of a linear layer, in elements and at most in bytes
THROUGH = 1.3  # for each element of the largest input of a linear layer, or of its output where that is smaller
OPERATOR = 8_000  # bytes for each operator: what MXNet's executor knows of it
LOOPED = 500  # bytes for each operator of a loop, and step
CODE = 3_000_000  # bytes that oneDNN takes for code that it makes for shapes, and the like
MXNET = 10901  # the version that a graph without one is brought up to


class _Recurrence(NamedTuple):
    """A recurrent operator for one example: the elements of its input and output, and of all of its weights."""

    layer: Recurrent
    input: int
    output: int
    weights: int


def operator_bytes(plan: Plan, batch_size: int, lengths: Mapping[str, int], graph: FullGraph, *, training: bool) -> int:
    """Return about how many bytes the operators of a graph keep as long as it lives."""
    beside = graph.bytes_turned + OPERATOR * len(graph.operations)
    itemsize = np.dtype(plan.dtype).itemsize
    elements = 0.0
    for one in _recurrences(plan, lengths):
        if not training:
            elements += batch_size * one.layer.reserve_forward * one.output + COPIES_FORWARD * one.weights
            continue
        wider = max(one.input - one.output, 0)
        elements += batch_size * (one.layer.reserve * one.output + INPUT * one.input + WIDER_INPUT * wider)
        elements += COPIES * one.weights
    return int(elements * itemsize) + (loop_bytes(graph) if training else 0) + beside


def scratch_bytes(plan: Plan, batch_size: int, lengths: Mapping[str, int], graph: FullGraph, *, training: bool) -> int:
    """Return about how many bytes operators take in turn, the most of them at once: all graphs have it in common."""
    itemsize = np.dtype(plan.dtype).itemsize
    weights = max((spec.size for spec in plan.parameters.values()), default=0)
    linear = THROUGH * graph.bytes_through + min(TURNED * weights * itemsize, MOST_TURNED)
    largest = max((one.output for one in _recurrences(plan, lengths)), default=0) if training else 0
    return CODE + int(linear + ONCE * batch_size * largest * itemsize) + graph.bytes_largest_image


def loop_bytes(graph: FullGraph) -> int:
    """Return how many bytes loops keep for their backward pass: all that their operators give, for each step."""
    total = 0
    for loop in graph.loops():
        body = mx.sym.load_json(json.dumps({**loop.body, "attrs": {"mxnet_version": ["int", MXNET]}}))
        internals = body.get_internals()
        _, shapes, _ = internals.infer_shape(**loop.shapes)
        arguments = set(body.list_arguments())
        inner = sum(math.prod(shape) for one, shape in zip(internals, shapes) if one.name not in arguments)
        total += loop.steps * (inner * loop.itemsize + LOOPED * len(loop.body["nodes"]))
    return total


def _recurrences(plan: Plan, lengths: Mapping[str, int]) -> Iterator[_Recurrence]:
    for path, node in plan.graph_of_nodes.nodes.items():
        yield from _inside(node.layer, plan.types.nodes[path], lengths, 1)


def _inside(layer: Layer, ports: Ports, lengths: Mapping[str, int], times: int) -> Iterator[_Recurrence]:
    """Yield the recurrent operators of a layer, which runs so many times."""
    if isinstance(layer, Bidirectional):
        yield from [*_inside(layer.layer, ports, lengths, times)] * 2
    elif isinstance(layer, Recurrent):
        steps, width = times * _steps(ports.output(), lengths), flat_size(ports.input_item())
        weights = layer.gates * layer.size * (width + layer.size)
        yield _Recurrence(layer, steps * width, steps * layer.size, weights)
    elif isinstance(layer, NetLayer):
        inside = layer.inside(ports)
        once = phases(layer, inside, inside.graph.order).once
        steps = _steps(ports.input(layer.stepped[0]), lengths)
        for path, node in inside.graph.nodes.items():
            yield from _inside(node.layer, inside.types.nodes[path], lengths, times * (1 if path in once else steps))


def _steps(port: PortType, lengths: Mapping[str, int]) -> int:
    name = length_of(port)
    assert name is not None  # asked of sequences only
    return lengths[name]
