"""What a trainer promises: steps, losses, outputs, arrays, and what they have to do with one another."""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of
from extra_layers import Cholesky, Gate
from reference import ORACLES, adam, sgd

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.executor import Executor

GOLDEN = [
    16.3051, 16.2481, 16.1912, 16.1344, 16.0778, 16.0214, 15.9651, 15.909, 15.853, 15.7971, 15.7414, 15.6858, 15.6303,
    15.575, 15.52, 15.4651, 15.4103, 15.3557, 15.3011, 15.2467, 15.1926, 15.1385, 15.0846, 15.0308, 14.9771, 14.9237,
    14.8704, 14.8171, 14.7642, 14.7113,
]  # fmt: skip


@pytest.fixture(scope="module")
def gated_plan() -> mxt.Plan:
    net = mxt.NetChain(
        [Gate(), mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()}
    )
    return mxt.compile_plan(net)


# Steps


def test_the_published_losses_of_a_linear_unit_come_out(linear_plan: mxt.Plan) -> None:
    start = {"linear.Weights": [[1.21544]], "linear.Biases": [0.0]}
    trainer = mxt.Trainer(linear_plan, mxt.Adam(learning_rate=1e-3), batch_size=4, arrays=start)
    losses = []
    for _ in range(79):
        trainer.update(linear_batch())
        losses.append(trainer.current_loss(reduction="sum")["Loss"])
    np.testing.assert_allclose(losses[49:], GOLDEN, atol=5e-4, rtol=0)


def test_update_returns_the_number_of_the_step(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    assert trainer.step == 0
    assert [trainer.update(linear_batch()) for _ in range(3)] == [1, 2, 3]
    assert trainer.step == 3
    assert trainer.current_loss().step == 3


def test_update_returns_while_the_computation_is_still_running(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4)
    assert [trainer.update(linear_batch()) for _ in range(2)] == [1, 2]
    assert not gate.is_set()
    gate.set()
    assert trainer.current_loss().step == 2


def test_update_waits_only_when_depth_steps_are_unfinished(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=3)
    for _ in range(3):
        trainer.update(linear_batch())
    assert not gate.is_set()
    threading.Timer(0.2, gate.set).start()
    trainer.update(linear_batch())
    assert gate.is_set()


def test_the_callers_arrays_are_free_once_update_returns(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, arrays={"linear.Weights": [[2.0]]})
    batch = linear_batch()
    for _ in range(2):
        trainer.update(batch)
        batch["Input"][:] = batch["Input"] * 2
    gate.set()
    other = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, arrays={"linear.Weights": [[2.0]]})
    for factor in (1, 2):
        other.update({**linear_batch(), "Input": linear_batch()["Input"] * factor})
    assert trainer.current_loss() == other.current_loss()
    assert_same(values_of(trainer.arrays), values_of(other.arrays))


def test_a_deeper_queue_gives_the_same_bits(text_plan: mxt.Plan) -> None:
    arrays = []
    for depth in (1, 2, 5):
        rng = np.random.default_rng(3)
        trainer = mxt.Trainer(text_plan, mxt.Adam(1e-2), batch_size=3, depth=depth)
        for _ in range(12):
            trainer.update(text_batch(rng))
        arrays.append(values_of(trainer.arrays))
    assert_same(arrays[0], arrays[1])
    assert_same(arrays[0], arrays[2])


