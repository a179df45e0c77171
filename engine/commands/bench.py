"""`mxtrainer bench`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from ...tables import table
from ..optimizers import Adam, Optimizer
from ..trainer import Trainer
from . import options
from .plan_files import read_plan
from .random_batches import longest_bucket, random_batches, rows_of
from .standard_nets import STANDARD
from .timing import timed

HEADER = ["net", "batch", "ms a step", "fastest", "slowest", "steps/s", "examples/s", "host ms", "blocked"]


@click.command(
    short_help="How fast this machine trains.",
    epilog="Example: mxtrainer bench plan.json --batch-size 32 --lengths t=64 --optimizer adam",
)
@click.argument("file", type=options.FILE, required=False)
@options.modules
@options.batch_size
@options.lengths
@options.optimizer
@click.option(
    "--steps", type=options.POSITIVE, metavar="COUNT", help="Steps of a round; by default as many as take 0.3 seconds."
)
@click.option(
    "--rounds", type=options.POSITIVE, metavar="COUNT", default=7, show_default=True, help="Rounds that are timed."
)
@click.option("--net", type=click.Choice(list(STANDARD)), multiple=True, help="A standard net; may be given again.")
def bench(
    *,
    file: Path | None,
    batch_size: int | None,
    lengths: Mapping[str, int],
    optimizer: Optimizer | None,
    steps: int | None,
    rounds: int,
    net: tuple[str, ...],
) -> None:
    """Time the updates of a trainer on this machine, with random numbers.

    FILE is a plan or a net as JSON, a checkpoint, or a net as safetensors. Without it standard nets are timed, all or
    those of --net. The optimizer is Adam where none is given.

    "ms a step" is the median of the rounds, "fastest" and "slowest" are the rounds at its ends. "host ms" is what
    update takes to check, copy and queue a batch, and "blocked" how much of the time the host waits for the device.
    """
    if file is not None and net:
        raise click.UsageError("--net is for where there is no FILE: leave out one of them")
    if file is None and (batch_size is not None or lengths):
        raise click.UsageError("--batch-size and --lengths are for a FILE: give one")
    measure = partial(_row, steps=steps, rounds=rounds)
    if file is not None:
        with _trainer_of(file, batch_size, lengths, optimizer) as trainer:
            rows = [measure(file.name, trainer, lengths or longest_bucket(trainer))]
    else:
        rows = []
        for name in net or STANDARD:
            one = STANDARD[name]
            with Trainer(one.make(), optimizer or Adam(), one.rows, one.lengths) as trainer:
                rows.append(measure(name, trainer, one.lengths))
    click.echo(table(HEADER, rows))


def _trainer_of(file: Path, batch_size: int | None, lengths: Mapping[str, int], optimizer: Optimizer | None) -> Trainer:
    """Return a trainer of a plan or a net, or the one of a checkpoint."""
    found = read_plan(file)
    given: dict[str, Any] = {"batch_size": batch_size, "lengths": lengths, "optimizer": optimizer}
    given = {name: one for name, one in given.items() if one}
    if lengths or not found.has_lengths:
        options.check_lengths(found.plan, lengths)
    if found.is_checkpoint:
        return Trainer.load(file, **given)
    if batch_size is None:
        raise click.UsageError("give --batch-size, as in --batch-size 32")
    return Trainer(found.plan, **{"optimizer": Adam(), **given})


def _row(name: str, trainer: Trainer, lengths: Mapping[str, int], steps: int | None, rounds: int) -> list[str]:
    count = rows_of(trainer, lengths)
    found = timed(trainer, random_batches(trainer.plan, count, lengths), steps, rounds)
    size = ", ".join([str(count), *(f"{length}={number}" for length, number in lengths.items())])
    times = [_number(1e3 * seconds) for seconds in (found.median, min(found.rounds), max(found.rounds))]
    speed = [_number(1 / found.median), _number(count / found.median)]
    return [name, size, *times, *speed, f"{1e3 * found.seconds_host:.3f}", f"{found.share_blocked:.0%}"]


def _number(found: float) -> str:
    return f"{found:,.0f}" if found >= 100 else f"{found:.3g}"
