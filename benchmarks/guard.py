"""What the guard of a step costs: the same training with it, with one at every tenth step, and without, in turns.

Run as ``python benchmarks/guard.py [steps]``.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from update_latency import SIZES, Size, language_model

import mxtrainer as mxt
from mxtrainer.engine.optimizers import Optimizer

OPTIMIZERS: dict[str, Optimizer] = {
    "Adam": mxt.Adam(1e-3),
    "SGD": mxt.SGD(0.01),
    "SGD, momentum": mxt.SGD(0.01, momentum=0.9),
}


def measure(size: Size, optimizer: Optimizer, count: int) -> list[list[float]]:
    """Return the seconds of steps with a guard, with one at every tenth, and without."""
    plan = language_model(size)
    trainers = [
        mxt.Trainer(plan, optimizer, batch_size=size.rows, lengths={"t": size.steps}, guard=guard)
        for guard in (True, 10, False)
    ]
    words = np.random.default_rng(0).integers(0, size.words, (size.rows, size.steps + 1))
    batch = {"Input": words[:, :-1], "Target": words[:, 1:]}
    found: list[list[float]] = [[], [], []]
    for _ in range(count):
        for trainer, times in zip(trainers, found):
            begin = time.perf_counter()
            trainer.update(batch)
            trainer.current_loss()
            times.append(time.perf_counter() - begin)
    return [times[count // 10 :] for times in found]


def main(count: int = 40) -> None:
    """Print a Markdown table."""
    print("Milliseconds a step, mean of those between the 10th and 90th percentile.\n")
    print("| net | optimizer | guard | every tenth | none | guard / none | every tenth / none |")
    print("|---|---|---|---|---|---|---|")
    for net in ("tiny", "large"):
        for name, optimizer in OPTIMIZERS.items():
            found = measure(SIZES[net], optimizer, count * (20 if net == "tiny" else 1))
            guarded, thinned, free = (
                1e3 * float(np.mean(np.sort(times)[len(times) // 10 : -len(times) // 10])) for times in found
            )
            numbers = [f"{number:.2f}" for number in (guarded, thinned, free)]
            print(
                f"| {net} | {name} | {' | '.join(numbers)} | {guarded / free:.3f} | {thinned / free:.3f} |", flush=True
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
