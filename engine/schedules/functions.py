"""Schedules that are functions of the step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ...arguments import number_within, positive_int
from ...errors import ArgumentError
from ...values import register
from .base import Run, Schedule, Warmed, checked_step, set_count, set_number, set_steps

Stretches = Union[Mapping[int, float], Sequence[tuple[int, float]]]


@register
@dataclass(frozen=True, repr=False)
class constant(Warmed):
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
        set_number(self, "rate", least=0.0)
        set_count(self, "warmup")

    def _own_rate(self, own: int, steps: int) -> float:
        return self.rate


@register
@dataclass(frozen=True, repr=False)
class polynomial(Run):
    """From one rate to another along a power of what is left: in a line by default.

    After k of n steps it is ``end + (rate - end) * (1 - k / n)**power``: ``rate`` at the first of them, and ``end`` at
    every step behind the last.

    Args:
        rate: The learning rate at the beginning.
        power: The power, above 0.
        end: The learning rate at the end.
        warmup: The number of steps before, in which it rises in a line: at step k of them it is ``rate * k / warmup``.
        steps: The number of steps after the warm-up; None for all that are left.

    Raises:
        ArgumentError: A number is outside of its range.

    Reference: Chen et al. 2016, "DeepLab: semantic image segmentation", whose power is 0.9.

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
        set_number(self, "rate", least=0.0)
        set_number(self, "power", above=0.0)
        set_number(self, "end", least=0.0)
        set_count(self, "warmup")
        set_steps(self)

    def _rate_after(self, part: float) -> float:
        weight: float = (1.0 - part) ** self.power
        return self.rate * weight + self.end * (1.0 - weight)  # exactly one of them at both ends


@register
@dataclass(frozen=True, repr=False)
class cosine(Run):
    """From one rate to another along half a wave of the cosine: slowly at first and at last.

    After k of n steps it is ``end + (rate - end) * (1 + cos(pi * k / n)) / 2``: ``rate`` at the first of them, and
    ``end`` at every step behind the last.

    Args:
        rate: The learning rate at the beginning.
        end: The learning rate at the end.
        warmup: The number of steps before, in which it rises in a line: at step k of them it is ``rate * k / warmup``.
        steps: The number of steps after the warm-up; None for all that are left.

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
        set_number(self, "rate", least=0.0)
        set_number(self, "end", least=0.0)
        set_count(self, "warmup")
        set_steps(self)

    def _rate_after(self, part: float) -> float:
        return _half_wave(self.rate, self.end, part)


@register
@dataclass(frozen=True, repr=False)
class exponential(Warmed):
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
        set_number(self, "rate", least=0.0)
        set_number(self, "decay", above=0.0, most=1.0)
        object.__setattr__(self, "every", positive_int(self.every, "exponential: every"))
        set_count(self, "warmup")

    def _own_rate(self, own: int, steps: int) -> float:
        shrunk: float = self.decay ** ((own - 1) / self.every)
        return self.rate * shrunk


@register
@dataclass(frozen=True, repr=False)
class piecewise(Schedule):
    """A rate for each stretch of steps.

    Args:
        rates: The learning rates by the step from which each holds, as in ``{1: 1e-2, 1001: 1e-3}``; one of the steps
            is 1, and the last rate has no end. A sequence of such pairs will do.

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
        begun = bisect_right(self.rates, (checked_step(self, step), math.inf))
        rate: float = self.rates[begun - 1][1]
        return rate

    def __repr__(self) -> str:
        return f"piecewise({dict(self.rates)})"


@register
@dataclass(frozen=True, repr=False)
class one_cycle(Run):
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
        set_number(self, "peak", least=0.0)
        for field in ("start", "end"):
            if getattr(self, field) is not None:
                set_number(self, field, least=0.0, most=self.peak)
        set_number(self, "rise", least=0.0, below=1.0)
        set_steps(self)

    def __call__(self, step: int, total: int | None = None) -> float:
        """Return the rate of a step; there is no warm-up, which the rise is."""
        return self._own_rate(checked_step(self, step), self._own_steps(total))

    def _rate_after(self, part: float) -> float:
        start = self.peak / 25 if self.start is None else self.start
        end = start / 10_000 if self.end is None else self.end
        if part < self.rise:
            return _half_wave(start, self.peak, part / self.rise)
        return _half_wave(self.peak, end, (part - self.rise) / (1.0 - self.rise))


def _half_wave(first: float, last: float, part: float) -> float:
    """Return what is a part of the way from the first to the last, along half a wave of the cosine."""
    weight = (1.0 + math.cos(math.pi * part)) / 2.0
    return first * weight + last * (1.0 - weight)  # exactly one of them at both ends


def _pairs(rates: Any) -> tuple[tuple[int, float], ...]:
    """Return the pairs of first step and rate, by step."""
    listed = list(rates.items() if isinstance(rates, Mapping) else rates) if isinstance(rates, Iterable) else []
    if not listed or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in listed):
        raise ArgumentError(
            f"piecewise: rates must be learning rates by the step from which each holds, "
            f"as in {{1: 1e-2, 1001: 1e-3}}, got {rates!r}"
        )
    found = {
        positive_int(step, "piecewise: the step from which a rate holds"): number_within(
            rate, f"piecewise: the rate from step {step} on", least=0.0
        )
        for step, rate in listed
    }
    if len(found) < len(listed):
        raise ArgumentError(f"piecewise: there are two rates for one step in {rates!r}")
    if 1 not in found:
        raise ArgumentError(f"piecewise: there is no rate for step 1, but only from step {min(found)} on")
    return tuple(sorted(found.items()))
