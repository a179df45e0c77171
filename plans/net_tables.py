"""A net as tables for a notebook: its ports, and its layers with what they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tables import Part, Table
from .graph import shared_lines
from .sizes import Kept, kept_by, total_of
from .types import PortType

if TYPE_CHECKING:
    from .net import NetGraph


def parts_of(net: NetGraph) -> list[Part]:
    """Return the tables of a net, whose types may be undetermined; raises nothing."""
    kept = kept_by(net.graph, net.types)
    ports = [["input", name, _type(found)] for name, found in net.inputs.items()]
    ports += [["output", name, _type(found)] for name, found in net.outputs.items()]
    layers = [
        [path, repr(node.layer), _arrays(kept[path]), _outputs(net, path), _elements(kept[path])]
        for path, node in net.graph.nodes.items()
    ]
    return [
        repr(net),
        Table(["", "port", "type"], ports),
        Table(["layer", "kind", "arrays", "outputs", "elements"], layers),
        *shared_lines(net.graph.share),
        total_of(kept),
    ]


def _type(found: PortType | None) -> str:
    return "not determined" if found is None else repr(found)


def _arrays(kept: Kept | None) -> str:
    if kept is None:
        return "not determined"
    of = {name: f" of {owner}" for name, owner in kept.shared.items()}
    return ", ".join(f"{name} {shape}{of.get(name, '')}" for name, shape in kept.shapes.items())


def _outputs(net: NetGraph, path: str) -> str:
    found = net.types.nodes[path].outputs
    return ", ".join(f"{port} {_type(each)}" if len(found) > 1 else _type(each) for port, each in found.items())


def _elements(kept: Kept | None) -> str:
    return "?" if kept is None else f"{kept.elements:,}"
