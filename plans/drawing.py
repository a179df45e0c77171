"""Nets and plans as graphs in the DOT language, for graphviz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING

from .graph import Graph, Source
from .sizes import Kept, kept_by
from .types import PortType, Sequence

if TYPE_CHECKING:
    from .layers.base import Layer
    from .net import NetGraph
    from .plan import LossSpec, Plan, PortSpec

INK = "#1c2733"  # on the fills
LINE = "#808080"  # on the page, which may be light or dark
PORT, LAYER, STATEFUL, LOSS = "#dfe3e8", "#c9dff2", "#d8cff0", "#f7d9bd"
TIMES = "\N{MULTIPLICATION SIGN}"
LONGEST = 48  # letters of a layer's description
HEAD = f"""\
  graph [bgcolor=transparent color="{LINE}" fontcolor="{LINE}" fontname="Helvetica,Arial,sans-serif" fontsize=11 \
nodesep=0.3 ranksep=0.35];
  node [shape=plain fontcolor="{INK}" fontname="Helvetica,Arial,sans-serif" fontsize=11];
  edge [arrowsize=0.7 color="{LINE}" fontcolor="{LINE}" fontname="Helvetica,Arial,sans-serif" fontsize=9];"""


def dot_of_net(net: NetGraph) -> str:
    """Return a net as a graph: layers, the types between them, states, and arrays that are shared."""
    drawing = Drawing(net)
    inputs = [drawing.port("in", name, short(found)) for name, found in net.inputs.items()]
    outputs = [drawing.port("out", name, short(found)) for name, found in net.outputs.items()]
    return _text("net", [*inputs, *drawing.layers(), *outputs, *drawing.edges()])


def dot_of_plan(plan: Plan) -> str:
    """Return a plan as a graph: its net, with the weights of losses, and where example weights come in."""
    drawing = Drawing(plan.net)
    inputs = [drawing.port("in", name, short(spec.type)) for name, spec in plan.inputs.items()]
    outputs = [_output(drawing, spec, plan.losses[name]) for name, spec in plan.outputs.items()]
    weights = [
        _edge(_id("in", loss.example_weights), _id("out", name), "weight of each example")
        for name, loss in plan.losses.items()
        if loss.example_weights is not None
    ]
    return _text("plan", [*inputs, *drawing.layers(), *outputs, *drawing.edges(), *weights])


def short(port: PortType | None) -> str:
    """Return a type in few letters.

    Example:
        >>> from mxtrainer import Sequence, Vector
        >>> short(Sequence("t", Vector(3))) == f"t {TIMES} Vector(3)"
        True
    """
    if port is None:
        return "?"
    return f"{port.length} {TIMES} {port.item!r}" if isinstance(port, Sequence) else repr(port)


class Drawing:
    """The parts that pictures of nets and of plans have in common."""

    def __init__(self, net: NetGraph) -> None:
        """Find out which ports are used, and what layers keep."""
        self._graph: Graph = net.graph
        self._types = net.types
        self._kept = kept_by(net.graph, net.types)
        sources = [source for node in net.graph.nodes.values() for source in node.feeds.values()]
        used = {source for source in (*sources, *net.graph.outputs.values()) if source.node is not None}
        self._inputs = {path: _named(node.inputs, list(node.feeds)) for path, node in net.graph.nodes.items()}
        self._outputs = {
            path: _named(ports, [port for port in ports if Source(path, port) in used])
            for path, ports in ((path, node.layer.output_ports()) for path, node in net.graph.nodes.items())
        }

    def port(self, side: str, name: str, *lines: str, fill: str = PORT) -> str:
        """Return the vertex of a port of the net."""
        return f"  {_id(side, name)} [label=<{_box(fill, [], [name, *lines], [])}>];"

    def layers(self) -> Iterator[str]:
        """Yield the vertices of layers, those of a net in the net within a frame."""
        yield from self._inside("", list(self._graph.nodes))

    def _inside(self, around: str, paths: list[str]) -> Iterator[str]:
        """Yield the vertices of these layers, all of which are in the net with this path."""
        inner: dict[str, list[str]] = {}
        for path in paths:
            name, dot, _ = path[len(around) :].partition(".")
            inner.setdefault(f"{around}{name}{dot}", []).append(path)
        for path, within in inner.items():
            if not path.endswith("."):
                yield self._layer(path)
                continue
            name = _shown(path[len(around) : -1])
            yield f"  subgraph {_id('cluster', path[:-1])} {{"
            yield f"  label=<<B>{name}</B>>; labeljust=l; style=rounded;"
            yield from self._inside(path, within)
            yield "  }"

    def _layer(self, path: str) -> str:
        layer, kept = self._graph.nodes[path].layer, self._kept[path]
        lines = [path.rpartition(".")[2], _described(layer)]
        if kept is not None and kept.elements:
            lines.append(f"{kept.elements:,} element{'s' if kept.elements > 1 else ''}")
        fill = LOSS if layer.is_loss else STATEFUL if layer.states else LAYER
        return f"  {_id('layer', path)} [label=<{_box(fill, self._inputs[path], lines, self._outputs[path])}>];"

    def edges(self) -> Iterator[str]:
        """Yield what feeds layers and outputs, and which arrays are shared."""
        for path, node in self._graph.nodes.items():
            for port, source in node.feeds.items():
                state = port in node.layer.states or self._is_state(source)
                label = "" if source.node is None else short(self._types.of(source))
                yield _edge(self._tail(source), self._place("layer", path, "i", self._inputs[path], port), label, state)
        for name, source in self._graph.outputs.items():
            yield _edge(self._tail(source), _id("out", name), dashed=self._is_state(source))
        for user, owner, what in self._shared():
            style = "style=dotted dir=none constraint=false"
            yield f"  {_id('layer', owner)} -> {_id('layer', user)} [{_label(what)} {style}];"

    def _is_state(self, source: Source) -> bool:
        return source.node is not None and source.port in self._graph.nodes[source.node].layer.states

    def _tail(self, source: Source) -> str:
        if source.node is None:
            return _id("in", source.port)
        return self._place("layer", source.node, "o", self._outputs[source.node], source.port)

    def _place(self, kind: str, path: str, side: str, shown: list[str], port: str) -> str:
        cell = f":{side}{shown.index(port)}" if port in shown else ""
        return f"{_id(kind, path)}{cell}:{'n' if side == 'i' else 's'}"

    def _shared(self) -> Iterator[tuple[str, str, str]]:
        """Yield layers that use arrays of another, which one, and which arrays."""
        for path, kept in self._kept.items():
            by_owner: dict[str, list[str]] = {}
            for name, owner in (kept or NOTHING).shared.items():
                by_owner.setdefault(owner.rpartition(".")[0], []).append(name)
            for owner, names in by_owner.items():
                if owner in self._graph.nodes and owner != path:
                    yield path, owner, f"same {', '.join(names)}"


NOTHING = Kept({}, {}, 0)


def _named(ports: Iterable[str], used: list[str]) -> list[str]:
    """Return the ports that are written on a layer: none where it is clear that the first is meant."""
    return [] if used == list(ports)[:1] or not used else used


def _output(drawing: Drawing, spec: PortSpec, loss: LossSpec) -> str:
    if loss.is_loss or loss.weight:
        return drawing.port("out", spec.name, f"weight {loss.weight:g}", fill=LOSS)
    return drawing.port("out", spec.name, short(spec.type))


def _described(layer: Layer) -> str:
    text = repr(layer)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _box(fill: str, above: list[str], lines: list[str], below: list[str]) -> str:
    """Return a vertex as graphviz's kind of HTML: a name, more lines, and ports above and below."""
    name, *more = map(_shown, lines)
    text = "<BR/>".join([f"<B>{name}</B>", *(f'<FONT POINT-SIZE="9">{line}</FONT>' for line in more)])
    rows = [_row("i", above), f'<TR><TD BORDER="0">{text}</TD></TR>', _row("o", below)]
    return f'<TABLE BORDER="1" CELLBORDER="0" COLOR="{LINE}" BGCOLOR="{fill}" STYLE="ROUNDED">{"".join(rows)}</TABLE>'