@pytest.mark.parametrize(
    "optimizer",
    [mxt.Adam(1e-2), mxt.Adam(0.1, beta1=0.5, beta2=0.9, epsilon=1e-2), mxt.SGD(0.02), mxt.SGD(0.01, momentum=0.9)],
)
def test_fifty_steps_equal_those_of_a_numpy_oracle(linear_plan: mxt.Plan, optimizer: Any) -> None:
    trainer = mxt.Trainer(linear_plan, optimizer, batch_size=4, arrays={"linear.Weights": [[1.2]]})
    arrays = {"Weights": np.array([[1.2]]), "Biases": np.zeros(1)}
    states: dict[str, dict[str, Any]] = {"Weights": {}, "Biases": {}}
    for step in range(1, 51):
        trainer.update(linear_batch())
        linear = ORACLES["Linear"]({"Input": linear_batch()["Input"]}, arrays, output=())
        loss = ORACLES["MeanSquaredLoss"]({"Input": linear.outputs["Output"], "Target": linear_batch()["Target"]}, {})
        heads = loss.backward({"Loss": np.full(4, 0.25)}).inputs
        gradients = linear.backward({"Output": heads["Input"]}).arrays
        for name, gradient in gradients.items():
            if isinstance(optimizer, mxt.Adam):
                rates = (optimizer.learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
                arrays[name], states[name] = adam(arrays[name], gradient, states[name], step, *rates)
            else:
                rates_of_sgd = (optimizer.learning_rate, optimizer.momentum)
                arrays[name], states[name] = sgd(arrays[name], gradient, states[name], *rates_of_sgd)
    for name, expected in arrays.items():
        np.testing.assert_allclose(trainer.arrays[f"linear.{name}"][:], expected, rtol=1e-5, atol=1e-6)


def test_a_plan_in_float64_trains_in_float64() -> None:
    net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
    trainer = mxt.Trainer(mxt.compile_plan(net, dtype="float64"), mxt.SGD(0.1), batch_size=1)
    trainer.arrays["linear.Weights"] = [[1.0 + 1e-12]]
    trainer.update({"Input": [1.0], "Target": [1.0]})
    assert trainer.current_loss()["Loss"] == pytest.approx(1e-24, rel=1e-3)
    assert trainer.arrays["linear.Weights"][:].dtype == np.float64


# Losses


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


# Outputs


def test_a_state_output_has_the_oracles_value(state_plan: mxt.Plan) -> None:
    start = {"linear.Weights": [[0.5]], "linear.Biases": [0.25]}
    trainer = mxt.Trainer(state_plan, mxt.SGD(0.1), batch_size=2, arrays=start)
    trainer.update({"Input": [1.0, 2.0], "StateIn": [3.0, 4.0], "Target": [0.0, 0.0]})
    np.testing.assert_array_equal(trainer.outputs["StateOut"].asnumpy(), [2.25, 3.25])


def test_a_port_of_weight_0_contributes_exactly_nothing_to_gradients(state_plan: mxt.Plan) -> None:
    without = mxt.compile_plan(state_plan.net.take({"Loss": "mae"}))
    gradients = []
    for plan in (state_plan, without):
        trainer = mxt.Trainer(plan, mxt.SGD(0.1), batch_size=2)
        trainer.update({"Input": [1.0, 2.0], "StateIn": [3.0, 4.0], "Target": [0.0, 0.0]})
        gradients.append(values_of(trainer.gradients))
    assert_same(*gradients)


def test_a_handle_fed_back_equals_its_numbers_fed_back(text_plan: mxt.Plan) -> None:
    losses = []
    for through_host in (False, True):
        rng = np.random.default_rng(5)
        trainer = mxt.Trainer(text_plan, mxt.Adam(1e-2), batch_size=3)
        states: dict[str, Any] = {}
        for _ in range(6):
            trainer.update({**text_batch(rng), **states})
            states = {port: trainer.outputs[port] for port in text_plan.states}
            if through_host:
                states = {port: handle.asnumpy() for port, handle in states.items()}
        losses.append((trainer.current_loss(), values_of(trainer.arrays)))
    assert losses[0][0] == losses[1][0]
    assert_same(losses[0][1], losses[1][1])


def test_states_left_out_are_zeros(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    batch = text_batch(rng)
    zeros = {port: np.zeros((3, 8)) for port in text_plan.states}
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.0), batch_size=3)
    for states in ({}, {port: np.ones((3, 8)) for port in zeros}, {}, zeros):
        trainer.update({**batch, **states})
        loss = trainer.current_loss()
        if states is zeros or not states:
            assert loss == mxt.Trainer(text_plan, mxt.SGD(0.0), batch_size=3).evaluate({**batch, **zeros}).losses


