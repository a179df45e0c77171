"""The arrays of a Fold: their names, start values and sharing; and a Fold as a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fold_cells import ROWS, SIZE, VECTORS, WIDTH, drawn, plan_of, ragged, tanh_cell, tanh_fold

import mxtrainer as mxt

in_both_ways = pytest.mark.usefixtures("both_ways")


def test_arrays_are_named_by_their_path_in_the_net_and_start_as_its_initializers_say() -> None:
    half = mxt.initializers.Constant(0.5)
    cell = mxt.NetGraph({**tanh_cell(2).layers, "tx": mxt.Linear(2, initializers={"Biases": half})}, PATHS)
    plan = plan_of(mxt.Fold(cell, {"Output": "State"}), {"Input": VECTORS})
    assert list(plan.parameters) == ["fold.tx.Weights", "fold.tx.Biases", "fold.th.Weights", "fold.th.Biases"]
    executor = mxt.instantiate(plan, 1, {"t": 1})
    assert executor.arrays["fold.tx.Biases"][:].tolist() == [0.5, 0.5]


PATHS: list[Any] = [("Input", "tx"), ("State", "th"), (["tx", "th"], "plus", "tanh", "Output")]


@in_both_ways
def test_arrays_may_be_shared_within_the_net_and_with_others() -> None:
    inner = mxt.NetGraph(tanh_cell(SIZE).layers, PATHS, share={"th": "tx"})
    net = mxt.NetGraph(
        {"linear": mxt.Linear(SIZE), "fold": mxt.Fold(inner, {"Output": "State"})},
        [("Input", "linear", "fold", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(SIZE))},
        share={"fold.tx.Weights": "linear.Weights"},
    )
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype="float64")
    assert list(plan.parameters) == ["linear.Weights", "linear.Biases", "fold.tx.Biases"]
    assert mxt.check_gradients(plan, {"Input": ragged([3, 1, 2], SIZE)}).exact


def test_two_folds_may_share_all_arrays() -> None:
    net = mxt.NetChain(
        {"one": tanh_fold(WIDTH), "two": tanh_fold(WIDTH)}, inputs={"Input": VECTORS}, share={"two": "one"}
    )
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype="float64")
    assert len(plan.parameters) == 4
    assert mxt.check_gradients(plan, {"Input": drawn(ROWS, 3, WIDTH)}).exact


@in_both_ways
def test_a_step_that_is_not_finite_names_the_fold() -> None:
    net = mxt.NetChain([tanh_fold(2), mxt.MeanSquaredLoss()], inputs={"Input": VECTORS})
    with mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1) as trainer:
        trainer.update({"Input": np.full((1, 3, 2), np.nan), "Target": np.zeros((1, 3, 2))})
        with pytest.raises(mxt.StepError) as caught:
            trainer.current_loss()
    assert caught.value.node == "fold"
