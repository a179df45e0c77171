"""What the engine takes for a learning rate, a number, a schedule or a function, and what it asks of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Optional, Union

from ...arguments import LARGEST, is_number, number_within
from ...errors import ArgumentError
from .base import Schedule

#: A learning rate: a number, or a schedule, or a function of a user's.
Rate = Union[float, Callable[[int, Optional[int]], float]]


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
        >>> import mxtrainer as mxt
        >>> schedule_needs_total(mxt.schedules.cosine(0.1)), schedule_needs_total(mxt.schedules.cosine(0.1, steps=100))
        (True, False)
    """
    return isinstance(rate, Schedule) and rate.needs_total()


def check_total(rate: object, total: int | None) -> None:
    """Check that a schedule can do with the number of all steps; a user's function is not asked.

    Raises:
        ArgumentError: It needs one and there is none, or its warm-up is longer.
    """
    if isinstance(rate, Schedule):
        rate(1, total)


def _returned(found: object, rate: Rate, step: int) -> float:
    """Return a number of another type as a float; refuse anything else."""
    try:
        return number_within(found, "it", least=0.0)
    except ArgumentError:
        raise ArgumentError(
            f"{_described(rate)} gave {found!r} as the learning rate of step {step}; "
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
