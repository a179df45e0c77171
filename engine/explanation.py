"""Which layers take the memory of a trainer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..executors.full_graph import FullGraph
from ..executors.memory import MemoryReport
from ..plans.plan import Plan
from ..tables import Part, Printed, Table


@dataclass(frozen=True)
class LayerMemory:
    """What a layer takes, in bytes.

    Attributes:
        path: The layer; empty for what is of no layer, such as what outputs are copied to.
        kind: Its class.
        bytes_parameters: Its parameters. A gradient of the same size and the optimizer's state come with them. Arrays
            that several layers use are the first one's.
        bytes_kept: What it leaves in the forward pass for the backward pass, where nothing runs again.
    """

    path: str
    kind: str
    bytes_parameters: int
    bytes_kept: int


@dataclass(frozen=True)
class Explanation(Printed):
    """Where the memory of a trainer goes; prints as two tables.

    Attributes:
        memory: All parts of it.
        layers: Each layer, in the order in which they run, of the largest graph.
    """

    memory: MemoryReport
    layers: tuple[LayerMemory, ...]

    def _parts(self) -> list[Part]:
        ranked = sorted(self.layers, key=lambda layer: -(layer.bytes_kept + layer.bytes_parameters))
        rows = [
            [layer.path or "(no layer)", layer.kind, f"{layer.bytes_parameters:,}", f"{layer.bytes_kept:,}"]
            for layer in ranked
        ]
        return [Table(["layer", "kind", "parameters", "kept for backward"], rows), "", self.memory]


def layers_of(plan: Plan, graph: FullGraph) -> tuple[LayerMemory, ...]:
    """Return what each layer takes in a graph."""
    itemsize = np.dtype(plan.dtype).itemsize
    kept: Counter[str] = Counter()
    for name, number in graph.kept:
        path = name.rpartition(".")[0]
        kept[path if path in plan.nodes else ""] += graph.sizes[name, number]
    counted: set[str] = set()
    found = []
    for path, node in plan.nodes.items():
        own = {array for array in node.arrays.values() if array in plan.parameters} - counted
        counted |= own
        size = sum(plan.parameters[array].size for array in own) * itemsize
        kind = type(plan.graph_of_nodes.nodes[path].layer).__name__
        found.append(LayerMemory(path, kind, size, kept[path]))
    rest = [LayerMemory("", "", 0, kept[""])] if kept[""] else []
    return (*found, *rest)
