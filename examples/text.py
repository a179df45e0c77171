"""A character model with a state, trained on the English of Python's own documentation, and a sample of its writing.

The text is cut into lanes, one a row, and the lanes into windows that come in order. What the LSTM knows at the end of
a window, it knows at the beginning of the next: the trainer carries its states on, without their leaving the device.
`make demo` runs this.

    python examples/text.py [learning_curve.png]
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

PROMPT = "The "
KEEP = 0.98  # of a running mean, at each update


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    phases: tuple[tuple[float, int], ...] = ((6e-3, 3), (1e-3, 1))  # learning rates, and rounds through the text
    rows: int = 16  # lanes side by side
    window: int = 32  # characters of a lane in one batch
    embedding: int = 128
    size: int = 256  # of the LSTM
    dropout: float = 0.1
    hold_out: float = 0.1  # the last part of the text, never trained on


# The text


@dataclass(frozen=True)
class Corpus:
    """A text as numbers: each character is its place in the alphabet."""

    alphabet: str
    training: NDArray[np.int32]
    hold_out: NDArray[np.int32]


def read_text() -> str:
    """Returns the language reference as Python's own help() has it."""
    return "\n\n".join(topics[name] for name in sorted(topics))


def encode(text: str, alphabet: str) -> NDArray[np.int32]:
    """Returns the number of each character."""
    numbers = {character: number for number, character in enumerate(alphabet)}
    return np.array([numbers[character] for character in text], np.int32)


def make_corpus(text: str, hold_out: float) -> Corpus:
    """Encodes a text, and sets its last part apart."""
    alphabet = "".join(sorted(set(text)))
    numbers = encode(text, alphabet)
    cut = round(len(numbers) * (1 - hold_out))
    return Corpus(alphabet, numbers[:cut], numbers[cut:])


def make_batches(numbers: NDArray[np.int32], rows: int, window: int) -> mxt.Stream:
    """Cuts a text into as many lanes as rows, and these into windows: batch k holds window k of every lane."""
    lanes = mxt.lanes({"Input": numbers[:-1], "Target": numbers[1:]}, rows)  # a character's target is the next one
    return mxt.stream(lanes, window=window, rows=rows)


# The model


def make_plan(letters: int, settings: Settings) -> mxt.Plan:
    """Makes the plan: characters -> embedding -> LSTM -> scores of the next character, with the states as ports."""
    lstm = mxt.LSTM(settings.size, initializers={"InputBiases": mxt.initializers.ForgetBias(1.0)})
    net = mxt.NetChain(
        [
            mxt.Embedding(settings.embedding),
            lstm,
            mxt.Dropout(settings.dropout),
            mxt.Linear(letters),
            mxt.CrossEntropyLoss("index", average="steps"),
        ],
        inputs={"Input": mxt.Sequence("t", mxt.Index(letters))},
    )
    return mxt.compile_plan(net.with_states())


def make_trainer(plan: mxt.Plan, settings: Settings, learning_rate: float, arrays: Any = None) -> mxt.Trainer:
    """Makes a trainer for windows of one length, and binds its executor."""
    lengths = {"t": settings.window}
    return mxt.Trainer(plan, mxt.Adam(learning_rate), settings.rows, lengths, carry=True, arrays=arrays)


def train_round(trainer: mxt.Trainer, batches: Iterable[mxt.Batch]) -> Iterator[float]:
    """Trains once through the text; yields the bits per character of each batch."""
    coming = iter(batches)
    batch = next(coming, None)
    while batch is not None:
        trainer.update(batch)  # queued; the device is at work from here on
        batch = next(coming, None)  # meanwhile the next batch is made ready
        yield to_bits(trainer.current_loss())  # waits for this step


def to_bits(losses: mxt.Losses) -> float:
    """Returns the loss, which is in nats, in bits per character."""
    return losses["Loss"] / math.log(2)


def measure(trainer: mxt.Trainer, batches: Iterable[mxt.Batch]) -> float:
    """Returns the bits per character in test mode, with a state of its own carried through; nothing is trained."""
    return to_bits(trainer.evaluate(batches).losses)


# Writing


def write(
    net: mxt.NetGraph, alphabet: str, prompt: str = PROMPT, count: int = 600, temperature: float = 0.6, seed: int = 0
) -> str:
    """Lets a trained net write on after a prompt, one character at a time; the same seed gives the same text."""
    writer = mxt.NetState(net, outputs=["linear"])  # the scores of the next character, after each
    generator = np.random.default_rng(seed)
    scores = writer(encode(prompt, alphabet))["linear"][-1]
    written = []
    for _ in range(count):
        weights = np.exp((scores - scores.max()) / temperature, dtype=np.float64)
        number = int(generator.choice(len(alphabet), p=weights / weights.sum()))
        written.append(alphabet[number])
        scores = writer([number])["linear"][-1]
    return prompt + "".join(written)


