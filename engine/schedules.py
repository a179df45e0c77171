"""Schedules: learning rates as functions of the step; users have them as `mxtrainer.schedules`.

The classes have lower-case names, so that there is one spelling: what a user writes, what is printed, and what a file
holds.
"""

from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from ..arguments import LARGEST, is_number, non_negative_int, number_within, positive_int
from ..errors import ArgumentError
from ..values import Value, register

#: A learning rate: a number, or a schedule, or a function of a user's.
Rate = Union[float, Callable[[int, Optional[int]], float]]
Stretches = Union[Mapping[int, float], Sequence[tuple[int, float]]]


class Schedule(Value):
    """The base of the schedules.

    A schedule is called with the number of the step, from 1, and that of all steps, which may be None, and returns the
    learning rate of that step. Calling it has no effect.

    Example:
        >>> rate = polynomial(0.5, warmup=2)
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


class _Warmed(Schedule):
    """A schedule that rises to its rate in ``warmup`` steps; only those after them are its own."""

    rate: float
    warmup: int = 0

    def __call__(self, step: int, total: int | None = None) -> float:
        steps = self._own_steps(total)
        own = step - self.warmup
        if own > 0:
            return self._own_rate(own, steps)
        return self.rate * (_checked_step(self, step) / self.warmup)

    def _own_steps(self, total: int | None) -> int:
        return 0  # most do not ask

    def _own_rate(self, own: int, steps: int) -> float:
        raise NotImplementedError


class _Run(_Warmed):
    """A schedule of a number of steps; where that is not given, of all that are left after the warm-up."""

    steps: int | None = None

    def needs_total(self) -> bool:
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
        raise NotImplementedError


@register
@dataclass(frozen=True, repr=False)
class constant(_Warmed):
    """The same rate at every step, after a warm-up.

    Args:
        rate: The learning rate.
        warmup: The number of steps in which it rises in a line: at step k of them it is ``rate * k / warmup``.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour", for the warm-up.

    Example:
        >>> rate = constant(0.1, warmup=4)
        >>> [rate(step) for step in (1, 2, 3, 4, 5, 100)]
        [0.025, 0.05, 0.075..., 0.1, 0.1, 0.1]
    """

    rate: float
    warmup: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _number(self, "rate", least=0.0)
        _count(self, "warmup")

    def _own_rate(self, own: int, steps: int) -> float:
        return self.rate


@register
@dataclass(frozen=True, repr=False)
class polynomial(_Run):
    """From one rate to another along a power of what is left: a line, as it is given.

    After k of n steps it is ``end + (rate - end) * (1 - k / n)**power``: ``rate`` at the first of them, and ``end`` at
    every step behind the last.

    Args:
        rate: The learning rate at the beginning.
        power: The power, above 0.
        end: The learning rate at the end.
        warmup: The number of steps before, in which it rises in a line: at step k of them it is ``rate * k / warmup``.
        steps: The number of steps after the warm-up; None for all that the training has.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Chen et al. 2016, "DeepLab", section 4.1.2, with power 0.9.

    Example:
        >>> rate = polynomial(0.1, steps=4)
        >>> [rate(step) for step in (1, 2, 3, 4, 5, 6)]
        [0.1, 0.075..., 0.05, 0.025, 0.0, 0.0]
    """

    rate: float
    power: float = 1.0
    end: float = 0.0
    warmup: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _number(self, "rate", least=0.0)
        _number(self, "power", above=0.0)
        _number(self, "end", least=0.0)
        _count(self, "warmup")
        _optional_steps(self)

    def _rate_after(self, part: float) -> float:
        weight: float = (1.0 - part) ** self.power
        return self.rate * weight + self.end * (1.0 - weight)  # exactly one of them at both ends


@register
@dataclass(frozen=True, repr=False)
class cosine(_Run):
    """From one rate to another along half a wave of the cosine: slowly at first and at last.

    After k of n steps it is ``end + (rate - end) * (1 + cos(pi * k / n)) / 2``: ``rate`` at the first of them, and
    ``end`` at every step behind the last.

    Args:
        rate: The learning rate at the beginning.
        end: The learning rate at the end.
        warmup: The number of steps before, in which it rises in a line: at step k of them it is ``rate * k / warmup``.
        steps: The number of steps after the warm-up; None for all that the training has.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5.

    Example:
        >>> rate = cosine(0.1, warmup=2)
        >>> [round(rate(step, total=6), 4) for step in (1, 2, 3, 4, 5, 6, 7)]
        [0.05, 0.1, 0.1, 0.0854, 0.05, 0.0146, 0.0]
    """

    rate: float
    end: float = 0.0
    warmup: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _number(self, "rate", least=0.0)
        _number(self, "end", least=0.0)
        _count(self, "warmup")
        _optional_steps(self)

    def _rate_after(self, part: float) -> float:
        return _half_wave(self.rate, self.end, part)


@register
@dataclass(frozen=True, repr=False)
class exponential(_Warmed):
    """A rate that shrinks by the same factor again and again: after k steps it is ``rate * decay**(k / every)``.

    Args:
        rate: The learning rate at the first step after the warm-up.
        decay: The factor, above 0, at most 1.
        every: The number of steps that the factor is for; the rate shrinks at each of them.
        warmup: The number of steps before, in which it rises in a line: at step k of them it is ``rate * k / warmup``.

    Raises:
        ArgumentError: A number is outside of its range.

    Example:
        >>> rate = exponential(0.1, decay=0.25, every=10)
        >>> [rate(step) for step in (1, 6, 11, 21)]
        [0.1, 0.05, 0.025, 0.00625]
    """

    rate: float
    decay: float
    every: int = 1
    warmup: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _number(self, "rate", least=0.0)
        _number(self, "decay", above=0.0, most=1.0)
        object.__setattr__(self, "every", positive_int(self.every, "exponential: every"))
        _count(self, "warmup")

    def _own_rate(self, own: int, steps: int) -> float:
        shrunk: float = self.decay ** ((own - 1) / self.every)
        return self.rate * shrunk


@register
@dataclass(frozen=True, repr=False)
class piecewise(Schedule):
    """A rate for each stretch of steps.

    Args:
        rates: The learning rates, each by the step that it is for first, as in ``{1: 1e-2, 1001: 1e-3}``; the first is
            that of step 1, the last has no end. Pairs of the two will do.

    Raises:
        ArgumentError: There is none for step 1, or a number is outside of its range.

    Example:
        >>> rate = piecewise({1: 1e-2, 1001: 1e-3})
        >>> [rate(step) for step in (1, 1000, 1001, 5000)]
        [0.01, 0.01, 0.001, 0.001]
    """

    rates: Stretches

    def __post_init__(self) -> None:
        """Check the numbers, and keep them as pairs, which JSON has too."""
        object.__setattr__(self, "rates", _pairs(self.rates))

    def __call__(self, step: int, total: int | None = None) -> float:
        """Return the rate of the last stretch that has begun."""
        assert isinstance(self.rates, tuple)
        begun = bisect_right(self.rates, (_checked_step(self, step), math.inf))
        rate: float = self.rates[begun - 1][1]
        return rate

    def __repr__(self) -> str:
        return f"piecewise({dict(self.rates)})"


@register
@dataclass(frozen=True, repr=False)
class one_cycle(_Run):
    """Up to a high rate and down to a very low one, in a single cycle, each along half a wave of the cosine.

    It is ``start`` at the first of n steps, ``peak`` after ``rise * n`` of them, and ``end`` at every step behind the
    last.

    Args:
        peak: The largest learning rate.
        start: The first one, at most ``peak``; ``peak / 25`` where it is None.
        end: The last one, at most ``peak``; ``start / 10_000`` where it is None.
        rise: The part of the steps that comes before the peak, from 0 to below 1.
        steps: The number of steps; None for all that the training has.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Smith 2018, "A disciplined approach to neural network hyper-parameters: part 1", whose cycle has straight
        lines, and is followed by a stretch at rates that are lower by orders of magnitude.

    Example:
        >>> rate = one_cycle(1.0, steps=10)
        >>> [round(rate(step), 4) for step in (1, 4, 11)]
        [0.04, 1.0, 0.0]
    """

    peak: float
    start: float | None = None
    end: float | None = None
    rise: float = 0.3
    steps: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _number(self, "peak", least=0.0)
        for field in ("start", "end"):
            if getattr(self, field) is not None:
                _number(self, field, least=0.0, most=self.peak)
        _number(self, "rise", least=0.0, below=1.0)
        _optional_steps(self)

    def __call__(self, step: int, total: int | None = None) -> float:
        """Return the rate of a step; there is no warm-up, which the rise is."""
        return self._own_rate(_checked_step(self, step), self._own_steps(total))

    def _rate_after(self, part: float) -> float:
        start = self.peak / 25 if self.start is None else self.start
        end = start / 10_000 if self.end is None else self.end
        if part < self.rise:
            return _half_wave(start, self.peak, part / self.rise)
        return _half_wave(self.peak, end, (part - self.rise) / (1.0 - self.rise))


@register
@dataclass(frozen=True, repr=False)
class plateau(Schedule):
    """A rate that is lowered where something that is measured, such as a validation loss, no longer falls.

    It is a value that does not change: `after` returns the schedule that follows one more measurement.

    A measurement is an improvement if it is below the best so far by more than the threshold. Those that are not are
    counted from the last improvement on. When there are more than ``patience``, the rate is lowered, and ``cooldown``
    measurements pass before counting begins again.

    Args:
        rate: The learning rate now.
        factor: What it is multiplied by to lower it, from 0 to below 1.
        patience: How many measurements without improvement are borne: one more lowers the rate.
        threshold: How large an improvement has to be, as a part of the best so far, from 0 to below 1.
        least: What the rate is never lowered below, at most ``rate``.
        cooldown: How many measurements after a lowering are not counted.
        best: The best measurement so far; None before the first.
        waited: How many measurements without improvement are counted.
        resting: How many measurements of the cooldown are left.

    Raises:
        ArgumentError: A number is outside of its range.

    Example:
        >>> rate = plateau(0.1, factor=0.5, patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.1):
        ...     rate = rate.after(loss)
        >>> rate
        plateau(0.05, factor=0.5, patience=1, best=2.0)
        >>> rate(step=1)
        0.05
    """

    rate: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    least: float = 0.0
    cooldown: int = 0
    best: float | None = None
    waited: int = 0
    resting: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _number(self, "rate", least=0.0)
        _number(self, "factor", least=0.0, below=1.0)
        _number(self, "threshold", least=0.0, below=1.0)
        _number(self, "least", least=0.0, most=self.rate)
        for field in ("patience", "cooldown", "waited", "resting"):
            _count(self, field)
        if self.best is not None:
            object.__setattr__(self, "best", _measured(self.best, "best"))
            if not math.isfinite(self.best):
                raise ArgumentError(f"plateau: best must be a finite number, or None, got {self.best!r}")

    def __call__(self, step: int, total: int | None = None) -> float:
        """Return the rate, which depends on what was measured, and not on the step."""
        return self.rate

    def after(self, value: float) -> plateau:
        """Return the schedule after one more measurement.

        Args:
            value: What was measured, and is to become small. One that is not finite is no improvement.

        Raises:
            ArgumentError: It is no number.
        """
        value = _measured(value, "after(value)")
        better = self._is_better(value)
        best = value if better else self.best
        if self.resting:
            return replace(self, best=best, waited=0, resting=self.resting - 1)
        waited = 0 if better else self.waited + 1
        if waited <= self.patience:
            return replace(self, best=best, waited=waited)
        lowered = max(self.rate * self.factor, self.least)
        return replace(self, rate=lowered, best=best, waited=0, resting=self.cooldown)

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return math.isfinite(value)
        return math.isfinite(value) and value < self.best - self.threshold * abs(self.best)


def rate_at(rate: Rate, step: int, total: int | None) -> float:
    """Return the learning rate of a step.

    What a function raises passes through.

    Args:
        rate: A number, a schedule or a function.
        step: The step, from 1.
        total: The number of all steps; None where it is not known.

    Raises:
        ArgumentError: It gave something else than a finite number of at least 0, or cannot do with this total.

    Example:
        >>> rate_at(lambda step, total: 1 / step, 4, None)
        0.25
    """
    found = rate(step, total) if callable(rate) else rate
    if type(found) is float and 0.0 <= found <= LARGEST:  # all but a function's slips
        return found
    return _returned(found, rate, step)


def check_schedule(value: object, what: str) -> Rate:
    """Return a learning rate: a number, a schedule, or a function of (step, total).

    Raises:
        ArgumentError: It is none of these.

    Example:
        >>> check_schedule(1, "Adam: learning_rate")
        1.0
        >>> check_schedule(lambda step: 0.1, "Adam: learning_rate")
        Traceback (most recent call last):
        mxtrainer.errors.ArgumentError: Adam: learning_rate must be a number of at least 0, a schedule such as
        schedules.cosine(1e-3), or a function of (step, total), got the function <lambda>(step)
    """
    if is_number(value):
        return number_within(value, what, least=0.0)
    if isinstance(value, type) or not callable(value) or not _takes_two(value):
        raise ArgumentError(
            f"{what} must be a number of at least 0, a schedule such as schedules.cosine(1e-3), "
            f"or a function of (step, total), got {_described(value)}"
        )
    return value


def schedule_needs_total(rate: object) -> bool:
    """Tell whether it is a schedule that needs the number of all steps; a user's function is not asked.

    Example:
        >>> schedule_needs_total(cosine(0.1)), schedule_needs_total(cosine(0.1, steps=100)), schedule_needs_total(0.1)
        (True, False, False)
    """
    return isinstance(rate, Schedule) and rate.needs_total()


def check_total(rate: object, total: int | None) -> None:
    """Check that a schedule can do with the number of all steps; a user's function is not asked.

    Raises:
        ArgumentError: It needs one and there is none, or its warm-up is longer.
    """
    if isinstance(rate, Schedule):
        rate(1, total)


def _number(schedule: Schedule, field: str, **limits: float) -> None:
    number = number_within(getattr(schedule, field), _what(schedule, field), **limits)
    object.__setattr__(schedule, field, number)


def _count(schedule: Schedule, field: str) -> None:
    object.__setattr__(schedule, field, non_negative_int(getattr(schedule, field), _what(schedule, field)))


def _optional_steps(schedule: _Run) -> None:
    if schedule.steps is not None:
        object.__setattr__(schedule, "steps", positive_int(schedule.steps, _what(schedule, "steps")))


def _what(schedule: Schedule, field: str) -> str:
    return f"{type(schedule).__name__}: {field}"


def _checked_step(schedule: Schedule, step: int) -> int:
    if step < 1:
        raise ArgumentError(f"{schedule!r}: steps are counted from 1, got step {step!r}")
    return step


def _half_wave(first: float, last: float, part: float) -> float:
    """Return what is a part of the way from the first to the last, along half a wave of the cosine."""
    weight = (1.0 + math.cos(math.pi * part)) / 2.0
    return first * weight + last * (1.0 - weight)  # exactly one of them at both ends


def _pairs(rates: Any) -> tuple[tuple[int, float], ...]:
    """Return the pairs of first step and rate, by step."""
    listed = list(rates.items() if isinstance(rates, Mapping) else rates) if isinstance(rates, Iterable) else []
    if not listed or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in listed):
        raise ArgumentError(
            f"piecewise: rates must be rates by their first step, as in {{1: 1e-2, 1001: 1e-3}}, got {rates!r}"
        )
    found = {
        positive_int(step, "piecewise: the first step of a rate"): number_within(
            rate, f"piecewise: the rate from step {step} on", least=0.0
        )
        for step, rate in listed
    }
    if len(found) < len(listed):
        raise ArgumentError(f"piecewise: there are two rates for one step in {rates!r}")
    if 1 not in found:
        raise ArgumentError(f"piecewise: there is no rate for step 1; the first is that from step {min(found)} on")
    return tuple(sorted(found.items()))


def _measured(value: object, what: str) -> float:
    if not is_number(value):
        raise ArgumentError(f'plateau: {what} must be one number, such as losses["Loss"], got {value!r}')
    return float(value)


def _returned(found: object, rate: Rate, step: int) -> float:
    """Return a number of another type as a float; refuse anything else."""
    try:
        return number_within(found, "it", least=0.0)
    except ArgumentError:
        raise ArgumentError(
            f"the learning rate {_described(rate)} gave {found!r} at step {step}; "
            f"expected a finite number of at least 0"
        ) from None


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(1, None)
    except TypeError:
        return False
    except ValueError:  # some builtins do not say
        return True
    return True


def _described(value: object) -> str:
    """Show a schedule as it is written, and a function by its name and arguments."""
    if inspect.isfunction(value):
        return f"the function {value.__name__}{inspect.signature(value)}"
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    return repr(value)
