"""What a trainer promises of its steps: their number, when update waits, and what is random in them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of
from reference import ORACLES, adam, sgd

import mxtrainer as mxt
from mxtrainer._mxnet import mx

GOLDEN = [
    16.3051, 16.2481, 16.1912, 16.1344, 16.0778, 16.0214, 15.9651, 15.909, 15.853, 15.7971, 15.7414, 15.6858, 15.6303,
    15.575, 15.52, 15.4651, 15.4103, 15.3557, 15.3011, 15.2467, 15.1926, 15.1385, 15.0846, 15.0308, 14.9771, 14.9237,
    14.8704, 14.8171, 14.7642, 14.7113,
]  # fmt: skip


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
    rate = trainer.learning_rate
    for step in range(1, 51):
        trainer.update(linear_batch())
        linear = ORACLES["Linear"]({"Input": linear_batch()["Input"]}, arrays, output=())
        loss = ORACLES["MeanSquaredLoss"]({"Input": linear.outputs["Output"], "Target": linear_batch()["Target"]}, {})
        heads = loss.backward({"Loss": np.full(4, 0.25)}).inputs
        gradients = linear.backward({"Output": heads["Input"]}).arrays
        for name, gradient in gradients.items():
            if isinstance(optimizer, mxt.Adam):
                rates = (rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
                arrays[name], states[name] = adam(arrays[name], gradient, states[name], step, *rates)
            else:
                rates_of_sgd = (rate, optimizer.momentum)
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


def test_nan_in_an_input_is_counted(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.0), batch_size=4, on_nan="ignore")
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
    with pytest.raises(mxt.BatchError, match=r'example 0: 6 steps \(length "t"\), more than the 5'):
        trainer.update(text_batch(rng, steps=6))


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
