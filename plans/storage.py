"""The arrays of a net: which have storage, and whose every layer uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ..errors import NetError, nearest
from ..mappings import FrozenMapping
from .graph import Graph, GraphNode, Types
from .layers.base import Declared, Layer, MismatchError, Ports


class Storage(NamedTuple):
    """What a net's layers keep.

    Attributes:
        arrays: The arrays that have storage, by path, with the initializers that users chose.
        used: Whose array each array of each node is.
    """

    arrays: dict[str, Declared]
    used: dict[str, FrozenMapping[str]]

    def packs(self, graph: Graph) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Return the groups of each node that can be one view: no array of a group is also used in another grouping."""
        groups = {
            path: tuple(tuple(self.used[path][name] for name in names) for names in node.layer.packs())
            for path, node in graph.nodes.items()
        }
        grouping: dict[str, set[tuple[str, ...]]] = {}
        for path, arrays in self.used.items():
            for array in arrays.values():
                group = next((group for group in groups[path] if array in group), (array,))
                grouping.setdefault(array, set()).add(group)
        return {
            path: tuple(
                group for group in found if all(len(grouping[array]) == 1 for array in group) and _one_owner(group)
            )
            for path, found in groups.items()
        }


def allocate(graph: Graph, types: Types) -> Storage:
    """Return the arrays of a net whose types are all known.

    Raises:
        NetError: Initializers or ``share`` name what is not there, or arrays that cannot be shared.
    """
    declared = {path: _declared(node, types.nodes[path]) for path, node in graph.nodes.items()}
    stored: dict[str, Declared] = {}
    for path, arrays in declared.items():
        chosen = graph.nodes[path].layer.chosen_initializers()
        for name, array in arrays.items():
            full = f"{path}.{name}"
            if graph.owner_of(full) == full:
                stored[full] = replace(array, initializer=chosen.get(name, array.initializer))
    used = {
        path: FrozenMapping({name: _owner(graph, stored, f"{path}.{name}", array) for name, array in arrays.items()})
        for path, arrays in declared.items()
    }
    _check_share(graph, declared)
    return Storage(stored, used)


def _declared(node: GraphNode, ports: Ports) -> dict[str, Declared]:
    try:
        arrays = node.layer.declare(ports)
    except MismatchError as mismatch:
        raise NetError(f'layer "{node.path}" ({node.layer!r}): {mismatch}') from None
    _check_initializers(node.path, node.layer, arrays)
    return arrays


def _check_initializers(path: str, layer: Layer, arrays: Mapping[str, Declared]) -> None:
    for name in layer.chosen_initializers():
        if name not in arrays:
            raise NetError(
                f'layer "{path}" ({layer!r}): initializers name no array of it: "{name}"{nearest(name, arrays) or "."} '
                f"Its arrays: {', '.join(arrays) or 'none'}"
            )


def _owner(graph: Graph, stored: Mapping[str, Declared], full: str, array: Declared) -> str:
    owner = graph.owner_of(full)
    if owner not in stored:
        raise NetError(f'share: "{full}" is to use "{owner}", but there is no such array{nearest(owner, stored)}')
    spec = stored[owner]
    if spec.auxiliary != array.auxiliary:
        raise NetError(
            f'share: "{full}" is to use "{owner}", but one is trained and the other moved by the forward pass'
        )
    if spec.shape != array.shape:
        raise NetError(f'share: "{full}" {array.shape} is to use "{owner}" {spec.shape}: the shapes must be the same')
    return owner


def _check_share(graph: Graph, declared: Mapping[str, Mapping[str, Declared]]) -> None:
    full = [f"{path}.{name}" for path, arrays in declared.items() for name in arrays]
    for user in graph.share:
        if not any(path == user or path.startswith(f"{user}.") for path in full):
            raise NetError(f'share: there is no layer or array "{user}" with arrays{nearest(user, full)}')


def _one_owner(group: tuple[str, ...]) -> bool:
    """Tell whether the arrays are different ones that one layer declared, hence lie side by side."""
    return len({array.rpartition(".")[0] for array in group}) == 1 and len(set(group)) == len(group)
