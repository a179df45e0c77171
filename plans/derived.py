"""Nets made from a net: with its states as ports, and a part of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import NetError, nearest
from .graph import Source, Types, is_net, reached
from .layers.base import Layer
from .layers.elementwise import Dropout
from .paths import Edges, source_of, split_name
from .types import PortType

if TYPE_CHECKING:
    from .net import NetGraph

Place = tuple[str, str]


def with_states(net: NetGraph, pattern: str) -> NetGraph:
    """Return the net with its recurrent states as ports (see `NetGraph.with_states`)."""
    if not isinstance(pattern, str):
        raise NetError(f'with_states takes a pattern of layer names, as in "decoder.*", got {pattern!r}')
    found = _with_states(net, "", pattern)
    if found is net:
        raise NetError(f'with_states("{pattern}"): the net has no recurrent state there that is not fed yet')
    return found.with_arrays(net.arrays)


def _with_states(net: NetGraph, prefix: str, pattern: str) -> NetGraph:
    layers = dict(net.layers)
    edges = net.edges()
    for name, layer in net.layers.items():
        if is_net(layer):
            layers[name] = _with_states(layer, f"{prefix}{name}.", pattern)
            edges.ports[name] = layers[name].input_ports()
        for port in layers[name].states:
            shown = f"{name}.{port}"
            unfed = (name, port) not in edges.feeds and port in layers[name].output_ports()
            if unfed and _chosen(prefix + shown, pattern):
                edges.inputs.append(shown)
                edges.feeds[name, port] = Source(None, shown)
                edges.outputs[shown] = Source(name, port)
    if len(edges.inputs) == len(net.inputs):
        return net
    return net.from_edges(layers, edges, _known(net.inputs), net.share)


def _chosen(state: str, pattern: str) -> bool:
    """Tell whether a pattern means a state's path, the path of its layer, or a layer or net around it."""
    layer = state.rpartition(".")[0]
    globbed = fnmatch.fnmatchcase(state, pattern) or fnmatch.fnmatchcase(layer, pattern)
    return globbed or state.startswith(f"{pattern}.")


def take(net: NetGraph, outputs: Mapping[str, str], inputs: Mapping[str, str]) -> NetGraph:
    """Return the part of the net that gives some outputs (see `NetGraph.take`)."""
    for what, given in (("outputs", outputs), ("inputs", inputs)):
        texts = list(given.values()) if isinstance(given, Mapping) else [None]
        if not all(isinstance(text, str) for text in texts) or (what == "outputs" and not texts):
            raise NetError(f'take: {what} must map new ports to layers, as in {{"Output": "linear"}}, got {given!r}')
    sources = {port: _output_of(net, port, text) for port, text in outputs.items()}
    cut = {_input_of(net, text): Source(None, port) for port, text in inputs.items()}
    feeds = {**net.feeds, **cut}
    kept = reached(sources.values(), lambda name: [source for (owner, _), source in feeds.items() if owner == name])
    _check_cut(cut, inputs, feeds, kept)
    edges = Edges(
        feeds={place: source for place, source in feeds.items() if place[0] in kept},
        outputs=sources,
        ports={name: ports for name, ports in net.layer_inputs.items() if name in kept},
    )
    used = {source.port for source in edges.feeds.values() if source.node is None}
    edges.inputs = [port for port in dict.fromkeys((*net.inputs, *inputs)) if port in used]
    types = {**net.inputs, **{source.port: _type_at(net, place) for place, source in cut.items()}}
    layers = {name: layer for name, layer in net.layers.items() if name in kept}
    return _part(net, layers, edges, _known({port: types[port] for port in edges.inputs}))


def _check_cut(
    cut: Mapping[Place, Source], inputs: Mapping[str, str], feeds: Mapping[Place, Source], kept: set[str]
) -> None:
    if len(cut) < len(inputs):
        raise NetError(f"take: inputs: two new ports are to feed one port of a layer, in {inputs!r}")
    for (name, port), source in cut.items():
        if name not in kept:
            raise NetError(f'take: inputs: "{source.port}" is to feed "{name}.{port}", which these outputs do not need')
        if any(feed == source and place not in cut for place, feed in feeds.items() if place[0] in kept):
            raise NetError(f'take: inputs: the net has an input "{source.port}" already; choose another name')


def _output_of(net: NetGraph, port: str, text: str) -> Source:
    source = source_of(net.layers, text, f'take: "{port}"')
    if source.node is None:
        raise NetError(f'take: "{port}": there is no layer "{text}"{nearest(text, net.layers)}')
    return source


