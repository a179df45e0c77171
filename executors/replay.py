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
from .bound import Shared
from .checked import CheckedBatch
from .handles import Clock
from .staging import InputBuffers
from .store import ParameterStore


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

    operator: str
    node: str
    backward: bool
    finite: bool
    cause: BaseException | None


def replay(
    bucket: Bucket, store: ParameterStore, batch: CheckedBatch, step: tuple[int, int], weights: Mapping[str, float]
) -> Culprit | None:
    """Return the first layer that fails, or else the first that gives numbers that are not finite; waits.

    Random nodes draw what they drew. The gradients are overwritten, and nothing else changes.

    Args:
        bucket: The graph's bucket.
        store: The arrays, as they were before the step.
        batch: The batch.
        step: The number of the step, and which of its passes it is.
        weights: The weights of the losses.

    Returns:
        None where everything goes well this time.
    """
    clock = Clock()
    clock.now, clock.part = step[0] - 1, step[1]
    bound = Shared(store, clock, InputBuffers(store.context, 1)).bound(bucket)
    events: list[_Event] = []
    backward = False

    def note(name: bytes, array: Any) -> None:
        found = mx.nd.NDArray(ctypes.cast(array, mx.base.NDArrayHandle), writable=False)
        events.append(_event(name.decode(), found, store.plan, backward))

    bound.raw.set_monitor_callback(note)
    with contextlib.suppress(mx.MXNetError):
        bound.forward(bound.load(batch))
        backward = True
        bound.backward(None, weights)
        bound.collect()
    return _first_failure(events, store.plan) or _first_not_finite(events, store.plan)


def _event(name: str, array: Any, plan: Plan, backward: bool) -> _Event:
    operator = name.rpartition("_output")[0]
    path = operator.rpartition(".")[0]
    node = path if path in plan.nodes else ""
    try:
        return _Event(operator, node, backward, bool(np.isfinite(array.asnumpy()).all()), None)
    except mx.MXNetError as error:
        return _Event(operator, node, backward, True, error)


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
        last = {event.node: event.operator for event in some}
        for node in reversed(order) if backward else order:
            for event in some:
                if event.node == node and event.operator == last[node] and not event.finite:
                    return _culprit(event, plan)
    return None


def _culprit(event: _Event, plan: Plan) -> Culprit:
    port = plan.graph_of_nodes.nodes[event.node].layer.output_ports()[0]
    return Culprit(event.node, port, event.backward, event.cause)