# The run


@dataclass(frozen=True)
class Result:
    """What a run gave: the trained net, and bits per character by update, and by round on the hold-out."""

    net: mxt.NetGraph
    curve: list[float]
    hold_out: list[tuple[int, float]]  # after how many updates, and bits
    seconds: float


def train(corpus: Corpus, settings: Settings, report: Callable[[float], object]) -> Result:
    """Trains at one learning rate after the other, each with a trainer that starts where the last one came to."""
    batches = make_batches(corpus.training, settings.rows, settings.window)
    reserved = make_batches(corpus.hold_out, settings.rows, settings.window)
    plan = make_plan(len(corpus.alphabet), settings)
    net = None
    curve: list[float] = []
    hold_out: list[tuple[int, float]] = []
    seconds = 0.0
    for learning_rate, rounds in settings.phases:
        with make_trainer(plan, settings, learning_rate, net) as trainer:
            if not hold_out:
                hold_out.append((0, measure(trainer, reserved)))
            for _ in range(rounds):
                begin = time.perf_counter()
                for bits in train_round(trainer, batches):
                    curve.append(bits)
                    report(bits)
                seconds += time.perf_counter() - begin
                hold_out.append((len(curve), measure(trainer, reserved)))
            net = trainer.net()
    assert net is not None
    return Result(net, curve, hold_out, seconds)


class Progress:
    """Shows the bits per character falling: in a bar where there is tqdm, else in a line now and then."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.step = 0
        self.mean = 0.0
        try:
            from tqdm import tqdm
        except ImportError:
            self.bar = None
        else:
            self.bar = tqdm(total=total, unit=" updates", dynamic_ncols=True)

    def __call__(self, bits: float) -> None:
        """Counts one more update."""
        self.step += 1
        self.mean = bits if self.step == 1 else KEEP * self.mean + (1 - KEEP) * bits
        if self.bar is not None:
            self.bar.set_description(f"{self.mean:.3f} bits per character", refresh=False)
            self.bar.update()
        elif self.step % 500 == 0:
            print(f"update {self.step} of {self.total}: {self.mean:.3f} bits per character", flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def smoothed(values: Iterable[float]) -> list[float]:
    """Returns running means."""
    means: list[float] = []
    for value in values:
        means.append(KEEP * means[-1] + (1 - KEEP) * value if means else value)
    return means


def plot(result: Result, path: str) -> None:
    """Draws the learning curve into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = range(1, len(result.curve) + 1)
    axes.plot(steps, result.curve, color="tab:blue", alpha=0.15, linewidth=0.5)
    axes.plot(steps, smoothed(result.curve), color="tab:blue", label="training: each update, and the running mean")
    axes.plot(*zip(*result.hold_out), "o-", color="tab:orange", label="hold-out, after each round")
    axes.set(xlabel="update", ylabel="bits per character", title="Learning to write documentation")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def summary(result: Result, settings: Settings) -> str:
    """Returns the numbers at the end, as a table."""
    characters = len(result.curve) * settings.rows * settings.window
    rows = [
        ("bits per character, first update", f"{result.curve[0]:.2f}"),
        ("bits per character, last round", f"{np.mean(result.curve[result.hold_out[-2][0] :]):.2f}"),
        ("hold-out before training", f"{result.hold_out[0][1]:.2f}"),
        ("hold-out after training", f"{result.hold_out[-1][1]:.2f}"),
        ("characters per second", f"{characters / result.seconds:,.0f}"),
        ("seconds of training", f"{result.seconds:.1f}"),
    ]
    return "\n".join(f"{name:<38}{found:>9}" for name, found in rows)


def main(path: str = "learning_curve.png") -> None:
    settings = Settings()
    corpus = make_corpus(read_text(), settings.hold_out)
    updates = len(make_batches(corpus.training, settings.rows, settings.window))
    phases = ", then ".join(f"{rounds} x the text at {rate:g}" for rate, rounds in settings.phases)
    print(f"{len(corpus.training):,} characters to train on, {len(corpus.hold_out):,} held out")
    print(f"LSTM of {settings.size}, {settings.rows} lanes x {settings.window} characters an update; Adam: {phases}")
    progress = Progress(updates * sum(rounds for _, rounds in settings.phases))
    result = train(corpus, settings, progress)
    progress.close()
    print(summary(result, settings))
    print("\nIts own words, from a seed of 0:\n")
    print(write(result.net, corpus.alphabet))
    try:
        plot(result, path)
    except ImportError:
        print("\nno picture: it needs matplotlib")
    else:
        print(f"\nthe learning curve: {Path(path).resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
