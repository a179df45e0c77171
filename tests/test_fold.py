"""Fold: a net over a sequence, unrolled and as one operator, against layers that are the same and against itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fold_cells import (
    ROWS,
    SIZE,
    STEPS,
    VECTORS,
    WIDTH,
    arrays_of_gates,
    arrays_of_layer,
    drawn,
    lstm_fold,
    passed,
    plan_of,
    ragged,
    tanh_fold,
)
from layer_cases import LAYERS, Case, Extents, example, forward_errors, gradient_errors
from numpy.typing import NDArray
from ragged_cases import Ragged

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.layers import scan

Values = dict[str, NDArray[Any]]
FOLDS = [case for case in LAYERS if case.oracle == "Fold"]
in_both_ways = pytest.mark.usefixtures("both_ways")
BOUNDS = {"float32": 1e-5, "float64": 1e-12}


# The same as a layer that is known


@in_both_ways
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("lengths", [[6, 6, 6], [6, 1, 3], [2, 4, 5]], ids=str)
def test_an_lstm_of_primitives_is_the_lstm(lengths: list[int], dtype: str) -> None:
    types = {"Input": VECTORS, "State": mxt.Vector(SIZE), "CellState": mxt.Vector(SIZE)}
    batch = {"Input": ragged(lengths, WIDTH), "State": drawn(ROWS, SIZE), "CellState": drawn(ROWS, SIZE)}
    rows = 4 * SIZE
    arrays = {
        "InputWeights": drawn(rows, WIDTH),
        "StateWeights": drawn(rows, SIZE),
        "InputBiases": drawn(rows),
        "StateBiases": drawn(rows),
    }
    parts = {f"fold.{name}": x for name, x in arrays_of_gates(arrays, "ifgo").items()}
    found = passed(plan_of(lstm_fold(SIZE), types, dtype), batch, parts)
    layer: Any = mxt.LSTM(SIZE)
    expected = passed(plan_of(layer, types, dtype), batch, {f"fold.{name}": x for name, x in arrays.items()})
    head = "gradient fold."
    inside = {name[len(head) :]: x for name, x in found.items() if name.startswith(head)}
    found.update({head + name: x for name, x in arrays_of_layer(inside, "ifgo").items()})
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= BOUNDS[dtype] * max(1.0, np.abs(value).max()), name


@in_both_ways
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("case", FOLDS, ids=str)
def test_both_ways_are_the_oracles(case: Case, dtype: str) -> None:
    row = example(case, Extents(4, 3, 5, {"a": 3, "b": 2, "h": 4, "w": 4}, 1), dtype)
    executor, result = row.executor(), row.oracle()
    for training in (True, False):
        executor.forward(row.inputs, training=training)
        assert max(forward_errors(row, executor, result).values()) <= BOUNDS[dtype]
    executor.forward(row.inputs)
    row.backward(executor)
    assert max(gradient_errors(row, executor, result).values()) <= BOUNDS[dtype]


@in_both_ways
@pytest.mark.parametrize("case", FOLDS, ids=str)
def test_padding_changes_nothing_either_way(case: Case) -> None:
    row = Ragged(case, [3, 1, 7], 5)
    expected, small, large = row.oracle(), row.run(8), row.run(13)
    for name, value in expected.items():
        assert np.abs(small[name] - value).max() <= 1e-5 * max(1.0, np.abs(value).max()), name
        assert np.abs(large[name] - small[name]).max() <= 1e-6 * max(1.0, np.abs(value).max()), name


@in_both_ways
def test_both_ways_leave_the_arrays_bit_equal() -> None:
    plan = plan_of(tanh_fold(64), {"Input": mxt.Sequence("t", mxt.Vector(48))}, "float32")
    executor = mxt.instantiate(plan, ROWS, {"t": 5})
    before = {name: handle.asnumpy() for name, handle in executor.arrays.items()}
    for training in (True, False, True, False):
        executor.forward({"Input": drawn(ROWS, 5, 48)}, training=training)
        if training:
            executor.backward()
        executor.outputs["Output"].asnumpy()
        assert all(before[name].tobytes() == handle.asnumpy().tobytes() for name, handle in executor.arrays.items())


def test_the_loop_is_one_operator_where_it_is_long_and_unrolled_where_it_is_short() -> None:
    plan = plan_of(tanh_fold(3), {"Input": VECTORS})
    shortest_looped = scan.LARGEST_UNROLLED // 3 + 1  # of three layers: what reads the input alone is before the loop
    texts = [plan.lowered({"t": steps}) for steps in (shortest_looped - 1, shortest_looped)]
    assert ["_foreach" in text for text in texts] == [False, True]
    assert all(text.count("SliceChannel") == 0 or text.count("FullyConnected") > 100 for text in texts)


# States


def test_states_are_those_of_a_layer() -> None:
    fold = lstm_fold(SIZE)
    assert (fold.input_ports(), fold.output_ports()) == (mxt.LSTM(1).input_ports(), mxt.LSTM(1).output_ports())
    net = mxt.NetChain([fold, mxt.Linear(1)], inputs={"Input": VECTORS}).with_states()
    plan = mxt.compile_plan(net, {"Output": 1.0})
    assert dict(plan.states) == {"fold.State": "fold.State", "fold.CellState": "fold.CellState"}


@in_both_ways
def test_parts_in_a_row_with_carried_states_are_the_whole() -> None:
    net = mxt.NetChain([lstm_fold(SIZE)], inputs={"Input": VECTORS}).with_states()
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype="float64")
    trainer = mxt.Trainer(plan, mxt.SGD(0.0), batch_size=ROWS)
    x = drawn(ROWS, STEPS, WIDTH)
    whole = trainer.evaluate({"Input": x}).outputs
    first = trainer.evaluate({"Input": x[:, :4]}).outputs
    states = {port: first[port] for port in plan.states}
    second = trainer.evaluate({"Input": x[:, 4:], **states}).outputs
    np.testing.assert_allclose(np.concatenate([first["Output"], second["Output"]], axis=1), whole["Output"], atol=1e-12)
    for port in plan.states.values():
        np.testing.assert_allclose(second[port], whole[port], atol=1e-12)


@in_both_ways
def test_a_loop_can_be_lowered_in_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def lower_in_parts(fold: mxt.Fold, node: Any) -> dict[str, Any]:
        loop = scan.Scan(fold, node)
        first, states = loop.run(loop.start(), 0, 2)
        second, states = loop.run(states, 2, loop.steps)
        emitted = [mx.sym.concat(*parts, dim=1) for parts in zip(first, second)]
        return {**loop.outputs(emitted), **dict(zip(fold.states, states))}

    plan = plan_of(lstm_fold(SIZE), {"Input": VECTORS})
    batch = {"Input": ragged([6, 1, 3], WIDTH)}
    whole = passed(plan, batch, {})
    monkeypatch.setattr(mxt.Fold, "lower", lower_in_parts)
    for name, value in passed(plan, batch, {}).items():
        np.testing.assert_allclose(value, whole[name], atol=1e-12, err_msg=name)


@in_both_ways
def test_a_state_that_no_layer_reads_in_the_loop_is_a_delay() -> None:
    cell = mxt.NetGraph(
        {"now": mxt.Linear(WIDTH), "before": mxt.Linear(WIDTH)},
        [("Input", "now", "Now"), ("State", "before", "Before")],
    )
    plan = plan_of(mxt.Fold(cell, {"Now": "State"}), {"Input": VECTORS})
    one = {f"fold.{name}.Weights": np.eye(WIDTH) for name in ("now", "before")}
    x = drawn(ROWS, STEPS, WIDTH)
    found = passed(plan, {"Input": x}, one)
    np.testing.assert_allclose(found["Before"][:, 1:], x[:, :-1])
    assert not found["Before"][:, 0].any()
    np.testing.assert_allclose(found["LastState"], x[:, -1])
    assert mxt.check_gradients(plan, {"Input": x}).exact


def test_both_ways_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    net = mxt.NetChain(
        [mxt.Embedding(4), lstm_fold(SIZE), mxt.Linear(5), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(5))},
    )
    plan = mxt.compile_plan(net.with_states(), dtype="float64")
    losses = []
    for largest in (0, 10**9):
        monkeypatch.setattr(scan, "LARGEST_UNROLLED", largest)
        generator = np.random.default_rng(0)
        trainer = mxt.Trainer(plan, mxt.Adam(0.05), batch_size=ROWS, buckets=mxt.buckets.Fixed([4, 8]), seed=1)
        for _ in range(30):
            words = [(np.arange(steps + 1) + row) % 5 for row, steps in enumerate(generator.integers(1, 9, ROWS))]
            trainer.update({"Input": [word[:-1] for word in words], "Target": [word[1:] for word in words]})
        losses.append(trainer.current_loss()["Loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0] < 0.5