def _row(side: str, ports: list[str]) -> str:
    """Return the ports of one side, to which edges lead."""
    if not ports:
        return ""
    cells = "".join(
        f'<TD PORT="{side}{number}"><FONT POINT-SIZE="8">{_shown(port)}</FONT></TD>'
        for number, port in enumerate(ports)
    )
    return f'<TR><TD CELLPADDING="0"><TABLE BORDER="0" CELLSPACING="0"><TR>{cells}</TR></TABLE></TD></TR>'


def _shown(text: str) -> str:
    """Return text for graphviz's kind of HTML, which takes no letters that have no shape."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in text))


def _edge(tail: str, head: str, label: str = "", dashed: bool = False) -> str:
    attributes = [_label(label)] if label else []
    attributes += ["style=dashed"] if dashed else []
    return f"  {tail} -> {head} [{' '.join(attributes)}];"


def _label(text: str) -> str:
    return f"label=<&#160;{_shown(text)}&#160;>"  # spaces, so that it does not touch its edge


def _id(kind: str, name: str) -> str:
    """Return the name of a vertex, which a port and a layer of the same name do not share."""
    text = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{kind}:{text}"'


def _text(kind: str, lines: Iterable[str]) -> str:
    return "\n".join([f"digraph {kind} {{", HEAD, *lines, "}"])
