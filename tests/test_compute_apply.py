"""Steps in parts: compute and apply, gradients read and written in between, batches that are added up, some arrays."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of
from fault_cases import good_batch, plan_of
from optimizer_cases import EVERY, course_of, deviation, moved, parts_of, small_batch, small_plan, treated
from state_cases import ROWS, assert_same_states, batches, recurrent_plan, states_of
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt

PLAN = small_plan()
PLAN64 = small_plan("float64")
SOME = range(4)


# One pass and one move


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_an_update_is_compute_and_apply_to_the_bit(kind: str) -> None:
    optimizer = treated(kind, "rules")
    whole, parted = (mxt.Trainer(PLAN64, optimizer, batch_size=3) for _ in range(2))
    for number in SOME:
        assert whole.update(small_batch(number)) == number + 1
        assert parted.compute(small_batch(number)) == parted.apply() == number + 1
        assert parted.current_loss() == whole.current_loss()
    assert moved(parted) == moved(whole)


@pytest.mark.parametrize("options", [{}, {"guard": False}, {"guard": 2}, {"on_nan": "skip"}, {"depth": 1}], ids=str)
def test_that_holds_for_moving_statistics_under_every_guard(options: Any) -> None:
    whole, parted = (mxt.Trainer(plan_of("none"), mxt.Adam(0.01), batch_size=4, **options) for _ in range(2))
    for number in range(6):
        whole.update(good_batch(number))
        parted.compute(good_batch(number))
        parted.apply()
    assert moved(parted) == moved(whole)
    assert parted.loss_at(6) == whole.loss_at(6)
    assert parted.stats().gradient_norm == whole.stats().gradient_norm
    assert (parted.stats().steps, parted.stats().examples) == (whole.stats().steps, whole.stats().examples) == (6, 18)


@pytest.mark.parametrize("options", [{}, {"guard": False}, {"guard": 3}, {"lengths": {"t": 6}}], ids=str)
def test_that_holds_for_carried_states(options: Any) -> None:
    whole, parted = (mxt.Trainer(recurrent_plan(), mxt.Adam(0.01), ROWS, carry=True, **options) for _ in range(2))
    for batch in batches(4, 6, 3, 5):
        whole.update(batch)
        parted.compute(batch)
        assert_same_states(states_of(parted), states_of(whole))
        parted.apply()
    assert_same_states(states_of(parted), states_of(whole))
    assert moved(parted) == moved(whole)


def test_between_compute_and_apply_nothing_but_the_forward_passs_own_has_moved() -> None:
    trainer = mxt.Trainer(plan_of("none"), mxt.Adam(0.01), batch_size=4)
    before, statistics = values_of(trainer.arrays), trainer.store.auxiliary.array.asnumpy()
    assert (trainer.compute(good_batch(1)), trainer.step) == (1, 1)
    parameters = {path: array for path, array in values_of(trainer.arrays).items() if path in trainer.plan.parameters}
    assert_same(parameters, {path: before[path] for path in parameters})
    assert not np.array_equal(trainer.store.auxiliary.array.asnumpy(), statistics)
    evaluated = trainer.evaluate(good_batch(2)).losses
    gradients = values_of(trainer.gradients)
    trainer.evaluate(good_batch(3))
    assert_same(values_of(trainer.gradients), gradients)
    assert trainer.evaluate(good_batch(2)).losses == evaluated
    assert trainer.net().arrays["linear.Weights"].tobytes() == before["linear.Weights"].tobytes()
    trainer.apply()
    assert trainer.evaluate(good_batch(2)).losses != evaluated


# Gradients in between


def test_gradients_are_read_and_written_by_path() -> None:
    optimizer = mxt.SGD(0.5, momentum=0.9)
    trainer = mxt.Trainer(PLAN64, optimizer, batch_size=3)
    course = course_of(optimizer, values_of(trainer.arrays))
    for number in SOME:
        trainer.compute(small_batch(number))
        gradients = values_of(trainer.gradients)
        trainer.gradients["linear.Weights"][:] = 0.25
        trainer.gradients["linear.Biases"] = [1.0, -1.0]
        trainer.gradients["other.Weights"].array[:] *= 2
        trainer.gradients["other.Biases"][1] = 7.0
        gradients["linear.Weights"][:], gradients["linear.Biases"][:] = 0.25, [1.0, -1.0]
        gradients["other.Weights"] *= 2
        gradients["other.Biases"][1] = 7.0
        assert_same(values_of(trainer.gradients), gradients)
        trainer.apply()
        course.step(gradients)
        assert_same(values_of(trainer.gradients), gradients)
    assert deviation(trainer, course) <= 1e-12


def test_written_gradients_are_clipped_as_they_are() -> None:
    trainer = mxt.Trainer(PLAN64, mxt.SGD(1.0, clip_norm=2.0), batch_size=3)
    before = values_of(trainer.arrays)
    trainer.compute(small_batch(1))
    for path in trainer.gradients:
        trainer.gradients[path] = 100.0
    trainer.apply()
    square = sum(((array - before[path]) ** 2).sum() for path, array in values_of(trainer.arrays).items())
    assert square == pytest.approx(4.0)
    assert trainer.stats().gradient_norm == pytest.approx(100.0 * np.sqrt(sum(a.size for a in before.values())))


def test_moments_stay_where_arrays_are_written_between_the_two() -> None:
    trainer = mxt.Trainer(PLAN64, mxt.SGD(0.1), batch_size=3)
    trainer.compute(small_batch(1))
    trainer.arrays["linear.Biases"] = [5.0, 6.0]
    gradient = trainer.gradients["linear.Biases"][:]
    trainer.apply()
    np.testing.assert_allclose(trainer.arrays["linear.Biases"][:], np.array([5.0, 6.0]) - 0.1 * gradient, rtol=1e-12)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], "x", [None, 1.0]])
def test_a_gradient_takes_only_its_own_shape(values: Any) -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), batch_size=3)
    trainer.compute(small_batch(1))
    before = values_of(trainer.gradients)
    with pytest.raises(mxt.ArgumentError, match=r'"linear\.Biases"'):
        trainer.gradients["linear.Biases"] = values
    with pytest.raises(mxt.UnknownNameError, match=r'"linear\.Bias".*did you mean "linear\.Biases"'):
        trainer.gradients["linear.Bias"] = [1.0, 2.0]
    assert_same(values_of(trainer.gradients), before)
    assert trainer.apply() == 1


def test_norms_are_those_of_numpy_and_of_the_moment_they_were_asked_for() -> None:
    trainer = mxt.Trainer(PLAN64, mxt.SGD(0.1, rules=(("other", mxt.Rule(frozen=True)),)), batch_size=3)
    trainer.compute(small_batch(1))
    expected = {path: float(np.linalg.norm(found)) for path, found in values_of(trainer.gradients).items()}
    norms = trainer.gradients.norms()
    trainer.gradients["linear.Biases"] = [3.0, 4.0]
    later = trainer.gradients.norms()
    assert dict(norms) == pytest.approx(expected, rel=1e-12)
    assert dict(later) == pytest.approx({**expected, "linear.Biases": 5.0}, rel=1e-12)
    assert repr(later) == repr(dict(later))
    with pytest.raises(mxt.UnknownNameError, match="did you mean"):
        _ = norms["linear.Bias"]


def test_norms_wait_for_nothing(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4)
    gate.set()
    trainer.update(linear_batch())
    trainer.gradients.norms()  # its graph is bound
    trainer.current_loss()  # through the gate
    gate.clear()
    begin = time.perf_counter()
    trainer.compute(linear_batch())
    norms = trainer.gradients.norms()
    assert list(norms) == ["linear.Weights", "linear.Biases"]
    trainer.apply()
    assert time.perf_counter() - begin < 5.0
    assert not gate.is_set()
    assert trainer.stats().unfinished == 2
    gate.set()
    assert norms["linear.Biases"] == pytest.approx(np.linalg.norm(trainer.gradients["linear.Biases"][:]), rel=1e-6)


def test_norms_asked_for_behind_a_failure_spoil_none_after_it() -> None:
    trainer = mxt.Trainer(plan_of("raises"), mxt.SGD(0.1), batch_size=4)
    trainer.compute(good_batch(1))
    trainer.gradients.norms()
    trainer.discard()
    for _ in range(2):
        trainer.compute({**good_batch(1), "Trigger": -np.ones(3)})
        norms = trainer.gradients.norms()
        with pytest.raises(mxt.StepError, match="step 1"):
            norms["linear.Weights"]
        trainer.recover()
        trainer.compute(good_batch(1))
        expected = float(np.linalg.norm(trainer.gradients["linear.Weights"][:]))
        assert trainer.gradients.norms()["linear.Weights"] == pytest.approx(expected, rel=1e-6)
        trainer.discard()


# Numbers and seeds


def dropout_plan() -> mxt.Plan:
    net = mxt.NetGraph(
        {"drop": mxt.Dropout(0.5), "linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "drop", "linear", "loss", "Loss"), ("drop", "Dropped")],
        inputs={"Input": mxt.Vector(40)},
    )
    return mxt.compile_plan(net, losses={"Dropped": 0.0})


def test_what_is_drawn_depends_on_seed_step_and_pass_alone() -> None:
    plan, batch = dropout_plan(), {"Input": np.ones((2, 40)), "Target": np.zeros((2, 2))}

    def drawn(trainer: mxt.Trainer, call: Any) -> bytes:
        call(batch)
        found: bytes = trainer.outputs["Dropped"].asnumpy().tobytes()
        return found

    first, second = (mxt.Trainer(plan, mxt.SGD(0.1), batch_size=2, seed=3) for _ in range(2))
    passes = [drawn(first, first.accumulate) for _ in range(3)]
    assert len(set(passes)) == 3
    first.apply()
    assert drawn(second, second.update) == passes[0]
    next_passes = [drawn(first, first.compute)]
    first.discard()
    next_passes += [drawn(first, first.accumulate), drawn(first, first.accumulate)]
    first.discard()
    next_passes.append(drawn(first, first.update))
    assert next_passes[0] == next_passes[1] == next_passes[3] == drawn(second, second.update)
    assert next_passes[2] not in {*passes, next_passes[0]}
    assert [drawn(second, second.accumulate), drawn(second, second.accumulate)] != passes[:2]


def test_a_discarded_step_gives_its_number_back_and_moves_nothing() -> None:
    trainer = mxt.Trainer(PLAN64, mxt.Adam(0.01), batch_size=3)
    trainer.compute(small_batch(7))
    trainer.discard()
    assert trainer.step == 0
    for call in (trainer.current_loss, lambda: trainer.outputs, lambda: trainer.gradients):
        with pytest.raises(mxt.Error, match=r"there (is|are) no (loss|outputs|gradients)"):
            call()
    assert trainer.losses() == []
    trainer.update(small_batch(1))
    before, losses = moved(trainer), trainer.current_loss()
    for begin in (trainer.compute, trainer.accumulate):
        assert begin(small_batch(2)) == trainer.step == 2
        trainer.discard()
        assert (trainer.step, moved(trainer)) == (1, before)
        assert trainer.current_loss() == losses
        with pytest.raises(mxt.ArgumentError, match="no step 2"):
            trainer.loss_at(2)
    assert trainer.losses() == [(1, losses)]
    twin = mxt.Trainer(PLAN64, mxt.Adam(0.01), batch_size=3)
    twin.update(small_batch(1))
    assert trainer.update(small_batch(3)) == twin.update(small_batch(3)) == 2
    assert moved(trainer) == moved(twin)
    assert trainer.current_loss() == twin.current_loss()
    assert [step for step, _ in trainer.losses()] == [2]


# Out of turn


def test_calls_out_of_turn_are_refused_and_change_nothing() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), batch_size=3)
    batch = small_batch(1)
    for end in (trainer.apply, trainer.discard):
        with pytest.raises(mxt.Error, match=r"ends a step that compute\(batch\) or accumulate\(batch\) has begun"):
            end()
    trainer.compute(batch)
    for call in (trainer.update, trainer.compute, trainer.stage):
        with pytest.raises(
            mxt.Error, match=r"step 1 was begun by compute\(\) or accumulate\(\).*apply\(\), or discard"
        ):
            call(batch)
    with pytest.raises(mxt.Error, match=r"step 1 was begun by compute\(\); call apply\(\) or discard\(\) first"):
        trainer.accumulate(batch)
    trainer.apply()
    trainer.accumulate(batch)
    for call in (trainer.update, trainer.compute, trainer.stage):
        with pytest.raises(mxt.Error, match="step 2 was begun"):
            call(batch)
    trainer.accumulate(batch)
    assert trainer.apply() == 2
    with pytest.raises(mxt.Error, match="there is none"):
        trainer.apply()
    trainer.stage(batch)
    for call in (trainer.compute, trainer.accumulate):
        with pytest.raises(mxt.ArgumentError, match="a batch is staged already"):
            call(batch)
    assert trainer.update() == 3
    twin = mxt.Trainer(PLAN, mxt.SGD(0.1), batch_size=3)
    for _ in range(3):
        twin.update(batch)
    for path, array in values_of(trainer.arrays).items():
        np.testing.assert_allclose(array, twin.arrays[path][:], rtol=1e-5, atol=1e-7)


def test_a_bad_batch_or_pattern_leaves_the_step_as_it_is() -> None:
    trainer, twin = (mxt.Trainer(PLAN, mxt.SGD(0.1), batch_size=3) for _ in range(2))
    for each in (trainer, twin):
        each.accumulate(small_batch(1))
    with pytest.raises(mxt.BatchError, match="Target"):
        trainer.accumulate({"Input": small_batch(1)["Input"]})
    with pytest.raises(mxt.ArgumentError, match="matches no array"):
        trainer.apply(only="nothing")
    for each in (trainer, twin):
        each.accumulate(small_batch(2))
        assert each.apply(only="lstm") == 1
    assert moved(trainer) == moved(twin)


def test_a_closed_trainer_takes_no_parts() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), batch_size=3)
    trainer.compute(small_batch(1))
    gradients = trainer.gradients
    trainer.close()
    for call in (trainer.apply, trainer.discard, gradients.norms, lambda: trainer.compute(small_batch(1))):
        with pytest.raises(mxt.Error, match="closed"):
            call()


def test_losses_are_there_while_a_step_goes_on() -> None:
    trainer = mxt.Trainer(PLAN64, mxt.SGD(0.1), batch_size=8)
    batch = small_batch(1, rows=8)
    single = [trainer.evaluate(part).losses["Loss"] for part in parts_of(batch, 3, 5)]
    for number, part in enumerate(parts_of(batch, 3, 5)):
        trainer.accumulate(part)
        expected = single[0] if not number else (3 * single[0] + 5 * single[1]) / 8
        assert trainer.current_loss()["Loss"] == pytest.approx(expected, rel=1e-12)
        assert trainer.loss_at(1) == trainer.current_loss()
        assert trainer.losses() == []  # the step has not ended
    trainer.apply()
    assert [step for step, _ in trainer.losses() or _waited(trainer)] == [1]


def _waited(trainer: mxt.Trainer) -> list[Any]:
    trainer.current_loss()
    return trainer.losses()


# Outputs, depth, state


def test_outputs_of_a_pass_are_inputs_of_the_next(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    fed, given = (mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3) for _ in range(2))
    ports = ("lstm.State", "lstm.CellState")
    first, second = text_batch(rng), text_batch(rng)
    for trainer in (fed, given):
        trainer.accumulate(first)
    handles = {port: fed.outputs[port] for port in ports}
    values = {port: given.outputs[port].asnumpy() for port in ports}
    fed.accumulate({**second, **handles})
    given.accumulate({**second, **values})
    with pytest.raises(mxt.StaleHandleError):
        handles["lstm.State"].asnumpy()
    assert fed.outputs["lstm.State"].step == 1
    after = fed.outputs["lstm.State"].asnumpy()
    fed.apply()
    np.testing.assert_array_equal(fed.outputs["lstm.State"].asnumpy(), after)  # a move makes none stale
    given.apply()
    assert moved(fed) == moved(given)
    fed.compute(first)
    fed.apply()
    fed.update({**second, "lstm.State": fed.outputs["lstm.State"]})
    assert fed.step == 3


def test_carried_states_go_from_pass_to_pass() -> None:
    trainer, twin = (mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True) for _ in range(2))
    for number, batch in enumerate(batches(4, 6, 3, 5)):
        trainer.accumulate(batch)
        twin.update(batch)
        assert_same_states(states_of(trainer), states_of(twin))
        if number == 1:
            trainer.apply()
    trainer.discard()
    assert_same_states(states_of(trainer), states_of(twin))  # they stay as the passes have left them


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_passes_and_moves_wait_only_for_a_free_place(gated_plan: mxt.Plan, gate: threading.Event, depth: int) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=depth)
    begin = time.perf_counter()
    for _ in range(depth):
        trainer.accumulate(linear_batch())
    assert not gate.is_set()
    assert trainer.stats().unfinished == depth
    threading.Timer(0.2, gate.set).start()
    trainer.apply()
    assert 0.1 < time.perf_counter() - begin < 10.0
    assert trainer.current_loss().examples == 4 * depth


def test_many_accumulated_passes_hold_no_more_than_depth_unfinished(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4, depth=2)
    for _ in range(50):
        trainer.accumulate(linear_batch())
        assert trainer.stats().unfinished <= 2
    trainer.apply()
    twin = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    twin.update(linear_batch())
    assert trainer.arrays["linear.Weights"][:] == pytest.approx(twin.arrays["linear.Weights"][:], rel=1e-5)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_wait_of_a_move_at_once_and_the_step_goes_on(
    gated_plan: mxt.Plan, gate: threading.Event
) -> None:
    trainer = mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4, depth=1)
    trainer.accumulate(linear_batch())
    for call in (trainer.apply, lambda: trainer.accumulate(linear_batch()), trainer.gradients["linear.Biases"].asnumpy):
        threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        begin = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.perf_counter() - begin < 5.0
        assert not gate.is_set()
        assert trainer.step == 1
    gate.set()
    assert (trainer.apply(), trainer.current_loss().examples) == (1, 4)
