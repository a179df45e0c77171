"""What notebooks show: HTML that says what is printed, escapes names, loads nothing, and never raises or waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from conftest import linear_batch
from fault_cases import FAULTS, good_batch, plan_of
from net_cases import NETS
from plan_cases import chain_plan, full_plan

import mxtrainer as mxt
from mxtrainer.engine.resume import ResumeReport
from mxtrainer.plans.layers.base import Declared, ItemLayer, Ports
from mxtrainer.plans.types import Item
from mxtrainer.tables import Printed


def tree_of(shown: Any) -> ET.Element:
    """Return the HTML of something, which must be well-formed and load nothing."""
    text = shown._repr_html_()
    for what in ("http", "src=", "url(", "<script", "<link", "color"):
        assert what not in text
    return ET.fromstring(text)  # noqa: S314 - written by the code that is tested


def tables_of(shown: Any) -> list[list[list[str]]]:
    rows = [table.iter("tr") for table in tree_of(shown).iter("table")]
    return [[["".join(cell.itertext()) for cell in row] for row in table] for table in rows]


def lines_of(shown: Any) -> list[str]:
    return [element.text or "" for element in tree_of(shown).findall("div")]


def test_a_net_shows_ports_and_layers_with_their_arrays() -> None:
    layers = [mxt.Embedding(4), mxt.LSTM(5), mxt.Linear(11), mxt.CrossEntropyLoss("index")]
    net = mxt.NetChain(layers, inputs={"Input": mxt.Sequence("t", mxt.Index(11))})
    assert tables_of(net) == [
        [
            ["", "port", "type"],
            ["input", "Input", "Sequence('t', Index(11))"],
            ["input", "Target", "Sequence('t', Index(11))"],
            ["output", "Loss", "Scalar()"],
        ],
        [
            ["layer", "kind", "arrays", "outputs", "elements"],
            ["embedding", "Embedding(4)", "Weights (11, 4)", "Sequence('t', Vector(4))", "44"],
            [
                "lstm",
                "LSTM(5)",
                "InputWeights (20, 4), StateWeights (20, 5), InputBiases (20,), StateBiases (20,)",
                "Output Sequence('t', Vector(5)), State Vector(5), CellState Vector(5)",
                str(20 * 4 + 20 * 5 + 20 + 20),
            ],
            ["linear", "Linear(11)", "Weights (11, 5), Biases (11,)", "Sequence('t', Vector(11))", str(11 * 6)],
            ["crossentropyloss", "CrossEntropyLoss('index')", "", "Scalar()", "0"],
        ],
    ]
    assert lines_of(net) == [repr(net), f"{44 + 220 + 66} elements to train"]


def test_arrays_that_are_shared_or_not_trained_do_not_count() -> None:
    net = mxt.NetChain(
        {"first": mxt.Linear(3), "norm": mxt.BatchNorm(), "second": mxt.Linear(3)},
        inputs={"Input": mxt.Vector(3)},
        share={"second.Weights": "first.Weights"},
    )
    rows = {row[0]: row for row in tables_of(net)[1]}
    assert rows["second"][2] == "Weights (3, 3) of first.Weights, Biases (3,)"
    assert [rows[name][4] for name in ("first", "norm", "second")] == ["12", "6", "3"]
    assert lines_of(net)[1:] == ["second.Weights uses first.Weights", "21 elements to train"]
    parameters = mxt.compile_plan(net, {"Output": 0.0}).parameters
    assert sum(spec.size for spec in parameters.values()) == 21


def test_a_net_of_unknown_types_shows_what_is_known() -> None:
    net = mxt.NetGraph(
        {"known": mxt.Linear(3), "unknown": mxt.Linear()},
        [("Input", "known", "Known"), ("Other", "unknown", "Unknown")],
        inputs={"Input": mxt.Vector(2)},
    )
    ports, layers = tables_of(net)
    assert ports[2:] == [
        ["input", "Other", "not determined"],
        ["output", "Known", "Vector(3)"],
        ["output", "Unknown", "not determined"],
    ]
    assert layers[1:] == [
        ["known", "Linear(3)", "Weights (3, 2), Biases (3,)", "Vector(3)", "9"],
        ["unknown", "Linear()", "not determined", "not determined", "?"],
    ]
    assert lines_of(net)[-1] == "9 elements to train, and those of layers that are not determined"


@dataclass(frozen=True, repr=False)
class Broken(ItemLayer):
    """A layer that fails when it is asked for its arrays."""

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        return source or target, source or target

    def declare(self, ports: Ports) -> dict[str, Declared]:
        raise ZeroDivisionError


def test_a_layer_that_fails_hides_nothing_of_the_rest() -> None:
    net = mxt.NetChain([mxt.Linear(3), Broken()], inputs={"Input": mxt.Vector(2)})
    assert tables_of(net)[1][2] == ["broken", "Broken()", "not determined", "Vector(3)", "?"]
    assert "Broken()" in net.picture().dot


def test_names_are_escaped() -> None:
    name = "<script>alert('&')</script>"
    net = mxt.NetGraph({name: mxt.Linear(2)}, [("Input", name, "<b>")], {"Input": mxt.Sequence("<i>", mxt.Vector(2))})
    assert tables_of(net)[1][1][0] == name
    assert tables_of(mxt.compile_plan(net, {"<b>": 0.0}))[0][2][1] == "<b>"


@pytest.mark.parametrize("net", NETS)
def test_every_net_shows_all_its_layers(net: mxt.NetGraph) -> None:
    assert [row[0] for row in tables_of(net)[1][1:]] == list(net.graph.nodes)


def printed() -> Iterator[Printed]:
    """Everything that prints as lines and tables."""
    plan = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss())
    batch = {"Input": np.zeros((2, 3)), "Target": np.zeros((2, 2))}
    yield plan
    yield full_plan()
    yield mxt.check_gradients(plan, batch)
    yield plan.memory(4, optimizer=mxt.Adam())
    yield plan.explain(4, optimizer=mxt.Adam())
    yield mxt.buckets.fit([3, 3, 4, 9, 10], max_buckets=2, batch_size=3)
    yield ResumeReport(3, 2, ("parameters/<linear>",))
    with mxt.Trainer(plan, mxt.SGD(0.1), batch_size=4) as trainer:
        yield trainer.stats()
        trainer.update(batch)
        yield trainer.buckets.report()
        yield trainer.explain()
        yield trainer.explain(batch)
        yield trainer.rules


def test_a_notebook_shows_the_words_that_are_printed() -> None:
    for shown in printed():
        words = " ".join(" ".join(tree_of(shown).itertext()).split())
        assert words == " ".join(str(shown).split()), type(shown)


def test_a_trainer_shows_its_arguments_and_step_and_does_not_wait(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4)
    assert ["so far", "no steps yet"] in tables_of(trainer)[0]
    trainer.update(linear_batch())
    rows = dict(tables_of(trainer)[0])  # the gate is closed: a wait would not end
    assert rows["plan"] == repr(gated_plan)
    assert (rows["optimizer"], rows["batch size"], rows["step"]) == ("SGD(0.1)", "4", "1")
    assert rows["so far"].startswith("1 steps, 4 examples")
    gate.set()
    trainer.close()
    assert dict(tables_of(trainer)[0])["step"] == "1"


def test_a_trainer_whose_step_failed_shows_too() -> None:
    trainer = mxt.Trainer(plan_of("cholesky"), mxt.SGD(0.1), batch_size=4)
    trainer.update(FAULTS[0].spoil(good_batch()))
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    assert dict(tables_of(trainer)[0])["batch size"] == "4"
