"""Steps in flight: staged batches, losses read late, numbers that are not finite, interrupts, and what is counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of
from extra_layers import Cholesky
from fault_cases import FAULTS, everything, good_batch, plan_of
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.engine.pipeline import Pipeline

SOME = range(5)


def batch_of(number: int) -> dict[str, Any]:
    generator = np.random.default_rng(number)
    return {"Input": generator.normal(size=4), "Target": generator.normal(size=4)}


@pytest.fixture
def trainer(linear_plan: mxt.Plan) -> Iterator[mxt.Trainer]:
    with mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4) as made:
        yield made


# Staging


def test_a_staged_batch_is_the_next_step(linear_plan: mxt.Plan, trainer: mxt.Trainer) -> None:
    twin = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
    for number in SOME:
        batch = batch_of(number)
        trainer.stage(batch)
        for value in batch.values():
            value[:] = np.nan  # it is the caller's again
        assert trainer.step == number
        assert trainer.update() == number + 1
        twin.update(batch_of(number))
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))
    assert trainer.current_loss() == twin.current_loss()


def test_handles_stay_good_while_a_batch_is_staged(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, lengths={"t": 6})
    long, short = text_batch(rng, steps=6), text_batch(rng, rows=2, steps=4)
    trainer.update(long, lengths={"t": [6, 2, 3]})
    expected = trainer.outputs["lstm.State"].asnumpy()
    trainer.stage({**short, "lstm.State": expected[:2]}, lengths={"t": [4, 1]})
    handle = trainer.outputs["lstm.State"]
    assert handle.shape == (3, 8)
    assert handle.asnumpy().tobytes() == handle.copy().asnumpy().tobytes() == expected.tobytes()
    trainer.update()
    with pytest.raises(mxt.StaleHandleError, match="overwritten by step 2"):
        handle.asnumpy()


def test_a_copy_of_a_padded_sequence_has_its_own_lengths_whatever_is_staged(rng: np.random.Generator) -> None:
    net = mxt.NetGraph(
        {"lstm": mxt.LSTM(3), "loss": mxt.MeanSquaredLoss()},
        [("Input", "lstm", "loss", "Loss"), ("lstm", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )
    plan = mxt.compile_plan(net, losses={"Output": 0.0})
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), batch_size=2, lengths={"t": 5})

    def padded(*lengths: int) -> dict[str, Any]:
        return {
            port: [rng.normal(size=(n, width)) for n in lengths] for port, width in {"Input": 2, "Target": 3}.items()
        }

    trainer.update(padded(5, 2))
    expected = trainer.outputs["Output"].asnumpy()
    trainer.stage(padded(1, 4))
    assert trainer.outputs["Output"].copy().asnumpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda trainer: trainer.stage(batch_of(1)), r"staged already: call update\(\)"),
        (lambda trainer: trainer.update(batch_of(1)), r"a batch is staged: call update\(\) without one"),
        (lambda trainer: trainer.update(lengths={"t": [1]}), r"give them to stage"),
    ],
)
def test_a_staged_batch_is_not_lost_to_another(trainer: mxt.Trainer, call: Any, text: str) -> None:
    trainer.stage(batch_of(0))
    with pytest.raises(mxt.ArgumentError, match=text):
        call(trainer)
    assert trainer.update() == 1


def test_a_bad_batch_is_not_staged(trainer: mxt.Trainer) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"update\(\) takes the batch that stage\(batch\) has loaded"):
        trainer.update()
    with pytest.raises(mxt.BatchError, match="Target"):
        trainer.stage({"Input": np.ones(4)})
    trainer.stage(batch_of(0))
    assert trainer.update() == 1


def test_staging_waits_for_no_step(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=1)
    trainer.update(linear_batch())
    trainer.stage(linear_batch())
    assert not gate.is_set()
    gate.set()
    assert trainer.update() == 2


def test_a_staged_batch_outlives_a_failure() -> None:
    plan = plan_of("cholesky")
    trainer, twin = (mxt.Trainer(plan, mxt.Adam(0.01), batch_size=4) for _ in range(2))
    bad = FAULTS[0].spoil(good_batch(2))
    trainer.update(good_batch(1))
    trainer.update(bad)
    trainer.stage(good_batch(3))
    with pytest.raises(mxt.StepError, match="step 2"):
        trainer.current_loss()
    trainer.recover()
    assert trainer.update() == 2
    for number in (1, 3):
        twin.update(good_batch(number))
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


def test_what_came_out_of_a_failed_step_is_in_no_batch() -> None:
    trainer = mxt.Trainer(plan_of("cholesky"), mxt.Adam(0.01), batch_size=4, depth=3)
    trainer.update(good_batch(1))
    fed = {**FAULTS[0].spoil(good_batch(2)), "StateIn": trainer.outputs["StateOut"]}
    expected = trainer.outputs["StateOut"].asnumpy()
    trainer.update(fed)
    trainer.update({**good_batch(3), "StateIn": trainer.outputs["StateOut"]})
    trainer.stage({**good_batch(4), "StateIn": trainer.outputs["StateOut"]})
    with pytest.raises(mxt.StepError, match="step 2") as caught:
        trainer.current_loss()
    assert caught.value.batch is not None
    np.testing.assert_array_equal(caught.value.batch["StateIn"], expected)
    assert [(step, "StateIn" in batch) for step, batch in caught.value.dropped] == [(3, False), (4, False)]
    trainer.recover()
    with pytest.raises(mxt.ArgumentError, match="there is none"):
        trainer.update()


def test_a_staged_batch_can_be_taken_back(linear_plan: mxt.Plan, trainer: mxt.Trainer) -> None:
    with pytest.raises(mxt.ArgumentError, match="no batch is staged"):
        trainer.unstage()
    first, second = batch_of(1), batch_of(2)
    trainer.stage(first)
    first["Input"][:] = np.nan
    taken = trainer.unstage()
    trainer.update(second)
    trainer.stage(taken)
    trainer.update()
    twin = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
    for number in (2, 1):
        twin.update(batch_of(number))
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


# Losses


def test_losses_of_earlier_steps_are_those_that_were_current_then(linear_plan: mxt.Plan, trainer: mxt.Trainer) -> None:
    twin = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
    current = []
    for number in SOME:
        trainer.update(batch_of(number))
        twin.update(batch_of(number))
        current.append(twin.current_loss())
    assert [trainer.loss_at(number + 1) for number in SOME] == current
    assert trainer.loss_at(2).step == 2
    assert trainer.loss_at(2, "sum")["Loss"] == pytest.approx(4 * current[1]["Loss"])


def test_a_loss_is_given_once_and_none_is_waited_for(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=3)
    for _ in range(3):
        trainer.update(linear_batch())
    assert trainer.losses() == []
    assert not gate.is_set()
    gate.set()
    trainer.loss_at(2)
    early = trainer.losses()
    trainer.current_loss()
    assert [step for step, _ in [*early, *trainer.losses()]] == [1, 2, 3]
    assert trainer.losses() == []
    assert all(losses.step == step for step, losses in early)


def test_losses_reach_1024_steps_back(trainer: mxt.Trainer) -> None:
    for _ in range(1030):
        trainer.update(linear_batch())
    assert trainer.loss_at(1030).step == 1030
    assert [step for step, _ in trainer.losses()] == list(range(7, 1031))
    with pytest.raises(mxt.ArgumentError, match="losses of the steps 7 to 1030, and none of step 6"):
        trainer.loss_at(6)


@pytest.mark.parametrize(
    ("step", "text"), [(0, "steps 1 to 1, and no step 0"), (9, "and no step 9"), (1.0, "step must be"), (True, "step")]
)
def test_a_step_without_losses_is_refused(trainer: mxt.Trainer, step: Any, text: str) -> None:
    with pytest.raises(mxt.Error, match="no loss yet"):
        trainer.loss_at(1)
    trainer.update(linear_batch())
    with pytest.raises(mxt.ArgumentError, match=text):
        trainer.loss_at(step)
    with pytest.raises(mxt.ArgumentError, match="reduction"):
        trainer.losses("median")
    assert [step for step, _ in trainer.losses()] in ([], [1])


# Numbers that are not finite


@pytest.mark.parametrize("optimizer", [mxt.Adam(0.01), mxt.SGD(0.1), mxt.SGD(0.1, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if "NaN" in fault.name], ids=lambda fault: fault.name)
def test_a_skipped_step_moves_nothing_and_keeps_its_number(fault: Any, optimizer: Any) -> None:
    trainer = mxt.Trainer(plan_of(fault.way), optimizer, batch_size=4, on_nan="skip")
    trainer.update(good_batch(1))
    before, loss = everything(trainer), trainer.current_loss()
    assert trainer.update(fault.spoil(good_batch(2))) == 2
    assert [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in before]
    assert trainer.stats().skipped in {(), (2,)}
    assert trainer.update(good_batch(3)) == 3
    assert np.isfinite(trainer.current_loss()["Loss"])
    assert trainer.current_loss() != loss
    assert trainer.stats().skipped == (2,)
    assert "1 skipped" in str(trainer.stats())


def test_a_step_may_be_let_through_whatever_its_numbers(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4, on_nan="ignore")
    trainer.update({**linear_batch(), "Input": np.full(4, np.nan)})
    assert np.isnan(trainer.current_loss()["Loss"])
    assert np.isnan(trainer.arrays["linear.Weights"][:]).all()
    assert trainer.stats().skipped == ()


def test_numbers_that_are_not_finite_are_traced_to_the_input_that_brought_them(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update({**linear_batch(), "Target": [1.0, np.inf, 1.0, 1.0]})
    with pytest.raises(mxt.StepError, match=r'in layer "meansquaredloss"; input port "Target".*not finite') as caught:
        trainer.current_loss()
    assert (caught.value.node, caught.value.port, caught.value.cause) == ("meansquaredloss", "Target", None)


def test_a_gradient_whose_norm_is_beyond_float32_is_not_finite(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update({"Input": np.full(4, 1e12), "Target": np.full(4, -1e12)})
    with pytest.raises(mxt.StepError, match="not finite; no layer did, but the square of the norm of its gradient"):
        trainer.current_loss()


def test_a_loss_of_weight_0_may_be_infinite() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(), "loss": mxt.MeanSquaredLoss(), "other": mxt.MeanSquaredLoss()},
        [("Input", "linear", "loss", "Loss"), ("linear", "other", "Other"), ("Far", "other.Target")],
        inputs={"Input": mxt.Scalar(), "Far": mxt.Scalar()},
    )
    plan = mxt.compile_plan(net, losses={"Loss": 1.0, "Other": 0.0})
    trainer = mxt.Trainer(plan, mxt.Adam(0.1), batch_size=4)
    trainer.update({**linear_batch(), "Far": np.full(4, 1e30)})
    assert np.isinf(trainer.current_loss()["Other"])


def test_the_layer_that_is_named_is_the_first_whose_output_is_not_finite() -> None:
    net = mxt.NetChain(
        [mxt.LSTM(3), mxt.Linear(2), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(2))}
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.Adam(0.1), batch_size=1)
    trainer.update({"Input": [[[1.0, np.nan], [1.0, 1.0]]], "Target": np.zeros((1, 2, 2))})
    with pytest.raises(mxt.StepError, match='in layer "lstm"; input port "Input"'):
        trainer.current_loss()


@pytest.mark.parametrize("optimizer", [mxt.Adam(0.01), mxt.SGD(0.1, momentum=0.5)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_guard_changes_no_bit_of_a_training_that_goes_well(optimizer: Any, dtype: str) -> None:
    net = mxt.NetChain([mxt.Linear(3), mxt.BatchNorm(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(2)})
    plan = mxt.compile_plan(net, dtype=dtype)
    runs = []
    for options in ({}, {"on_nan": "skip"}, {"on_nan": "ignore"}, {"guard": False}, {"guard": 2}):
        trainer = mxt.Trainer(plan, optimizer, batch_size=4, **options)
        for number in SOME:
            generator = np.random.default_rng(number)
            trainer.update({"Input": generator.normal(size=(4, 2)), "Target": generator.normal(size=(4, 3))})
        runs.append((values_of(trainer.arrays), trainer.current_loss()))
    for arrays, loss in runs[1:]:
        assert_same(arrays, runs[0][0])
        assert loss == runs[0][1]


# A guard now and then


@pytest.mark.parametrize("optimizer", [mxt.Adam(0.01), mxt.SGD(0.1, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("bad", range(3, 10))
@pytest.mark.parametrize("fault", [FAULTS[0], FAULTS[4], FAULTS[6]], ids=lambda fault: fault.name)
def test_a_guard_of_every_nth_step_goes_back_to_the_last_that_passed(fault: Any, bad: int, optimizer: Any) -> None:
    trainer = mxt.Trainer(plan_of(fault.way), optimizer, batch_size=4, guard=3, depth=2)
    kept = {0: everything(trainer)}
    batches = {number: good_batch(number) for number in range(1, 14)} | {bad: fault.spoil(good_batch(bad))}

    def train() -> None:
        for number, batch in batches.items():
            trainer.update(batch)
            trainer.losses()
            if number % 3 == 0 and number < bad:
                kept[number] = everything(trainer)

    with pytest.raises(mxt.StepError) as caught:
        train()
    last = max(number for number in kept if number < bad)
    error = caught.value
    assert bad <= error.step < last + 3 + 1
    told = dict(error.dropped) | {error.step: error.batch}
    assert sorted(told) == list(range(last + 1, max(told) + 1))
    assert max(told) == trainer.step
    for number, batch in told.items():
        assert batch is not None
        for port, value in batches[number].items():
            found = value if isinstance(value, np.ndarray) else value.asnumpy()
            np.testing.assert_array_equal(batch[port], found.astype(batch[port].dtype))
    trainer.recover()
    assert trainer.step == last
    assert [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in kept[last]]
    twin = mxt.Trainer(plan_of(fault.way), optimizer, batch_size=4)
    for number in range(1, 13):
        if number > last:
            trainer.update(good_batch(number))
        twin.update(good_batch(number))
    assert trainer.current_loss() == twin.current_loss()
    assert [step for step, _ in trainer.losses()] == list(range(last + 1, 13))
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


# Without a guard


def test_without_a_guard_a_failure_is_told_but_cannot_be_undone() -> None:
    trainer = mxt.Trainer(plan_of("cholesky"), mxt.Adam(0.01), batch_size=4, guard=False)
    trainer.update(good_batch(1))
    trainer.update(FAULTS[0].spoil(good_batch(2)))
    for _ in range(2):
        with pytest.raises(mxt.StepError, match="step 2"):
            trainer.current_loss()
    with pytest.raises(mxt.Error, match="guard=False keeps nothing to go back to"):
        trainer.recover()
    with pytest.raises(mxt.StepError, match="step 2"):
        trainer.update(good_batch(3))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"guard": 0}, "guard must be True, False, or n for every nth step, got 0"),
        ({"guard": 2.0}, "guard must be"),
        ({"guard": 3, "on_nan": "skip"}, 'on_nan="skip" needs the guard at every step'),
        ({"guard": None}, "guard must be"),
        ({"on_nan": "stop"}, "on_nan must be one of raise, skip, ignore, got 'stop'"),
        ({"on_nan": True}, "on_nan must be"),
        ({"guard": False, "on_nan": "skip"}, 'on_nan="skip" needs the guard'),
        ({"depth": 0}, "depth must be a positive integer"),
    ],
)
def test_options_are_checked(linear_plan: mxt.Plan, options: dict[str, Any], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4, **options)


# Optimizers of one's own


def test_a_class_that_has_its_own_move_is_asked_for_it(linear_plan: mxt.Plan) -> None:
    class Frozen(mxt.Adam):
        def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
            return None

    for guard in (True, False):
        trainer = mxt.Trainer(linear_plan, Frozen(0.1), batch_size=4, guard=guard)
        before = values_of(trainer.arrays)
        trainer.update(linear_batch())
        assert_same(values_of(trainer.arrays), before)


@pytest.mark.parametrize("state", [None, (np.zeros(3),), (mx.nd.zeros((3,), dtype="int32"),), mx.nd.zeros((3,))])
def test_a_state_of_another_kind_is_refused(linear_plan: mxt.Plan, state: Any) -> None:
    class Odd(mxt.SGD):
        def start(self, parameters: Any) -> Any:
            return state

    for guard in (True, False):
        with pytest.raises(mxt.ArgumentError, match="Odd: start must return a tuple of NDArrays of float32"):
            mxt.Trainer(linear_plan, Odd(0.1), batch_size=4, guard=guard)


# Recovering


def test_where_nothing_failed_there_is_nothing_to_recover(trainer: mxt.Trainer) -> None:
    trainer.recover()
    trainer.update(linear_batch())
    trainer.recover()
    assert trainer.update(linear_batch()) == 2


@pytest.mark.parametrize("kind", [mxt.SGD, mxt.Adam])
def test_a_step_that_was_cut_short_is_taken_back(linear_plan: mxt.Plan, kind: Any) -> None:
    class Interrupted(kind):  # type: ignore[misc]  # one of two classes
        def apply(self, update: int, *arrays: Any) -> None:
            if update == 3 and cut:
                raise MemoryError("no more")
            super().apply(update, *arrays)

        def scaled(self, *arrays: Any) -> Any:
            queue = super().scaled(*arrays)

            def queue_or_not(update: int) -> None:
                if update == 3 and cut:
                    raise MemoryError("no more")
                queue(update)

            return queue_or_not

    if kind is mxt.SGD:
        del Interrupted.scaled
    cut = True
    trainer = mxt.Trainer(linear_plan, Interrupted(0.1), batch_size=4, depth=4)
    twin = mxt.Trainer(linear_plan, kind(0.1), batch_size=4)
    for number in (1, 2):
        trainer.update(batch_of(number))
        twin.update(batch_of(number))
    with pytest.raises(MemoryError):
        trainer.update(batch_of(3))
    with pytest.raises(mxt.StepError, match=r"step 3 was cut short.*MemoryError: no more") as caught:
        trainer.current_loss()
    assert caught.value.batch is not None
    np.testing.assert_allclose(caught.value.batch["Input"], batch_of(3)["Input"], rtol=1e-6)
    trainer.recover()
    cut = False
    assert trainer.current_loss() == twin.current_loss()
    assert trainer.update(batch_of(3)) == twin.update(batch_of(3)) == 3
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


def test_handles_of_what_was_taken_back_are_stale() -> None:
    trainer = mxt.Trainer(plan_of("cholesky"), mxt.Adam(0.01), batch_size=4)
    trainer.update(good_batch(1))
    handle = trainer.outputs["StateOut"]
    trainer.update(FAULTS[0].spoil(good_batch(2)))
    late = trainer.outputs["StateOut"]
    with pytest.raises(mxt.StepError):
        late.asnumpy()
    trainer.recover()
    for each, text in ((handle, "step 1"), (late, r"taken back by recover\(\)")):
        with pytest.raises(mxt.StaleHandleError, match=text):
            each.asnumpy()
    with pytest.raises(mxt.Error, match="no outputs yet"):
        assert trainer.outputs


def test_trainers_beside_each_other_lose_no_failure_and_recover_from_each_others(linear_plan: mxt.Plan) -> None:
    first = mxt.Trainer(plan_of("cholesky"), mxt.Adam(0.01), batch_size=4)
    second = mxt.Trainer(plan_of("cholesky"), mxt.Adam(0.01), batch_size=4)
    good = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    for trainer in (first, second):
        trainer.update(FAULTS[0].spoil(good_batch(1)))
    good.update(linear_batch())
    for trainer in (first, second):
        with pytest.raises(mxt.StepError, match="step 1"):
            trainer.current_loss()
        trainer.recover()
        trainer.update(good_batch(1))
    assert first.current_loss() == second.current_loss()
    try:
        good.current_loss()
    except mxt.StepError as error:  # MXNet's operators share scratch memory, and so its errors
        assert "its batch, run once more, went well" in str(error)  # noqa: PT017 - it may or may not come
        good.recover()
        good.update(linear_batch())
    twin = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    twin.update(linear_batch())
    assert good.current_loss() == twin.current_loss()
    assert_same(values_of(good.arrays), values_of(twin.arrays))


# Who waits


def test_update_returns_until_depth_steps_are_unfinished(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=3)
    for _ in range(3):
        trainer.update(linear_batch())
    stats = trainer.stats()
    assert (stats.unfinished, stats.steps, stats.examples) == (3, 3, 12)
    assert stats.last is not None
    assert (stats.last.step, stats.last.unfinished, stats.last.seconds_blocked < 1.0) == (3, 2, True)
    threading.Timer(0.2, gate.set).start()
    trainer.update(linear_batch())
    stats = trainer.stats()
    assert stats.last is not None
    assert stats.last.seconds_blocked > 0.1
    trainer.current_loss()
    assert trainer.stats().unfinished == 0
    assert trainer.stats().seconds_busy > 0.1


def test_stats_count_true_steps_and_padding(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=4, lengths={"t": 8})
    trainer.update(text_batch(rng, rows=3, steps=6), lengths={"t": [6, 2, 4]})
    trainer.update(text_batch(rng, rows=4, steps=8))
    stats = trainer.stats()
    assert (stats.true_steps, stats.examples) == (12 + 32, 7)
    assert stats.padding == pytest.approx(1 - 44 / 64)
    assert stats.seconds >= stats.seconds_staging + stats.seconds_queueing + stats.seconds_blocked
    assert stats.true_steps_per_second == pytest.approx(44 / stats.seconds)
    assert stats.examples_per_second == pytest.approx(7 / stats.seconds)


def test_stats_have_the_norm_of_the_gradient(linear_plan: mxt.Plan) -> None:
    for guard, known in ((True, True), (2, True), (False, False)):
        trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4, guard=guard)
        assert trainer.stats().gradient_norm is None
        for _ in range(2):
            trainer.update(linear_batch())
        gradients = np.concatenate([found.reshape(-1) for found in values_of(trainer.gradients).values()])
        norm = trainer.stats().gradient_norm
        assert norm == pytest.approx(np.linalg.norm(gradients), rel=1e-6) if known else norm is None


def test_before_the_first_step_there_is_nothing_to_count(trainer: mxt.Trainer) -> None:
    assert str(trainer.stats()) == "no steps yet"
    assert trainer.stats().examples_per_second == trainer.stats().true_steps_per_second == 0.0


def test_stats_say_who_waits(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    gate.set()
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4)
    for _ in range(4):
        trainer.update(linear_batch())
        trainer.current_loss()
        time.sleep(0.05)
    assert "the device waits for the host, at 100% of the steps" in str(trainer.stats())
    gate.clear()
    threading.Timer(1.0, gate.set).start()
    trainer.update(linear_batch())
    trainer.current_loss()
    assert "the host waits for the device" in str(trainer.stats()), str(trainer.stats())


# Interrupts, threads, processes


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_a_failure_is_looked_into_does_not_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = mxt.Trainer(plan_of("cholesky"), mxt.Adam(0.01), batch_size=4)
    trainer.update(FAULTS[0].spoil(good_batch(1)))
    trainer.update(good_batch(2))
    drain = Pipeline._drain

    def interrupted(self: Pipeline) -> None:
        signal.raise_signal(signal.SIGINT)
        drain(self)

    monkeypatch.setattr(Pipeline, "_drain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.current_loss()
    with pytest.raises(mxt.StepError, match=r'step 1 .*in layer "fault"') as caught:
        trainer.current_loss()
    assert [step for step, _ in caught.value.dropped] == [2]


def test_a_second_thread_is_refused_by_stats(linear_plan: mxt.Plan) -> None:
    told: list[str] = []

    class Watched(mxt.SGD):
        def apply(self, update: int, parameters: Any, gradients: Any, state: tuple[Any, ...]) -> None:
            def intrude() -> None:
                with pytest.raises(mxt.Error, match="another thread is inside") as caught:
                    made.stats()
                told.append(str(caught.value))

            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()
            super().apply(update, parameters, gradients, state)

    made = mxt.Trainer(linear_plan, Watched(0.1), batch_size=4)
    made.update(linear_batch())
    assert len(told) == 1


def test_an_error_does_not_grow_with_every_call() -> None:
    trainer = mxt.Trainer(plan_of("nan"), mxt.Adam(0.01), batch_size=4)
    trainer.update(FAULTS[4].spoil(good_batch(1)))
    depths = []
    for _ in range(4):
        with pytest.raises(mxt.StepError) as caught:
            trainer.current_loss()
        depths.append(len(caught.traceback))
    assert depths[1] == depths[3]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_long_wait_at_once_and_loses_nothing(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=1)
    trainer.update(linear_batch())
    for call in (trainer.current_loss, lambda: trainer.update(linear_batch())):
        threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        begin = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.perf_counter() - begin < 5.0
        assert not gate.is_set()
        assert trainer.step == 1
    gate.set()
    assert trainer.update(linear_batch()) == 2
    assert trainer.current_loss().step == 2


def test_a_failure_that_a_wait_in_vain_was_told_of_is_not_lost() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    trainer.update({"Input": -np.eye(2)[None], "Target": [[1.0]]})
    step = trainer._steps.pending[0]
    with pytest.raises(mx.MXNetError):
        step.guard._results[step.slot].wait_to_read()
    with pytest.raises(mxt.StepError, match=r'step 1 .*layer "cholesky"') as caught:
        trainer.current_loss()
    assert isinstance(caught.value.cause, mx.MXNetError)  # told by running the batch once more


def test_a_forked_child_is_told_that_it_cannot(trainer: mxt.Trainer) -> None:
    trainer.update(linear_batch())
    trainer.current_loss()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # no test in the child: whatever happens, it ends here
        try:
            trainer.update(linear_batch())
        except mxt.Error as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    text = os.read(read, 1000).decode()
    os.close(read)
    assert f"made in process {os.getpid()}" in text
    assert trainer.update(linear_batch()) == 2
