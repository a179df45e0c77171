"""Steps in flight: staged batches, losses read late, numbers that are not finite, interrupts, and what is counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, drawn_batch, linear_batch, text_batch, values_of
from extra_layers import Cholesky
from fault_cases import FAULTS, good_batch, plan_of
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.engine.pipeline import Pipeline

SOME = range(5)


# Staging


def test_a_staged_batch_is_the_next_step(linear_plan: mxt.Plan, trainer: mxt.Trainer) -> None:
    twin = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
    for number in SOME:
        batch = drawn_batch(number)
        trainer.stage(batch)
        for value in batch.values():
            value[:] = np.nan  # it is the caller's again
        assert trainer.step == number
        assert trainer.update() == number + 1
        twin.update(drawn_batch(number))
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
        (lambda trainer: trainer.stage(drawn_batch(1)), r"staged already: call update\(\)"),
        (lambda trainer: trainer.update(drawn_batch(1)), r"a batch is staged: call update\(\) without one"),
        (lambda trainer: trainer.update(lengths={"t": [1]}), r"give them to stage"),
    ],
)
def test_a_staged_batch_is_not_lost_to_another(trainer: mxt.Trainer, call: Any, text: str) -> None:
    trainer.stage(drawn_batch(0))
    with pytest.raises(mxt.ArgumentError, match=text):
        call(trainer)
    assert trainer.update() == 1


def test_a_bad_batch_is_not_staged(trainer: mxt.Trainer) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"update\(\) takes the batch that stage\(batch\) has loaded"):
        trainer.update()
    with pytest.raises(mxt.BatchError, match="Target"):
        trainer.stage({"Input": np.ones(4)})
    trainer.stage(drawn_batch(0))
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
    first, second = drawn_batch(1), drawn_batch(2)
    trainer.stage(first)
    first["Input"][:] = np.nan
    taken = trainer.unstage()
    trainer.update(second)
    trainer.stage(taken)
    trainer.update()
    twin = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
    for number in (2, 1):
        twin.update(drawn_batch(number))
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


# Losses


def test_losses_of_earlier_steps_are_those_that_were_current_then(linear_plan: mxt.Plan, trainer: mxt.Trainer) -> None:
    twin = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
    current = []
    for number in SOME:
        trainer.update(drawn_batch(number))
        twin.update(drawn_batch(number))
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


def test_an_error_does_not_grow_with_every_call() -> None:
    trainer = mxt.Trainer(plan_of("nan"), mxt.Adam(0.01), batch_size=4)
    trainer.update(FAULTS[3].spoil(good_batch(1)))
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


def test_a_staged_ndarray_comes_back_without_a_guard_too(linear_plan: mxt.Plan) -> None:
    with mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4, guard=False) as trainer:
        batch = linear_batch()
        trainer.stage({**batch, "Input": mx.nd.array(batch["Input"])})
        np.testing.assert_array_equal(trainer.unstage()["Input"], batch["Input"])
