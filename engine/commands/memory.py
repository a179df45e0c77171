"""`mxtrainer memory`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ...arguments import byte_count
from ..optimizers import Optimizer
from . import options
from .forecasts import Forecast, forecast_of
from .plan_files import read_plan


@click.command(
    short_help="What a trainer takes in memory.",
    epilog="Example: mxtrainer memory plan.json --batch-size 32 --lengths t=64 --optimizer adam --budget 2GB",
)
@options.plan_file
@options.batch_size
@options.lengths
@options.optimizer
@click.option(
    "--budget",
    metavar="BYTES",
    callback=options.parsed(lambda text: byte_count(text, "it")),
    help='Also show what fits into so many bytes, or text such as "2GB".',
)
def memory(
    file: Path, batch_size: int | None, lengths: Mapping[str, int], optimizer: Optimizer | None, budget: int | None
) -> None:
    """Show what a trainer takes in memory, before any of it is allocated.

    FILE is a plan or a net as JSON, a checkpoint, or a net as safetensors. Without --optimizer it is what an executor
    takes, which does not train. A checkpoint has its own values of these options.
    """
    asked = forecast_of(read_plan(file), batch_size, lengths, optimizer)
    fitting = [] if budget is None else _fitting(asked, budget)
    if asked.missing and not fitting:
        raise click.UsageError(f"give {' '.join(asked.missing)}, or other numbers")
    if not asked.missing:
        click.echo(str(asked.plan.memory(asked.batch_size, asked.lengths, **asked.others)))
    for line in fitting:
        click.echo(line)


def _fitting(asked: Forecast, budget: int) -> list[str]:
    """Return what fits into a budget, in lines: as far as can be told."""
    plan, found = asked.plan, []
    if asked.has_lengths and not asked.rows_by_bucket:
        rows = plan.max_batch(budget, asked.lengths, **asked.others)
        found.append(f"largest batch size within {budget:,} bytes: {rows:,}")
    if len(plan.lengths) == 1 and asked.batch_size is not None:
        others = {name: one for name, one in asked.others.items() if name != "buckets"}
        steps = plan.max_length(budget, asked.batch_size, **others)
        found.append(f'most steps of "{plan.lengths[0]}" within {budget:,} bytes: {steps:,}')
    return found
