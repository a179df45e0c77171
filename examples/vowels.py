"""Who speaks? Series of different lengths, told apart by two LSTMs, one in each direction.

640 times one of nine speakers said two vowels. Each time is a series of 7 to 29 steps, of 12 numbers a step. A batch
takes series of similar length as a list of arrays. The trainer pads them to buckets, and padding changes nothing: the
state that an LSTM ends in is that of each series' own last step.

Size and noise were chosen on the training set alone, from 32 and 64 units, noise of 0 to 1, with and without dropout:
trained on the first 20 series of each speaker, compared on the other 10 (`hold_out_accuracy`). The test set is looked
at once a seed, at the end. See data/README.md for the
data.

    python examples/vowels.py [number of seeds]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

FILE = Path(__file__).resolve().parent / "data" / "japanese_vowels.npz"
TRAINING = 270  # the first series are the training set, the others the test set
SPEAKERS = 9
CHANNELS = 12
BUCKETS = mxt.buckets.Multiple(4)  # no end: a new series may be longer than all that are known

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    phases: tuple[tuple[float, int], ...] = ((3e-3, 40), (1e-3, 20))  # learning rates, and rounds
    batch_size: int = 30
    size: int = 64  # of each LSTM
    noise: float = 0.6  # added to inputs in training, in standard deviations of a channel


# The data


@dataclass(frozen=True)
class Data:
    """Series, each ``(steps, 12)``, and who speaks."""

    series: list[Floats]
    speakers: NDArray[np.int64]

    def part(self, rows: NDArray[np.bool_]) -> Data:
        """Returns the rows that are marked."""
        return Data([one for one, wanted in zip(self.series, rows) if wanted], self.speakers[rows])


def read(path: Path = FILE) -> tuple[Data, Data]:
    """Returns the training set and the test set."""
    with np.load(path) as file:
        series = np.split(file["values"], np.cumsum(file["lengths"])[:-1])
        speakers = file["speakers"]
    return Data(series[:TRAINING], speakers[:TRAINING]), Data(series[TRAINING:], speakers[TRAINING:])


def standardize(training: Data, other: Data) -> tuple[Data, Data]:
    """Gives every channel mean 0 and deviation 1, by the statistics of the training set."""
    steps = np.concatenate(training.series)
    mean, deviation = steps.mean(axis=0), steps.std(axis=0)
    scaled = [[(one - mean) / deviation for one in data.series] for data in (training, other)]
    return Data(scaled[0], training.speakers), Data(scaled[1], other.speakers)


def split(training: Data, count: int = 20) -> tuple[Data, Data]:
    """Returns the first series of each speaker, and the others."""
    place = np.array([np.sum(training.speakers[:row] == who) for row, who in enumerate(training.speakers)])
    return training.part(place < count), training.part(place >= count)


# The net


def make_plan(settings: Settings) -> mxt.Plan:
    """Makes the plan: a series -> the last states of an LSTM forwards and one backwards -> scores of the speakers."""
    net = mxt.NetGraph(
        {
            "forward": mxt.LSTM(settings.size),
            "reverse": mxt.SequenceReverse(),
            "backward": mxt.LSTM(settings.size),
            "both": mxt.Catenate(),
            "scores": mxt.Linear(SPEAKERS),
            "loss": mxt.CrossEntropyLoss("index"),
        },
        [
            ("Input", "forward"),
            ("Input", "reverse", "backward"),
            (["forward.State", "backward.State"], "both", "scores", "loss", "Loss"),
        ],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(CHANNELS))},
    )
    return mxt.compile_plan(net)


# Training


def batches_of(data: Data, settings: Settings, seed: int) -> mxt.Batches:
    """Returns batches of series of similar length."""
    columns = {"Input": data.series, "Target": data.speakers}
    return mxt.Batches(columns, settings.batch_size, buckets=BUCKETS, seed=seed)


def noisy(batch: mxt.Batch, settings: Settings, generator: np.random.Generator) -> dict[str, Any]:
    """Returns a batch with noise added to every step."""
    rows = [one + settings.noise * generator.standard_normal(one.shape) for one in batch["Input"]]
    return {"Input": rows, "Target": batch["Target"]}


def train(data: Data, settings: Settings, seed: int) -> mxt.Trainer:
    """Trains on a data set; returns the trainer."""
    plan, batches = make_plan(settings), batches_of(data, settings, seed)
    generator = np.random.default_rng(seed)
    arrays = None
    for rate, rounds in settings.phases:
        trainer = mxt.Trainer(plan, mxt.Adam(rate), settings.batch_size, buckets=BUCKETS, seed=seed, arrays=arrays)
        for _ in range(rounds):
            for batch in batches:
                trainer.update(noisy(batch, settings, generator))
        arrays = trainer.net()
    return trainer


def accuracy(trainer: mxt.Trainer, data: Data) -> float:
    """Returns the share of series whose speaker is found."""
    scores = trainer.evaluate({"Input": data.series}, outputs=["scores"]).outputs["scores"]
    return float((scores.argmax(axis=1) == data.speakers).mean())


def hold_out_accuracy(settings: Settings = Settings(), seeds: int = 5) -> float:
    """Returns the mean accuracy on a part of the training set that is not trained on."""
    kept, held_out = standardize(*split(read()[0]))
    return float(np.mean([accuracy(train(kept, settings, seed), held_out) for seed in range(seeds)]))


def main() -> None:
    """Trains once a seed, and prints the accuracies on the test set."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    training, test = standardize(*read())
    found, begin = [], time.perf_counter()
    for seed in range(seeds):
        trainer = train(training, Settings(), seed)
        found.append(accuracy(trainer, test))
        print(f"seed {seed}: {found[-1]:.4f} of {len(test.series)} test series")
    print(f"mean of {seeds}: {np.mean(found):.4f}, in {time.perf_counter() - begin:.0f} s")
    print(trainer.buckets.report())


if __name__ == "__main__":
    main()
