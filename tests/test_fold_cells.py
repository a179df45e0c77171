"""What the cell of a Fold may be made of: constants, attention, layers with steps of their own, dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fold_cells import ROWS, SIZE, VECTORS, WIDTH, drawn, passed, plan_of, ragged, tanh_fold

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

in_both_ways = pytest.mark.usefixtures("both_ways")


def attention_cell() -> mxt.NetGraph:
    """A cell with an index, a memory to attend to, a vector that stays, and an output that it does not feed back."""
    return mxt.NetGraph(
        {
            "embedding": mxt.Embedding(3),
            "key": mxt.Linear(SIZE, biases=False),  # softmax would cancel biases
            "query": mxt.Linear(SIZE),
            "attention": mxt.Attention(),
            "join": mxt.Catenate(),
            "linear": mxt.Linear(SIZE),
            "bias": mxt.Linear(SIZE),
            "plus": mxt.Threading("plus"),
            "tanh": mxt.Elementwise("tanh"),
            "last": mxt.Linear(2),
        },
        [
            ("Input", "embedding"),
            ("Memory", "key", "attention.Key"),
            ("Memory", "attention.Value"),
            ("State", "query", "attention"),
            (["embedding", "attention"], "join", "linear"),
            ("Context", "bias", "Bias"),
            (["linear", "bias"], "plus", "tanh", "Hidden"),
            ("tanh", "last", "Output"),
        ],
    )


def attending() -> tuple[mxt.Plan, dict[str, Any]]:
    types = {
        "Input": mxt.Sequence("t", mxt.Index(5)),
        "Memory": mxt.Sequence("s", mxt.Vector(3)),
        "Context": mxt.Vector(2),
        "State": mxt.Vector(SIZE),
    }
    generator = np.random.default_rng(0)
    batch = {
        "Input": [generator.integers(0, 5, steps) for steps in (4, 2, 3)],
        "Memory": ragged([2, 5, 1], 3),
        "Context": drawn(ROWS, 2),
        "State": drawn(ROWS, SIZE),
    }
    return plan_of(mxt.Fold(attention_cell(), {"Hidden": "State"}, ("Context", "Memory")), types), batch


@in_both_ways
def test_constants_are_the_same_at_every_step() -> None:
    plan, batch = attending()
    assert mxt.check_gradients(plan, batch).exact
    assert mxt.check_padding(plan, batch).exact
    executor = mxt.instantiate(plan, ROWS, {"t": 4, "s": 5})
    executor.forward(batch)
    constant = executor.outputs["Bias"].asnumpy()
    assert np.array_equal(constant[0], np.broadcast_to(constant[0, 0], constant[0].shape))
    assert mxt.Plan.from_json(plan.to_json()) == plan


def test_what_depends_on_no_state_runs_once_on_all_steps() -> None:
    plan, _ = attending()
    text = plan.lowered({"t": 7, "s": 3})
    looped = ("query", "linear")
    assert text.count("Op:FullyConnected") == 7 * len(looped) + len(("key", "bias", "last"))
    assert text.count("Op:Embedding") == 1


@pytest.mark.slow
@in_both_ways
@pytest.mark.parametrize("layer", [mxt.LSTM(SIZE), mxt.GRU(SIZE), mxt.BasicRecurrent(SIZE, "relu")], ids=repr)
def test_a_recurrent_layer_may_run_over_a_constant_at_every_step(layer: Layer) -> None:
    cell = mxt.NetGraph(
        {"rnn": layer, "last": mxt.SequenceLast(), "join": mxt.Catenate(), "linear": mxt.Linear(SIZE)},
        [
            ("Memory", "rnn"),
            ("State", "rnn.State"),
            ("rnn", "last"),
            (["last", "Input"], "join", "linear", "Output"),
        ],
    )
    fold = mxt.Fold(cell, {"Output": "State"}, ("Memory",))
    plan = plan_of(fold, {"Input": VECTORS, "Memory": mxt.Sequence("s", mxt.Vector(3))})
    batch = {"Input": ragged([4, 2, 3], WIDTH), "Memory": ragged([2, 4, 1], 3)}
    assert mxt.check_gradients(plan, batch).exact
    assert mxt.check_padding(plan, batch).exact
    small, large = (mxt.instantiate(plan, ROWS, {"t": steps, "s": 4}).memory().bytes_operators for steps in (4, 8))
    assert 0 < small < large


@in_both_ways
def test_a_fold_may_stand_in_a_fold() -> None:
    cell = mxt.NetGraph(
        {
            "inner": tanh_fold(SIZE),
            "log": mxt.Elementwise("log"),
            "exp": mxt.Elementwise("exp"),
            "plus": mxt.Threading("plus"),
        },
        [
            ("Memory", "inner"),
            ("State", "inner.State"),
            ("Input", "log", "exp"),
            (["inner.State", "exp"], "plus", "Output"),
        ],
        inputs={"Memory": mxt.Sequence("s", mxt.Vector(3))},
    )
    fold = mxt.Fold(cell, {"Output": "State"}, ("Memory",))
    types = {"Input": mxt.Sequence("t", mxt.Vector(SIZE)), "Memory": mxt.Sequence("s", mxt.Vector(3))}
    plan = plan_of(fold, types)
    batch = {"Input": [1.0 + x**2 for x in ragged([4, 2, 3], SIZE)], "Memory": ragged([2, 4, 1], 3)}
    assert mxt.check_gradients(plan, batch).exact
    assert mxt.check_padding(plan, batch).exact


@in_both_ways
def test_scalars_and_arrays_may_be_states() -> None:
    for layer, item in ((mxt.Linear(()), mxt.Scalar()), (mxt.Convolution(2, 3, padding=1), mxt.Array((2, 3, 3)))):
        cell = mxt.NetGraph(
            {"plus": mxt.Threading("plus"), "layer": layer, "tanh": mxt.Elementwise("tanh")},
            [(["Input", "State"], "plus", "layer", "tanh", "Output")],
        )
        plan = plan_of(mxt.Fold(cell, {"Output": "State"}), {"Input": mxt.Sequence("t", item)})
        batch = {"Input": ragged([3, 1, 2], *item.shape)}
        assert mxt.check_gradients(plan, batch).exact
        assert mxt.check_padding(plan, batch).exact


@in_both_ways
def test_a_gradient_may_pass_unchanged_to_an_input_a_state_and_a_constant() -> None:
    names = ("tanh", "log", "sigmoid")
    layers = {
        **{name: mxt.Elementwise(name) for name in names},
        "sum": mxt.Threading("plus"),
        "all": mxt.Threading("plus"),
    }
    cells = (
        [
            (["Input", "State"], "sum", "Output"),
            ("State", "sigmoid", "log", "tanh", "Next"),
            (["sum", "Context"], "all", "All"),
        ],
        [(["Input", "State"], "sum"), (["Context", "sum"], "all", "sigmoid", "log", "tanh", "Next"), ("all", "All")],
    )
    for paths in cells:  # sums alone, to which the loop that is one operator once gave other gradients
        fold = mxt.Fold(mxt.NetGraph(layers, paths), {"Next": "State"}, ("Context",))
        plan = plan_of(fold, {"Input": VECTORS, "Context": mxt.Vector(WIDTH), "State": mxt.Vector(WIDTH)})
        batch = {"Context": drawn(ROWS, WIDTH), "State": drawn(WIDTH, ROWS).T}
        for lengths in ([3, 1, 2], [3, 3, 3]):
            assert mxt.check_gradients(plan, {"Input": ragged(lengths, WIDTH), **batch}).exact


@in_both_ways
def test_padding_reaches_no_singularity_in_a_cell() -> None:
    cell = mxt.NetGraph(
        {
            "plus": mxt.Threading("plus"),
            "log": mxt.Elementwise("log"),
            "linear": mxt.Linear(WIDTH),
            "exp": mxt.Elementwise("exp"),
            "root": mxt.Elementwise("sqrt"),
        },
        [(["Input", "State"], "plus", "log", "linear", "exp", "Output"), ("Input", "root", "Root")],
    )
    plan = plan_of(mxt.Fold(cell, {"Output": "State"}), {"Input": VECTORS}, "float32")
    found = passed(plan, {"Input": [1.0 + x**2 for x in ragged([3, 1, 2], WIDTH)]}, {}, steps=40)
    assert all(np.isfinite(value).all() for value in found.values())


@in_both_ways
def test_dropout_is_drawn_anew_at_every_step_and_by_seed_and_pass_alone() -> None:
    cell = mxt.NetGraph(
        {"plus": mxt.Threading("plus"), "dropout": mxt.Dropout(0.5)},
        [(["Input", "State"], "plus", "dropout", "Output")],
    )
    fold = mxt.Fold(cell, {"Output": "State"})
    plan = plan_of(fold, {"Input": mxt.Sequence("t", mxt.Vector(500))}, "float32")
    assert plan.random_nodes == ("fold",)
    assert tanh_fold(2).random is False
    x = {"Input": np.ones((2, 4, 500))}
    runs = []
    for seed in (1, 1, 2):
        executor = mxt.instantiate(plan, 2, {"t": 4}, seed=seed, input_gradients=["Input"])
        executor.forward(x)
        runs.append(executor.outputs["Output"].asnumpy())
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    masks = runs[0] != 0
    assert all(0.4 < (masks[:, step] != masks[:, step + 1]).mean() < 0.6 for step in range(3))
    executor.backward({"Output": np.ones((2, 4, 500)), "LastState": np.zeros((2, 500))})
    kept = executor.gradients["Input"][:] != 0
    assert np.array_equal(kept, runs[2] != 0)  # one mask for values and gradients
    executor.forward(x, training=False)
    np.testing.assert_allclose(executor.outputs["Output"][:][0, :, 0], [1, 2, 3, 4])
    assert mxt.check_padding(plan, {"Input": ragged([2, 3], 500)}).exact  # without dropout
