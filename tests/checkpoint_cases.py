"""Trainings that stop and go on: every optimizer, kind of batch, with dropout and without, in mid-round and at its end.

Run as a script, it goes on from the checkpoints in a folder, all or those that are named, and writes what becomes of
them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mxtrainer as mxt

WIDTH, SIZE, ROWS = 2, 3, 3
OPTIMIZERS = {"Adam": mxt.Adam(0.01), "momentum": mxt.SGD(0.05, momentum=0.9), "LAMB": mxt.LAMB(0.01)}
KINDS = ("fixed", "buckets", "streams")
AFTER = 4  # steps after the checkpoint


class Cell(NamedTuple):
    """One training."""

    optimizer: str
    kind: str
    dropout: float
    before: int  # steps before the checkpoint

    @property
    def name(self) -> str:
        return "-".join(map(str, self))


#: A round has five batches.
CELLS = [
    Cell(optimizer, kind, dropout, before)
    for optimizer in OPTIMIZERS
    for kind in KINDS
    for dropout in (0.0, 0.3)
    for before in (3, 5)
]


def plan_of(dropout: float) -> mxt.Plan:
    net = mxt.NetChain(
        [mxt.LSTM(SIZE), mxt.Dropout(dropout), mxt.Linear(WIDTH), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))},
    )
    return mxt.compile_plan(net.with_states())


def trainer_of(cell: Cell) -> mxt.Trainer:
    lengths = {"t": 6} if cell.kind == "fixed" else None
    buckets = mxt.buckets.Multiple(4) if cell.kind == "buckets" else None
    return mxt.Trainer(
        plan_of(cell.dropout), OPTIMIZERS[cell.optimizer], ROWS, lengths, buckets=buckets, carry=cell.kind == "streams"
    )


def batches_of(cell: Cell) -> Any:
    """Return batches by round, which can go on after a position."""
    generator = np.random.default_rng(1)
    if cell.kind == "streams":
        sequences = [
            {port: generator.normal(size=(steps, WIDTH)).astype("float32") for port in ("Input", "Target")}
            for steps in (17, 23, 9, 11, 20)
        ]
        return mxt.stream(sequences, window=6, rows=ROWS)
    steps = [6] * 15 if cell.kind == "fixed" else generator.integers(1, 11, 15).tolist()
    data = {port: [generator.normal(size=(n, WIDTH)).astype("float32") for n in steps] for port in ("Input", "Target")}
    return mxt.Batches(data, ROWS)


def endless(batches: Any, position: tuple[int, ...] | None = None) -> Iterator[Any]:
    """Iterate over all rounds, from a position on."""
    if position is not None:
        yield from batches.after(position)
    while True:
        yield from batches


def take(trainer: mxt.Trainer, batches: Iterator[Any], steps: int) -> None:
    for _ in range(steps):
        trainer.update(next(batches))


def begin(cell: Cell, folder: Path) -> None:
    """Write the checkpoint of a training, and what becomes of it without a stop."""
    with trainer_of(cell) as trainer:
        batches = endless(batches_of(cell))
        take(trainer, batches, cell.before)
        trainer.save(folder / f"{cell.name}.middle")
        take(trainer, batches, AFTER)
        trainer.save(folder / f"{cell.name}.whole")


def go_on(cell: Cell, folder: Path) -> None:
    """Write what becomes of a checkpoint."""
    with mxt.Trainer.load(folder / f"{cell.name}.middle") as trainer:
        take(trainer, mxt.prefetch(endless(batches_of(cell), trainer.position)), AFTER)
        trainer.save(folder / f"{cell.name}.resumed")


if __name__ == "__main__":
    for one in CELLS:
        if one.name in sys.argv[2:] or not sys.argv[2:]:
            go_on(one, Path(sys.argv[1]))
