"""What schedules have in common: the call, the warm-up, a run of steps, and checks of their fields."""

from __future__ import annotations

from ...arguments import non_negative_int, number_within, positive_int
from ...errors import ArgumentError
from ...values import Value


class Schedule(Value):
    """The base of the schedules.

    A schedule is called with the number of the step, from 1, and that of all steps, which may be None, and returns the
    learning rate of that step. Calling it has no effect.

    Example:
        >>> import mxtrainer as mxt
        >>> rate = mxt.schedules.polynomial(0.5, warmup=2)
        >>> [rate(step, 6) for step in range(1, 7)]
        [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]
    """

    def __call__(self, step: int, total: int | None = None) -> float:
        """Return the learning rate of a step.

        Raises:
            ArgumentError: The step is below 1, or the schedule cannot do with this total.
        """
        raise TypeError(f"{type(self).__name__} does not define __call__(step, total)")

    def needs_total(self) -> bool:
        """Tell whether it needs the number of all steps."""
        return False


class Warmed(Schedule):
    """A schedule that rises to its rate in ``warmup`` steps; only those after them are its own."""

    rate: float
    warmup: int = 0

    def __call__(self, step: int, total: int | None = None) -> float:
        """Return the rate of a step: of the warm-up, or of the schedule's own steps, which count from 1 again."""
        steps = self._own_steps(total)
        own = step - self.warmup
        if own > 0:
            return self._own_rate(own, steps)
        return self.rate * (checked_step(self, step) / self.warmup)

    def _own_steps(self, total: int | None) -> int:
        return 0  # most do not ask

    def _own_rate(self, own: int, steps: int) -> float:
        raise TypeError(f"{type(self).__name__} does not define _own_rate(own, steps)")


class Run(Warmed):
    """A schedule of a number of steps; where that is not given, of all that are left after the warm-up."""

    steps: int | None = None

    def needs_total(self) -> bool:
        """Tell whether its steps are those that are left."""
        return self.steps is None

    def _own_steps(self, total: int | None) -> int:
        if self.steps is not None:
            return self.steps
        if total is None:
            raise ArgumentError(
                f"{self!r} needs to know how many steps there are: give Trainer(..., total_steps=n), "
                f"or steps=n to the schedule itself"
            )
        if total < self.warmup:
            raise ArgumentError(
                f"{self!r}: the warm-up has {self.warmup} steps, but there are only {total} in all: "
                f"expected warmup to be at most {total}"
            )
        return total - self.warmup

    def _own_rate(self, own: int, steps: int) -> float:
        return self._rate_after((own - 1) / steps if own <= steps else 1.0)

    def _rate_after(self, part: float) -> float:
        raise TypeError(f"{type(self).__name__} does not define _rate_after(part)")


def set_number(schedule: Schedule, field: str, **limits: float) -> None:
    """Check that a field is a number within these limits, and keep it as a float."""
    number = number_within(getattr(schedule, field), _what(schedule, field), **limits)
    object.__setattr__(schedule, field, number)


def set_count(schedule: Schedule, field: str) -> None:
    """Check that a field is an integer of at least 0."""
    object.__setattr__(schedule, field, non_negative_int(getattr(schedule, field), _what(schedule, field)))


def set_steps(schedule: Run) -> None:
    """Check that the number of steps is a positive integer or None."""
    if schedule.steps is not None:
        object.__setattr__(schedule, "steps", positive_int(schedule.steps, _what(schedule, "steps")))


def checked_step(schedule: Schedule, step: int) -> int:
    """Return a step that is at least 1.

    Raises:
        ArgumentError: It is below.
    """
    if step < 1:
        raise ArgumentError(f"{schedule!r}: steps are counted from 1, got step {step!r}")
    return step


def _what(schedule: Schedule, field: str) -> str:
    return f"{type(schedule).__name__}: {field}"
