"""An LSTM that carries its state from window to window, against the same net that forgets at each.

The net sees the increments of a random walk and says where the walk is. (The walk is pulled back to 0 by a twentieth at
each step, so that it stays in range.) Walks are cut into short windows, which come in order. Where a walk stood at a
window's beginning cannot be seen in the window: only the state knows.

    python examples/random_walk.py [random_walk.png]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

PULL = 0.95  # what is left of a level after one step


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    rounds: int = 100  # each brings new walks, which begin at 0
    rows: int = 64  # walks side by side
    windows: int = 20  # of each walk
    steps: int = 10  # of each window
    size: int = 16  # of the LSTM
    learning_rate: float = 3e-3


def make_plan(settings: Settings) -> mxt.Plan:
    """Makes the plan: increments -> LSTM -> level, with the LSTM's states as ports in and out."""
    lstm = mxt.LSTM(settings.size, initializers={"InputBiases": mxt.initializers.ForgetBias(1.0)})
    net = mxt.NetChain([lstm, mxt.Linear(()), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Scalar())})
    return mxt.compile_plan(net.with_states())


def accumulate(increments: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the levels ``(rows, steps)`` of walks that begin at 0."""
    levels = np.zeros_like(increments)
    level = np.zeros(len(increments), np.float32)
    for step in range(increments.shape[1]):
        level = PULL * level + increments[:, step]
        levels[:, step] = level
    return levels


def make_round(settings: Settings, seed: int) -> list[dict[str, NDArray[np.float32]]]:
    """Draws walks and cuts them: batch k holds window k of every walk, each walk in the same row of all batches."""
    generator = np.random.default_rng(seed)
    increments = generator.normal(0, 0.3, (settings.rows, settings.windows * settings.steps)).astype(np.float32)
    levels = accumulate(increments)
    cuts = [slice(k * settings.steps, (k + 1) * settings.steps) for k in range(settings.windows)]
    return [{"Input": increments[:, cut], "Target": levels[:, cut]} for cut in cuts]


def train(settings: Settings, carried: bool) -> NDArray[np.float64]:
    """Trains; returns the mean loss of every round."""
    optimizer = mxt.Adam(settings.learning_rate)
    with mxt.Trainer(make_plan(settings), optimizer, batch_size=settings.rows, carry=carried) as trainer:
        rounds = []
        for number in range(settings.rounds):
            if carried:
                trainer.reset()  # these are new walks
            rounds.append(train_round(trainer, make_round(settings, number)))
    return np.array(rounds)


def train_round(trainer: mxt.Trainer, batches: list[dict[str, NDArray[np.float32]]]) -> float:
    """Trains on the windows in their order; returns the mean of their losses."""
    losses = []
    for batch in batches:
        trainer.update(batch)
        losses.append(trainer.current_loss()["Loss"])
    return float(np.mean(losses))


def best_without_memory(settings: Settings, rounds: range) -> float:
    """Returns the loss of the best answer that knows a window alone: the level if the window had begun at 0."""
    batches = [batch for number in rounds for batch in make_round(settings, number)]
    return float(np.mean([np.square(batch["Target"] - accumulate(batch["Input"])).mean() for batch in batches]))


def plot(carried: NDArray[np.float64], forgotten: NDArray[np.float64], path: str) -> None:
    """Draws both curves into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rounds = np.arange(1, len(carried) + 1)
    axes.plot(rounds, forgotten, label="zeros at every window", color="tab:orange")
    axes.plot(rounds, carried, label="state carried from window to window", color="tab:blue")
    axes.set(yscale="log", xlabel="round", ylabel="mean squared error", title="Where is the walk?")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main(path: str = "random_walk.png") -> None:
    settings = Settings()
    begin = time.perf_counter()
    carried, forgotten = train(settings, carried=True), train(settings, carried=False)
    seconds = time.perf_counter() - begin
    last = range(settings.rounds * 3 // 4, settings.rounds)
    print(
        f"{settings.rounds * settings.windows} updates of {settings.rows} walks x {settings.steps} steps, "
        f"with the state carried and without: {seconds:.1f} s"
    )
    print(f"mean squared error of rounds {last[0] + 1} to {settings.rounds}")
    print(f"  state carried from window to window  {carried[last].mean():.4f}")
    print(f"  zeros at every window                {forgotten[last].mean():.4f}")
    print(f"  the best that a window alone allows  {best_without_memory(settings, last):.4f}")
    try:
        plot(carried, forgotten, path)
    except ImportError:
        print("no picture: it needs matplotlib")
    else:
        print(f"the curves: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
