"""Runs the batch of a step once more, operator by operator, to find the layer that made it fail."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._mxnet import mx
from ..plans.plan import Plan
from .blueprint import Bucket
from .bound import Bound, Shared
from .buckets import Cut, Exact
from .cache import Cache
from .checked import CheckedBatch
from .handles import Clock
from .segment_buckets import SegmentBuckets
from .segmented import Segmented
from .staging import InputBuffers
from .store import ParameterStore

SLOTS = 2  # segments on their way


@dataclass(frozen=True)
class Culprit:
    """Where a step went wrong.

    Attributes:
        node: The layer.
        port: Its first output.
        backward: Whether it was in its backward pass.
        cause: What MXNet said; None where numbers are not finite.
    """

    node: str
    port: str
    backward: bool = False
    cause: BaseException | None = None

    def __str__(self) -> str:
        """Say where."""
        return f'the backward pass of layer "{self.node}"' if self.backward else f'layer "{self.node}"'


@dataclass
class _Event:
    """An output of one operator."""

    graph: Bucket
    operator: str
    node: str
    backward: bool
    finite: bool
    cause: BaseException | None


def replay(
    bucket: Bucket,
    store: ParameterStore,
    batch: CheckedBatch,
    step: tuple[int, int],
    weights: Mapping[str, float],
    worker: int = 0,
) -> Culprit | None:
    """Return the first layer that fails, or else the first that gives numbers that are not finite; waits.

    Random nodes draw what they drew. The gradients are overwritten, and nothing else changes.

    Args:
        bucket: The graph's bucket.
        store: The arrays, as they were before the step.
        batch: The batch.
        step: The number of the step, and which of its passes it is.
        weights: The weights of the losses.
        worker: The number of the worker, of several.

    Returns:
        None where everything goes well this time.
    """
    clock = Clock()
    clock.now, clock.part, clock.worker = step[0] - 1, step[1], worker
    cache = _Watched(Shared(store, clock, InputBuffers(store.context, SLOTS)))
    with contextlib.suppress(mx.MXNetError):
        if any(steps > bucket.segment > 0 for _, steps in bucket.lengths):
            policy = Cut(Exact(), bucket.segment)
            segmented = Segmented(cache, SegmentBuckets(store.plan, policy, bucket.batch_size, bucket.heads))
            segmented.queue(None, segmented.load(batch))
            segmented.backward_mean(weights, 1.0)
            store.gradients.array.wait_to_read()
        else:
            bound = cache.bound(bucket)
            bound.forward(bound.load(batch))
            bound.backward_mean(weights, 1.0)
            bound.collect()
    return _first_failure(cache.events, store.plan) or _first_not_finite(cache.events, store.plan)


class _Watched(Cache):
    """Graphs whose operators are watched.

    Attributes:
        events: What they have given.
    """

    def __init__(self, shared: Shared) -> None:
        """Bind nothing yet."""
        super().__init__(shared)
        self.events: list[_Event] = []

    def bound(self, bucket: Bucket, largest: Bucket | None = None) -> Bound:
        """Return the graph of a bucket, which is watched from now on."""
        bound = super().bound(bucket)

        def note(name: bytes, array: Any) -> None:
            found = mx.nd.NDArray(ctypes.cast(array, mx.base.NDArrayHandle), writable=False)
            self.events.append(_event(bound, name.decode(), found))

        bound.raw.set_monitor_callback(note)
        return bound


def _event(bound: Bound, name: str, array: Any) -> _Event:
    plan, graph, backward = bound.plan, bound.bucket, bound.goes_back
    operator = name.rpartition("_output")[0]
    path = operator.rpartition(".")[0]
    node = path if path in plan.nodes else ""
    try:
        return _Event(graph, operator, node, backward, bool(np.isfinite(array.asnumpy()).all()), None)
    except mx.MXNetError as error:
        return _Event(graph, operator, node, backward, True, error)


def _first_failure(events: list[_Event], plan: Plan) -> Culprit | None:
    for event in events:
        if event.cause is not None and event.node:
            return _culprit(event, plan)
    return None


def _first_not_finite(events: list[_Event], plan: Plan) -> Culprit | None:
    """Return the first layer whose last operator gives such numbers: what is between may do so and mean nothing."""
    order = plan.graph_of_nodes.order
    for backward in (False, True):
        some = [event for event in events if event.backward is backward]
        last = {(event.graph, event.node): event.operator for event in some}
        for node in reversed(order) if backward else order:
            for event in some:
                if event.node == node and event.operator == last[event.graph, node] and not event.finite:
                    return _culprit(event, plan)
    return None


def _culprit(event: _Event, plan: Plan) -> Culprit:
    port = plan.graph_of_nodes.nodes[event.node].layer.output_ports()[0]
    return Culprit(event.node, port, event.backward, event.cause)
