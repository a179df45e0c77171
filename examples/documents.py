"""Whole documents of very different lengths in one training, none of them cut or filled up.

Each topic of Python's own documentation is one sequence of characters. They go through the net whole, in batches of
similar length: a batch has as many documents as fit into 4,096 characters, and its bucket is at most 1.3 times as long
as its longest document. A character counts alike in whatever document it stands (`average="steps"`), so what is printed
is bits per character.

    python examples/documents.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import mxtrainer as mxt


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    longest: int = 6_000  # characters; longer documents are left out, and counted
    characters: int = 4_096  # of a batch, padding included
    size: int = 96  # of the LSTM
    rounds: int = 12
    learning_rate: float = 1e-2


def read(settings: Settings) -> tuple[dict[str, Any], int, int]:
    """Returns inputs and targets, one array a document; the size of the alphabet; how many documents are left out."""
    documents = [topics[name] for name in sorted(topics)]
    alphabet = sorted(set("".join(documents)))
    place = {character: number for number, character in enumerate(alphabet)}
    kept = [np.array([place[one] for one in text]) for text in documents if 1 < len(text) <= settings.longest]
    data = {"Input": [text[:-1] for text in kept], "Target": [text[1:] for text in kept]}
    return data, len(alphabet), len(documents) - len(kept)


def train(settings: Settings = Settings()) -> tuple[list[float], mxt.Trainer]:
    """Trains; returns the bits per character of each round, and the trainer."""
    data, count, _ = read(settings)
    net = mxt.NetChain(
        [mxt.Embedding(32), mxt.LSTM(settings.size), mxt.Linear(count), mxt.CrossEntropyLoss("index", average="steps")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(count))},
    )
    policy = mxt.buckets.Tokens(settings.characters, mxt.buckets.Geometric(ratio=1.3, first=128))
    batches = mxt.Batches(data, buckets=policy)
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.Adam(settings.learning_rate), batch_size=None, buckets=policy)
    history = []
    for _ in range(settings.rounds):
        nats, steps = 0.0, 0
        for batch in batches:
            trainer.update(batch)
            loss = trainer.current_loss("sum")
            nats, steps = nats + loss["Loss"], steps + loss.steps["t"]
        history.append(nats / steps / math.log(2))
    return history, trainer


def main() -> None:
    """Trains and prints."""
    data, _, left_out = read(Settings())
    lengths = [len(text) for text in data["Input"]]
    print(f"{len(lengths)} documents of {min(lengths)} to {max(lengths)} characters, {left_out} longer ones left out")
    history, trainer = train()
    for number, bits in enumerate(history, 1):
        print(f"round {number}: {bits:.3f} bits per character")
    print(trainer.buckets.report())


if __name__ == "__main__":
    main()
