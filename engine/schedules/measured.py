"""A schedule that depends on what is measured while training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...arguments import is_number
from ...errors import ArgumentError
from ...values import register
from .base import Schedule, set_count, set_number


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
        set_number(self, "rate", least=0.0)
        set_number(self, "factor", least=0.0, below=1.0)
        set_number(self, "threshold", least=0.0, below=1.0)
        set_number(self, "least", least=0.0, most=self.rate)
        for field in ("patience", "cooldown", "waited", "resting"):
            set_count(self, field)
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
            return replace(self, best=best, resting=self.resting - 1)
        waited = 0 if better else self.waited + 1
        if waited <= self.patience:
            return replace(self, best=best, waited=waited)
        lowered = max(self.rate * self.factor, self.least)
        return replace(self, rate=lowered, best=best, waited=0, resting=self.cooldown)

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return math.isfinite(value)
        return math.isfinite(value) and value < self.best - self.threshold * abs(self.best)


def _measured(value: object, what: str) -> float:
    if not is_number(value):
        raise ArgumentError(f'plateau: {what} must be one number, such as losses["Loss"], got {value!r}')
    return float(value)