def test_a_handle_is_stale_once_the_next_update_has_returned(state_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(state_plan, mxt.SGD(0.1), batch_size=1)
    batch: dict[str, Any] = {"Input": [1.0], "StateIn": [0.0], "Target": [1.0]}
    trainer.update(batch)
    handle = trainer.outputs["StateOut"]
    kept = handle.copy()
    expected = handle.asnumpy()
    trainer.update({**batch, "StateIn": handle})
    for read in (
        handle.asnumpy,
        handle.copy,
        lambda: np.asarray(handle),
        lambda: trainer.update({**batch, "StateIn": handle}),
    ):
        with pytest.raises(mxt.StaleHandleError, match=r"StateOut.*step 1.*step 2"):
            read()
    assert trainer.step == 2
    np.testing.assert_array_equal(kept.asnumpy(), expected)


def test_a_copy_of_a_handle_is_taken_by_any_trainer_and_the_handle_only_by_its_own(state_plan: mxt.Plan) -> None:
    one, other = (mxt.Trainer(state_plan, mxt.SGD(0.1), batch_size=1) for _ in range(2))
    batch: dict[str, Any] = {"Input": [1.0], "StateIn": [0.0], "Target": [1.0]}
    one.update(batch)
    with pytest.raises(mxt.BatchError, match=r"StateIn.*another trainer.*copy\(\)"):
        other.update({**batch, "StateIn": one.outputs["StateOut"]})
    other.update({**batch, "StateIn": one.outputs["StateOut"].copy()})
    assert other.step == 1


def test_a_handle_shows_the_true_rows_of_a_short_batch(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.0), batch_size=4)
    trainer.update(text_batch(rng, rows=2))
    handle = trainer.outputs["lstm.State"]
    assert handle.shape == (2, 8)
    assert handle.asnumpy().shape == handle.copy().shape == (2, 8)
    assert handle.array.shape == (4, 8)
    assert (handle.step, handle.port, handle.dtype) == (1, "lstm.State", np.dtype("float32"))
    trainer.update({**text_batch(rng, rows=2), "lstm.State": handle})
    with pytest.raises(mxt.BatchError, match="number of rows"):
        trainer.update({**text_batch(rng, rows=3), "lstm.State": trainer.outputs["lstm.State"]})


# Short batches and lengths


def test_a_short_batch_equals_a_batch_size_of_its_own(text_plan: mxt.Plan) -> None:
    results = []
    for batch_size in (2, 5):
        rng = np.random.default_rng(11)
        trainer = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=batch_size)
        for _ in range(4):
            trainer.update(text_batch(rng, rows=2))
        results.append((trainer.current_loss(), values_of(trainer.arrays)))
    assert results[0][0]["Loss"] == pytest.approx(results[1][0]["Loss"], rel=1e-6)
    for path, found in results[0][1].items():
        np.testing.assert_allclose(found, results[1][1][path], atol=1e-6)


def test_nan_in_an_earlier_batch_does_not_leak_into_a_short_one(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4, arrays={"linear.Weights": [[1.0]]})
    for short in ([1.0, 2.0], mx.nd.array([1.0, 2.0])):
        executor.forward({"Input": [1.0, 2.0, 3.0, np.nan], "Target": np.ones(4)})
        executor.backward()
        assert np.isnan(executor.gradients["linear.Weights"][:])
        executor.forward({"Input": short, "Target": [1.0, 1.0]})
        executor.backward()
        assert executor.gradients["linear.Weights"][:] == pytest.approx(2.0)


def test_nan_in_an_input_is_allowed_and_counted(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.0), batch_size=4)
    nans = np.array([np.nan, np.inf, -np.inf, np.nan])
    trainer.update({"Input": nans, "Target": np.ones(4)})
    trainer.update({"Input": nans.astype(np.float16), "Target": np.full(4, np.inf)})
    assert trainer.stats().nan_inputs == {"Input": 4}
    assert "4 NaN in Input" in str(trainer.stats())
    assert np.isnan(trainer.current_loss()["Loss"])


def test_every_length_has_an_executor_of_its_own_on_the_same_arrays(text_plan: mxt.Plan) -> None:
    rng = np.random.default_rng(2)
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    for steps in (5, 7, 5, 1, 7):
        batch = text_batch(rng, steps=steps)
        alone = mxt.instantiate(text_plan, 3, {"t": steps}, arrays=trainer.arrays)
        alone.forward(batch)
        trainer.update(batch)
        assert trainer.current_loss()["Loss"] == float(np.mean(alone.outputs["Loss"].asnumpy(), dtype=np.float64))
        state = trainer.outputs["lstm.State"]
        assert state.asnumpy().tobytes() == alone.outputs["lstm.State"].asnumpy().tobytes()


def test_a_fixed_length_refuses_another(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, lengths={"t": 5})
    trainer.update(text_batch(rng))
    with pytest.raises(mxt.BatchError, match=r'expected 5 steps \(length "t"\), found 6'):
        trainer.update(text_batch(rng, steps=6))


