"""Long sequences that say what they are, and the ways to hand them to a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Sequences = list[dict[str, Any]]


def numbered(lengths: Iterable[int]) -> Sequences:
    """Return sequences whose steps say which sequence and which step they are."""
    return [
        {"Input": np.stack([np.full(steps, number), np.arange(steps)], axis=1), "Target": np.arange(steps) * 10}
        for number, steps in enumerate(lengths)
    ]


class Again:
    """Gives its sequences again and again, and cannot be counted."""

    def __init__(self, sequences: Sequences) -> None:
        self._sequences = sequences

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._sequences)


def kinds_of(sequences: Sequences) -> dict[str, Any]:
    """Return a function for each kind of source, which makes a new one."""
    return {
        "list": lambda: sequences,
        "tuple": lambda: tuple(sequences),
        "array": lambda: np.array([*sequences, None], object)[:-1],
        "iterable": lambda: Again(sequences),
        "function": lambda: lambda: iter(sequences),
        "function that returns a list": lambda: lambda: sequences,
        "iterator": lambda: iter(sequences),
    }
