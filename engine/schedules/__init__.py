"""Learning rates as functions of the step; users have them as `mxtrainer.schedules`.

The classes have lower-case names, so that there is one spelling: what a user writes, what is printed, and what a file
holds.
"""

from .base import Schedule as Schedule
from .functions import constant as constant
from .functions import cosine as cosine
from .functions import exponential as exponential
from .functions import one_cycle as one_cycle
from .functions import piecewise as piecewise
from .functions import polynomial as polynomial
from .measured import plateau as plateau
from .rates import Rate as Rate
from .rates import check_schedule as check_schedule
from .rates import check_total as check_total
from .rates import rate_at as rate_at
from .rates import schedule_needs_total as schedule_needs_total

__all__ = [
    "Rate",
    "Schedule",
    "check_schedule",
    "check_total",
    "constant",
    "cosine",
    "exponential",
    "one_cycle",
    "piecewise",
    "plateau",
    "polynomial",
    "rate_at",
    "schedule_needs_total",
]
