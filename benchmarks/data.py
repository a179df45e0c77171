"""What nets are trained on, from seeds or files: noise, the text of the demo, words, the series of the vowels."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Batch = dict[str, Any]

VOWELS = Path(__file__).resolve().parents[1] / "examples" / "data" / "japanese_vowels.npz"


def character_text() -> NDArray[np.int32]:
    """Return the text of the demo: Python's own documentation, each character as its place in the alphabet."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return np.unique(list(text), return_inverse=True)[1].astype(np.int32)


def drawn_words(words: int, seed: int) -> NDArray[np.int32]:
    """Return words as often as words are: the k-th in proportion to 1/k."""
    frequency = 1 / np.arange(1, words + 1)
    generator = np.random.default_rng(seed)
    return generator.choice(words, 10_000, p=frequency / frequency.sum()).astype(np.int32)


def labelled(count: int, shape: tuple[int, ...], classes: int, seed: int) -> list[Batch]:
    """Return so many batches of noise ``shape``, the first axis the rows, with drawn labels."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        data = generator.standard_normal(shape).astype(np.float32)
        found.append({"Input": data, "Target": generator.integers(0, classes, shape[0]).astype(np.int32)})
    return found


def vowels(count: int) -> tuple[list[Floats], NDArray[np.int32]]:
    """Return the first series of the vowels, ``(t, 12)`` each, standardized, and who speaks."""
    with np.load(VOWELS) as file:
        series = np.split(file["values"], np.cumsum(file["lengths"])[:-1])[:count]
        speakers = file["speakers"][:count].astype(np.int32)
    steps = np.concatenate(series)
    return [((one - steps.mean(axis=0)) / steps.std(axis=0)).astype(np.float32) for one in series], speakers
