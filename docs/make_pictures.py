# ruff: noqa: INP001 - a script: python docs/make_pictures.py
"""Makes the pictures of the guides, from trainings that run here; it needs graphviz and matplotlib."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

import mxtrainer as mxt

FOLDER = Path(__file__).parent / "pictures"
GREY = "#808080"  # is read on a light page and on a dark one


def translator() -> mxt.NetGraph:
    """Return an encoder and a decoder that looks back at it."""
    encoder = mxt.NetChain({"embedding": mxt.Embedding(32), "lstm": mxt.LSTM(64)})
    return mxt.NetGraph(
        {
            "encoder": encoder.take({"Output": "lstm", "State": "lstm.State"}),
            "embedding": mxt.Embedding(32),
            "start": mxt.Linear(64),
            "decoder": mxt.LSTM(64),
            "attention": mxt.Attention(),
            "both": mxt.Catenate(),
            "scores": mxt.Linear(1000),
            "loss": mxt.CrossEntropyLoss("index", average="steps"),
        },
        [
            ("Source", "encoder"),
            ("encoder.State", "start", "decoder.State"),
            ("Input", "embedding", "decoder", "attention.Query"),
            ("encoder", "attention.Key"),
            ("encoder", "attention.Value"),
            (["decoder", "attention"], "both", "scores", "loss", "Loss"),
        ],
        inputs={"Source": mxt.Sequence("s", mxt.Index(1000)), "Input": mxt.Sequence("t", mxt.Index(1000))},
        share={"embedding": "encoder.embedding"},
    )


def trained() -> mxt.Trainer:
    """Return a trainer after one round over sequences of 4 to 120 steps."""
    net = mxt.NetChain(
        [mxt.Embedding(32), mxt.LSTM(128), mxt.Linear(50), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(50))},
    )
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(2.0, 18.0, 1000).astype(int), 4, 120)
    texts = [generator.integers(0, 50, length + 1) for length in lengths]
    policy = mxt.buckets.fit(lengths, max_buckets=5)
    data = {"Input": [text[:-1] for text in texts], "Target": [text[1:] for text in texts]}
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.Adam(1e-3), batch_size=32, buckets=policy)
    for batch in mxt.Batches(data, batch_size=32, buckets=policy, seed=0):
        trainer.update(batch)
    return trainer


def steps() -> Any:
    """Return a plot of two loops: one that waits for each loss at once, and one that prepares a batch before."""
    net = mxt.NetChain(
        [mxt.Linear(400), mxt.Elementwise("tanh"), mxt.Linear(400), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Vector(400)},
    )
    generator = np.random.default_rng(0)

    def make() -> dict[str, Any]:
        return {"Input": generator.normal(size=(256, 400)), "Target": generator.normal(size=(256, 400))}

    _, axes = plt.subplots(2, 1, figsize=(9, 6), layout="constrained", sharex=True)
    for at_once, ax in zip((True, False), axes):
        with mxt.Trainer(mxt.compile_plan(net), mxt.Adam(1e-3), batch_size=256) as trainer:
            for _ in range(40):
                step = trainer.update(make())
                trainer.loss_at(step if at_once or step == 1 else step - 1)
            trainer.stats().plot(steps=10, ax=ax)
        ax.set_title("the loss is read at once" if at_once else "the loss is read one step late")
    return axes[0]


def ready_loop() -> Any:
    """Return a plot of a training that learns its training points by heart: validation is best in the middle."""
    generator = np.random.default_rng(1)
    points = generator.normal(size=(1400, 2))
    wrong = generator.random(1400) < 0.1
    labels = (points[:, 0] * points[:, 1] > 0) ^ wrong
    data = {"Input": points, "Target": labels.astype(int)}
    net = mxt.NetChain(
        [*[mxt.Linear(64), mxt.Elementwise("relu")] * 2, mxt.Linear(2), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Vector(2)},
    )
    batches = mxt.Batches({port: found[:400] for port, found in data.items()}, batch_size=50)
    held_out = {port: found[400:] for port, found in data.items()}
    with mxt.Trainer(mxt.compile_plan(net), mxt.Adam(3e-3), batch_size=50) as trainer:
        return mxt.train(trainer, batches, rounds=60, validation=held_out, patience=15).plot()


def save(ax: Any, name: str) -> None:
    """Write a plot."""
    ax.figure.savefig(FOLDER / name, transparent=True, metadata={"Date": None})


def main() -> None:
    """Make all of them."""
    colors = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    mpl.rcParams.update({**colors, "svg.fonttype": "none", "svg.hashsalt": "mxtrainer"})
    text = mxt.compile_plan(translator()).picture().svg()
    (FOLDER / "translator.svg").write_text(re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL))
    trainer = trained()
    save(trainer.buckets.report().plot(), "buckets.svg")
    trainer.close()
    save(steps(), "steps.svg")
    save(ready_loop(), "ready-loop.svg")
    plt.close("all")


if __name__ == "__main__":
    main()
