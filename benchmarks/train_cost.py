"""What `train` adds to a step over a bare loop of `update`: with nothing else, with records, and with progress; in turns.

Run as ``python benchmarks/train_cost.py [rounds]``. The net is tiny, an LSTM of 2 over 5 steps, batch 1, of which a step
takes as little time as any. Every way trains its own trainer, round after round in random order, and no loss is read by
the bare loop but the last. The table has the median of the rounds' ratios to the bare loop, and its quartiles.
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

from workloads import WORKLOADS  # noqa: E402

import mxtrainer as mxt  # noqa: E402

STEPS = 2000  # of a round


def trainer_of() -> tuple[mxt.Trainer, list[dict[str, Any]]]:
    """Return a trainer of tiny, and its batches."""
    net = mxt.NetChain(
        [mxt.LSTM(2), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(1))}
    )
    return mxt.Trainer(mxt.compile_plan(net), mxt.Adam(1e-3), 1, {"t": 5}), batches_of_tiny()


def batches_of_tiny() -> list[dict[str, Any]]:
    """Return a round of batches, of which eight differ."""
    generator = np.random.default_rng(0)
    assert WORKLOADS["tiny"].rows == 1
    eight = [
        {
            "Input": generator.normal(size=(1, 5, 1)).astype(np.float32),
            "Target": generator.normal(size=(1, 5)).astype(np.float32),
        }
        for _ in range(8)
    ]
    return eight * (STEPS // 8)


def bare(trainer: mxt.Trainer, batches: list[dict[str, Any]]) -> None:
    """Update, and wait once at the end."""
    for batch in batches:
        trainer.update(batch)
    trainer.current_loss()


def ready(**options: Any) -> Callable[[mxt.Trainer, list[dict[str, Any]]], None]:
    """Return the same by `train`."""

    def run(trainer: mxt.Trainer, batches: list[dict[str, Any]]) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            mxt.train(trainer, batches, rounds=1, **options)

    return run


WAYS = {
    "bare": bare,
    "bare, again": bare,
    "train": ready(progress=False),
    "train, progress": ready(progress=True),
    "train, a record every 100 steps": ready(progress=False, every=100, each=lambda record: None),
}


def main(rounds: int = 15) -> None:
    """Print a Markdown table."""
    trainers = {name: trainer_of() for name in WAYS}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name in random.sample(list(WAYS), len(WAYS)):
            begin = time.perf_counter()
            WAYS[name](*trainers[name])
            if number:  # the first is for warming up
                times[name].append((time.perf_counter() - begin) / STEPS * 1e6)
    print(f"{rounds} rounds of {STEPS} steps.\n")
    print("| way | microseconds a step, median | ratio to bare, median | quartiles |\n|---|---|---|---|")
    for name, found in times.items():
        ratios = np.array(found) / np.array(times["bare"])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"| {name} | {np.median(found):.0f} | {middle:.3f} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
