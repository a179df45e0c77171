"""Losses step by step, as a training goes on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..losses import Losses


class Mean(NamedTuple):
    """Losses over some steps: the weighted sum, and each by port."""

    total: float
    losses: dict[str, float]


class Columns:
    """The losses of finished steps, one entry a step.

    Args:
        after: The step before the first.
        ports: The losses.

    Attributes:
        step: The numbers of the steps.
        examples: Their rows.
        total: The weighted sums of their losses.
        losses: Each loss, by output port.
    """

    def __init__(self, after: int, ports: Sequence[str]) -> None:
        """Start without steps."""
        self._after = after
        self.step, self.examples, self.total = array("q"), array("q"), array("d")
        self.losses = {port: array("d") for port in ports}
        self._columns = tuple(self.losses.items())

    def take(self, found: Iterable[tuple[int, Losses]]) -> None:
        """Add steps; those before the first are somebody else's."""
        for step, losses in found:
            if step > self._after:
                self.step.append(step)
                self.examples.append(losses.examples)
                total, values, weights = 0.0, losses.values_by_port, losses.weights
                for port, column in self._columns:
                    value, weight = values.get(port, np.nan), weights.get(port, 0.0)
                    column.append(value)
                    if weight:
                        total += weight * value  # as `Losses.total`, which would make a mapping first
                self.total.append(total)

    def mean(self, begin: int, end: int | None = None) -> Mean:
        """Return the mean over the examples of some entries, of those that are finite."""
        weights = np.array(self.examples[begin:end], np.float64)
        return Mean(
            _mean(self.total[begin:end], weights),
            {port: _mean(column[begin:end], weights) for port, column in self.losses.items()},
        )


def _mean(values: Sequence[float], weights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    found = np.array(values, np.float64)
    good = np.isfinite(found)
    return float(np.average(found[good], weights=weights[good])) if good.any() else float("nan")
