"""A trainer's arrays, gradients and net: where they start, and how they are read and written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of

import mxtrainer as mxt
from mxtrainer._mxnet import mx


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
