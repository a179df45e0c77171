"""What a step is on its way: checked, staged, queued, and past; and a private copy of its batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .._mxnet import mx
from ..executors.batch import Batch
from ..executors.blueprint import Bucket
from ..executors.checked import CheckedBatch
from ..executors.guard import Guard
from ..executors.loaded import Loaded
from ..executors.passes import Passes
from ..executors.state_table import INITIAL, Places
from ..plans.lowering import Head


class Origin(NamedTuple):
    """Where a batch comes from.

    Attributes:
        fed: The ports that came as outputs of an earlier step, with its number.
        position: The position that came with it.
    """

    fed: Mapping[str, int]
    position: tuple[int, ...] | None


NOWHERE = Origin({}, None)


class Order(NamedTuple):
    """How a step is to be taken.

    Attributes:
        weights: The weights of the losses, by output port.
        heads: What its graph computes; None: that of the plan's own weights.
        paths: The arrays that move.
        rate: The learning rate.
    """

    weights: Mapping[str, float]
    heads: tuple[Head, ...] | None
    paths: tuple[str, ...]
    rate: float


class Ready(NamedTuple):
    """A batch that has been checked, and the graph for it.

    Attributes:
        queue: Queues the forward pass.
        passes: What has it: its graph.
        batch: The batch.
        origin: Where it comes from.
        order: How the step is to be taken.
        seconds: How long the check took.
        units: Over how many examples, or true steps, the means of its losses go; 1 where nobody asks.
    """

    queue: Callable[[Any, Loaded], None]
    passes: Passes
    batch: CheckedBatch
    origin: Origin
    order: Order
    seconds: float
    units: int = 1


class Staged(NamedTuple):
    """A batch that is on its way to the device, to be a step.

    Attributes:
        ready: What it is.
        loaded: Where its private copy is.
        seconds_staging: How long it took to check and copy.
    """

    ready: Ready
    loaded: Loaded
    seconds_staging: float


class Step(NamedTuple):
    """What has been queued of a step: all of it, or one of its passes, or its move.

    It does not hold its graph, which may be released before it has finished.

    Attributes:
        number: The number of the step.
        tick: Its own number among all that is queued.
        part: Which pass of the step it is, from 0.
        moves: Whether the parameters move with it, which ends the step.
        loaded: The batch of its pass; host arrays are the caller's, who may have changed them, and its slot has private
            copies. Of a move alone it is that of the last pass.
        has_pass: Whether it has a pass.
        origin: Where the batch comes from.
        bucket: The bucket of its graph.
        guard: The guard of its graph.
        slot: Where the guard puts its result.
        queued: When it was queued, of `time.perf_counter`.
        places: Where the carried states of its rows are.
        weights: The weights of the losses.
        units: Over how many examples, or true steps, the means of its losses go; 1 where nobody asks.
    """

    number: int
    tick: int
    part: int
    moves: bool
    has_pass: bool
    loaded: Loaded
    origin: Origin
    bucket: Bucket
    guard: Guard
    slot: int
    queued: float
    places: Places | None
    weights: Mapping[str, float]
    units: int = 1

    def is_judged(self) -> bool:
        """Tell whether there is a verdict on it; does not wait."""
        return self.guard.is_judged(self.slot, self.tick)

    def has_finished(self) -> bool:
        """Tell whether its end can be seen; does not wait. One that failed has no such end."""
        return self.guard.has_finished(self.slot, self.tick)

    def __str__(self) -> str:
        """Say which it is."""
        if not self.has_pass:
            return f"step {self.number}, at apply(),"
        return f"step {self.number}" if not self.part else f"step {self.number}, in its pass {self.part + 1},"


class Past(NamedTuple):
    """A pass that has finished, or failed: what is needed to run it once more."""

    number: int
    part: int
    batch: Batch
    bucket: Bucket
    places: Places | None
    weights: Mapping[str, float]
    tick: int


def private_copy(loaded: Loaded, origin: Origin, failed: int, places: Places | None = None) -> Batch:
    """Return a private copy of a batch, without what came out of the step that failed, or of one behind it.

    Rows that began anew say so, whatever made them.
    """
    ports = {}
    for port in (*loaded.batch.host, *loaded.batch.device):
        if origin.fed.get(port, 0) < failed:
            with contextlib.suppress(mx.MXNetError):  # an output of what has failed elsewhere
                ports[port] = loaded.kept(port)
    lengths: Any = loaded.batch.lengths or None
    batch, reset = loaded.batch, loaded.batch.reset
    if places is not None and INITIAL in places.begins[: batch.rows]:
        reset = places.begins[: batch.rows] == INITIAL
    return Batch(
        ports,
        lengths,
        batch.streams,
        reset,
        carry_at=batch.carry_at,
        loss_from=batch.loss_from,
        position=origin.position,
    )


def port_not_finite(batch: Batch) -> str | None:
    """Return the first input port whose numbers are not finite."""
    for port, array in batch.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return port
    return None
