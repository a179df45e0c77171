"""What the losses of a step are: means, sums, weights, and what is read like a loss."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_same, linear_batch, values_of

import mxtrainer as mxt
from mxtrainer._mxnet import mx


def test_mean_is_the_sum_over_true_rows_divided_by_their_number(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.0), batch_size=5, arrays={"linear.Weights": [[0.0]]})
    trainer.update({"Input": [1.0, 1.0], "Target": [1.0, 3.0]})
    assert trainer.current_loss() == {"Loss": 5.0}
    assert trainer.current_loss(reduction="sum") == {"Loss": 10.0}
    assert trainer.current_loss().examples == 2


def _step_loss(average: str) -> mxt.Trainer:
    net = mxt.NetChain(
        [mxt.Linear(), mxt.MeanSquaredLoss(average=average)],
        inputs={"Input": mxt.Sequence("t", mxt.Scalar()), "Target": mxt.Sequence("t", mxt.Scalar())},
    )
    return mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.0), batch_size=3, arrays={"linear.Weights": [[0.0]]})


def test_steps_count_alike_in_a_loss_averaged_over_steps() -> None:
    batch = {"Input": np.ones((2, 3)), "Target": np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])}
    by_steps, by_examples = _step_loss("steps"), _step_loss("examples")
    for trainer in (by_steps, by_examples):
        trainer.update(batch)
        assert trainer.current_loss()["Loss"] == pytest.approx(1.0)
        assert trainer.current_loss().steps == {"t": 6}
    assert by_steps.current_loss(reduction="sum")["Loss"] == pytest.approx(6.0)
    assert by_examples.current_loss(reduction="sum")["Loss"] == pytest.approx(2.0)
    assert_same(values_of(by_steps.gradients), values_of(by_examples.gradients))


def test_a_loss_weight_scales_the_gradient_and_not_the_value(linear_plan: mxt.Plan) -> None:
    gradients = {}
    for weight in (1.0, 3.0, -2.0):
        plan = mxt.compile_plan(linear_plan.net, losses={"Loss": weight})
        trainer = mxt.Trainer(plan, mxt.SGD(0.0), batch_size=4, arrays={"linear.Weights": [[1.0]]})
        trainer.update(linear_batch())
        loss = trainer.current_loss()
        assert loss["Loss"] == pytest.approx(
            np.mean((linear_batch()["Input"] - linear_batch()["Target"]) ** 2), rel=1e-6
        )
        assert loss.weighted == {"Loss": weight * loss["Loss"]}
        assert loss.total == weight * loss["Loss"]
        gradients[weight] = trainer.gradients["linear.Weights"][:]
    np.testing.assert_allclose(gradients[3.0], 3 * gradients[1.0], rtol=1e-6)
    np.testing.assert_allclose(gradients[-2.0], -2 * gradients[1.0], rtol=1e-6)


def test_a_weighted_port_that_is_no_loss_counts_as_the_sum_of_its_elements() -> None:
    net = mxt.NetChain([mxt.Linear(3, biases=False)], inputs={"Input": mxt.Vector(2)})
    trainer = mxt.Trainer(mxt.compile_plan(net, losses={"Output": 2.0}), mxt.SGD(0.0), batch_size=4)
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    trainer.update({"Input": x})
    weights = trainer.arrays["linear.Weights"][:]
    assert trainer.current_loss()["Output"] == pytest.approx((x @ weights.T).sum() / 2, rel=1e-5)
    np.testing.assert_allclose(trainer.gradients["linear.Weights"][:], 2.0 * np.tile(x.mean(axis=0), (3, 1)), rtol=1e-6)


def test_a_weighted_sequence_counts_as_the_mean_over_its_steps() -> None:
    net = mxt.NetChain([mxt.Linear(2, biases=False)], inputs={"Input": mxt.Sequence("t", mxt.Vector(1))})
    start = {"linear.Weights": np.ones((2, 1))}
    trainer = mxt.Trainer(mxt.compile_plan(net, losses={"Output": 1.0}), mxt.SGD(0.0), batch_size=3, arrays=start)
    trainer.update({"Input": np.ones((2, 5, 1))})
    assert trainer.current_loss() == {"Output": 2.0}
    np.testing.assert_allclose(trainer.gradients["linear.Weights"][:], 1.0, rtol=1e-6)


def test_arrays_of_mxnets_numpy_are_taken_too(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.0), batch_size=4)
    trainer.update({port: mx.np.array(array, dtype="float32") for port, array in linear_batch().items()})
    assert trainer.current_loss()["Loss"] == pytest.approx(trainer.evaluate(linear_batch()).losses["Loss"], rel=1e-6)


def test_example_weights_multiply_each_examples_loss(linear_plan: mxt.Plan) -> None:
    plan = mxt.compile_plan(linear_plan.net, example_weights={"Loss": "Weight"})
    trainer = mxt.Trainer(plan, mxt.SGD(0.0), batch_size=4, arrays={"linear.Weights": [[1.0]]})
    weights = np.array([1.0, 0.0, 2.0, 0.5])
    trainer.update({**linear_batch(), "Weight": weights})
    difference = linear_batch()["Input"] - linear_batch()["Target"]
    assert trainer.current_loss()["Loss"] == pytest.approx((weights * difference**2).sum() / 4, rel=1e-6)
    expected = (weights * 2 * difference * linear_batch()["Input"]).sum() / 4
    assert trainer.gradients["linear.Weights"][:] == pytest.approx(expected, rel=1e-6)


def test_a_measure_is_read_like_a_loss_and_weighs_nothing(rng: np.random.Generator) -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(3), "loss": mxt.CrossEntropyLoss("index"), "error": mxt.ErrorRate()},
        [("Input", "linear", "loss", "Loss"), ("linear", "error", "ErrorRate"), ("Target", "loss.Target"),
         ("Target", "error.Target")],
        inputs={"Input": mxt.Vector(2)},
    )  # fmt: skip
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.0), batch_size=8)
    batch = {"Input": rng.normal(size=(8, 2)), "Target": rng.integers(0, 3, 8)}
    trainer.update(batch)
    logits = batch["Input"] @ trainer.arrays["linear.Weights"][:].T
    loss = trainer.current_loss()
    assert loss["ErrorRate"] == np.mean(logits.argmax(axis=1) != batch["Target"])
    assert loss.total == loss["Loss"]


def test_there_is_no_loss_before_the_first_step(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    with pytest.raises(mxt.Error, match="update"):
        trainer.current_loss()
    with pytest.raises(mxt.Error, match="update"):
        _ = trainer.outputs
