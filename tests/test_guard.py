"""What the guard of a step decides, what becomes of steps that fail, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import OnMove, assert_same, drawn_batch, linear_batch, values_of
from fault_cases import FAULTS, everything, good_batch, plan_of
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt

SOME = range(5)


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


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [mxt.Adam(0.01), mxt.SGD(0.1, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("bad", range(3, 10))
@pytest.mark.parametrize("fault", [FAULTS[0], FAULTS[3], FAULTS[5]], ids=lambda fault: fault.name)
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


# Recovering


def test_where_nothing_failed_there_is_nothing_to_recover(trainer: mxt.Trainer) -> None:
    trainer.recover()
    trainer.update(linear_batch())
    trainer.recover()
    assert trainer.update(linear_batch()) == 2


@pytest.mark.parametrize("kind", [mxt.SGD, mxt.Adam])
def test_a_step_that_was_cut_short_is_taken_back(linear_plan: mxt.Plan, kind: Any, on_move: OnMove) -> None:
    twin = mxt.Trainer(linear_plan, kind(0.1), batch_size=4)
    trainer = mxt.Trainer(linear_plan, kind(0.1), batch_size=4, depth=4)

    def interrupt(number: int) -> None:
        if number == 5:  # two of each, and this
            raise MemoryError("no more")

    on_move(interrupt)
    for number in (1, 2):
        trainer.update(drawn_batch(number))
        twin.update(drawn_batch(number))
    with pytest.raises(MemoryError):
        trainer.update(drawn_batch(3))
    with pytest.raises(mxt.StepError, match=r"step 3 was cut short.*MemoryError: no more") as caught:
        trainer.current_loss()
    assert caught.value.batch is not None
    np.testing.assert_allclose(caught.value.batch["Input"], drawn_batch(3)["Input"], rtol=1e-6)
    trainer.recover()
    assert trainer.current_loss() == twin.current_loss()
    assert trainer.update(drawn_batch(3)) == twin.update(drawn_batch(3)) == 3
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
    for each, text in ((handle, "step 1"), (late, "taken back")):
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
