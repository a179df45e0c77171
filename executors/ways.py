"""Where a batch would go, without going there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from .graph_memory import GraphMemory


class Way(NamedTuple):
    """Where a batch would go.

    Attributes:
        lengths: The bucket, or that of a segment.
        batch_size: The number of rows of the bucket.
        steps: How many steps a row has with its padding, over all lengths and segments; 0: there are no lengths.
        segments: How many segments it is cut into; 1: none.
        masked: Whether it goes through graphs with masks.
        bound: Whether all of its graphs are bound.
        bytes_segments: What is kept between its segments.
        graphs: What its graphs take, or would.
        resized: Returns what they would take with another number of rows, if nothing of them ran again.
    """

    lengths: Mapping[str, int]
    batch_size: int
    steps: int
    segments: int
    masked: bool
    bound: bool
    bytes_segments: int
    graphs: list[GraphMemory]
    resized: Callable[[int], list[GraphMemory]]
