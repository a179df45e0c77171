"""What carried state costs a step: none, states fed back as handles, carried by row, and by stream; in turns.

Run as ``python benchmarks/carry_cost.py [steps]``. The same LSTM, with its states as ports, over the same batches.
Streams come in another order at every step, of four times as many as a batch has rows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import mxtrainer as mxt


class Size(NamedTuple):
    """An LSTM and its windows."""

    units: int
    rows: int
    steps: int


SIZES = {"tiny": Size(2, 1, 5), "small": Size(32, 16, 20), "middle": Size(128, 32, 35)}


def plan_of(size: Size) -> mxt.Plan:
    """Vectors -> LSTM -> numbers, with the LSTM's states as ports."""
    net = mxt.NetChain(
        [mxt.LSTM(size.units), mxt.Linear(()), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(8))},
    )
    return mxt.compile_plan(net.with_states())


Step = Callable[[dict[str, Any], int], None]


def ways(size: Size) -> tuple[dict[str, mxt.Trainer], dict[str, Step]]:
    """Return a trainer for each way, and what a step of it is."""
    plan = plan_of(size)
    trainers = {
        name: mxt.Trainer(plan, mxt.Adam(1e-3), size.rows, {"t": size.steps}, carry=name in {"carried", "streams"})
        for name in ("none", "handles", "carried", "streams")
    }
    feeding, generator = trainers["handles"], np.random.default_rng(0)
    orders = [generator.permutation(4 * size.rows)[: size.rows].tolist() for _ in range(100)]

    def run(name: str, batch: dict[str, Any], step: int) -> None:
        if name == "handles" and step:
            batch = {**batch, **{port: feeding.outputs[final] for port, final in plan.states.items()}}
        trainers[name].update(batch, streams=orders[step % 100] if name == "streams" else None)

    return trainers, {name: partial(run, name) for name in trainers}


def measure(size: Size, count: int) -> dict[str, tuple[float, float]]:
    """Return by way the microseconds until a step is queued, and until it is done: medians."""
    trainers, steps = ways(size)
    generator = np.random.default_rng(0)
    batch = {
        "Input": generator.normal(size=(size.rows, size.steps, 8)).astype(np.float32),
        "Target": generator.normal(size=(size.rows, size.steps)).astype(np.float32),
    }
    queued: dict[str, list[float]] = {name: [] for name in steps}
    done: dict[str, list[float]] = {name: [] for name in steps}
    for step in range(count):
        for name, run in steps.items():
            begin = time.perf_counter()
            run(batch, step)
            queued[name].append(time.perf_counter() - begin)
            trainers[name].current_loss()
            done[name].append(time.perf_counter() - begin)
    tail = count // 5
    return {
        name: (1e6 * float(np.median(queued[name][tail:])), 1e6 * float(np.median(done[name][tail:]))) for name in steps
    }


def main(count: int = 1500) -> None:
    """Print a Markdown table."""
    print("Microseconds a step, medians: until it is queued / until it is done, and that against no state.\n")
    print("| net | none | handles | carried | streams |\n|---|---|---|---|---|")
    for name, size in SIZES.items():
        found = measure(size, count if size.units < 100 else count // 5)
        least = found["none"][1]
        cells = [f"{queued:.0f} / {done:.0f}, {done / least:.3f}" for queued, done in found.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
