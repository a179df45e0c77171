"""Resident memory of a loop that never reads a loss.

Run as ``python benchmarks/queue_memory.py [steps]``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import mxtrainer as mxt

ROWS, WIDTH, EVERY = 256, 512, 1_000
PAGE = 4096


def resident() -> float:
    """Return the resident memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def main(steps: int = 10_000) -> None:
    """Print a Markdown table; the batches are of 0.5 MB, and each is another array."""
    net = mxt.NetChain(
        [mxt.Linear(64), mxt.Elementwise("tanh"), mxt.Linear(1), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Vector(WIDTH)},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.Adam(1e-3), batch_size=ROWS)
    generator = np.random.default_rng(0)
    print("| steps queued | resident (MB) |\n|---|---|")
    begin = time.perf_counter()
    for step in range(steps + 1):
        trainer.update(
            {
                "Input": generator.standard_normal((ROWS, WIDTH), np.float32),
                "Target": generator.standard_normal((ROWS, 1), np.float32),
            }
        )
        if step % EVERY == 0 or step == 100:
            print(f"| {step} | {resident():.1f} |", flush=True)
    print(f"\n{steps} steps in {time.perf_counter() - begin:.1f} s\n{trainer.stats()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
