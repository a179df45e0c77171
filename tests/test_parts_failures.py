"""What becomes of a step in parts whose pass or move fails, is not finite, or is interrupted; and the way back."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import numpy as np
import pytest
from conftest import OnMove, drawn_batch, values_of
from fault_cases import FAULTS, Faulty, everything, good_batch, plan_of
from state_cases import ROWS, assert_same_states, batches, recurrent_plan, states_of
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt
from mxtrainer.executors import kernels
from mxtrainer.executors.bound import Bound

PLANS = {way: plan_of(way) for way in {fault.way for fault in FAULTS}}
NOT_FINITE = [fault for fault in FAULTS if "NaN" in fault.name]
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


def trainer_of(fault: Faulty, **options: Any) -> mxt.Trainer:
    return mxt.Trainer(PLANS[fault.way], mxt.Adam(0.01), batch_size=4, **{"depth": 3, **options})


def moved(trainer: mxt.Trainer) -> list[bytes]:
    return [array.tobytes() for array in everything(trainer)]


def begun(fault: Faulty, good_passes: int, **options: Any) -> mxt.Trainer:
    """Return a trainer that has taken two steps, and so many passes of a third."""
    trainer = trainer_of(fault, **options)
    for number in (1, 2):
        trainer.update(good_batch(number))
    for number in range(good_passes):
        trainer.accumulate(good_batch(3 + number))
    return trainer


def fail(trainer: mxt.Trainer, fault: Faulty, good_passes: int) -> mxt.StepError:
    """Let the next pass fail; return the error."""
    begin = trainer.accumulate if good_passes else trainer.compute
    begin(fault.spoil(good_batch(9)))
    with contextlib.suppress(mxt.StepError):
        trainer.apply()
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    for call in (trainer.apply, trainer.discard, trainer.current_loss, lambda: trainer.accumulate(good_batch(1))):
        with pytest.raises(mxt.StepError) as again:
            call()
        assert again.value is caught.value
    return caught.value


# A pass that fails


@pytest.mark.slow
@pytest.mark.parametrize("ways", ["kernels", "operators"])
@pytest.mark.parametrize("good_passes", [0, 1, 2])
@every_fault
def test_a_pass_that_fails_gives_its_step_up(
    fault: Faulty, good_passes: int, ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ways == "operators":
        monkeypatch.setattr(kernels, "_numba_loads", lambda: False)
    trainer, twin = (begun(fault, good_passes) for _ in range(2))
    before = moved(trainer)
    error = fail(trainer, fault, good_passes)
    assert (error.step, error.node) == (3, fault.node)
    named = good_passes > 0 and fault.node is not None
    assert str(error).startswith(f"step 3, in its pass {good_passes + 1}," if named else "step 3")
    assert error.batch is not None
    np.testing.assert_array_equal(error.batch["Input"], good_batch(9)["Input"].astype(np.float32))
    assert error.dropped == ()
    trainer.recover()
    assert (trainer.step, moved(trainer)) == (2, before)
    if good_passes:
        twin.discard()
    for each in (trainer, twin):
        each.accumulate(good_batch(5))
        each.accumulate(good_batch(6))
        assert each.apply() == 3
        assert each.update(good_batch(7)) == 4
    assert moved(trainer) == moved(twin)
    assert trainer.loss_at(3) == twin.loss_at(3)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.name != "NaN in a gradient"], ids=lambda fault: fault.name
)  # which reaches no array that the next step looks at
def test_a_guard_now_and_then_goes_back_to_the_last_step_that_passed(fault: Faulty) -> None:
    trainer, twin = (begun(fault, 0, guard=2) for _ in range(2))
    before = moved(trainer)
    told: list[int] = []
    with pytest.raises(mxt.StepError) as caught:  # noqa: PT012 - it may be told at any of these
        trainer.accumulate(good_batch(3))
        trainer.accumulate(fault.spoil(good_batch(4)))
        trainer.apply()
        trainer.compute(good_batch(5))
        trainer.apply()
        trainer.current_loss()
    told = sorted({caught.value.step, *(step for step, _ in caught.value.dropped)})
    assert told in ([3], [3, 4])
    assert caught.value.node in {fault.node, "norm"}
    trainer.recover()
    assert (trainer.step, moved(trainer)) == (2, before)
    for each in (trainer, twin):
        each.compute(good_batch(3))
        each.apply()
        each.accumulate(good_batch(4))
        assert each.apply() == 4
    assert moved(trainer) == moved(twin)


@pytest.mark.parametrize("fault", FAULTS[:3], ids=lambda fault: fault.name)
def test_without_a_guard_the_step_is_named_and_nothing_can_be_undone(fault: Faulty) -> None:
    trainer = begun(fault, 1, guard=False)
    assert fail(trainer, fault, 1).step == 3
    with pytest.raises(mxt.Error, match="guard=False keeps nothing to go back to"):
        trainer.recover()


def test_what_was_queued_behind_a_pass_that_failed_is_dropped() -> None:
    trainer = begun(FAULTS[0], 1, depth=6)
    trainer.accumulate(FAULTS[0].spoil(good_batch(4)))
    trainer.accumulate(good_batch(5))
    trainer.apply()
    trainer.update(good_batch(6))
    with pytest.raises(mxt.StepError, match="step 3, in its pass 2,") as caught:
        trainer.current_loss()
    assert [step for step, _ in caught.value.dropped] == [3, 4]
    for (_, batch), number in zip(caught.value.dropped, (5, 6)):
        np.testing.assert_array_equal(batch["Input"], good_batch(number)["Input"].astype(np.float32))


@pytest.mark.parametrize("guard", [True, 5])
@pytest.mark.parametrize("fault", [FAULTS[0], FAULTS[3]], ids=lambda fault: fault.name)
def test_outputs_of_the_pass_before_are_in_the_batch_that_failed_and_not_in_those_behind(
    fault: Faulty, guard: Any
) -> None:
    trainer = begun(fault, 1, guard=guard)
    fed = trainer.outputs["StateOut"]
    expected = fed.asnumpy()
    trainer.accumulate({**fault.spoil(good_batch(4)), "StateIn": fed})
    trainer.accumulate({**good_batch(5), "StateIn": trainer.outputs["StateOut"]})
    with pytest.raises(mxt.StepError) as caught:  # noqa: PT012 - a guard now and then tells at its own step
        trainer.apply()
        for number in (4, 5):
            trainer.update(good_batch(number))
        trainer.current_loss()
    error = caught.value
    assert (error.step == 3 or guard == 5, error.node) == (True, "fault")
    if error.step == 3:
        assert error.batch is not None
        np.testing.assert_array_equal(error.batch["StateIn"], expected)
        behind = [batch for step, batch in error.dropped if step == 3 and batch["Trigger"][0] > 0]
        assert "StateIn" not in behind[-1]


@pytest.mark.parametrize("guard", [True, 2])
def test_carried_states_go_back_to_where_the_pass_began(guard: Any) -> None:
    first, second, third = batches(4, 3, 5)
    trainer, twin = (mxt.Trainer(recurrent_plan(), mxt.Adam(0.01), ROWS, carry=True, guard=guard) for _ in range(2))
    for each in (trainer, twin):
        for batch in (first, third):
            each.update(batch)
        if guard is True:
            each.accumulate(second)
    states, before = states_of(trainer), moved(trainer)
    (trainer.accumulate if guard is True else trainer.compute)({**third, "Input": np.full((ROWS, 5, 2), np.nan)})
    with contextlib.suppress(mxt.StepError):
        trainer.apply()
        trainer.update(third)
    with pytest.raises(mxt.StepError, match=r"step [34]"):
        trainer.current_loss()
    trainer.recover()
    assert trainer.step == 2
    assert_same_states(states_of(trainer), states)
    assert moved(trainer) == before
    if guard is True:
        twin.discard()
    for each in (trainer, twin):
        each.compute(third)
        each.apply()
    assert_same_states(states_of(trainer), states_of(twin))
    assert moved(trainer) == moved(twin)


# Skipped


@pytest.mark.parametrize("good_passes", [0, 1, 2])
@pytest.mark.parametrize("fault", NOT_FINITE, ids=lambda fault: fault.name)
def test_a_step_with_a_pass_that_is_not_finite_is_skipped(fault: Faulty, good_passes: int) -> None:
    trainer, twin = (begun(fault, good_passes, on_nan="skip") for _ in range(2))
    before = moved(trainer)
    begin = trainer.accumulate if good_passes else trainer.compute
    begin(fault.spoil(good_batch(9)))
    if good_passes:
        trainer.accumulate(good_batch(8))  # which moves no statistics either
    assert trainer.apply() == 3
    assert moved(trainer) == before
    trainer.current_loss()
    assert trainer.stats().skipped == (3,)
    if good_passes:
        twin.discard()
    trainer.update(good_batch(5))
    twin.update(good_batch(5))
    assert moved(trainer) == moved(twin)
    assert (trainer.step, twin.step) == (4, 3)


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_loss_that_is_not_finite_skips_its_step_though_its_gradient_is_finite(in_parts: bool) -> None:
    net = mxt.NetChain([mxt.Linear(), mxt.MeanAbsoluteLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=4, on_nan="skip")
    trainer.update(drawn_batch(1))
    before = moved(trainer)
    bad = {**drawn_batch(2), "Target": np.full(4, np.inf)}
    if in_parts:
        trainer.accumulate(bad)
        trainer.accumulate(drawn_batch(3))
        trainer.apply()
    else:
        trainer.update(bad)
    assert moved(trainer) == before
    assert np.isfinite(values_of(trainer.gradients)["linear.Weights"]).all()
    assert trainer.stats().skipped == (2,)
    trainer.compute(drawn_batch(3))
    trainer.apply()
    assert moved(trainer) != before


# A move that fails


@pytest.mark.slow
@pytest.mark.parametrize("ways", ["kernels", "operators"])
@pytest.mark.parametrize("guard", [True, 3])
@pytest.mark.parametrize("passes", [1, 2])
def test_gradients_that_are_written_not_finite_move_nothing(
    passes: int, guard: Any, ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ways == "operators":
        monkeypatch.setattr(kernels, "_numba_loads", lambda: False)
    trainer, twin = (begun(FAULTS[0], passes, guard=guard) for _ in range(2))
    before = moved(trainer)
    trainer.gradients["linear.Biases"] = np.nan
    trainer.apply()
    trainer.update(good_batch(8))
    with pytest.raises(mxt.StepError, match=r"^step 3, at apply\(\), gave losses or gradients that are not finite"):
        trainer.current_loss()
    trainer.recover()
    if guard is True:
        assert (trainer.step, moved(trainer)) == (2, before)
        twin.discard()
    else:  # back to the start
        assert trainer.step == 0
        twin = trainer_of(FAULTS[0], guard=guard)
    for each in (trainer, twin):
        each.compute(good_batch(4))
        each.apply()
        each.update(good_batch(5))
    assert moved(trainer) == moved(twin)


@pytest.mark.parametrize("on_nan", ["skip", "ignore"])
def test_or_are_passed_over_as_the_user_has_it(on_nan: str) -> None:
    trainer = begun(FAULTS[0], 1, on_nan=on_nan)
    before = moved(trainer)
    trainer.gradients["linear.Biases"] = np.nan
    assert trainer.apply() == 3
    trainer.current_loss()
    assert (moved(trainer) == before) == (on_nan == "skip")
    assert np.isnan(trainer.arrays["linear.Biases"][:]).all() == (on_nan == "ignore")
    assert trainer.stats().skipped == ((3,) if on_nan == "skip" else ())


def test_gradients_that_are_mended_move_what_the_pass_did_not() -> None:
    trainer = begun(FAULTS[0], 0, on_nan="ignore")
    trainer.compute({**good_batch(3), "Target": np.full((3, 4), np.nan)})
    for path in trainer.gradients:
        trainer.gradients[path] = 1.0
    trainer.apply()
    assert all(np.isfinite(array).all() for array in values_of(trainer.arrays).values())


# Interrupts


@pytest.mark.parametrize("guard", [True, 2])
def test_a_move_that_is_cut_short_is_taken_back(on_move: OnMove, guard: Any) -> None:
    trainer, twin = (trainer_of(FAULTS[0], guard=guard) for _ in range(2))

    def interrupt(number: int) -> None:
        if number == 5:  # two of each, and this
            raise MemoryError("no more")

    on_move(interrupt)
    for number in (1, 2):
        trainer.update(good_batch(number))
        twin.update(good_batch(number))
    trainer.compute(good_batch(3))
    with pytest.raises(MemoryError):
        trainer.apply()
    for call in (trainer.current_loss, trainer.apply, trainer.discard, lambda: trainer.update(good_batch(4))):
        with pytest.raises(mxt.StepError, match=r"step 3 was cut short.*MemoryError: no more"):
            call()
    trainer.recover()
    assert trainer.step == 2
    if guard is True:
        twin.compute(good_batch(3))
        twin.discard()
    for each in (trainer, twin):
        assert each.update(good_batch(4)) == 3
        each.compute(good_batch(5))
        assert each.apply() == 4
    assert moved(trainer) == moved(twin)


@pytest.mark.parametrize("good_passes", [0, 1])
def test_a_pass_that_is_cut_short_is_taken_back(good_passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, twin = (begun(FAULTS[0], good_passes) for _ in range(2))
    before = moved(trainer)

    def interrupted(*_: Any) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(Bound, "backward_mean", interrupted)
    with pytest.raises(MemoryError):
        (trainer.accumulate if good_passes else trainer.compute)(good_batch(9))
    monkeypatch.undo()
    with pytest.raises(mxt.StepError, match=r"step 3 was cut short.*MemoryError: no more"):
        trainer.apply()
    trainer.recover()
    assert (trainer.step, moved(trainer)) == (2, before)
    if good_passes:
        twin.discard()
    for each in (trainer, twin):
        assert each.update(good_batch(4)) == 3
    assert moved(trainer) == moved(twin)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_comes_after_the_part_that_is_queued(monkeypatch: pytest.MonkeyPatch, on_move: OnMove) -> None:
    trainer, twin = (trainer_of(FAULTS[0]) for _ in range(2))
    backward = Bound.backward_mean

    def interrupted(self: Bound, *arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        backward(self, *arguments)

    for number in (3, 4):
        with monkeypatch.context() as patch:
            patch.setattr(Bound, "backward_mean", interrupted)
            with pytest.raises(KeyboardInterrupt):
                trainer.accumulate(good_batch(number))
        assert trainer.step == 1
    on_move(lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trainer.apply()
    monkeypatch.undo()
    with pytest.raises(mxt.Error, match="there is none"):
        trainer.apply()
    for number in (3, 4):
        twin.accumulate(good_batch(number))
    twin.apply()
    assert moved(trainer) == moved(twin)
    assert trainer.current_loss() == twin.current_loss()
