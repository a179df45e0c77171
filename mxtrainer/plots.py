"""Where plots go: axes that are given, or a new figure; matplotlib is imported here, when the first is made."""

from __future__ import annotations

from typing import Any

from .errors import ArgumentError
from .extras import require

WIDTH = 9.0  # of a new figure, in inches
ROOM = 1.4  # for notes at the ends of bars, as a multiple of the longest


def axes_of(ax: Any, what: str, height: float = 4.0) -> Any:
    """Return the axes to draw into.

    Args:
        ax: Axes of matplotlib; None makes a figure.
        what: What draws, as the subject of a sentence.
        height: The height of a new figure, in inches.

    Raises:
        ArgumentError: They are no axes.
        MissingExtraError: matplotlib is not installed.
    """
    if ax is None:
        pyplot = require("matplotlib.pyplot", "plots", what)
        return pyplot.subplots(figsize=(WIDTH, height), layout="constrained")[1]
    axes = require("matplotlib.axes", "plots", what).Axes
    if not isinstance(ax, axes):
        raise ArgumentError(
            f"{what}: ax must be axes of matplotlib, as those of figure, ax = pyplot.subplots(), got {ax!r}"
        )
    return ax


def stacked_bars(ax: Any, labels: list[str], parts: dict[str, list[float]], notes: list[str]) -> None:
    """Draw horizontal bars from top to bottom, each of several parts, with a note at its end.

    Args:
        ax: The axes.
        labels: What each bar is of.
        parts: The lengths of a part in all bars, by what the part is.
        notes: What to say of each bar.
    """
    places = range(len(labels))
    ends = [0.0] * len(labels)
    for number, (part, lengths) in enumerate(parts.items()):
        ax.barh(places, lengths, left=ends, label=part, color=f"C{number}")
        ends = [end + length for end, length in zip(ends, lengths)]
    for place, end, note in zip(places, ends, notes):
        ax.annotate(note, (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize="small")
    ax.set_yticks(places, labels)
    ax.invert_yaxis()
    ax.set_xlim(0, ROOM * max(ends, default=0.0) or 1.0)
    if len(parts) > 1:
        legend_beside(ax)


def legend_beside(ax: Any) -> None:
    """Put the legend to the right of the axes, where it hides nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def height_of(bars: int) -> float:
    """Return the height of a new figure with so many bars, in inches.

    Example:
        >>> height_of(4)
        3.0
    """
    return min(1.6 + 0.35 * bars, 40.0)
