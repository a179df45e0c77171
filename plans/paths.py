"""The paths of a NetGraph: strings to edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ..errors import NetError, nearest
from .graph import Source
from .layers.base import Layer

Place = Union[int, str]


@dataclass
class Edges:
    """What the paths say.

    Attributes:
        feeds: The source of each ``(layer, input port)``.
        outputs: The source of each output port of the net.
        ports: The input ports of each layer.
        inputs: The net's input ports that paths name, in order.
    """

    feeds: dict[tuple[str, str], Source] = field(default_factory=dict)
    outputs: dict[str, Source] = field(default_factory=dict)
    ports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)


def parse_paths(layers: Mapping[str, Layer], paths: object) -> Edges:
    """Return the edges that the paths describe.

    Raises:
        NetError: A path is malformed, names something unknown, or feeds a port twice.
    """
    if not isinstance(paths, Iterable) or isinstance(paths, (str, Mapping)):
        raise NetError(f'paths must be a list of tuples, as in [("Input", "linear", "Output")], got {paths!r}')
    listed = list(paths)
    if listed and all(isinstance(path, str) for path in listed):
        raise NetError(f"paths must be a list of tuples: write [{tuple(listed)!r}] for this one, got {paths!r}")
    edges = Edges()
    wanted: list[tuple[str, Place, Source]] = []
    for path in listed:
        _parse_path(layers, path, edges, wanted)
    for name, layer in layers.items():
        places = [place for owner, place, _ in wanted if owner == name]
        edges.ports[name] = layer.input_ports(max(map(_number, places), default=0))
    for name, place, source in wanted:
        _feed(layers, edges, name, place, source)
    return edges


def split_name(layers: Mapping[str, Layer], text: str) -> tuple[str, str | None] | None:
    """Return ``(layer, port or None)`` for "layer" or "layer.port", or None for a port of the net."""
    name, dot, port = text.partition(".")
    return (name, port if dot else None) if name in layers else None


def source_of(layers: Mapping[str, Layer], text: str, where: str) -> Source:
    """Return the output that a string names; a string that names no layer is an input port of the net.

    Raises:
        NetError: The layer has no such output.
    """
    found = split_name(layers, text)
    if found is None:
        if "." in text:
            layer = text.partition(".")[0]
            raise NetError(f'{where}: there is no layer "{layer}"{nearest(layer, layers)}')
        return Source(None, text)
    name, port = found
    outputs = layers[name].output_ports()
    if port is not None and port not in outputs:
        hint = nearest(port, outputs) or "."
        raise NetError(f'{where}: layer "{name}" has no output "{port}"{hint} Its outputs: {", ".join(outputs)}')
    return Source(name, port or outputs[0])


def _number(place: Place) -> int:
    if isinstance(place, int):
        return place + 1
    return int(place) if place.isdecimal() and len(place) < 4 else 0


def _names(path: Any, where: str) -> tuple[list[str], list[str]]:
    """Return the names at the beginning of a path, and those that follow."""
    if not isinstance(path, (tuple, list)) or len(path) < 2:
        raise NetError(f'{where}: a path is a tuple of two or more names, such as ("Input", "linear", "Output")')
    heads = list(path[0]) if isinstance(path[0], (tuple, list)) else [path[0]]
    if not heads:
        raise NetError(f"{where}: the list at its beginning is empty")
    for text in (*heads, *path[1:]):
        if isinstance(text, (tuple, list)):
            raise NetError(f"{where}: {text!r} is a list; one may only stand first, to feed several inputs in order")
        if not isinstance(text, str) or not text:
            hint = " (layers go into the first argument, under a name)" if isinstance(text, Layer) else ""
            raise NetError(f"{where}: {text!r} is not the name of a layer or a port{hint}")
    return heads, list(path[1:])


def _parse_path(layers: Mapping[str, Layer], path: Any, edges: Edges, wanted: list[tuple[str, Place, Source]]) -> None:
    where = f"path {path!r}"
    heads, rest = _names(path, where)
    sources = [source_of(layers, text, where) for text in heads]
    edges.inputs += dict.fromkeys(
        source.port for source in sources if source.node is None and source.port not in edges.inputs
    )
    for position, text in enumerate(rest, start=1):
        last = position == len(rest)
        found = split_name(layers, text)
        if found is None:
            _add_output(layers, edges, text, sources, where, last)
            return
        name, port = found
        if port is not None and len(sources) > 1:
            raise NetError(
                f'{where}: a list feeds a layer\'s inputs in order; write "{name}", not the one port "{text}"'
            )
        wanted += [(name, place if port is None else port, source) for place, source in enumerate(sources)]
        if not last:
            sources = [source_of(layers, text, where)]


def _add_output(
    layers: Mapping[str, Layer], edges: Edges, text: str, sources: list[Source], where: str, last: bool
) -> None:
    name, dot, _ = text.partition(".")
    hint = nearest(name, layers)
    if dot:
        raise NetError(f'{where}: there is no layer "{name}"{hint}')
    if not last:
        raise NetError(f'{where}: there is no layer "{name}"{hint or ";"} a port of the net may stand only at an end')
    source = sources[0]
    if len(sources) > 1 or source.node is None:
        raise NetError(
            f'{where}: "{text}" is no layer{hint}; as an output of the net it must come from one layer, '
            f"not from {', '.join(map(str, sources))}"
        )
    if text in edges.outputs:
        raise NetError(f'{where}: the output "{text}" is fed twice, by "{edges.outputs[text]}" and "{source}"')
    edges.outputs[text] = source


def _feed(layers: Mapping[str, Layer], edges: Edges, name: str, place: Place, source: Source) -> None:
    ports = edges.ports[name]
    if isinstance(place, int):
        if place >= len(ports):
            raise NetError(
                f'layer "{name}" ({layers[name]!r}) has {len(ports)} input{"s" if len(ports) != 1 else ""} '
                f"({', '.join(ports) or 'none'}), but a list feeds it more"
            )
        place = ports[place]
    if place not in ports:
        raise NetError(
            f'layer "{name}" has no input "{place}"{nearest(place, ports) or "."} '
            f"Its inputs: {', '.join(ports) or 'none'}"
        )
    if (name, place) in edges.feeds:
        free = next((port for port in ports if (name, port) not in edges.feeds), None)
        fix = (
            f'name another input, as in "{name}.{free}", or feed several by a list'
            if free
            else 'join them first, by a layer such as Threading("plus") or Catenate()'
        )
        raise NetError(
            f'layer "{name}": its input "{place}" is fed twice, by "{edges.feeds[name, place]}" and "{source}"; {fix}'
        )
    edges.feeds[name, place] = source
