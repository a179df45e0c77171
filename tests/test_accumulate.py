"""Batches that are accumulated are one large batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import linear_batch, values_of
from optimizer_cases import parts_of, small_batch, small_plan, treated
from state_cases import recurrent_plan
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt

PLAN = small_plan()
PLAN64 = small_plan("float64")
SOME = range(4)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "rules"])
@pytest.mark.parametrize("rows", [(8,), (4, 4), (1, 5, 2), (3, 1, 1, 2, 1)], ids=str)
def test_batches_that_are_accumulated_are_one_large_batch(rows: tuple[int, ...], way: str) -> None:
    optimizer = treated("momentum", way)
    whole, parted = (mxt.Trainer(PLAN, optimizer, batch_size=8) for _ in range(2))
    for number in SOME:
        batch = small_batch(number, rows=8)
        whole.update(batch)
        for part in parts_of(batch, *rows):
            assert parted.accumulate(part) == number + 1
        assert parted.step == number + 1
        losses = parted.current_loss()
        assert losses["Loss"] == pytest.approx(whole.current_loss()["Loss"], rel=1e-6)
        assert (losses.examples, losses.steps) == (8, {"t": 32})
        assert parted.apply() == number + 1
        for path, gradient in values_of(parted.gradients).items():
            expected = whole.gradients[path][:]
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=2e-6 * np.abs(expected).max(), err_msg=path)
    for path, array in values_of(parted.arrays).items():
        np.testing.assert_allclose(array, whole.arrays[path][:], rtol=0, atol=1e-6)
    assert parted.loss_at(1)["Loss"] == pytest.approx(whole.loss_at(1)["Loss"], rel=1e-6)
    stats = parted.stats()
    assert (stats.steps, stats.examples, stats.true_steps) == (len(SOME), 8 * len(SOME), 32 * len(SOME))


@pytest.mark.slow
@pytest.mark.parametrize("average", ["examples", "steps"])
@pytest.mark.parametrize("buckets", [mxt.buckets.Fixed([3, 6, 9]), mxt.buckets.Fixed([9]), None], ids=repr)
def test_buckets_of_any_length_are_accumulated(average: str, buckets: Any) -> None:
    plan = recurrent_plan(average=average, dtype="float64")
    lengths = [2, 9, 5, 3, 3, 7]
    generator = np.random.default_rng(1)
    batch = {port: [generator.normal(size=(n, 2)) for n in lengths] for port in ("Input", "Target")}
    whole, parted = (mxt.Trainer(plan, mxt.Adam(0.01), batch_size=6, buckets=buckets) for _ in range(2))
    whole.update(batch)
    for part in parts_of(batch, 1, 3, 2):
        parted.accumulate(part)
    parted.apply()
    losses, expected = parted.current_loss(), whole.current_loss()
    assert losses["Loss"] == pytest.approx(expected["Loss"], rel=1e-12)
    assert parted.current_loss("sum")["Loss"] == pytest.approx(whole.current_loss("sum")["Loss"], rel=1e-12)
    assert (losses.examples, losses.steps) == (expected.examples, expected.steps)
    for path, gradient in values_of(parted.gradients).items():
        np.testing.assert_allclose(gradient, whole.gradients[path][:], rtol=1e-10, atol=1e-14)
    for path, array in values_of(parted.arrays).items():
        np.testing.assert_allclose(array, whole.arrays[path][:], rtol=1e-10, atol=1e-12)


def test_example_weights_count_in_all_batches_alike(linear_plan: mxt.Plan) -> None:
    plan = mxt.compile_plan(linear_plan.net, example_weights={"Loss": "Weight"}, dtype="float64")
    whole, parted = (mxt.Trainer(plan, mxt.SGD(0.1), batch_size=4) for _ in range(2))
    batch = {**linear_batch(), "Weight": np.array([1.0, 0.0, 2.0, 0.5])}
    whole.update(batch)
    for part in parts_of(batch, 3, 1):
        parted.accumulate(part)
    parted.apply()
    assert parted.current_loss()["Loss"] == pytest.approx(whole.current_loss()["Loss"], rel=1e-12)
    assert parted.arrays["linear.Weights"][:] == pytest.approx(whole.arrays["linear.Weights"][:], rel=1e-12)


def test_a_step_of_one_batch_is_the_same_by_accumulate() -> None:
    whole, parted = (mxt.Trainer(PLAN64, mxt.Adam(0.01), batch_size=3) for _ in range(2))
    for number in SOME:
        whole.update(small_batch(number))
        parted.accumulate(small_batch(number))
        parted.apply()
    for path, array in values_of(parted.arrays).items():
        np.testing.assert_allclose(array, whole.arrays[path][:], rtol=1e-12, atol=1e-15)


def test_losses_that_are_counted_in_other_ways_are_not_accumulated() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "one": mxt.MeanSquaredLoss(), "two": mxt.MeanSquaredLoss(average="steps")},
        [("Input", "linear", "one", "One"), ("linear", "two", "Two"), ("Target", "one.Target"),
         ("Target", "two.Target")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )  # fmt: skip
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=3)
    with pytest.raises(mxt.ArgumentError, match="One by examples, Two by steps"):
        trainer.accumulate(small_batch(1))
    assert (trainer.step, trainer.accumulate(small_batch(1), losses={"Two": 2.0})) == (0, 1)
    with pytest.raises(mxt.ArgumentError, match=r"begun with the loss weights .*'Two': 2\.0"):
        trainer.accumulate(small_batch(1), losses={"Two": 3.0})
    with pytest.raises(mxt.ArgumentError, match="begun with the loss weights"):
        trainer.accumulate(small_batch(1), losses={"One": 1.0})
    trainer.accumulate(small_batch(2), losses={"Two": 2.0})
    trainer.apply()
    assert trainer.update(small_batch(1)) == 2
