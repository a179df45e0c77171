"""The last steps of a trainer as a picture: what the host did for each, and how long it was on its way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..arguments import positive_int
from ..errors import Error
from ..plots import axes_of, height_of, legend_beside

UNFINISHED = "unfinished"
#: What is drawn of a step, from back to front: its color, and the height of its bar.
LOOKS = {
    UNFINISHED: ("C7", 0.9),
    "check": ("C0", 0.5),
    "copy": ("C2", 0.5),
    "queue": ("C1", 0.5),
    "wait for a free place": ("C3", 0.5),
    "wait": ("C4", 0.5),
}
BEYOND = 1.05  # how far the axis goes beyond what the host did last; the ends of steps may be seen much later


class Span(NamedTuple):
    """A part of the life of a step.

    Attributes:
        step: The number of the step.
        what: What the host did for it: "check", "copy", "queue", "wait for a free place" before it, or "wait" after it
            was queued, for it or one before it; or "unfinished", from when it was queued to when the host has seen its
            end.
        begin: When it began, in seconds of `time.perf_counter`.
        end: When it ended.
    """

    step: int
    what: str
    begin: float
    end: float


def plot_steps(spans: Iterable[Span], steps: int, ax: Any) -> Any:
    """Draw the last steps, one a row; see `Stats.plot`."""
    steps = positive_int(steps, "Stats.plot: steps")
    known = list(spans)
    chosen = sorted({span.step for span in known if span.what == "queue"})[-steps:]
    if not chosen:
        raise Error("there are no steps to draw yet: call update(batch) first")
    shown = [span for span in known if chosen[0] <= span.step <= chosen[-1]]
    origin = min(span.begin for span in shown)
    ax = axes_of(ax, "Stats.plot", height_of(len(chosen)))
    for what, (color, height) in LOOKS.items():
        found = [span for span in shown if span.what == what]
        if found:
            ax.barh(
                [span.step for span in found],
                [1e3 * (span.end - span.begin) for span in found],
                left=[1e3 * (span.begin - origin) for span in found],
                height=height,
                color=color,
                alpha=0.3 if what == UNFINISHED else 1.0,
                label=what,
            )
    ax.set(xlabel="ms", ylabel="step", title="what the host did, and when steps were unfinished")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_ylim(chosen[-1] + 0.6, chosen[0] - 0.6)  # from top to bottom
    ax.set_xlim(0, BEYOND * max(1e3 * (span.end - origin) for span in shown if span.what != UNFINISHED))
    legend_beside(ax)
    return ax
