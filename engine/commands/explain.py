"""`mxtrainer explain`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ..optimizers import Optimizer
from . import options
from .forecasts import forecast_of
from .plan_files import read_plan


@click.command(
    short_help="A plan, and which layers take the memory.",
    epilog="Example: mxtrainer explain plan.json --batch-size 32 --lengths t=64 --optimizer adam",
)
@options.plan_file
@options.batch_size
@options.lengths
@options.optimizer
def explain(file: Path, batch_size: int | None, lengths: Mapping[str, int], optimizer: Optimizer | None) -> None:
    """Show a plan, and which layers take the memory.

    FILE is a plan or a net as JSON, a checkpoint, or a net as safetensors. Without --optimizer the memory is that of an
    executor, which does not train. A checkpoint has its own values of these options.
    """
    asked = forecast_of(read_plan(file), batch_size, lengths, optimizer)
    click.echo(f"{asked.plan}\n")
    if asked.missing:
        click.echo(
            f"With {' '.join(asked.missing)}, or other numbers, this command shows which layers take the memory."
        )
    else:
        click.echo(str(asked.plan.explain(asked.batch_size, asked.lengths, **asked.others)))
