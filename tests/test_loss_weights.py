"""Weights of losses that change from step to step: what they do to gradients, to values, and to graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from numpy.typing import NDArray

import mxtrainer as mxt

Batch = dict[str, NDArray[Any]]


def two_losses(dtype: str = "float64", **losses: float) -> mxt.Plan:
    """Return a plan of one linear unit with two losses, and a measure."""
    net = mxt.NetGraph(
        {
            "linear": mxt.Linear(1),
            "near": mxt.MeanSquaredLoss(),
            "far": mxt.MeanAbsoluteLoss(),
            "logits": mxt.Linear(3),
            "error": mxt.ErrorRate(),
            "class": mxt.CrossEntropyLoss("index"),
        },
        [
            ("Input", "linear", "near", "Near"),
            ("linear", "far", "Far"),
            ("NearTarget", "near.Target"),
            ("FarTarget", "far.Target"),
            ("Input", "logits", "class", "Class"),
            ("logits", "error", "Error"),
            ("ClassTarget", "class.Target"),
            ("ClassTarget", "error.Target"),
        ],
        inputs={"Input": mxt.Vector(2)},
    )
    return mxt.compile_plan(net, losses=losses, dtype=dtype)


def batch_of(number: int) -> Batch:
    generator = np.random.default_rng(number)
    return {
        "Input": generator.normal(size=(4, 2)),
        "NearTarget": generator.normal(size=(4, 1)),
        "FarTarget": generator.normal(size=(4, 1)),
        "ClassTarget": generator.integers(0, 3, 4),
    }


def gradients_of(arrays: Any, batch: Batch, weights: dict[str, float]) -> dict[str, NDArray[Any]]:
    """Return the gradients by hand."""
    x = batch["Input"]
    y = x @ arrays["linear.Weights"].T + arrays["linear.Biases"]
    slope = weights["Near"] * 2 * (y - batch["NearTarget"]) + weights["Far"] * np.sign(y - batch["FarTarget"])
    logits = x @ arrays["logits.Weights"].T + arrays["logits.Biases"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(4), batch["ClassTarget"]] -= 1
    shares *= weights["Class"]
    return {
        "linear.Weights": slope.T @ x / 4,
        "linear.Biases": slope.mean(axis=0),
        "logits.Weights": shares.T @ x / 4,
        "logits.Biases": shares.mean(axis=0),
    }


def binds(trainer: mxt.Trainer) -> int:
    return sum(bucket.binds for bucket in trainer.buckets.report().buckets)


def assert_gradients(trainer: mxt.Trainer, arrays: Any, batch: Batch, weights: dict[str, float]) -> None:
    for path, expected in gradients_of(arrays, batch, weights).items():
        np.testing.assert_allclose(trainer.gradients[path][:], expected, rtol=1e-10, atol=1e-13, err_msg=path)


ALL = {"Near": 1.0, "Far": 1.0, "Class": 1.0}


def test_a_weight_counts_from_the_very_next_step_on_and_binds_nothing() -> None:
    trainer = mxt.Trainer(two_losses(), mxt.SGD(0.1), batch_size=4)
    assert trainer.loss_weights == ALL
    trainer.update(batch_of(0))
    bound = binds(trainer)
    weights = dict(ALL)
    for number, (port, weight) in enumerate([("Near", 0.5), ("Far", -2.0), ("Near", 3.0), ("Class", 1e-3)], 1):
        trainer.loss_weights[port] = weights[port] = weight
        arrays = values_of(trainer.arrays)
        trainer.update(batch_of(number))
        assert_gradients(trainer, arrays, batch_of(number), weights)
        losses = trainer.current_loss()
        assert losses.weighted == {**{name: weights[name] * losses[name] for name in weights}, "Error": 0.0}
        assert losses.total == pytest.approx(sum(losses.weighted.values()))
        after = values_of(trainer.arrays)
        for path, gradient in values_of(trainer.gradients).items():
            np.testing.assert_allclose(after[path], arrays[path] - 0.1 * gradient, rtol=1e-12)
    assert binds(trainer) == bound
    assert repr(trainer.loss_weights) == repr(dict(trainer.loss_weights))


def test_losses_have_the_weights_of_their_own_step() -> None:
    trainer = mxt.Trainer(two_losses(), mxt.SGD(0.1), batch_size=4, depth=4)
    for number in (1, 2, 3):
        trainer.loss_weights["Near"] = float(number)
        trainer.update(batch_of(number))
    trainer.loss_weights["Near"] = 9.0
    for number in (1, 2, 3):
        losses = trainer.loss_at(number)
        assert losses.weights["Near"] == number
        assert losses.weighted["Near"] == number * losses["Near"]
    assert [losses.weights["Near"] for _, losses in trainer.losses()] == [1.0, 2.0, 3.0]
    assert trainer.evaluate(batch_of(1)).losses.weights["Near"] == 9.0


def test_a_weight_of_0_stops_the_gradient_and_not_the_value_and_can_be_taken_back() -> None:
    trainer = mxt.Trainer(two_losses(), mxt.Adam(0.01), batch_size=4)
    start = values_of(trainer.arrays)
    trainer.loss_weights["Class"] = 0
    for number in range(3):
        trainer.update(batch_of(number))
        losses = trainer.current_loss()
        assert losses["Class"] > 0.0
        assert losses.weighted["Class"] == 0.0
        assert not trainer.gradients["logits.Weights"][:].any()
    once = binds(trainer)
    assert_same({"w": trainer.arrays["logits.Weights"][:]}, {"w": start["logits.Weights"]})
    for weight in (2.0, 0.0, 1.0, 0.0):
        trainer.loss_weights["Class"] = weight
        arrays = values_of(trainer.arrays)
        trainer.update(batch_of(5))
        assert_gradients(trainer, arrays, batch_of(5), {**ALL, "Class": weight})
    assert binds(trainer) <= once + 1  # each of the two graphs once


def test_a_loss_that_was_compiled_with_weight_0_can_be_given_one() -> None:
    trainer = mxt.Trainer(two_losses(Class=0.0), mxt.SGD(0.1), batch_size=4)
    arrays = values_of(trainer.arrays)
    trainer.update(batch_of(1))
    assert_gradients(trainer, arrays, batch_of(1), {**ALL, "Class": 0.0})
    trainer.loss_weights["Class"] = 2.0
    arrays = values_of(trainer.arrays)
    trainer.update(batch_of(2))
    assert_gradients(trainer, arrays, batch_of(2), {**ALL, "Class": 2.0})


def test_a_weight_of_0_stops_an_infinite_slope_too() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(1, biases=False), "root": mxt.Elementwise("sqrt"), "rooted": mxt.MeanSquaredLoss(),
         "loss": mxt.MeanSquaredLoss()},
        [("Input", "linear", "root", "rooted", "Rooted"), ("linear", "loss", "Loss"), ("Target", "loss.Target"),
         ("Target", "rooted.Target")],
        inputs={"Input": mxt.Vector(1)},
    )  # fmt: skip
    arrays = {"linear.Weights": [[0.0]]}  # where the slope of the root is infinite
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1, arrays=arrays, on_nan="skip")
    batch = {"Input": [[1.0]], "Target": [[1.0]]}
    trainer.update(batch)
    assert not np.isfinite(trainer.gradients["linear.Weights"][:]).any()
    trainer.loss_weights["Rooted"] = 0.0
    trainer.update(batch)
    assert trainer.gradients["linear.Weights"][:] == -2.0
    assert trainer.current_loss() == {"Rooted": 1.0, "Loss": 1.0}
    assert trainer.arrays["linear.Weights"][:] == np.float32(0.2)
    trainer.loss_weights["Rooted"] = 1.0
    trainer.update(batch)
    root = math.sqrt(0.2)
    expected = 2 * (0.2 - 1) + 2 * (root - 1) / (2 * root)
    assert trainer.gradients["linear.Weights"][:] == pytest.approx(expected, rel=1e-5)
    assert trainer.stats().skipped == (1,)


def test_losses_of_one_step_count_alone_and_for_that_step() -> None:
    trainer = mxt.Trainer(two_losses(), mxt.SGD(0.1), batch_size=4)
    for number, told in enumerate([{"Far": 2.0}, None, {"Near": 1.0, "Class": -1.0}, None, {"Near": 0.5}]):
        arrays = values_of(trainer.arrays)
        trainer.update(batch_of(number), losses=told)
        weights = ALL if told is None else {port: told.get(port, 0.0) for port in ALL}
        assert_gradients(trainer, arrays, batch_of(number), weights)
        losses = trainer.current_loss()
        assert {port: losses.weights[port] for port in ALL} == weights
        assert losses.keys() == {*ALL, "Error"}
        assert trainer.loss_weights == ALL


@pytest.mark.parametrize("change", ["weight", "zero", "losses", "losses zero"])
def test_a_staged_batch_is_taken_with_the_weights_of_its_update(change: str) -> None:
    trainer = mxt.Trainer(two_losses(), mxt.SGD(0.1), batch_size=4)
    trainer.update(batch_of(0))
    arrays, batch = values_of(trainer.arrays), batch_of(1)
    trainer.stage(batch)
    for value in batch.values():
        value[:] = 0  # it is the caller's again
    weights, told = dict(ALL), None
    if change in {"weight", "zero"}:
        trainer.loss_weights["Near"] = weights["Near"] = 3.0 if change == "weight" else 0.0
    else:
        told = weights = {"Near": 2.0, "Far": 1.0, "Class": 0.0 if change == "losses zero" else 1.0}
    assert trainer.update(losses=told) == 2
    assert_gradients(trainer, arrays, batch_of(1), weights)
    assert trainer.loss_at(2).weights["Near"] == weights["Near"]


@pytest.mark.parametrize(
    ("port", "weight", "kind", "text"),
    [
        ("Naer", 1.0, mxt.UnknownNameError, 'no loss that can be trained "Naer".*did you mean "Near"'),
        ("Error", 1.0, mxt.UnknownNameError, 'no loss that can be trained "Error"'),
        ("Near", math.nan, mxt.ArgumentError, 'the weight of the loss "Near" must be a finite number, got nan'),
        ("Near", math.inf, mxt.ArgumentError, "must be a finite number"),
        ("Near", True, mxt.ArgumentError, "must be a finite number, got True"),
        ("Near", "1", mxt.ArgumentError, "must be a finite number"),
        ("Near", None, mxt.ArgumentError, "must be a finite number"),
        ("Near", [1.0], mxt.ArgumentError, "must be a finite number"),
    ],
)
def test_a_weight_that_is_not_usable_is_refused_and_nothing_changes(
    port: str, weight: Any, kind: Any, text: str
) -> None:
    trainer = mxt.Trainer(two_losses(), mxt.SGD(0.1), batch_size=4)
    with pytest.raises(kind, match=text):
        trainer.loss_weights[port] = weight
    for call in (trainer.update, trainer.compute, trainer.accumulate):
        with pytest.raises(kind, match=text):
            call(batch_of(1), losses={port: weight})
    assert trainer.loss_weights == ALL
    assert trainer.step == 0
    assert trainer.update(batch_of(1)) == 1


def test_one_loss_must_count_and_none_can_be_taken_out() -> None:
    trainer = mxt.Trainer(two_losses(), mxt.SGD(0.1), batch_size=4)
    for port in ("Near", "Far"):
        trainer.loss_weights[port] = 0.0
    with pytest.raises(mxt.ArgumentError, match="would all have weight 0"):
        trainer.loss_weights["Class"] = 0.0
    none: list[dict[str, float]] = [{}, {"Near": 0.0}]
    for losses in none:
        with pytest.raises(mxt.ArgumentError, match="would all have weight 0"):
            trainer.update(batch_of(1), losses=losses)
    with pytest.raises(mxt.ArgumentError, match='"Near" cannot be taken out; set its weight to 0'):
        del trainer.loss_weights["Near"]
    for wrong in (["Near"], "Near", 1.0):
        with pytest.raises(mxt.ArgumentError, match="losses must map losses to weights"):
            trainer.update(batch_of(1), losses=wrong)  # type: ignore[arg-type]
    assert (trainer.step, len(trainer.loss_weights)) == (0, 3)
    with pytest.raises(mxt.UnknownNameError):
        _ = trainer.loss_weights["Error"]


def test_a_failed_step_is_gone_back_from_whatever_its_weights() -> None:
    trainer = mxt.Trainer(two_losses(), mxt.Adam(0.01), batch_size=4)
    trainer.update(batch_of(0))
    trainer.update({**batch_of(1), "NearTarget": np.full((4, 1), np.nan)}, losses={"Far": 1.0, "Class": 1.0})
    trainer.current_loss()  # a loss of weight 0 may be anything
    before = values_of(trainer.arrays)
    trainer.update({**batch_of(1), "FarTarget": np.full((4, 1), np.nan)}, losses={"Far": 1.0})
    with pytest.raises(mxt.StepError, match=r'step 3 .*in layer "far"; input port "FarTarget"'):
        trainer.current_loss()
    trainer.recover()
    arrays = values_of(trainer.arrays)
    assert_same(arrays, before)
    assert trainer.update(batch_of(2), losses={"Near": 1.0}) == 3
    assert_gradients(trainer, arrays, batch_of(2), {"Near": 1.0, "Far": 0.0, "Class": 0.0})


def test_weights_may_change_at_every_step_of_carried_state() -> None:
    net = mxt.NetGraph(
        {"lstm": mxt.LSTM(2), "one": mxt.MeanSquaredLoss(), "two": mxt.MeanSquaredLoss()},
        [("Input", "lstm", "one", "One"), ("lstm", "two", "Two"), ("Target", "one.Target"), ("Other", "two.Target")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )
    plan = mxt.compile_plan(net.with_states())
    changing, plain = (mxt.Trainer(plan, mxt.SGD(0.0), batch_size=2, carry=True) for _ in range(2))
    generator = np.random.default_rng(1)
    for losses in ({"One": 1.0}, {"Two": 2.0}, None, {"One": 1.0, "Two": 0.5}):
        batch = {port: generator.normal(size=(2, 3, 2)) for port in ("Input", "Target", "Other")}
        changing.update(batch, losses=losses)
        plain.update(batch)
        assert changing.current_loss() == pytest.approx(plain.current_loss(), rel=1e-6)
        for port, state in plain.state[0].items():
            np.testing.assert_allclose(changing.state[0][port], state, rtol=1e-6)
