"""What each layer of a net keeps, as far as its types are known: for tables and pictures."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from .graph import Graph, GraphNode, Types
from .layers.base import Declared, Ports


class Kept(NamedTuple):
    """The arrays of a layer.

    Attributes:
        shapes: The shape of each array, by name.
        shared: The array of another layer that is used instead, for names of those that are.
        elements: The number of elements that are trained and no other layer's.
    """

    shapes: dict[str, tuple[int, ...]]
    shared: dict[str, str]
    elements: int


def kept_by(graph: Graph, types: Types) -> dict[str, Kept | None]:
    """Return what each layer keeps, None where that is not determined yet; raises nothing."""
    return {path: _kept(graph, node, types.nodes[path]) for path, node in graph.nodes.items()}


def _kept(graph: Graph, node: GraphNode, ports: Ports) -> Kept | None:
    declared = _declared(node, ports)
    if declared is None:
        return None
    owners = {name: graph.owner_of(f"{node.path}.{name}") for name in declared}
    shared = {name: owner for name, owner in owners.items() if owner != f"{node.path}.{name}"}
    own = [array for name, array in declared.items() if name not in shared and not array.auxiliary]
    return Kept({name: array.shape for name, array in declared.items()}, shared, sum(prod(one.shape) for one in own))


def _declared(node: GraphNode, ports: Ports) -> dict[str, Declared] | None:
    if None in ports.inputs.values() or None in ports.outputs.values():
        return None
    try:
        return node.layer.declare(ports)
    except Exception:  # noqa: BLE001 - a layer of a user's own may raise anything, and the rest is to be shown
        return None


def total_of(kept: dict[str, Kept | None]) -> str:
    """Say how many elements there are to train.

    Example:
        >>> total_of({"linear": Kept({"Weights": (2, 3)}, {}, 6), "unknown": None})
        '6 elements to train, and those of layers that are not determined'
    """
    count = sum(one.elements for one in kept.values() if one is not None)
    rest = ", and those of layers that are not determined" if None in kept.values() else ""
    return f"{count:,} elements to train{rest}"
