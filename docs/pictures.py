# ruff: noqa: INP001 - a script
"""Draws the pictures of the guides: run ``python docs/pictures.py`` in the checkout; needs the extra "plots"."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

import mxtrainer as mxt  # noqa: E402


def ready_loop(path: Path) -> None:
    """Draw a training that learns its training points by heart, so that validation has its best in the middle."""
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
        result = mxt.train(trainer, batches, rounds=60, validation=held_out, patience=15)
    result.plot().figure.savefig(path, dpi=80)


if __name__ == "__main__":
    ready_loop(FOLDER / "images" / "ready-loop.png")
