"""Checks that padding changes nothing in a user's own net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number
from ..errors import ArgumentError
from ..plans.compile import compile_plan
from ..plans.derived import without_dropout
from ..plans.plan import Plan
from ..reports import Report
from .blueprint import Bucket
from .bound import Shared
from .checked import CheckedBatch
from .handles import Clock
from .heads import count
from .inputs import Beside, Limits, check_batch
from .staging import InputBuffers
from .store import ParameterStore

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
Values = dict[str, NDArray[Any]]


def check_padding(
    plan: Plan,
    batch: Mapping[str, Any],
    arrays: object = None,
    *,
    lengths: Mapping[str, Any] | None = None,
    tolerance: float | None = None,
) -> Report:
    """Run a batch in its own bucket, in a larger one, and each example alone, and compare everything that comes out.

    Dropout is left out, as it draws other numbers in every bucket. In a plan with batch statistics an example alone has
    others, so there examples are compared in evaluation mode, without gradients.

    Args:
        plan: The plan.
        batch: A batch as for an executor, of any number of rows.
        arrays: Values of the arrays: a net with arrays or a mapping; by default start values.
        lengths: The true lengths of the rows, where sequences come as padded arrays.
        tolerance: The largest difference that counts as none, relative to the largest number of each array. By default
            1e-5 in float32 and 1e-10 in float64: products of other shapes are summed in another order.

    Returns:
        A report with one row for each output and each gradient: ``array``, the difference in the ``larger`` bucket and
        whether it is ``bit-equal``, the difference to the examples ``alone``, ``agrees``.

    Raises:
        ArgumentError: It is no plan, or the tolerance is no number.
        BatchError: The batch does not fit.

    Example:
        >>> from mxtrainer import GRU, MeanSquaredLoss, NetChain, Sequence, Vector, compile_plan
        >>> net = NetChain([GRU(2), MeanSquaredLoss()], inputs={"Input": Sequence("t", Vector(1))})
        >>> batch = {"Input": [[[1.0], [2.0]], [[3.0]]], "Target": [[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6]]]}
        >>> check_padding(compile_plan(net), batch).exact
        True
    """
    if not isinstance(plan, Plan):
        raise ArgumentError(f"check_padding takes a plan (see compile_plan), got {plan!r}")
    checked = check_batch(batch, Limits.of(plan, None), Beside(lengths))
    runs = _Runs(_without_dropout(plan), checked, arrays)
    own, larger, alone = runs.whole(1.0), runs.whole(1.5), runs.alone()
    together = runs.whole(1.0, training=False) if plan.auxiliary else own  # in the mode of those alone
    least = TOLERANCE[plan.dtype] if tolerance is None else real_number(tolerance, "tolerance")
    rows = []
    for name, found in own.items():
        differences = {"larger": _difference(found, larger[name])}
        if name in alone:
            differences["alone"] = _difference(together[name], alone[name])
        rows.append(
            {
                "array": name,
                "larger": differences["larger"],
                "bit-equal": found.tobytes() == larger[name].tobytes(),
                "alone": differences.get("alone", "-"),
                "agrees": all(one <= least for one in differences.values()),
            }
        )
    return Report("padding against none", tuple(rows), all(row["agrees"] for row in rows))


def _without_dropout(plan: Plan) -> Plan:
    weights = {port: loss.weight for port, loss in plan.losses.items()}
    examples = {port: loss.example_weights for port, loss in plan.losses.items() if loss.example_weights}
    return compile_plan(without_dropout(plan.net), weights, examples, plan.dtype)


def _difference(left: NDArray[Any], right: NDArray[Any]) -> float:
    if not np.array_equal(np.isnan(left), np.isnan(right)):
        return float("inf")
    scale = float(np.nanmax(np.abs(left), initial=0.0))
    largest = float(np.nanmax(np.abs(left - right), initial=0.0))
    return largest / scale if largest else 0.0


class _Runs:
    """The ways to run one batch."""

    def __init__(self, plan: Plan, batch: CheckedBatch, arrays: object) -> None:
        self.plan = plan
        self.batch = batch
        self.arrays = arrays
        self.real = tuple(
            name for name, spec in plan.inputs.items() if spec.count is None and spec.transfer_dtype == plan.dtype
        )

    def whole(self, stretch: float, training: bool = True) -> Values:
        """Run all rows in a bucket so many times as long as the longest example, and longer where that is no more."""
        lengths = {name: int(steps * stretch) + (stretch > 1.0) for name, steps in self.batch.longest.items()}
        return self._run(self.batch, lengths, training)

    def alone(self) -> Values:
        """Run each example alone in a bucket of its own lengths, and put outputs and gradients together."""
        training = not self.plan.auxiliary
        runs = [self._run(one, one.longest, training) for one in map(self._row, range(self.batch.rows))]
        found = {}
        for name in runs[0]:
            parts = [run[name] for run in runs]
            if name in self.plan.outputs or name[len("gradient ") :] in self.plan.inputs:
                found[name] = self._stacked(parts, name)
            else:
                found[name] = np.sum(parts, axis=0)
        return found

    def _row(self, row: int) -> CheckedBatch:
        return self.batch.between(row, row + 1)

    def _stacked(self, parts: list[NDArray[Any]], name: str) -> NDArray[Any]:
        ports = self.plan.outputs if name in self.plan.outputs else self.plan.inputs
        length = ports[name if name in ports else name[len("gradient ") :]].length
        if length is None:
            return np.concatenate(parts)
        stacked = np.zeros((len(parts), self.batch.longest[length], *parts[0].shape[2:]), parts[0].dtype)
        for row, part in enumerate(parts):
            stacked[row, : part.shape[1]] = part[0]
        return stacked

    def _run(self, batch: CheckedBatch, lengths: Mapping[str, int], training: bool) -> Values:
        store = ParameterStore(self.plan, arrays=self.arrays)
        bucket = Bucket.holding(batch, batch.rows, lengths, training)
        bound = Shared(store, Clock(), InputBuffers(store.context, 1), self.real).bound(bucket)
        bound.forward(bound.load(batch))
        found = {name: handle.asnumpy() for name, handle in bound.handles("pass", bound.collect).items()}
        if training:
            bound.backward(self._heads(batch))
            gradients = {**store.gradient_handles(bound.collect), **bound.input_gradient_handles(bound.collect)}
            found.update({f"gradient {name}": handle.asnumpy() for name, handle in gradients.items()})
        return found

    def _heads(self, batch: CheckedBatch) -> Values:
        """Return head gradients of the mean over all rows, also for a pass over one of them."""
        heads = {}
        for port, loss in self.plan.losses.items():
            shape = self.plan.outputs[port].shape(batch.rows, batch.longest)
            if loss.weight and loss.length is not None and not loss.is_loss:
                steps = batch.lengths[loss.length].reshape(-1, *(1 for _ in shape[1:]))
                heads[port] = np.broadcast_to(loss.weight / (self.batch.rows * steps), shape)
            elif loss.weight:
                heads[port] = np.full(shape, loss.weight / count(self.plan, port, self.batch))
        return heads
