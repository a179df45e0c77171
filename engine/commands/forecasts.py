"""What is asked of a plan about memory: the options of the command line, and what a checkpoint says itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from ...plans.plan import Plan
from ..forecast import OPTIONS
from ..optimizers import Optimizer
from .options import NO_BATCH_SIZE, check_lengths
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
    def has_rows(self) -> bool:
        """Whether numbers of rows are known."""
        return self.batch_size is not None or self.rows_by_bucket

    @property
    def has_lengths(self) -> bool:
        """Whether numbers of steps are known, or there are none."""
        return not self.plan.lengths or self.lengths is not None or "buckets" in self.others

    def need(self) -> None:
        """Check that both are known.

        Raises:
            ClickException: They are not.
        """
        if not self.has_rows:
            raise click.UsageError(NO_BATCH_SIZE)
        if not self.has_lengths:
            check_lengths(self.plan, {})


def forecast_of(
    file: PlanFile, batch_size: int | None, lengths: Mapping[str, int], optimizer: Optimizer | None
) -> Forecast:
    """Return what is known; what the command line gives counts before what a checkpoint has.

    Raises:
        ClickException: Lengths are those of another plan.
    """
    plan = file.plan
    others = {name: found for name, found in file.options.items() if name in OPTIONS}
    if optimizer is not None:
        others["optimizer"] = optimizer
    if lengths:
        check_lengths(plan, lengths)
    if lengths or not file.has_lengths:
        others.pop("buckets", None)  # what is asked is of one bucket
    return Forecast(plan, file.options.get("batch_size") if batch_size is None else batch_size, lengths or None, others)
