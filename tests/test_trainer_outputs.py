"""Handles on the outputs of a step: their values, their age, and how they are fed back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, text_batch, values_of

import mxtrainer as mxt


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
