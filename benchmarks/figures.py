"""What is told of a run: medians, spreads and ratios, from the figures of each round."""

from __future__ import annotations

import math
import statistics
from typing import Any

Results = dict[str, Any]
OURS = "ours"


def median(found: Results, kind: str, what: str = "step") -> float:
    """Return the median over rounds, in milliseconds; NaN where there is none."""
    values: list[float] = [1e3 * one[what] for one in found.get(kind, [])]
    return statistics.median(values) if values else math.nan


def spread(found: Results, kind: str) -> float:
    """Return the interquartile range over rounds as a share of the median; NaN where there are too few."""
    steps = [one["step"] for one in found.get(kind, [])]
    if len(steps) < 2:
        return math.nan
    low, middle, high = statistics.quantiles(steps, n=4, method="inclusive")
    return float((high - low) / middle)


def processors(found: Results) -> float:
    """Return how many processors were at work: processor time by the time of a step, the median over rounds."""
    values: list[float] = [one["cpu"] / one["step"] for one in found.get("queued", [])]
    return statistics.median(values) if values else math.nan


def peers(found: Results, kind: str) -> dict[str, float]:
    """Return the rivals' medians, best first."""
    timed = {rival: median(one, kind) for rival, one in found.items() if rival != OURS and one.get(kind)}
    return dict(sorted(timed.items(), key=lambda item: item[1]))


def ratio(found: Results, rival: str, kind: str) -> float:
    """Return how many times as long as ours a rival takes: the median of the rounds' ratios."""
    pairs = zip(found[rival].get(kind, []), found[OURS].get(kind, []))
    ratios: list[float] = [theirs["step"] / ours["step"] for theirs, ours in pairs]
    return statistics.median(ratios) if ratios else math.nan