# Arrays and the net


def test_start_values_depend_on_the_seed_and_not_on_batch_size_or_lengths(text_plan: mxt.Plan) -> None:
    one = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, lengths={"t": 5}, seed=4)
    same = mxt.Trainer(text_plan, mxt.Adam(), batch_size=7, seed=4)
    other = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, seed=5)
    assert_same(values_of(one.arrays), values_of(same.arrays))
    assert not np.array_equal(one.arrays["lstm.StateWeights"][:], other.arrays["lstm.StateWeights"][:])


def test_seed_none_draws_a_seed_and_keeps_it(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=1, seed=None)
    again = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=1, seed=trainer.seed)
    assert_same(values_of(trainer.arrays), values_of(again.arrays))


def test_arrays_start_from_a_net_a_mapping_or_another_trainer(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trained = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=3, seed=1)
    trained.update(text_batch(rng))
    for arrays in (trained.net(), dict(trained.net().arrays), trained.arrays):
        started = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=2, seed=9, arrays=arrays)
        assert_same(values_of(started.arrays), values_of(trained.arrays))


def test_arrays_are_read_and_written_by_name(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.arrays["linear.Weights"] = [[3.0]]
    trainer.arrays["linear.Biases"][:] = 0.5
    assert trainer.arrays["linear.Weights"][:] == 3.0
    assert trainer.arrays["linear.Biases"][0] == 0.5
    assert trainer.evaluate({"Input": [2.0]}, outputs=["linear"]).outputs["linear"] == 6.5
    trainer.arrays["linear.Weights"] = mx.nd.array([[2.0]])
    assert trainer.arrays["linear.Weights"][:] == 2.0
    trainer.arrays["linear.Weights"].array[:] = 1.0
    assert np.asarray(trainer.arrays["linear.Weights"]) == 1.0


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0, 2.0]], "x", [["x"]], [[None]], [[1e300]]])
def test_an_array_takes_only_its_own_shape(linear_plan: mxt.Plan, values: Any) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    before = values_of(trainer.arrays)
    with pytest.raises(mxt.ArgumentError, match=r"linear\.Weights"):
        trainer.arrays["linear.Weights"] = values
    with pytest.raises(mxt.UnknownNameError, match=r'"linear\.Weight".*did you mean "linear\.Weights"'):
        trainer.arrays["linear.Weight"] = [[1.0]]
    assert_same(values_of(trainer.arrays), before)


