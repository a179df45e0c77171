"""How well host and device work at the same time: a loop whose data takes as long to prepare as a step takes.

Run as ``OMP_NUM_THREADS=1 python benchmarks/overlap.py [steps]`` on two processors or more: with more threads the
device takes the processor that the host needs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from update_latency import Size, language_model

import mxtrainer as mxt

SIZE = Size(layers=1, units=128, words=1_000, rows=32, steps=64)
Batch = dict[str, Any]


class Data:
    """Batches that take some seconds each to prepare, in numpy."""

    def __init__(self, seconds: float) -> None:
        """Find out how much work that is."""
        self._generator = np.random.default_rng(0)
        self._noise = self._generator.normal(size=20_000)
        begin = time.perf_counter()
        for _ in range(20):
            np.sort(self._noise)
        self._sorts = max(1, round(20 * seconds / (time.perf_counter() - begin)))

    def batch(self) -> Batch:
        """Prepare one."""
        for _ in range(self._sorts):
            np.sort(self._noise)
        words = self._generator.integers(0, SIZE.words, (SIZE.rows, SIZE.steps + 1))
        return {"Input": words[:, :-1], "Target": words[:, 1:]}

    def batches(self, count: int) -> Iterator[Batch]:
        """Prepare some."""
        return (self.batch() for _ in range(count))


def one_after_the_other(trainer: mxt.Trainer, data: Data, count: int) -> None:
    """Read each loss before the next batch is prepared."""
    for batch in data.batches(count):
        trainer.update(batch)
        trainer.current_loss()


def loss_read_late(trainer: mxt.Trainer, data: Data, count: int) -> None:
    """Prepare the next batch before the loss is read."""
    batches = data.batches(count)
    batch = next(batches, None)
    while batch is not None:
        trainer.update(batch)
        batch = next(batches, None)
        trainer.current_loss()


def staged(trainer: mxt.Trainer, data: Data, count: int) -> None:
    """Prepare the next batch, and copy it too, before the loss is read."""
    trainer.stage(data.batch())
    for _ in range(count - 1):
        trainer.update()
        trainer.stage(data.batch())
        trainer.current_loss()
    trainer.update()


def prefetched(trainer: mxt.Trainer, data: Data, count: int) -> None:
    """Leave it to a thread, and read each loss."""
    for batch in mxt.prefetch(data.batches(count)):
        trainer.update(batch)
        trainer.current_loss()


def one_step_behind(trainer: mxt.Trainer, data: Data, count: int) -> None:
    """Read the loss of the step before the last."""
    for batch in data.batches(count):
        step = trainer.update(batch)
        if step > 1:
            trainer.loss_at(step - 1)


def seconds(loop: Callable[[mxt.Trainer, Data, int], None], trainer: mxt.Trainer, data: Data, count: int) -> float:
    """Return how long a step of a loop takes."""
    begin = time.perf_counter()
    loop(trainer, data, count)
    trainer.current_loss()
    return (time.perf_counter() - begin) / count


def main(count: int = 60) -> None:
    """Print a Markdown table."""
    trainer = mxt.Trainer(language_model(SIZE), mxt.Adam(1e-3), batch_size=SIZE.rows, lengths={"t": SIZE.steps})
    nothing = Data(0.0)
    one_after_the_other(trainer, nothing, 5)
    step = seconds(one_after_the_other, trainer, nothing, count)
    data = Data(step)
    begin = time.perf_counter()
    for _ in data.batches(count):
        pass
    preparing = (time.perf_counter() - begin) / count
    longer = max(step, preparing)
    print(f"a step takes {1e3 * step:.1f} ms, and a batch {1e3 * preparing:.1f} ms to prepare\n")
    print("| loop | ms a step | of the longer of the two |\n|---|---|---|")
    for loop in (one_after_the_other, loss_read_late, staged, prefetched, one_step_behind):
        found = seconds(loop, trainer, data, count)
        print(f"| {loop.__name__.replace('_', ' ')} | {1e3 * found:.1f} | {found / longer:.2f} |", flush=True)
    print(f"\n{trainer.stats()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
