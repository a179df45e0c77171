"""Map: a net on every step of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt

VECTORS = mxt.Sequence("t", mxt.Vector(3))
LENGTHS = (4, 1, 3)


def ragged(seed: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((steps, 3)) for steps in LENGTHS]


def mapped(*layers: Any, dtype: str = "float64") -> mxt.Plan:
    return mxt.compile_plan(
        mxt.NetChain([mxt.Map(mxt.NetChain(layers))], inputs={"Input": VECTORS}), {"Output": 1.0}, dtype=dtype
    )


def test_layers_over_sequences_see_one_item() -> None:
    executor = mxt.instantiate(mapped(mxt.Aggregate("sum")), 3, {"t": 4})
    executor.forward({"Input": ragged()})
    for row, x in enumerate(ragged()):
        np.testing.assert_allclose(executor.outputs["Output"].asnumpy()[row, : len(x)], x.sum(axis=1))


def test_gradients_are_exact_and_padding_changes_nothing() -> None:
    plan = mapped(mxt.Elementwise("exp"), mxt.Elementwise("log"), mxt.Linear(4), mxt.Elementwise("tanh"))
    assert list(plan.parameters) == ["map.linear.Weights", "map.linear.Biases"]
    assert mxt.check_gradients(plan, {"Input": ragged()}).exact
    assert mxt.check_padding(plan, {"Input": ragged()}).exact


def test_several_inputs_and_outputs_have_one_length() -> None:
    pair = mxt.NetGraph(
        {"linear": mxt.Linear(2), "plus": mxt.Threading("plus"), "times": mxt.Threading("times")},
        [("Left", "linear"), (["linear", "Right"], "plus", "Sum"), (["linear", "Right"], "times", "Product")],
    )
    net = mxt.NetGraph(
        {"map": mxt.Map(pair)},
        [("Left", "map.Left"), ("Right", "map.Right"), ("map.Sum", "Sum"), ("map.Product", "Product")],
        inputs={"Left": VECTORS},
    )
    assert net.inputs["Right"] == net.outputs["Sum"] == net.outputs["Product"] == mxt.Sequence("t", mxt.Vector(2))
    plan = mxt.compile_plan(net, {"Sum": 1.0, "Product": 0.0})
    assert mxt.Plan.from_json(plan.to_json()) == plan
    with pytest.raises(mxt.NetError, match='ports "Left" and "Right" need sequences of one length'):
        mxt.NetGraph(
            {"map": mxt.Map(pair)},
            [("Left", "map.Left"), ("Right", "map.Right"), ("map.Sum", "Sum")],
            inputs={"Left": VECTORS, "Right": mxt.Sequence("s", mxt.Vector(2))},
        )


def test_batch_norm_counts_true_steps_of_true_rows_and_moves_its_statistics() -> None:
    plan = mapped(mxt.BatchNorm(momentum=0.5, epsilon=0.1))
    executor = mxt.instantiate(plan, 5, {"t": 7})
    executor.forward({"Input": ragged()})
    steps = np.concatenate(ragged())
    mean, variance = steps.mean(axis=0), steps.var(axis=0)
    for row, x in enumerate(ragged()):
        found = executor.outputs["Output"].asnumpy()[row, : len(x)]
        np.testing.assert_allclose(found, (x - mean) / np.sqrt(variance + 0.1))
    np.testing.assert_allclose(executor.arrays["map.batchnorm.MovingMean"][:], 0.5 * mean)
    np.testing.assert_allclose(executor.arrays["map.batchnorm.MovingVariance"][:], 0.5 + 0.5 * variance)
    assert mxt.check_gradients(plan, {"Input": ragged()}).exact
    assert mxt.check_padding(plan, {"Input": ragged()}).exact


def test_dropout_draws_for_every_step() -> None:
    plan = mapped(mxt.Linear(500), mxt.Dropout(0.5), dtype="float32")
    assert plan.random_nodes == ("map",)
    executor = mxt.instantiate(plan, 1, {"t": 2}, seed=0)
    executor.forward({"Input": np.ones((1, 2, 3))})
    first, second = executor.outputs["Output"].asnumpy()[0] != 0
    assert 0.4 < (first != second).mean() < 0.6


def test_an_array_may_be_shared_with_a_layer_outside() -> None:
    net = mxt.NetChain(
        {"linear": mxt.Linear(3), "map": mxt.Map(mxt.NetChain([mxt.Linear(3)]))},
        inputs={"Input": VECTORS},
        share={"map.linear": "linear"},
    )
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype="float64")
    assert list(plan.parameters) == ["linear.Weights", "linear.Biases"]
    assert mxt.check_gradients(plan, {"Input": ragged()}).exact


@pytest.mark.parametrize(
    ("net", "error"),
    [
        (mxt.Linear(3), r"Map: takes a net, as in Map\(mxt.NetChain\(.*got Linear\(3\)"),
        (mxt.NetChain([mxt.Linear(3), mxt.MeanSquaredLoss()]), 'Map: its net has the loss "meansquaredloss"'),
        (mxt.NetChain([mxt.Linear(3)], inputs={"Input": VECTORS}), r"is Sequence.*give its type as Vector\(3\)"),
        (mxt.NetChain([mxt.LSTM(3)]), 'layer "lstm".*needs a Sequence'),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(net: Any, error: str) -> None:
    with pytest.raises(mxt.Error, match=error):
        mxt.NetChain([mxt.Map(net)], inputs={"Input": VECTORS})
