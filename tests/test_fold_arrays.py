"""The arrays of a Fold: their names, start values and sharing; and a Fold as a value."""

from __future__ import annotations

import pickle
from typing import Any

import extra_layers
import numpy as np
import pytest
from fold_cells import ROWS, SIZE, VECTORS, WIDTH, drawn, lstm_fold, plan_of, ragged, tanh_cell, tanh_fold

import mxtrainer as mxt

VECTORS_OF_SIZE = mxt.Sequence("t", mxt.Vector(SIZE))
PATHS: list[Any] = [("Input", "tx"), ("State", "th"), (["tx", "th"], "plus", "tanh", "Output")]
in_both_ways = pytest.mark.usefixtures("both_ways")


def test_arrays_are_named_by_their_path_in_the_net_and_start_as_its_initializers_say() -> None:
    half = mxt.initializers.Constant(0.5)
    cell = mxt.NetGraph({**tanh_cell(2).layers, "tx": mxt.Linear(2, initializers={"Biases": half})}, PATHS)
    plan = plan_of(mxt.Fold(cell, {"Output": "State"}), {"Input": VECTORS})
    assert list(plan.parameters) == ["fold.tx.Weights", "fold.tx.Biases", "fold.th.Weights", "fold.th.Biases"]
    executor = mxt.instantiate(plan, 1, {"t": 1})
    assert executor.arrays["fold.tx.Biases"][:].tolist() == [0.5, 0.5]


@in_both_ways
def test_arrays_may_be_shared_within_the_net_and_with_others() -> None:
    inner = mxt.NetGraph(tanh_cell(SIZE).layers, PATHS, share={"th": "tx"})
    net = mxt.NetGraph(
        {"linear": mxt.Linear(SIZE), "fold": mxt.Fold(inner, {"Output": "State"})},
        [("Input", "linear", "fold", "Output")],
        inputs={"Input": VECTORS_OF_SIZE},
        share={"fold.tx.Weights": "linear.Weights"},
    )
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype="float64")
    assert list(plan.parameters) == ["linear.Weights", "linear.Biases", "fold.tx.Biases"]
    assert mxt.check_gradients(plan, {"Input": ragged([3, 1, 2], SIZE)}).exact


def test_a_cell_may_have_nets_in_it() -> None:
    pair = mxt.NetChain({"one": mxt.Linear(SIZE), "two": mxt.Linear(SIZE)}, share={"two.Biases": "one.Biases"})
    cell = mxt.NetGraph(
        {"pair": pair, "plus": mxt.Threading("plus"), "same": pair},
        [("Input", "pair"), (["pair", "State"], "plus", "same", "Output")],
        share={"same": "pair"},
    )
    plan = plan_of(mxt.Fold(cell, {"Output": "State"}), {"Input": VECTORS_OF_SIZE})
    assert list(plan.parameters) == ["fold.pair.one.Weights", "fold.pair.one.Biases", "fold.pair.two.Weights"]
    assert mxt.check_gradients(plan, {"Input": ragged([3, 1, 2], SIZE)}).exact


def test_two_folds_may_share_all_arrays() -> None:
    net = mxt.NetChain(
        {"one": tanh_fold(WIDTH), "two": tanh_fold(WIDTH)}, inputs={"Input": VECTORS}, share={"two": "one"}
    )
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype="float64")
    assert len(plan.parameters) == 4
    assert mxt.check_gradients(plan, {"Input": drawn(ROWS, 3, WIDTH)}).exact


# Being a value


def test_a_fold_is_a_value() -> None:
    fold, same = tanh_fold(3), mxt.Fold(tanh_cell(3), {"Output": "State"}, [])  # type: ignore[arg-type]  # a list does
    assert fold == same
    assert hash(fold) == hash(same)
    assert fold != tanh_fold(4)
    assert pickle.loads(pickle.dumps(fold)) == fold  # noqa: S301 - its own
    assert repr(fold) == "Fold(NetGraph(Input, State -> Output, 4 layers), {'Output': 'State'})"
    lstm = lstm_fold(3)
    assert lstm == mxt.Fold(lstm.net, dict(reversed(list(lstm.feedback.items()))))


def test_nets_with_folds_go_through_files_and_print() -> None:
    net = mxt.NetChain([lstm_fold(3), mxt.Map(mxt.NetChain([mxt.Linear(2)]))], inputs={"Input": VECTORS})
    assert mxt.NetGraph.from_json(net.to_json()) == net
    plan = mxt.compile_plan(net, {"Output": 1.0})
    assert mxt.Plan.from_json(plan.to_json()) == plan
    assert "Fold(" in str(net)
    assert "fold.ix.Weights" in str(plan)
    assert '"layer:fold"' in plan.graph()


def test_a_file_with_a_fold_that_cannot_be_is_refused() -> None:
    text = mxt.NetChain([tanh_fold(3)], inputs={"Input": VECTORS}).to_json()
    with pytest.raises(mxt.FileFormatError, match=r'a "Fold" cannot be read.*no input "Start"'):
        mxt.NetGraph.from_json(text.replace('"feedback":{"Output":"State"}', '"feedback":{"Output":"Start"}'))


def test_values_of_arrays_are_left_behind() -> None:
    cell = tanh_cell(2).with_arrays({"tx.Weights": np.ones((2, 2))})
    assert mxt.Fold(cell, {"Output": "State"}) == tanh_fold(2)


def test_a_part_of_a_net_keeps_what_followed_from_the_rest() -> None:
    cell = mxt.NetGraph(
        {"x": mxt.Linear(), "h": mxt.Linear(), "plus": mxt.Threading("plus")},
        [("Input", "x"), ("State", "h"), (["x", "h"], "plus", "Output")],
    )
    net = mxt.NetChain(
        {"fold": mxt.Fold(cell, {"Output": "State"}), "loss": mxt.MeanSquaredLoss()},
        inputs={"Input": VECTORS, "Target": mxt.Sequence("t", mxt.Vector(5))},
    )
    plan = mxt.compile_plan(net.take({"Output": "fold"}), {"Output": 1.0})
    assert plan.parameters["fold.h.Weights"].shape == (5, 5)


@in_both_ways
def test_a_step_that_is_not_finite_names_the_fold() -> None:
    net = mxt.NetChain([tanh_fold(2), mxt.MeanSquaredLoss()], inputs={"Input": VECTORS})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    trainer.update({"Input": np.full((1, 3, 2), np.nan), "Target": np.zeros((1, 3, 2))})
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    assert caught.value.node == "fold"


@in_both_ways
def test_a_step_that_fails_names_the_fold_and_training_goes_on() -> None:
    cell = mxt.NetGraph(
        {"plus": mxt.Threading("plus"), "root": extra_layers.Cholesky(), "linear": mxt.Linear((2, 2))},
        [(["Input", "State"], "plus", "root", "linear", "Output")],
    )
    net = mxt.NetChain(
        [mxt.Fold(cell, {"Output": "State"}), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Sequence("t", mxt.Array((2, 2)))},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.0), batch_size=1)
    x, target = np.broadcast_to(100.0 * np.eye(2), (1, 3, 2, 2)), np.zeros((1, 3, 2, 2))
    trainer.update({"Input": x, "Target": target})
    before = trainer.current_loss()
    trainer.update({"Input": -x, "Target": target})
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    assert caught.value.node == "fold"
    trainer.recover()
    trainer.update({"Input": x, "Target": target})
    assert trainer.current_loss() == before
