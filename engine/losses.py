"""The losses of a step, as a mapping from ports to numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, unknown
from ..executors.checked import CheckedBatch
from ..plans.plan import Plan

REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True, eq=False)  # compared as a mapping
class Losses(Mapping[str, float]):
    """Each loss of a step, by output port, and their weighted sum.

    Attributes:
        values_by_port: The losses: unweighted, with example weights, without any weight decay.
        weights: The loss weights at that step.
        step: The step, 0 for an evaluation.
        examples: The number of true rows.
        steps: The number of true time steps that have a loss, by length name, over all rows.
    """

    values_by_port: Mapping[str, float]
    weights: Mapping[str, float]
    step: int
    examples: int
    steps: Mapping[str, int]

    def __getitem__(self, port: str) -> float:
        """Return the loss of a port."""
        if port not in self.values_by_port:
            raise unknown("loss", port, self.values_by_port, "the plan")
        return self.values_by_port[port]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ports."""
        return iter(self.values_by_port)

    def __len__(self) -> int:
        """Count the losses."""
        return len(self.values_by_port)

    @property
    def weighted(self) -> dict[str, float]:
        """Each loss times its weight; a port that is only read, with weight 0, counts 0."""
        return {port: self.weights[port] * found if self.weights[port] else 0.0 for port, found in self.items()}

    @property
    def total(self) -> float:
        """The weighted sum: what the step made smaller."""
        return sum(self.weighted.values())

    def __repr__(self) -> str:
        """Show as a dict."""
        return repr(dict(self.values_by_port))


class LossSums:
    """Sums of losses over rows, from which means are made.

    Args:
        plan: The plan whose losses they are.
        weights: The weights of the losses, by output port; None: those of the plan.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, float] | None = None) -> None:
        """Start with no rows."""
        self._plan = plan
        self._weights = weights_of(plan) if weights is None else weights
        self._sums = dict.fromkeys(plan.loss_ports, 0.0)
        self._counts = dict.fromkeys(plan.loss_ports, 0)
        self.examples = 0
        self.steps = dict.fromkeys(plan.lengths, 0)

    def add(self, values: Mapping[str, NDArray[Any]], batch: CheckedBatch) -> None:
        """Add the true rows of some losses of a batch, ``(rows, ...)`` by port."""
        rows, steps = batch.rows, batch.steps_with_loss
        for port, found in values.items():
            loss = self._plan.losses[port]
            if loss.length is None or loss.is_loss:
                self._sums[port] += float(found[:rows].sum(dtype=np.float64))
                self._counts[port] += rows if loss.length is None else steps[loss.length]
            else:
                self._sums[port] += _sum_of_means(found[:rows], batch.lengths[loss.length])
                self._counts[port] += rows
        self.examples += rows
        for name, count in steps.items():
            self.steps[name] += count

    def losses(self, reduction: str, step: int = 0) -> Losses:
        """Return the losses.

        Args:
            reduction: "mean" over examples (over true steps for ``average="steps"``), or "sum".
            step: The step that they belong to.

        Raises:
            ArgumentError: The reduction is neither.
        """
        check_reduction(reduction)
        counts, sums, mean = self._counts, self._sums, reduction == "mean"
        values = {port: sums[port] / (count if mean else 1) for port, count in counts.items() if count}
        weights = self._weights  # which never change
        if weights.keys() != values.keys():
            weights = {port: weights[port] for port in values}
        return Losses(values, weights, step, self.examples, dict(self.steps))


def weights_of(plan: Plan) -> dict[str, float]:
    """Return the plan's own weights of its losses, by output port."""
    return {port: loss.weight for port, loss in plan.losses.items()}


def _sum_of_means(array: NDArray[Any], lengths: NDArray[np.int64]) -> float:
    """Return the sum over rows of the mean over true steps of the sum over the item, of ``(rows, t, *item)``."""
    per_step = array.reshape(*array.shape[:2], -1).sum(axis=2, dtype=np.float64)
    true = np.arange(per_step.shape[1]) < lengths[:, None]
    return float((np.where(true, per_step, 0.0).sum(axis=1) / lengths).sum())


def check_reduction(reduction: object) -> None:
    """Check a reduction.

    Raises:
        ArgumentError: It is neither "mean" nor "sum".
    """
    if reduction not in REDUCTIONS:
        raise ArgumentError(f'reduction must be "mean" or "sum", got {reduction!r}')