def test_the_net_is_the_same_object_until_an_array_changes(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    first = trainer.net()
    assert trainer.net() is first
    trainer.evaluate(linear_batch())
    assert trainer.net() is first
    trainer.update(linear_batch())
    second = trainer.net()
    assert second is not first
    assert trainer.net() is second
    trainer.arrays["linear.Biases"] = [7.0]
    assert trainer.net().arrays["linear.Biases"] == 7.0
    live = trainer.arrays["linear.Biases"].array
    trainer.net()
    live[:] = 8.0
    assert trainer.net().arrays["linear.Biases"] == 8.0


def test_gradients_of_inputs_are_given_on_request(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(
        linear_plan, mxt.SGD(0.0), batch_size=4, arrays={"linear.Weights": [[3.0]]}, input_gradients=["Input"]
    )
    trainer.update({"Input": [1.0, 2.0], "Target": [0.0, 0.0]})
    np.testing.assert_allclose(trainer.gradients["Input"][:], [2 * 3 * 3 / 2, 2 * 6 * 3 / 2])
    assert set(trainer.gradients) == {"linear.Weights", "linear.Biases", "Input"}


# Random nodes


def _dropout_plan() -> mxt.Plan:
    net = mxt.NetChain([mxt.Dropout(0.5), mxt.Linear(1)], inputs={"Input": mxt.Vector(64)})
    return mxt.compile_plan(net, losses={"Output": 1.0})


def test_dropout_is_a_function_of_seed_and_step() -> None:
    losses = []
    for seed, depth in ((3, 2), (3, 1), (4, 2)):
        start = {"linear.Weights": np.ones((1, 64))}
        trainer = mxt.Trainer(_dropout_plan(), mxt.SGD(0.0), batch_size=2, seed=seed, depth=depth, arrays=start)
        found = []
        for _ in range(4):
            trainer.update({"Input": np.arange(128.0).reshape(2, 64)})
            trainer.evaluate({"Input": np.ones((2, 64))})
            mx.nd.random.uniform(shape=(3,)).wait_to_read()
            found.append(trainer.current_loss()["Output"])
        losses.append(found)
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    assert len(set(losses[0])) == 4


def test_a_plan_without_random_nodes_leaves_mxnets_generator_alone(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    drawn = []
    for updates in (0, 3):
        mx.random.seed(5)
        for _ in range(updates):
            trainer.update(linear_batch())
        drawn.append(mx.nd.random.uniform(shape=(4,)).asnumpy())
    np.testing.assert_array_equal(*drawn)


# Failing and ending


def test_a_step_that_fails_on_the_device_is_named_by_every_later_call() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    good = {"Input": np.eye(2)[None], "Target": [[1.0]]}
    trainer.update(good)
    arrays, gradients = trainer.arrays, trainer.gradients
    trainer.update({**good, "Input": -np.eye(2)[None]})
    output = trainer.outputs["Loss"]
    for call in (
        output.asnumpy,
        output.asnumpy,
        lambda: arrays["linear.Weights"][:],
        lambda: gradients["linear.Weights"][:],
        trainer.current_loss,
        trainer.current_loss,
        lambda: trainer.update(good),
        lambda: trainer.evaluate(good),
        lambda: trainer.outputs,
        trainer.net,
        lambda: trainer.arrays,
        lambda: trainer.gradients,
        trainer.close,
    ):
        with pytest.raises(mxt.StepError, match="step 2") as caught:
            call()
        assert caught.value.step == 2
        assert isinstance(caught.value.cause, mx.MXNetError)


def test_a_step_that_is_cut_short_while_it_is_queued_is_not_passed_over(linear_plan: mxt.Plan) -> None:
    class Interrupted(mxt.SGD):
        def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
            if update == 2:
                raise MemoryError
            super().apply(update, parameters, gradients, state)

    trainer = mxt.Trainer(linear_plan, Interrupted(0.1), batch_size=4)
    trainer.update(linear_batch())
    with pytest.raises(MemoryError):
        trainer.update(linear_batch())
    for call in (trainer.current_loss, trainer.net, lambda: trainer.update(linear_batch())):
        with pytest.raises(mxt.StepError, match=r"step 2 was cut short.*MemoryError"):
            call()


def test_ctrl_c_while_a_step_is_queued_comes_after_it(linear_plan: mxt.Plan) -> None:
    class Pressed(mxt.SGD):
        def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
            if update == 2:
                signal.raise_signal(signal.SIGINT)
            super().apply(update, parameters, gradients, state)

    trainer, twin = (mxt.Trainer(linear_plan, kind(0.01), batch_size=4) for kind in (Pressed, mxt.SGD))
    trainer.update(linear_batch())
    with pytest.raises(KeyboardInterrupt):
        trainer.update(linear_batch())
    assert trainer.step == 2
    assert trainer.current_loss().step == 2
    assert trainer.update(linear_batch()) == 3
    for _ in range(3):
        twin.update(linear_batch())
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


def test_a_step_that_fails_while_ctrl_c_is_held_back_is_not_forgotten(linear_plan: mxt.Plan) -> None:
    class Both(mxt.SGD):
        def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
            signal.raise_signal(signal.SIGINT)
            raise MemoryError

    trainer = mxt.Trainer(linear_plan, Both(0.1), batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        trainer.update(linear_batch())
    with pytest.raises(mxt.StepError, match="step 1 was cut short"):
        trainer.current_loss()


def test_a_second_thread_is_refused_while_the_first_is_inside(linear_plan: mxt.Plan) -> None:
    told: list[str] = []

    def intrude() -> None:
        reading = (trainer.current_loss, arrays["linear.Weights"].asnumpy, trainer.net)
        for call in (*reading, lambda: trainer.update(linear_batch()), lambda: trainer.evaluate({})):
            with pytest.raises(mxt.Error, match="another thread is inside") as caught:
                call()
            told.append(str(caught.value))

    class Watched(mxt.SGD):
        def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()
            super().apply(update, parameters, gradients, state)

    trainer = mxt.Trainer(linear_plan, Watched(0.1), batch_size=4)
    arrays = trainer.arrays
    trainer.update(linear_batch())
    assert len(told) == 5
    assert trainer.current_loss().step == 1


def test_an_interrupted_wait_loses_no_step(linear_plan: mxt.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    read = mx.nd.NDArray.asscalar

    def interrupted(self: Any) -> None:
        read(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(mx.nd.NDArray, "asscalar", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.current_loss()
    monkeypatch.undo()
    assert trainer.current_loss().step == 1
    assert trainer.update(linear_batch()) == 2


def test_a_failure_that_another_reader_was_told_of_is_still_a_step_error() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    live = trainer.store.parameters.array
    trainer.update({"Input": -np.eye(2)[None], "Target": [[1.0]]})
    with pytest.raises(mx.MXNetError):
        live.asnumpy()
    for _ in range(2):
        with pytest.raises(mxt.StepError, match="step 1"):
            trainer.current_loss()


def test_a_batch_of_other_rows_does_not_make_update_wait(gate: threading.Event) -> None:
    net = mxt.NetChain(
        [Gate(), mxt.BatchNorm(), mxt.Linear(), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=4, depth=3)
    for rows in (4, 3, 1):
        trainer.update({port: array[:rows] for port, array in linear_batch().items()})
    assert not gate.is_set()


def test_a_closed_trainer_refuses_every_call(linear_plan: mxt.Plan) -> None:
    with mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4) as trainer:
        trainer.update(linear_batch())
        arrays, output = trainer.arrays, trainer.outputs["Loss"]
    trainer.close()
    for call in (
        lambda: trainer.update(linear_batch()),
        lambda: trainer.evaluate(linear_batch()),
        lambda: trainer.outputs,
        lambda: trainer.arrays,
        lambda: trainer.gradients,
        lambda: arrays["linear.Weights"][:],
        lambda: arrays.__setitem__("linear.Weights", [[1.0]]),
        output.asnumpy,
        trainer.current_loss,
        trainer.net,
        trainer.stats,
        trainer.__enter__,
    ):
        with pytest.raises(mxt.Error, match="closed"):
            call()


def test_a_closed_trainer_lets_go_of_its_executors(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    trainer.evaluate(linear_batch())
    bound = [
        weakref.ref(found) for found in gc.get_objects() if isinstance(found, Executor) and found.store is trainer.store
    ]
    assert len(bound) == 2
    gc.disable()
    try:
        trainer.close()
        assert [found() for found in bound] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["plan", "optimizer", "batch_size", "device", "seed", "store", "step"])
def test_what_a_trainer_was_made_with_cannot_be_assigned(linear_plan: mxt.Plan, name: str) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    with pytest.raises(AttributeError):
        setattr(trainer, name, getattr(trainer, name))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_owns_arrays_is_neither_copied_nor_pickled(linear_plan: mxt.Plan, copied: Any) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    for owner in (trainer, mxt.instantiate(linear_plan, 1), trainer.store):
        with pytest.raises(mxt.Error, match="cannot be copied or pickled"):
            copied(owner)


@pytest.mark.parametrize("ports", [["Inptu"], ["lstm.State", "Nothing"]])
def test_gradients_of_unknown_inputs_are_refused_at_once(text_plan: mxt.Plan, ports: list[str]) -> None:
    with pytest.raises(mxt.UnknownNameError, match="input"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=4, input_gradients=ports)


def test_there_are_no_gradients_before_the_first_step(linear_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.Error, match="no gradients yet"):
        _ = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4).gradients


def test_leaving_the_context_keeps_an_exception_that_is_on_its_way() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    plan = mxt.compile_plan(net)
    bad = {"Input": -np.eye(2)[None], "Target": [[1.0]]}
    with pytest.raises(ZeroDivisionError), mxt.Trainer(plan, mxt.SGD(0.1), batch_size=1) as trainer:
        _ = trainer.update(bad) / 0
    with pytest.raises(mxt.StepError), mxt.Trainer(plan, mxt.SGD(0.1), batch_size=1) as trainer:
        trainer.update(bad)


def test_a_trainer_shows_what_it_is(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    text = repr(trainer)
    assert all(part in text for part in ("SGD(0.1)", "batch_size=4", "cpu(0)", "step=1", linear_plan.content_hash[:12]))
    assert str(trainer.stats()) == "1 steps, 4 examples"
