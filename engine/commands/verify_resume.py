"""`mxtrainer verify-resume`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from ...errors import FileFormatError
from ..optimizers import Optimizer
from ..trainer import Trainer
from . import options
from .imports import batches_at
from .plan_files import read_plan
from .random_batches import longest_bucket, random_batches, rows_of

STEPS = 16  # of sequences, where nothing says how long they are


@click.command(
    name="verify-resume",
    short_help="Whether a checkpoint goes on to the bit.",
    epilog="Example: mxtrainer verify-resume run.safetensors --steps 20 --batches script.py:batches",
)
@options.plan_file
@click.option(
    "--steps",
    type=options.POSITIVE,
    metavar="COUNT",
    default=20,
    show_default=True,
    help="Steps before the checkpoint, and after it.",
)
@click.option(
    "--batches",
    metavar="WHERE:NAME",
    help="A module or a Python file, and in it an iterable of batches or a function that returns one. Random numbers "
    "without it.",
)
@options.lengths
@options.optimizer
def verify_resume(
    file: Path, steps: int, batches: str | None, lengths: Mapping[str, int], optimizer: Optimizer | None
) -> None:
    """Prove that training goes on from a checkpoint to the bit, on this machine.

    FILE is a checkpoint. A copy of its trainer takes some steps, is saved, and takes as many more; a new process loads
    the file and takes the same ones. The exit code is 1 where a bit differs. FILE itself stays as it is. --lengths are
    those of random batches; --optimizer is for checkpoints whose own is a function.
    """
    if not read_plan(file).is_checkpoint:
        raise FileFormatError(f"{str(file)!r} is no checkpoint of Trainer.save, so there is nothing to resume")
    with Trainer.load(file, **({} if optimizer is None else {"optimizer": optimizer})) as trainer:
        report = trainer.verify_resume(steps, _random(trainer, lengths) if batches is None else batches_at(batches))
    click.echo(str(report))
    raise SystemExit(0 if report.exact else 1)


def _random(trainer: Trainer, given: Mapping[str, int]) -> Iterable[Mapping[str, Any]]:
    if given:
        options.check_lengths(trainer.plan, given)
    lengths = given or longest_bucket(trainer) or dict.fromkeys(trainer.plan.lengths, STEPS)
    rows = rows_of(trainer, lengths)
    click.echo(f"random batches of {', '.join([f'{rows} rows', *(f'{name}={lengths[name]}' for name in lengths)])}")
    return random_batches(trainer.plan, rows, lengths)
