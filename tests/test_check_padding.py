"""check_padding: exact for this package's layers, and it finds a layer that says wrongly that it masks padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.layers.base import Layer, Node, Ports, Symbol
from mxtrainer.values import register

LENGTHS = [4, 9, 1, 6]


@register
@dataclass(frozen=True, repr=False)
class Cumulated(Layer):
    """A user's layer that sums each step and all that follow, and says wrongly that it masks padding."""

    masks_padding: ClassVar[bool] = True

    def deduce(self, ports: Ports) -> None:
        if ports.inputs["Input"] is not None:
            ports.set_output("Output", ports.inputs["Input"])

    def lower(self, node: Node) -> dict[str, Any]:
        return {"Output": sum_from_the_end(node.inputs["Input"])}


@register
@dataclass(frozen=True, repr=False)
class CumulatedOverTrueSteps(Cumulated):
    """The same, which masks padding indeed."""

    def lower(self, node: Node) -> dict[str, Any]:
        return {"Output": sum_from_the_end(node.hide(node.inputs["Input"], node.ports.input()))}


def sum_from_the_end(symbol: Symbol) -> Symbol:
    return mx.sym.reverse(mx.sym.cumsum(mx.sym.reverse(symbol, axis=1), axis=1), axis=1)


def rows_of(lengths: list[int], *item: int, seed: int = 5) -> list[NDArray[Any]]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, *item)) for length in lengths]


def mixed_plan(dtype: str = "float32") -> mxt.Plan:
    """Two lengths, and a layer of each kind: step by step, over a window, both ways, across lengths, at random."""
    net = mxt.NetGraph(
        {
            "embedding": mxt.Embedding(4),
            "convolution": mxt.Convolution(6, 3, padding=1),
            "lstm": mxt.Bidirectional(mxt.LSTM(3)),
            "attention": mxt.Attention(),
            "dropout": mxt.Dropout(0.5),
            "linear": mxt.Linear(5),
            "loss": mxt.CrossEntropyLoss("index"),
        },
        [
            ("Input", "embedding", "convolution", "lstm"),
            ("lstm", "attention.Key"),
            ("lstm", "attention.Value"),
            ("Query", "attention.Query"),
            ("attention", "dropout", "linear", "loss", "Loss"),
            ("lstm", "Output"),
        ],
        inputs={"Input": mxt.Sequence("t", mxt.Index(7)), "Query": mxt.Sequence("s", mxt.Vector(6))},
    )
    return mxt.compile_plan(net, losses={"Output": 0.5}, dtype=dtype)


def mixed_batch() -> dict[str, Any]:
    generator = np.random.default_rng(2)
    queries = [2, 5, 3, 1]
    return {
        "Input": [generator.integers(0, 7, length) for length in LENGTHS],
        "Query": rows_of(queries, 6),
        "Target": [generator.integers(0, 5, length) for length in queries],
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mixed_net_is_exact(dtype: str) -> None:
    report = mxt.check_padding(mixed_plan(dtype), mixed_batch())
    assert report.exact, str(report)
    assert all(row["agrees"] for row in report.rows)
    names = [row["array"] for row in report.rows]
    assert names[:2] == ["Loss", "Output"]
    assert {"gradient Query", "gradient convolution.Weights", "gradient linear.Biases"} < set(names)
    assert "gradient Input" not in names  # indices have none
    assert all(row["bit-equal"] for row in report.rows[:2])
    assert str(report).splitlines()[0] == "padding against none"
    assert str(report).endswith("everything agrees")


def test_batch_statistics_are_compared_where_an_example_has_them_not() -> None:
    net = mxt.NetChain(
        [mxt.Linear(4), mxt.BatchNorm(), mxt.GRU(3), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )
    batch = {"Input": rows_of(LENGTHS, 2), "Target": rows_of(LENGTHS, 3)}
    report = mxt.check_padding(mxt.compile_plan(net), batch)
    assert report.exact, str(report)
    alone = {row["array"]: row["alone"] for row in report.rows}
    assert alone["Loss"] != "-"
    assert alone["gradient linear.Weights"] == "-"


@pytest.mark.parametrize(("layer", "exact"), [(Cumulated(), False), (CumulatedOverTrueSteps(), True)], ids=repr)
def test_a_layer_that_says_wrongly_that_it_masks_padding_is_found(layer: Layer, exact: bool) -> None:
    net = mxt.NetChain(
        {"linear": mxt.Linear(3), "own": layer, "loss": mxt.MeanSquaredLoss()},
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )
    plan = mxt.compile_plan(net)
    arrays = {"linear.Biases": np.ones(3)}
    report = mxt.check_padding(plan, {"Input": rows_of(LENGTHS, 2), "Target": rows_of(LENGTHS, 3)}, arrays)
    assert report.exact is exact, str(report)
    assert str(report).endswith("everything agrees" if exact else "something DIFFERS")
    wrong = {row["array"] for row in report.rows if not row["agrees"]}
    assert wrong == (set() if exact else {row["array"] for row in report.rows})


def test_padded_arrays_with_lengths_are_checked_as_lists_are() -> None:
    net = mxt.NetChain([mxt.GRU(3), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(2))})
    plan = mxt.compile_plan(net)
    lists = {"Input": rows_of(LENGTHS, 2), "Target": rows_of(LENGTHS, 3)}
    padded = {port: np.full((4, 12, rows[0].shape[1]), np.nan) for port, rows in lists.items()}
    for port, rows in lists.items():
        for place, row in enumerate(rows):
            padded[port][place, : len(row)] = row
    expected = mxt.check_padding(plan, lists)
    assert expected.exact
    for report in (
        mxt.check_padding(plan, padded, lengths={"t": LENGTHS}),
        mxt.check_padding(plan, mxt.Batch(padded, {"t": LENGTHS})),
        mxt.check_padding(plan, {p: mx.nd.array(array) for p, array in padded.items()}, lengths={"t": LENGTHS}),
    ):
        assert report.rows == expected.rows


def test_differences_within_the_tolerance_count_as_none() -> None:
    net = mxt.NetChain([mxt.GRU(3), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(2))})
    batch = {"Input": rows_of(LENGTHS, 2), "Target": rows_of(LENGTHS, 3)}
    assert not mxt.check_padding(mxt.compile_plan(net), batch, tolerance=0.0).exact
    assert mxt.check_padding(mxt.compile_plan(net), batch, tolerance=1e-4).exact


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"plan": "net"}, "check_padding takes a plan"),
        ({"batch": {}}, 'port "Input".*is missing'),
        ({"lengths": {"s": [1]}}, 'there is no length "s"'),
        ({"tolerance": "small"}, "tolerance must be a finite number"),
        ({"tolerance": float("nan")}, "tolerance must be a finite number"),
    ],
)
def test_its_arguments_are_checked(text_plan: mxt.Plan, arguments: dict[str, Any], text: str) -> None:
    batch = {"Input": [[1, 2], [3]], "Target": [[1, 2], [3]]}
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.check_padding(**{"plan": text_plan, "batch": batch, **arguments})
