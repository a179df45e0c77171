"""What `train` adds to a step over a bare loop of `update`: alone, with progress, and with records; in turns.

Run as ``python benchmarks/train_cost.py [rounds]``. The net is tiny, an LSTM of 2 over 5 steps, batch 1, whose steps
take as little time as any. Every way has a trainer of its own, and they take turns in random order; the bare loop reads
the last loss alone. Beside the time of a step there is that for
which a processor was at work in the loop's own thread.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

import mxtrainer as mxt  # noqa: E402

STEPS = 2000  # of a turn
Batches = list[dict[str, Any]]


def plan_of() -> mxt.Plan:
    """Return tiny."""
    net = mxt.NetChain(
        [mxt.LSTM(2), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(1))}
    )
    return mxt.compile_plan(net)


def batches_of() -> Batches:
    """Return as many batches as a turn has, of which eight differ."""
    generator = np.random.default_rng(0)
    shapes = {"Input": (1, 5, 1), "Target": (1, 5)}
    eight = [{port: generator.standard_normal(shape, np.float32) for port, shape in shapes.items()} for _ in range(8)]
    return [eight[number % 8] for number in range(STEPS)]


def bare(trainer: mxt.Trainer, batches: Batches) -> None:
    """Update, and wait once at the end."""
    for batch in batches:
        trainer.update(batch)
    trainer.current_loss()


def ready(**options: Any) -> Callable[[mxt.Trainer, Batches], None]:
    """Return the same by `train`."""

    def run(trainer: mxt.Trainer, batches: Batches) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            mxt.train(trainer, batches, rounds=1, **options)

    return run


def ignore(record: mxt.TrainRecord) -> None:
    """Do nothing with a record."""


WAYS = {
    "bare loop": bare,
    "the same, again": bare,
    "`train`": ready(progress=False),
    "`train`, progress": ready(progress=True),
    "`train`, a record every 100 steps": ready(progress=False, every=100, each=ignore),
}


def measured(
    way: Callable[[mxt.Trainer, Batches], None], trainer: mxt.Trainer, batches: Batches
) -> tuple[float, float]:
    """Return the microseconds of a step: all of them, and those at work in this thread."""
    begin, work = time.perf_counter(), time.thread_time()
    way(trainer, batches)
    return (time.perf_counter() - begin) / STEPS * 1e6, (time.thread_time() - work) / STEPS * 1e6


def main(rounds: int = 20) -> None:
    """Print a Markdown table."""
    plan, batches = plan_of(), batches_of()
    trainers = {name: mxt.Trainer(plan, mxt.Adam(1e-3), 1, {"t": 5}) for name in WAYS}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(rounds + 2):  # two to warm up
        for name in random.sample(list(WAYS), len(WAYS)):
            found[name].append(measured(WAYS[name], trainers[name], batches))
    times = {name: np.array(pairs[2:]) for name, pairs in found.items()}
    print(f"{rounds} turns of {STEPS} steps; microseconds a step, medians; ratios to the bare loop, turn by turn.\n")
    print("| | a step | ratio, median | its quartiles | this thread at work | more |\n|---|---|---|---|---|---|")
    for name, pairs in times.items():
        low, middle, high = np.quantile(pairs[:, 0] / times["bare loop"][:, 0], [0.25, 0.5, 0.75])
        more = np.median(pairs[:, 1] - times["bare loop"][:, 1])
        step, work = np.median(pairs, axis=0)
        print(f"| {name} | {step:.0f} | {middle:.3f} | {low:.3f} to {high:.3f} | {work:.0f} | {more:+.1f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
