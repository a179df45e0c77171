"""Head gradients: those of the weighted mean of the losses, and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._mxnet import mx
from ..arguments import as_numbers
from ..errors import ArgumentError, BatchError, unknown
from ..plans.lowering import Head, Lowered
from ..plans.plan import Plan
from .checked import CheckedBatch


class HeadGradients:
    """The head gradients of one graph.

    Args:
        plan: The plan.
        lowered: The graph.
        batch_size: Its number of rows.
        lengths: Its number of steps by length name, padding included.
        true_lengths: The arrays with the true number of steps of each example, of a graph with padding.
        context: The device.
    """

    def __init__(
        self,
        plan: Plan,
        lowered: Lowered,
        batch_size: int,
        lengths: Mapping[str, int],
        true_lengths: Mapping[str, Any],
        context: Any,
    ) -> None:
        """Allocate when first asked."""
        self._plan = plan
        self._heads = lowered.heads
        self._shapes = {
            head.name: plan.outputs[head.name].shape(batch_size, lengths) for head in lowered.heads if head.gradient
        }
        self._lengths = dict(lengths)
        self._true_lengths = dict(true_lengths)
        self._context = context
        self._unused = mx.nd.zeros((1,), ctx=context, dtype=plan.dtype)  # for a head that takes no gradient
        self._more = [self._unused] * (len(lowered.moved) + len(lowered.handed) + len(lowered.begun))
        self._kept: dict[str, tuple[Any, int, float]] = {}
        self._last: tuple[object, Mapping[str, float], float, list[Any]] = None, {}, 0.0, []

    def of_mean(
        self, batch: CheckedBatch, weights: Mapping[str, float], factor: float, whole: CheckedBatch
    ) -> list[Any]:
        """Return those of the weighted mean over the true rows, times a factor; queued, does not wait.

        Args:
            batch: The batch.
            weights: The weights of the losses, a mapping that never changes.
            factor: The factor.
            whole: The batch whose rows the mean is over, of which this is a part, or all.
        """
        form, before, times, heads = self._last
        if batch.form is None or form is not batch.form or before is not weights or times != factor:
            heads = [
                self._of_mean(head, batch, weights[head.name] * factor, whole) if head.gradient else self._unused
                for head in self._heads
            ]
            heads += self._more
            self._last = batch.form, weights, factor, heads
        return heads

    def _of_mean(self, head: Head, batch: CheckedBatch, weight: float, whole: CheckedBatch) -> Any:
        loss, length = self._plan.losses[head.name], self._plan.losses[head.name].length
        if loss.is_loss or length is None or length not in self._true_lengths:
            return self._filled(head.name, batch.rows, weight / count(self._plan, head.name, whole))
        return self._over_steps(head.name, length, batch.rows, weight / whole.rows)

    def _filled(self, name: str, rows: int, number: float) -> Any:
        """Return the number in true rows and 0 in the others; it is written only where it has changed."""
        if name not in self._kept:
            zeros = mx.nd.zeros(self._shapes[name], ctx=self._context, dtype=self._plan.dtype)
            self._kept[name] = zeros, 0, 0.0
        array, old_rows, old_number = self._kept[name]
        if (rows, number) != (old_rows, old_number):
            array[:rows] = number
            if rows < old_rows:
                array[rows:] = 0
            self._kept[name] = array, rows, number
        return array

    def _over_steps(self, name: str, length: str, rows: int, number: float) -> Any:
        """Return the number over that of each example's true steps, 0 over padding and missing rows."""
        true, shape = self._true_lengths[length], self._shapes[name]
        share = number / true
        if rows < shape[0]:
            share[rows:] = 0
        spread = mx.nd.broadcast_to(share.reshape((-1, *(1 for _ in shape[1:]))), shape=shape)
        return mx.nd.SequenceMask(spread, true, use_sequence_length=True, axis=1)

    def of(self, gradients: Mapping[str, ArrayLike], batch: CheckedBatch) -> list[Any]:
        """Return a user's own.

        Raises:
            ArgumentError: It is no mapping.
            UnknownNameError: A port is unknown, or takes no gradient.
            BatchError: One does not fit its port.
        """
        if not isinstance(gradients, Mapping):
            raise ArgumentError(
                f'backward takes head gradients by output port, as in {{"Output": g}}, got {type(gradients).__name__}'
            )
        for name in gradients:
            if name not in self._shapes:
                raise unknown("output with a weight that is not 0", name, self._shapes, "the plan")
        own = [
            self._own(head.name, gradients.get(head.name), batch) if head.gradient else self._unused
            for head in self._heads
        ]
        return own + self._more

    def of_arrays(self, gradients: Mapping[str, Any]) -> list[Any]:
        """Return those that are given as NDArrays, of the graph's own shape."""
        return [gradients[head.name] if head.gradient else self._unused for head in self._heads] + self._more

    def _own(self, name: str, gradient: ArrayLike | None, batch: CheckedBatch) -> Any:
        value = np.zeros(self._shapes[name], self._plan.dtype)
        if gradient is not None:
            spec = self._plan.outputs[name]
            shape = spec.shape(batch.rows, batch.longest)
            try:
                given = as_numbers(gradient, self._plan.dtype)
            except ArgumentError as error:
                raise BatchError(f'head gradient of "{name}": {error}') from None
            if given.shape != shape:
                raise BatchError(f'head gradient of "{name}": expected {shape}, found {given.shape}')
            if spec.length is None:
                value[: batch.rows] = given
            else:
                true = np.arange(shape[1]) < batch.lengths[spec.length][:, None]
                value[: batch.rows, : shape[1]][true] = given[true]
        return mx.nd.array(value, ctx=self._context, dtype=self._plan.dtype)


def count(plan: Plan, port: str, batch: CheckedBatch) -> int:
    """Return over how many examples, or true steps, the mean of an output port goes."""
    loss = plan.losses[port]
    if loss.length is None:
        return batch.rows
    if loss.is_loss:
        return batch.steps_with_loss[loss.length]
    return batch.rows * batch.longest[loss.length]
