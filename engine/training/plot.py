"""A picture of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...plots import axes_of

if TYPE_CHECKING:
    from .result import TrainResult

FEW = 100  # steps up to which each is shown as it is
PARTS = 50  # a longer training is smoothed over such a part of it on both sides
TRAINING, VALIDATION = "#1f77b4", "#d62728"


def plot(result: TrainResult, port: str | None, ax: Any) -> Any:
    """Draw a training into axes of matplotlib, and return them; see `TrainResult.plot`."""
    ax = axes_of(ax, "TrainResult.plot")
    steps, validation = result.history.steps, result.history.validation
    training, validated = steps.of(port), validation.of(port)
    if len(training) > FEW:
        ax.plot(steps.step, training, color=TRAINING, alpha=0.2, linewidth=0.8)
        training = smoothed(training, len(training) // PARTS)
    label = "training" if len(training) <= FEW else "training, smoothed"
    ax.plot(steps.step, training, color=TRAINING, label=label)
    if len(validation):
        ax.plot(validation.step, validated, color=VALIDATION, marker="o", markersize=4, label="validation")
        _mark_best(result, port, ax)
    _scale(ax, np.concatenate([training, validated]))
    ax.set_xlabel("step")
    ax.set_ylabel("loss" if port is None else port)
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax


def smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of each value and of up to so many on both sides of it, of those that are finite.

    Example:
        >>> smoothed(np.array([1.0, 2.0, 6.0, np.nan]), 1)
        array([1.5, 3. , 4. , 6. ])
    """
    good = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    place = np.arange(len(values))
    begin, end = np.maximum(place - width, 0), np.minimum(place + width + 1, len(values))
    number = counts[end] - counts[begin]
    found: NDArray[np.float64] = np.where(number > 0, (sums[end] - sums[begin]) / np.maximum(number, 1), np.nan)
    return found


def _mark_best(result: TrainResult, port: str | None, ax: Any) -> None:
    validation = result.history.validation
    place = np.flatnonzero(validation.step == result.best_step)
    if result.best_round is None or not len(place):
        return
    best = float(validation.of(port)[place[-1]])
    label = f"best net: {best:.4g}, round {result.best_round}"
    ax.plot(
        [result.best_step], [best], "*", color=VALIDATION, markersize=15, markeredgecolor="white", label=label, zorder=3
    )


def _scale(ax: Any, values: NDArray[np.float64]) -> None:
    """Take logarithms where losses shrink by orders of magnitude."""
    good = values[np.isfinite(values)]
    if len(good) and good.min() > 0.0 and good.max() > 100.0 * good.min():
        ax.set_yscale("log")
