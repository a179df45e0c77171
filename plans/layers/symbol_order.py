"""Whether the rows that a graph has made of batch and steps come in the order in which they are taken apart again."""

from __future__ import annotations

from collections.abc import Mapping

from ..operators import words
from ..symbols import VARIABLE, Entry, SymbolGraph

Extents = tuple[tuple[int, ...], tuple[int, ...]]  # the shape of an entry in each of two trials
#: What makes one axis of several.
MERGING = words("Reshape reshape Flatten flatten")
#: What may give rows in another order than it takes them, though as many.
MOVING = words(
    """
    Crop SequenceReverse SwapAxis batch_take dot flip reverse slice slice_axis slice_like sort swapaxes take tile topk
    transpose where
    """
)


def in_order(
    graph: SymbolGraph, head: Entry, shapes: Mapping[Entry, Extents], before: tuple[tuple[int, int], ...]
) -> bool:
    """Tell whether an entry's rows have been merged by a Reshape of these first axes, and been left in their order.

    Args:
        graph: The graph.
        head: The entry.
        shapes: The shapes of all entries.
        before: The extents, in both trials, of the first axes of what was reshaped.
    """
    merged = _first(shapes[head])
    waiting, seen = [head], set()
    while waiting:
        entry = waiting.pop()
        if entry in seen:
            continue
        seen.add(entry)
        node = graph.nodes[entry[0]]
        along = [source for source in node.inputs if _first(shapes[source]) == merged]
        if node.operator in MERGING and not along:
            if tuple(zip(*shapes[node.inputs[0]]))[: len(before)] != before:
                return False
        elif node.operator == VARIABLE or node.operator in MOVING or not along:
            return False
        waiting += along
    return True


def _first(shapes: Extents) -> tuple[int, ...]:
    return tuple(shape[0] for shape in shapes if shape)
