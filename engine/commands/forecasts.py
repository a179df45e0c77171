"""What is asked of a plan about memory: the options of the command line, and what a checkpoint says itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from ...plans.plan import Plan
from ..forecast import OPTIONS
from ..optimizers import Optimizer
from .options import check_lengths
from .plan_files import PlanFile


@dataclass(frozen=True)
class Forecast:
    """Arguments of `Plan.memory`, as far as they are known.

    Attributes:
        plan: The plan.
        batch_size: The number of rows, or None.
        lengths: The one bucket, or None.
        others: The rest, `buckets` among them.
    """

    plan: Plan
    batch_size: int | None
    lengths: Mapping[str, int] | None
    others: Mapping[str, Any]

    @property
    def rows_by_bucket(self) -> bool:
        """Whether each bucket has a number of rows of its own."""
        return "buckets" in self.others and bool(self.others["buckets"].has_batch_sizes())

    @property
    def has_lengths(self) -> bool:
        """Whether numbers of steps are known, or there are none."""
        return not self.plan.lengths or self.lengths is not None or "buckets" in self.others

    @property
    def missing(self) -> list[str]:
        """The options that must be given too."""
        rows = [] if self.batch_size is not None or self.rows_by_bucket else ["--batch-size 32"]
        return rows if self.has_lengths else [*rows, *(f"--lengths {name}=64" for name in self.plan.lengths)]


def forecast_of(
    file: PlanFile, batch_size: int | None, lengths: Mapping[str, int], optimizer: Optimizer | None
) -> Forecast:
    """Return what is known; what the command line gives counts before what a checkpoint has.

    Raises:
        ClickException: Lengths are those of another plan, or the optimizer is not known.
    """
    plan = file.plan
    others = {name: found for name, found in file.options.items() if name in OPTIONS}
    if optimizer is not None:
        others["optimizer"] = optimizer
    elif file.is_checkpoint and "optimizer" not in others:
        raise click.UsageError("the checkpoint's optimizer is one that no file holds: give --optimizer")
    if lengths:
        check_lengths(plan, lengths)
    if lengths or not file.has_lengths:
        others.pop("buckets", None)  # what is asked is of one bucket
    return Forecast(plan, file.options.get("batch_size") if batch_size is None else batch_size, lengths or None, others)
