"""What a net must not be: every mistake becomes a NetError that names the layer and says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import ArgumentError, NetError, nearest
from .graph import Source, is_net
from .layers.base import Layer
from .paths import Edges
from .types import check_port_type

DEEPEST = 100  # nets in nets; Python's own limit would be met a few hundred levels later, without a word why


def check_layers(layers: object) -> None:
    """Check that this is a mapping from names to layers."""
    if not isinstance(layers, Mapping) or not layers:
        raise NetError(
            f'layers must be a mapping with one layer or more, as in {{"linear": Linear(3)}}, got {layers!r}'
        )
    for name, layer in layers.items():
        if not isinstance(name, str) or not name or not name.isprintable() or "." in name:
            raise NetError(
                f"a layer's name must be a printable string without a dot (which stands between a layer and its "
                f"port), got {name!r}"
            )
        if not isinstance(layer, Layer):
            hint = f"; write {layer.__name__}()" if isinstance(layer, type) and issubclass(layer, Layer) else ""
            raise NetError(f'layer "{name}" must be a layer or a net, got {layer!r}{hint}')
        if depth(layer) >= DEEPEST:
            raise NetError(f'layer "{name}": nets are nested more than {DEEPEST} deep; put their layers in one net')


def depth(layer: Layer) -> int:
    """Return how many nets are inside one another, 0 for a layer that is no net."""
    return layer.depth if is_net(layer) else max((net.depth for net in layer.nets()), default=0)


def check_inputs(names: Iterable[str], inputs: object) -> None:
    """Check that these are types of the net's inputs."""
    if not isinstance(inputs, Mapping):
        raise NetError(f'inputs must map ports to types, as in {{"Input": Vector(3)}}, got {inputs!r}')
    known = list(names)
    for name, port in inputs.items():
        if name not in known:
            raise NetError(
                f'inputs: the net has no input "{name}"{nearest(name, known) or "."} '
                f"Its inputs: {', '.join(known) or 'none'}"
            )
        try:
            check_port_type(port, f'inputs: "{name}"')
        except ArgumentError as error:
            raise NetError(str(error)) from None


def brought(layers: Mapping[str, Layer], edges: Edges) -> list[str]:
    """Return the ports that unconnected inputs bring, and connect them.

    Raises:
        NetError: Two bring the same name.
    """
    found: dict[str, str] = {}
    for name, layer in layers.items():
        for port in edges.ports[name]:
            if (name, port) not in edges.feeds and port not in layer.states:
                _check_name_is_free(port, name, found, edges)
                found[port] = name
    for port, name in found.items():
        edges.feeds[name, port] = Source(None, port)
    return list(found)


def _check_name_is_free(port: str, name: str, found: Mapping[str, str], edges: Edges) -> None:
    other = found.get(port)
    if other is None and port in edges.inputs:
        other = next((owner for (owner, _), source in edges.feeds.items() if source == Source(None, port)), "a path")
    if other is not None:
        both = f' and ("{port}", "{other}.{port}")' if other in found.values() else ""
        raise NetError(
            f'"{other}" and "{name}" both bring an input "{port}". If both are to get the same, add the '
            f'path{"s" if both else ""} ("{port}", "{name}.{port}"){both}; '
            f'if not, give one of them a name of its own, as in ("{name.capitalize()}{port}", "{name}.{port}")'
        )


def check_used(layers: Mapping[str, Layer], edges: Edges) -> None:
    """Check the names of the ports, and that every layer has a use."""
    if not edges.outputs:
        raise NetError('the net has no output: let a path end with a name, as in ("linear", "Output")')
    for port in dict.fromkeys((*edges.inputs, *edges.outputs)):
        if port in layers:
            raise NetError(f'"{port}" is the name of a layer and of a port of the net; rename one of them')
    _check_names(edges)
    used = {source.node for source in (*edges.feeds.values(), *edges.outputs.values())}
    for name, layer in layers.items():
        if name not in used:
            port = layer.output_ports()[0]
            raise NetError(
                f'layer "{name}" ({layer!r}) is not used: no path goes on from its outputs'
                f'{_misspelt(name, edges)}; take it out as a port of the net, ("{name}", "{port}"), or remove it'
            )


def _check_names(edges: Edges) -> None:
    """Refuse names that no graph can carry; a dot is left to a state's port, which is named like what it shows."""
    shown = {f"{name}.{port}" for name, port in edges.feeds}
    named = {**dict.fromkeys(edges.inputs, False), **dict.fromkeys(edges.outputs, False)}
    named.update({port: True for port in edges.inputs if port in shown})
    named.update({port: True for port, source in edges.outputs.items() if port == str(source)})
    for port, may_have_dot in named.items():
        if not isinstance(port, str) or not port or not port.isprintable() or ("." in port and not may_have_dot):
            raise NetError(f"a port of the net must have a printable name without a dot, got {port!r}")


def _misspelt(name: str, edges: Edges) -> str:
    hint = nearest(name, [*edges.inputs, *edges.outputs])
    return hint.replace("did you mean", "is it meant by").rstrip("?") if hint else ""


def check_edges(layers: Mapping[str, Layer], edges: Edges) -> None:
    """Check edges that were read from a file."""
    for name, layer in layers.items():
        if edges.ports[name] != layer.input_ports(len(edges.ports[name])):
            raise NetError(f'layer "{name}" has no inputs {edges.ports[name]}')
    for name, port in edges.feeds:
        if port not in edges.ports[name]:
            raise NetError(f'layer "{name}" has no input "{port}"')
    for source in (*edges.feeds.values(), *edges.outputs.values()):
        if source.node is not None and source.port not in layers[source.node].output_ports():
            raise NetError(f'layer "{source.node}" has no output "{source.port}"')
    if any(source.node is None for source in edges.outputs.values()):
        raise NetError("an output must come from a layer")
    used = {source.port for source in edges.feeds.values() if source.node is None}
    if used != set(edges.inputs) or len(used) != len(edges.inputs):
        raise NetError(f"its inputs are {edges.inputs}, but its layers use {sorted(used)}")


def check_share(layers: Mapping[str, Layer], share: object) -> None:
    """Check that every user and every owner is a layer, or lies in one, and that owners have arrays of their own."""
    if not isinstance(share, Mapping):
        raise NetError(f'share must map layers or arrays to those they use, as in {{"right": "left"}}, got {share!r}')
    for user, owner in share.items():
        for text in (user, owner):
            if not isinstance(text, str) or text.partition(".")[0] not in layers:
                raise NetError(
                    f'share: there is no layer or array "{text}"{nearest(str(text).partition(".")[0], layers)}'
                )
        if _inside(owner, user) or _inside(user, owner):
            raise NetError(f'share: "{user}" cannot use its own arrays, "{owner}"; name another layer')
    for user, owner in share.items():
        for other in share:
            if other != user and _inside(user, other):
                raise NetError(f'share: "{user}" is shared already, as a part of "{other}"; leave out one of them')
            if _inside(owner, other):
                end = share[other] + owner[len(other) :]
                fix = "one of them must own the arrays" if _inside(end, user) else f'write {{"{user}": "{end}"}}'
                raise NetError(
                    f'share: "{user}" is to use "{owner}", but "{other}" uses "{share[other]}" itself; {fix}'
                )


def _inside(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")
