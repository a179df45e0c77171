"""What a trainer counts, and the times that it takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..executors.blueprint import Bucket
from ..executors.checked import CheckedBatch
from ..mappings import FrozenMapping
from ..tables import Part, Printed
from .step_plot import UNFINISHED, Span, plot_steps
from .trace import STEPS, Timeline


@dataclass(frozen=True)
class StepStats:
    """One step.

    Attributes:
        step: Its number.
        examples: Its rows.
        true_steps: The true steps of its examples, over all lengths; its rows where there are none.
        padded_steps: The same with padding and missing rows.
        unfinished: How many steps before it were unfinished when it was queued.
        seconds_blocked: How long `update` waited for a free place before it was queued.
        seconds_staging: How long its arrays took to check and copy.
        seconds_queueing: How long its operators took to queue.
    """

    step: int
    examples: int
    true_steps: int
    padded_steps: int
    unfinished: int
    seconds_blocked: float
    seconds_staging: float
    seconds_queueing: float


@dataclass(frozen=True)
class Stats(Printed):
    """What has gone through a trainer, since it was made.

    Attributes:
        steps: The number of queued steps.
        examples: The number of their rows.
        true_steps: The true steps of all examples, over all lengths; rows where there are none.
        padding: The share of steps that were padding or missing rows, from 0 to 1.
        unfinished: How many steps are unfinished, as far as the host has seen.
        seconds: From the first `update` to now.
        seconds_blocked: How long the host has waited for the device, in `update` and for losses and arrays.
        seconds_staging: How long it has checked and copied batches.
        seconds_queueing: How long it has queued operators.
        seconds_busy: How long the device had steps to do; at most, as the host sees a step's end only when it looks.
        starved: How many updates found the device with nothing to do.
        skipped: The steps that moved nothing, as their numbers were not finite; the last 1,024 of them.
        gradient_norm: The norm of all gradients together, of the last guarded step that the host has seen finish; None
            before the first.
        nan_inputs: How many NaN each input port has brought, for ports that brought any; those in NDArrays are not
            counted, as that would wait for the device.
        last: The last step, None before the first.
    """

    steps: int = 0
    examples: int = 0
    true_steps: int = 0
    padding: float = 0.0
    unfinished: int = 0
    seconds: float = 0.0
    seconds_blocked: float = 0.0
    seconds_staging: float = 0.0
    seconds_queueing: float = 0.0
    seconds_busy: float = 0.0
    starved: int = 0
    skipped: tuple[int, ...] = ()
    gradient_norm: float | None = None
    nan_inputs: Mapping[str, int] = FrozenMapping()
    last: StepStats | None = None
    _spans: tuple[tuple[int, str, float, float], ...] = field(default=(), repr=False, compare=False)

    @property
    def spans(self) -> tuple[Span, ...]:
        """What the host did for each step, and when it was unfinished: the last 512 such times; `plot` draws them."""
        return tuple(map(Span._make, self._spans))

    @property
    def examples_per_second(self) -> float:
        """Examples a second of all the time since the first update."""
        return self.examples / self.seconds if self.seconds else 0.0

    @property
    def true_steps_per_second(self) -> float:
        """True steps, or tokens, a second of all the time since the first update."""
        return self.true_steps / self.seconds if self.seconds else 0.0

    def plot(self, steps: int = 20, ax: Any = None) -> Any:
        """Draw the last steps, one a row: what the host did for each, and from when to when it was unfinished.

        A step is unfinished from when it was queued to when the host has seen its end, at the next call that looks.
        Where nothing else is drawn, the host was in your loop. Where grey bars overlap, the device had work all the
        time; between them it had none. One that goes on to the edge is of a step that nothing has waited for yet.

        Args:
            steps: How many steps, at most.
            ax: Axes of matplotlib to draw into; None: those of a new figure.

        Returns:
            The axes, with times in ms.

        Raises:
            Error: There was no step yet.
            ArgumentError: It is no positive number of steps, or they are no axes.
            MissingExtraError: matplotlib is not installed (the extra ``plots``).
        """
        return plot_steps(self.spans, steps, ax)

    def _parts(self) -> list[Part]:
        if not self.steps:
            return ["no steps yet"]
        blocked = self.seconds_blocked / self.seconds
        idle = self.starved / self.steps * (1.0 - blocked)  # the device, at most: it was not while the host waited
        if blocked > idle and blocked > LITTLE:
            waits = f"the host waits for the device, {blocked:.0%} of the time"
        elif idle > LITTLE:
            waits = f"the device waits for the host, at {self.starved / self.steps:.0%} of the steps"
        else:
            waits = "neither waits for the other"
        more = [f", {len(self.skipped)} skipped"] if self.skipped else []
        more += [f", {count} NaN in {port}" for port, count in self.nan_inputs.items()]
        line = (
            f"{self.steps} steps, {self.examples} examples, {self.examples_per_second:,.0f} a second, "
            f"padding {self.padding:.1%}; {waits}{''.join(more)}"
        )
        return [line]


LITTLE = 0.1  # shares below this are not worth telling
KEPT = 1024  # skipped steps that are remembered
SPANS = 512  # what `plot` can draw of: 80 steps or more


class Recorder:
    """Counts for one trainer; `stats` makes the record.

    Attributes:
        timeline: Where spans go too, while there is one.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.blocked = self.staging = self.queueing = self.busy = 0.0
        self.starved = 0
        self.skipped: list[int] = []
        self.gradient_norm: float | None = None
        self._steps = self._examples = self._true = self._padded = 0
        self._nans: dict[str, int] = {}
        self._begin: float | None = None
        self._last: tuple[Any, ...] | None = None  # of the last step, as `StepStats` takes it
        self._busy_until = 0.0
        self._spans: deque[tuple[int, str, float, float]] = deque(maxlen=SPANS)
        self.timeline: Timeline | None = None

    def begin(self) -> None:
        """Note that an update comes in."""
        if self._begin is None:
            self._begin = time.perf_counter()

    def queued(
        self,
        step: int,
        batch: CheckedBatch,
        bucket: Bucket,
        unfinished: int,
        times: tuple[float, float, float],
        begins: bool = True,
    ) -> None:
        """Count a pass, which may begin a step, given how long it was blocked, staged, and queued."""
        found = batch.true_steps
        true = sum(found.values()) if found else batch.rows
        padded = bucket.batch_size * (sum(steps for name, steps in bucket.lengths if name in found) if found else 1)
        self._steps += begins
        self._examples += batch.rows
        self._true += true
        self._padded += padded
        self.starved += unfinished == 0
        blocked, staging, queueing = times
        self.blocked += blocked
        self.staging += staging
        self.queueing += queueing
        for port, count in batch.nans.items():
            self._nans[port] = self._nans.get(port, 0) + count
        self._last = (step, batch.rows, true, padded, unfinished, blocked, staging, queueing)

    def span(self, name: str, begin: float, step: int) -> float:
        """Note what the host has done for a step from a time to now; return how long it took, in seconds."""
        now = time.perf_counter()
        self._spans.append((step, name, begin, now))  # `Span` is made of it where it is read
        if self.timeline is not None:
            self.timeline.span(name, begin, now, step)
        return now - begin

    def finished(self, step: int, queued: float) -> None:
        """Note that a step's end has been seen, given when it was queued."""
        now = time.perf_counter()
        self.busy += max(0.0, now - max(queued, self._busy_until))
        self._busy_until = now
        self._spans.append((step, UNFINISHED, queued, now))
        if self.timeline is not None:
            self.timeline.span(f"step {step}", queued, now, step, STEPS)

    def skip(self, step: int) -> None:
        """Note a step that moved nothing."""
        self.skipped = [*self.skipped[1 - KEPT :], step]

    def stats(self, unfinished: int) -> Stats:
        """Return the record."""
        return Stats(
            steps=self._steps,
            examples=self._examples,
            true_steps=self._true,
            padding=1.0 - self._true / self._padded if self._padded else 0.0,
            unfinished=unfinished,
            seconds=0.0 if self._begin is None else time.perf_counter() - self._begin,
            seconds_blocked=self.blocked,
            seconds_staging=self.staging,
            seconds_queueing=self.queueing,
            seconds_busy=self.busy,
            starved=self.starved,
            skipped=tuple(self.skipped),
            gradient_norm=self.gradient_norm,
            nan_inputs=FrozenMapping(dict(self._nans)),
            last=None if self._last is None else StepStats(*self._last),
            _spans=tuple(self._spans),
        )