def _input_of(net: NetGraph, text: str) -> Place:
    found = split_name(net.layers, text)
    if found is None:
        layer = text.partition(".")[0]
        raise NetError(f'take: inputs: there is no layer "{layer}"{nearest(layer, net.layers)}')
    name, port = found
    ports = net.layer_inputs[name]
    if not ports or (port is not None and port not in ports):
        known = f"{nearest(port, ports) or '.'} Its inputs: {', '.join(ports) or 'none'}"
        raise NetError(f'take: inputs: layer "{name}" has no input "{port or ""}"{known}')
    return name, port or ports[0]


def _type_at(net: NetGraph, place: Place) -> PortType | None:
    """Return the type of a layer's input; that of a net in the net is found where it is used."""
    name, port = place
    layer = net.layers[name]
    if not is_net(layer):
        return net.types.nodes[name].inputs[port]
    uses = (
        net.types.nodes[f"{name}.{path}"].inputs[inner]
        for path, node in layer.graph.nodes.items()
        for inner, source in node.feeds.items()
        if source == Source(None, port)
    )
    return next((found for found in uses if found is not None), None)


def _known(types: Mapping[str, PortType | None]) -> dict[str, PortType]:
    return {port: found for port, found in types.items() if found is not None}


def _part(net: NetGraph, layers: Mapping[str, Layer], edges: Edges, types: Mapping[str, PortType]) -> NetGraph:
    share, moved = _new_owners(net.share, layers)
    part = net.from_edges(layers, edges, types, share)
    settled = {name: _settled(layer, name, part, net) for name, layer in layers.items()}
    if settled != layers:
        part = net.from_edges(settled, edges, types, share)
    arrays: dict[str, Any] = {path: found for path, found in net.arrays.items() if _layer_of(path) in layers}
    for owner, user in moved:
        for path, found in net.arrays.items():
            if path == owner or path.startswith(f"{owner}."):
                arrays[user + path[len(owner) :]] = found
    return part.with_arrays(arrays)


def _layer_of(path: str) -> str:
    return path.partition(".")[0]


def _new_owners(share: Mapping[str, str], layers: Mapping[str, Layer]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return who shares with whom among some layers, and what has moved from an owner that is gone to a user."""
    kept: dict[str, str] = {}
    moved: dict[str, str] = {}
    # whole layers come before single arrays, which then find their owner's arrays where the layer has taken them
    for user, owner in sorted(share.items(), key=lambda item: item[1].count(".")):
        if _layer_of(user) not in layers:
            continue
        if _layer_of(owner) in layers:
            kept[user] = owner
            continue
        heir = next((old for old in moved if owner == old or owner.startswith(f"{old}.")), None)
        if heir is None:
            moved[owner] = user
        else:
            kept[user] = moved[heir] + owner[len(heir) :]
    return kept, list(moved.items())


def _settled(layer: Layer, path: str, part: NetGraph, net: NetGraph) -> Layer:
    """Return a layer with the size that followed from what the part has no more."""
    if is_net(layer):
        inner = {name: _settled(found, f"{path}.{name}", part, net) for name, found in layer.layers.items()}
        if inner == dict(layer.layers):
            return layer
        return layer.from_edges(inner, layer.edges(), _known(layer.inputs), layer.share)
    known = None not in part.types.nodes[path].outputs.values()
    return layer if known else layer.settled(net.types.nodes[path])


def settled_net(net: NetGraph, types: Types, prefix: str = "") -> NetGraph:
    """Return the net with its layers, and the types of its inputs, as these types have determined them."""
    layers = {
        name: settled_net(layer, types, f"{prefix}{name}.")
        if is_net(layer)
        else layer.settled(types.nodes[prefix + name])
        for name, layer in net.layers.items()
    }
    inputs = net.inputs if prefix else types.inputs
    return net.from_edges(layers, net.edges(), _known(inputs), net.share)


def without_dropout(net: NetGraph) -> NetGraph:
    """Return the net with dropout that drops nothing."""
    layers: dict[str, Layer] = {}
    for name, layer in net.layers.items():
        if isinstance(layer, Dropout):
            layers[name] = Dropout(0.0)
        else:
            layers[name] = without_dropout(layer) if is_net(layer) else layer.with_nets(without_dropout)
    if layers == dict(net.layers):
        return net
    return net.from_edges(layers, net.edges(), _known(net.inputs), net.share)
