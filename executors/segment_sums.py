"""What segments add up to, on the device: losses, what is known at the end, and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..plans.lowering import Head
from ..plans.segmentation import Kind, Segmentation
from .bound import Shared
from .capi import prepared
from .checked import CheckedBatch
from .host_memory import zeros
from .segments import Segment
from .staging import Staging, Want

# Arrays that no port can be named like: the share of each row, by how an output is made up; and which row each repeats.
SHARES = {Kind.MEAN: ".mean", Kind.SUM: ".sum", Kind.LAST: ".last", Kind.SAME: ".last"}
REPEATED = ".repeated"


class OutputSums:
    """What the outputs of segments make up together.

    Args:
        shared: The arrays.
        segmentation: How the plan runs in segments.
        heads: The outputs of each segment: losses, and what is known at the end.
        rows: The number of rows.

    Attributes:
        losses: ``(rows,)`` by port.
        others: ``(rows, *item)`` by port: what is known at the end, states among it.
        head_gradients: ``(rows,)``: the gradient of each loss that is trained, in the segment at hand.
    """

    def __init__(self, shared: Shared, segmentation: Segmentation, heads: tuple[Head, ...], rows: int) -> None:
        """Allocate."""
        plan, context = shared.store.plan, shared.store.context
        self._kinds = {head.name: segmentation.kinds[head.source] for head in heads}
        self._rows, self._length, self._dtype = rows, segmentation.length, plan.dtype
        wanted = {name: Want((rows,), plan.dtype) for name in SHARES.values()} | {REPEATED: Want((rows,), "int32")}
        self._staging = Staging(wanted, (), shared.buffers)
        self._shares: dict[str, NDArray[Any]] = {}
        self._zeros = zeros((rows,), context, plan.dtype)
        self.losses = {head.name: zeros((rows,), context, plan.dtype) for head in heads if head.name in plan.loss_ports}
        self.others = {
            head.name: zeros(plan.outputs[head.name].shape(rows, {}), context, plan.dtype)
            for head in heads
            if head.name not in plan.loss_ports
        }
        trained = [head.name for head in heads if head.gradient and head.name in plan.loss_ports]
        self.head_gradients = {port: zeros((rows,), context, plan.dtype) for port in trained}
        self._weighing = {
            port: prepared("_mul_scalar", [self._share(port)], [array], ["scalar"])
            for port, array in self.head_gradients.items()
        }

    def _share(self, port: str) -> Any:
        return self._staging.arrays[SHARES[self._kinds[port]]]

    def begin(self) -> None:
        """Queue the beginning: nothing has been added."""
        for array in (*self.losses.values(), *self.others.values()):
            array[:] = 0

    def weigh(self, segment: Segment, slot: int) -> None:
        """Queue how much what a segment gives counts in each row, through a slot that is free."""
        for kind, name in SHARES.items():
            self._shares[name] = shares = segment.shares(kind, self._rows).astype(self._dtype)
            self._staging.place(name, slot, shares, shares.tobytes())
        if not segment.goes_on.all():
            repeated = np.full(self._rows, segment.repeated[-1], np.int32)
            repeated[: len(segment.repeated)] = segment.repeated
            self._staging.place(REPEATED, slot, repeated, repeated.tobytes())

    def wait(self) -> None:
        """Wait until this has arrived: its slot is free then."""
        self._staging.wait([*SHARES.values(), REPEATED])

    def repeated(self, states: Any) -> Any:
        """Return a new NDArray of states where a row that has ended has that of the one which it repeats; queued."""
        return mx.nd.take(states, self._staging.arrays[REPEATED], axis=0, mode="clip")

    def going_on(self, new: Any, old: Any) -> Any:
        """Return a new NDArray of what is new in rows that go on in the segment, and old in others; queued."""
        return mx.nd.where(self._staging.arrays[SHARES[Kind.SUM]], new, old)

    def add(self, outputs: Mapping[str, Any], rows: int) -> None:
        """Queue the outputs of a segment, of so many true rows, on their way into the whole."""
        for port, total in self.losses.items():
            shares = self._shares[SHARES[self._kinds[port]]]
            if shares.any():
                share = self._share(port)
                term = mx.nd.elemwise_mul(outputs[port], share)
                if not shares[:rows].all():  # what counts 0 may be infinite
                    term = mx.nd.where(share, term, self._zeros)
                mx.nd.elemwise_add(total, term, out=total)
        if self._shares[SHARES[Kind.LAST]].any():
            ends = self._staging.arrays[SHARES[Kind.LAST]]
            for port, array in self.others.items():
                mx.nd.where(ends, outputs[port], array, out=array)

    def weigh_gradients(self, batch: CheckedBatch, weights: Mapping[str, float], factor: float) -> None:
        """Queue the head gradients of a segment: those of the weighted mean over the whole batch, times a factor."""
        for port, weigh in self._weighing.items():
            count = batch.steps_with_loss[self._length] if self._kinds[port] is Kind.SUM else batch.rows
            weigh(weights[port] * factor / count)


class GradientSum:
    """The sum of the gradients of segments.

    Args:
        gradients: ``(elements,)``: where each backward pass leaves its own, and where the sum is at the end.
    """

    def __init__(self, gradients: Any) -> None:
        """Allocate."""
        self._sum = mx.nd.zeros_like(gradients)
        self._begin = prepared("_copyto", [gradients], [self._sum])
        self._add = prepared("elemwise_add", [self._sum, gradients], [self._sum])
        self._end = prepared("elemwise_add", [self._sum, gradients], [gradients])

    def add(self, first: bool, last: bool) -> None:
        """Queue the gradients of a segment, which is the first or the last to be added, beside the others."""
        if first and not last:
            self._begin()
        elif not first:
            (self._end if last else self._add)()
