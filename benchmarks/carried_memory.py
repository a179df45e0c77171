"""What carried state is good for: the same net with its state carried, begun anew at each window, and windows shuffled.

Run as ``python benchmarks/carried_memory.py [rounds]``. Four tasks, the mean and the standard deviation over 5 seeds of
the loss on sequences that were held out, which are always evaluated in the way that they were trained:

- adding: of 200 numbers two are marked, the first early and the second late; at the end their sum is to be said.
- walk: the level of a random walk, from its increments.
- sunspots: the next of the monthly numbers, where statsmodels is installed, which has them.
- text: the next character, in bits, of the licence of this project, which every checkout has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

Sequences = list[dict[str, NDArray[Any]]]
WAYS = ("carried", "reset", "shuffled")


@dataclass(frozen=True)
class Task:
    """A task: sequences to train on and to measure on, and the net's ends.

    Attributes:
        train: A function of a seed.
        held_out: A function of a seed.
        first: The layers before the LSTM.
        last: Those behind it, up to the loss.
        item: The type of one step.
        window: The number of steps of a window.
        rounds: How often the training sequences are seen.
        unit: What a loss is divided by.
    """

    train: Any
    held_out: Any
    first: tuple[Any, ...]
    last: tuple[Any, ...]
    item: Any
    window: int
    rounds: int
    unit: float = 1.0


def adding(seed: int, count: int) -> Sequences:
    """Return sequences of 200 steps: numbers and marks, and at every step the sum of the marked ones so far."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        numbers, marks = generator.uniform(-1, 1, 200), np.zeros(200)
        marks[[generator.integers(0, 100), generator.integers(100, 190)]] = 1
        x = np.stack([numbers, marks], 1).astype(np.float32)
        found.append({"Input": x, "Target": np.cumsum(numbers * marks).astype(np.float32)})
    return found


def walk(seed: int, count: int) -> Sequences:
    """Return random walks that are pulled back to 0 by a twentieth a step."""
    generator = np.random.default_rng(seed)
    increments = generator.normal(0, 0.3, (count, 200)).astype(np.float32)
    levels = np.zeros_like(increments)
    for step in range(200):
        levels[:, step] = (0.95 * levels[:, step - 1] if step else 0) + increments[:, step]
    return [{"Input": x[:, None], "Target": y} for x, y in zip(increments, levels)]


def sunspots() -> tuple[Sequences, Sequences] | None:
    """Return the first 7/8 of the yearly or monthly series in 8 lanes, and the rest."""
    try:
        from statsmodels.datasets import sunspots as series
    except ImportError:
        return None
    numbers = (series.load_pandas().data["SUNACTIVITY"].to_numpy() / 100).astype(np.float32)
    cut = len(numbers) * 7 // 8
    ports = {"Input": numbers[:-1, None], "Target": numbers[1:]}
    train = mxt.lanes({name: array[:cut] for name, array in ports.items()}, 4)
    return train, [{name: array[cut:] for name, array in ports.items()}]


def text() -> tuple[Sequences, Sequences, int]:
    """Return the licence in lanes, its last tenth, and the number of different characters."""
    letters = (Path(__file__).parent.parent / "LICENSE").read_text()
    known = sorted(set(letters))
    numbers = np.array([known.index(letter) for letter in letters])
    ports = {"Input": numbers[:-1], "Target": numbers[1:]}
    cut = len(numbers) * 9 // 10
    train = mxt.lanes({name: array[:cut] for name, array in ports.items()}, 16)
    return train, mxt.lanes({name: array[cut:] for name, array in ports.items()}, 4), len(known)


def tasks() -> Iterator[tuple[str, Task]]:
    """Yield the tasks."""
    regression = ((), (mxt.Linear(()), mxt.MeanSquaredLoss(average="steps")))
    for name, make in (("adding", adding), ("walk", walk)):
        yield (
            name,
            Task(
                lambda seed, make=make: make(seed, 64),
                lambda seed, make=make: make(10_000 + seed, 64),
                *regression,
                mxt.Vector(2 if make is adding else 1),
                window=20,
                rounds=40,
            ),
        )
    found = sunspots()
    if found is not None:
        train, held_out = found
        yield "sunspots", Task(lambda _: train, lambda _: held_out, *regression, mxt.Vector(1), window=4, rounds=100)
    train, held_out, count = text()
    ends = ((mxt.Embedding(16),), (mxt.Linear(count), mxt.CrossEntropyLoss("index", average="steps")))
    yield "text", Task(lambda _: train, lambda _: held_out, *ends, mxt.Index(count), 8, 60, float(np.log(2)))


def batches(sequences: Sequences, window: int, way: str, seed: int) -> Iterator[Any]:
    """Yield the windows of one round in one of the ways."""
    found = mxt.stream(sequences, window=window, rows=16)
    if way == "carried":
        yield from found
    elif way == "reset":
        yield from (dict(batch) for batch in found)
    else:
        cut = [dict(batch) for batch in mxt.stream(sequences, window=window, rows=1)]
        order = np.random.default_rng(seed).permutation(len(cut))
        for begin in range(0, len(order), 16):
            rows = [cut[place] for place in order[begin : begin + 16]]
            yield {port: [row[port][0] for row in rows] for port in rows[0]}


def measure(task: Task, way: str, seed: int, scale: float) -> float:
    """Train in one way; return the loss on what was held out."""
    lstm = mxt.LSTM(32, initializers={"InputBiases": mxt.initializers.ForgetBias(1.0)})
    net = mxt.NetChain([*task.first, lstm, *task.last], inputs={"Input": mxt.Sequence("t", task.item)}).with_states()
    plan = mxt.compile_plan(net)
    with mxt.Trainer(plan, mxt.Adam(5e-3), 16, {"t": task.window}, carry=way == "carried", seed=seed) as trainer:
        for number in range(max(1, round(task.rounds * scale))):
            for batch in batches(task.train(seed), task.window, way, number):
                trainer.update(batch)
        losses = trainer.evaluate(batches(task.held_out(seed), task.window, way, 0)).losses
    return losses["Loss"] / task.unit


def main(scale: float = 1.0) -> None:
    """Print a Markdown table."""
    print(f"| task | {' | '.join(WAYS)} |\n|---|---|---|---|")
    for name, task in tasks():
        cells = []
        for way in WAYS:
            found = [measure(task, way, seed, scale) for seed in range(5)]
            cells.append(f"{np.mean(found):.4f} ± {np.std(found):.4f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
