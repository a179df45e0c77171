"""What a checkpoint costs while training goes on, and how long it takes to load."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import mxtrainer as mxt  # noqa: E402

MB = 2**20


def wide(width: int) -> mxt.Plan:
    """Return a net of three square layers: with Adam a checkpoint has nine times the elements of one."""
    layers = [mxt.Linear(width), mxt.Elementwise("tanh")] * 3
    return mxt.compile_plan(mxt.NetChain([*layers, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(width)}))


def steps_of(trainer: mxt.Trainer, batch: dict[str, Any], count: int) -> list[float]:
    """Take steps, reading each loss; return the seconds of each."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        trainer.update(batch)
        trainer.current_loss()
        times.append(time.perf_counter() - begin)
    return times


def cost() -> None:
    """Print what steps take beside a checkpoint of 500 MB, and what to load it takes."""
    width = 3816  # 3 * 3 * width**2 * 4 bytes are 500 MB
    generator = np.random.default_rng(0)
    batch = {port: generator.standard_normal((64, width), np.float32) for port in ("Input", "Target")}
    with tempfile.TemporaryDirectory() as folder, mxt.Trainer(wide(width), mxt.Adam(), 64) as trainer:
        path = Path(folder, "run")
        steps_of(trainer, batch, 3)
        plain, beside = [], []
        for _ in range(3):
            plain += steps_of(trainer, batch, 10)
            begin = time.perf_counter()
            trainer.save(path, wait=False)
            call = time.perf_counter() - begin
            beside.append(sum(steps_of(trainer, batch, 10)))
            trainer._saver.wait()  # noqa: SLF001 - what a next save would do
        begin = time.perf_counter()
        trainer.save(path)
        alone = time.perf_counter() - begin
        size = path.stat().st_size / MB
        begin = time.perf_counter()
        mxt.Trainer.load(path).close()
        load = time.perf_counter() - begin
    step = statistics.median(plain)
    lost = statistics.median(beside) - 10 * step
    print(f"{size:.0f} MB; a step {step * 1e3:.0f} ms; save(wait=False) returns after {call * 1e3:.1f} ms")
    print(f"ten steps beside it take {lost * 1e3:.0f} ms more than {10 * step * 1e3:.0f}")
    print(f"save alone {alone:.2f} s, load {load:.2f} s")
