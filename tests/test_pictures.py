"""Pictures of nets and plans: what is in the text for graphviz, and what becomes of it with graphviz and without."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from net_cases import NETS, nested, translator
from plan_cases import chain_plan, full_plan

import mxtrainer as mxt
from mxtrainer import pictures

with_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
NAME = r'"((?:[^"\\]|\\.)*)"'
VERTEX = re.compile(rf"  {NAME} \[label=<(.*)>\];")
EDGE = re.compile(rf"  {NAME}(?::(\w+))?(?::[ns])? -> {NAME}(?::(\w+))?(?::[ns])? \[(?:label=<(.*?)>)?(.*)\];")


class Edge(NamedTuple):
    tail: str
    head: str
    label: str = ""
    style: str = ""


def unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def cells_of(label: str) -> tuple[dict[str, str], list[str]]:
    """Return the ports of a vertex, and its lines, as an XML parser reads them."""
    tree = ET.fromstring(label)  # noqa: S314 - written by the code that is tested
    ports = {cell.attrib["PORT"]: "".join(cell.itertext()) for cell in tree.iter("TD") if "PORT" in cell.attrib}
    lines = [text for cell in tree.iter("TD") if "BORDER" in cell.attrib for text in cell.itertext()]
    return ports, lines


def vertices_of(dot: str) -> dict[str, list[str]]:
    found = [VERTEX.fullmatch(line) for line in dot.splitlines()]
    return {unquoted(match[1]): cells_of(match[2])[1] for match in found if match}


def edges_of(dot: str) -> list[Edge]:
    """Return all edges; an end at a port that is written on a layer has its name, as "layer:lstm State"."""
    ports = {match[1]: cells_of(match[2])[0] for match in map(VERTEX.fullmatch, dot.splitlines()) if match}

    def end(vertex: str, cell: str | None) -> str:
        return unquoted(vertex) + (f" {ports[vertex][cell]}" if cell in ports[vertex] else "")

    found = [EDGE.fullmatch(line) for line in dot.splitlines()]
    return [
        Edge(
            end(match[1], match[2]),
            end(match[3], match[4]),
            (match[5] or "").replace("&#160;", ""),
            "".join(re.findall(r"style=(\w+)", match[6])),
        )
        for match in found
        if match
    ]


def test_a_plan_shows_ports_layers_types_weights_and_edges() -> None:
    plan = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), losses={"Loss": 0.5}, example_weights={"Loss": "Weight"})
    dot = plan.picture().dot
    assert vertices_of(dot) == {
        "in:Input": ["Input", "Vector(3)"],
        "in:Target": ["Target", "Vector(2)"],
        "in:Weight": ["Weight", "Scalar()"],
        "layer:linear": ["linear", "Linear(2)", "8 elements"],
        "layer:meansquaredloss": ["meansquaredloss", "MeanSquaredLoss()"],
        "out:Loss": ["Loss", "weight 0.5"],
    }
    assert edges_of(dot) == [
        Edge("in:Input", "layer:linear"),
        Edge("layer:linear", "layer:meansquaredloss Input", "Vector(2)"),
        Edge("in:Target", "layer:meansquaredloss Target"),
        Edge("layer:meansquaredloss", "out:Loss"),
        Edge("in:Weight", "out:Loss", "weight of each example"),
    ]
    assert plan.graph() == dot


def test_states_go_in_and_out_dashed() -> None:
    net = mxt.NetChain([mxt.LSTM(4), mxt.Linear(())], inputs={"Input": mxt.Sequence("t", mxt.Vector(3))}).with_states()
    edges = edges_of(net.picture().dot)
    assert [edge for edge in edges if edge.style] == [
        Edge("in:lstm.State", "layer:lstm State", style="dashed"),
        Edge("in:lstm.CellState", "layer:lstm CellState", style="dashed"),
        Edge("layer:lstm State", "out:lstm.State", style="dashed"),
        Edge("layer:lstm CellState", "out:lstm.CellState", style="dashed"),
    ]
    assert Edge("layer:lstm Output", "layer:linear", "t × Vector(4)") in edges  # noqa: RUF001 - as it is shown
    between = edges_of(translator().picture().dot)
    assert Edge("layer:encoder State", "layer:decoder State", "Vector(4)", "dashed") in between


def test_nets_in_a_net_are_frames_around_their_layers() -> None:
    opened: list[str] = []
    inside: dict[str, str] = {}
    for line in nested().picture().dot.splitlines():
        if match := re.fullmatch(rf"  subgraph {NAME} {{", line):
            opened.append(match[1])
        elif line == "  }":
            opened.pop()
        elif match := VERTEX.fullmatch(line):
            inside[match[1]] = opened[-1] if opened else ""
    assert not opened
    assert inside == {
        "in:Input": "",
        "in:Target": "",
        "layer:middle.first.gru": "cluster:middle.first",
        "layer:middle.first.linear": "cluster:middle.first",
        "layer:middle.second.gru": "cluster:middle.second",
        "layer:middle.second.linear": "cluster:middle.second",
        "layer:last": "",
        "layer:loss": "",
        "out:Loss": "",
    }


def test_arrays_that_are_shared_join_layers_and_count_once() -> None:
    layers = [mxt.Embedding(5), mxt.LSTM(5), mxt.Linear(11)]
    share = {"linear.Weights": "embedding.Weights"}
    dot = mxt.NetChain(layers, {"Input": mxt.Sequence("t", mxt.Index(11))}, share).picture().dot
    assert Edge("layer:embedding", "layer:linear", "same Weights", "dotted") in edges_of(dot)
    assert vertices_of(dot)["layer:embedding"][2] == "55 elements"
    assert vertices_of(dot)["layer:linear"][2] == "11 elements"


def test_a_net_of_unknown_types_is_drawn() -> None:
    dot = mxt.NetChain([mxt.Linear(3), mxt.Elementwise("tanh"), mxt.Linear()]).picture().dot
    assert vertices_of(dot) == {
        "in:Input": ["Input", "?"],
        "layer:linear": ["linear", "Linear(3)"],
        "layer:elementwise": ["elementwise", "Elementwise('tanh')"],
        "layer:linear_2": ["linear_2", "Linear()"],
        "out:Output": ["Output", "?"],
    }
    assert [edge.label for edge in edges_of(dot)] == ["", "?", "?", ""]


ODD = 'a "b" \\ <層> & \\'


def odd_plan() -> mxt.Plan:
    net = mxt.NetGraph({ODD: mxt.Linear(2)}, [("in]; {", ODD, 'out"')], {"in]; {": mxt.Sequence('"t\n', mxt.Vector(2))})
    return mxt.compile_plan(net, {'out"': 0.0})


def test_names_are_shown_whatever_is_in_them() -> None:
    dot = odd_plan().picture().dot
    assert vertices_of(dot) == {
        "in:in]; {": ["in]; {", '"t? × Vector(2)'],  # noqa: RUF001 - as it is shown
        f"layer:{ODD}": [ODD, "Linear(2)", "6 elements"],
        'out:out"': ['out"', '"t? × Vector(2)'],  # noqa: RUF001 - as it is shown
    }
    assert edges_of(dot) == [Edge("in:in]; {", f"layer:{ODD}"), Edge(f"layer:{ODD}", 'out:out"')]


def test_a_layer_and_a_port_of_similar_names_are_two_vertices() -> None:
    net = mxt.NetGraph({"in:x": mxt.Linear(2)}, [("x", "in:x", "y")], {"x": mxt.Vector(2)})
    assert edges_of(net.picture().dot)[0] == Edge("in:x", "layer:in:x")


def test_a_long_description_is_cut() -> None:
    layer = mxt.Linear(2, initializers={"Weights": mxt.initializers.Zeros(), "Biases": mxt.initializers.Ones()})
    lines = vertices_of(mxt.NetChain([layer]).picture().dot)["layer:linear"]
    assert lines[1] == f"{repr(layer)[:47]}…"


@with_graphviz
@pytest.mark.parametrize("picture", [*(net.picture() for net in NETS), full_plan().picture(), odd_plan().picture()])
def test_graphviz_draws_it_with_all_names(picture: pictures.Picture) -> None:
    tree = ET.fromstring(picture.svg())  # noqa: S314 - written by graphviz
    texts = {text.strip() for text in tree.itertext()}
    for lines in vertices_of(picture.dot).values():
        assert lines[0] in texts


@with_graphviz
@pytest.mark.parametrize(
    ("suffix", "first"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("PDF", b"%PDF"), ("gv", b"digraph")]
)
def test_the_suffix_says_what_is_written(suffix: str, first: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"net.{suffix}"
    path.write_text("from before")
    NETS[0].picture().save(path)
    assert first in path.read_bytes()[:1000]


@with_graphviz
def test_a_notebook_shows_the_drawing() -> None:
    picture = NETS[0].picture()
    assert picture._repr_mimebundle_(include=None, exclude=None) == {
        "image/svg+xml": picture.svg(),
        "text/plain": f"Picture(title={repr(NETS[0])!r})",
    }


@pytest.fixture
def path_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs, and empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.usefixtures("path_of_programs")
def test_without_graphviz_the_error_says_how_to_get_it_and_the_text_is_there(tmp_path: Path) -> None:
    picture = NETS[1].picture()
    for draw in (picture.svg, lambda: picture.save(tmp_path / "net.png")):
        with pytest.raises(mxt.Error, match=r'"dot" is not on the path.*apt install graphviz.*save\("net.dot"\)'):
            draw()
    assert list(picture._repr_mimebundle_()) == ["text/plain"]
    picture.save(tmp_path / "net.dot")
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == picture.dot
    assert not (tmp_path / "net.png").exists()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo what is this >&2; exit 1", "cannot draw Net.*what is this"),
        ("exec /bin/sleep 60", "cannot draw Net.*timed out"),
    ],
)
def test_a_graphviz_that_fails_is_told(
    script: str, text: str, path_of_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = path_of_programs / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(pictures, "SECONDS", 0.5)
    with pytest.raises(mxt.Error, match=text):
        NETS[0].picture().svg()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("net.jpg", r"'net.jpg' must end in one of .svg, .png, .pdf, .dot, .gv"),
        ("net", "must end in one of"),
        ("no/such/folder/net.dot", "cannot be written.*No such file"),
        (3, "save: path must be the path of a file, got 3"),
        (None, "must be the path of a file"),
    ],
)
def test_a_file_that_cannot_be_is_refused(path: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        NETS[0].picture().save(path)
