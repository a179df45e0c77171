"""What goes wrong in the ready loop passes on, with what there was, and leaves the trainer whole."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import drawn_batch
from train_cases import HELD_OUT, batches_of

import mxtrainer as mxt


def interrupt(_: mxt.TrainRecord) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_step_that_fails_is_raised_with_what_there_was(trainer: mxt.Trainer) -> None:
    bad = {"Input": [np.nan] * 4, "Target": [0.0] * 4}
    good = [drawn_batch(number) for number in range(3)]
    closed = []

    class Logger:
        def __call__(self, record: mxt.TrainRecord) -> None:
            pass

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(mxt.StepError) as raised:
        mxt.train(trainer, [*good, bad, *good], 1, every=1, validation=HELD_OUT, validate_every=2, loggers=[Logger()])
    result = raised.value.result  # type: ignore[attr-defined]  # as documented
    assert (result.reason, result.net, result.steps, result.best_round) == ("error", None, 3, 1)
    assert result.best_net is not None
    assert "error" in str(result)
    assert closed == [True]
    trainer.recover()
    assert trainer.step == 3
    assert mxt.train(trainer, good, 1).history.steps.step.tolist() == [4, 5, 6]


@pytest.mark.parametrize("who", ["logger", "each", "start", "close"])
def test_an_error_of_a_function_passes_on_and_all_is_closed(trainer: mxt.Trainer, who: str) -> None:
    calls = []

    class Logger:
        def __init__(self, failing: bool) -> None:
            self.failing = failing

        def note(self, what: str) -> None:
            calls.append(what)
            if self.failing and what == who:
                raise RuntimeError(what)

        def start(self, step: int) -> None:
            self.note("start")

        def __call__(self, record: mxt.TrainRecord) -> None:
            self.note("logger")

        def close(self) -> None:
            self.note("close")

    def each(_: mxt.TrainRecord) -> None:
        if who == "each":
            raise RuntimeError(who)

    with pytest.raises(RuntimeError, match=who) as raised:
        mxt.train(trainer, batches_of(), 1, loggers=[Logger(False), Logger(True)], each=each)
    assert calls.count("close") == 2
    result = raised.value.result  # type: ignore[attr-defined]  # as documented
    assert result.reason == ("rounds" if who == "close" else "error")
    assert trainer.update(drawn_batch(1)) == (1 if who == "start" else 6)  # the trainer is whole


def test_a_finished_training_that_is_called_again_after_a_restart_only_warns(
    trainer: mxt.Trainer, tmp_path: Path
) -> None:
    whole = mxt.train(trainer, batches_of(), 2, checkpoint=tmp_path / "run")
    with mxt.Trainer.load(tmp_path / "run") as loaded, pytest.warns(UserWarning, match="has nothing to do"):
        again = mxt.train(loaded, batches_of(), 2, validation=HELD_OUT, checkpoint=tmp_path / "run")
    assert (again.reason, again.steps, again.net) == ("rounds", 0, whole.net)


def test_a_validation_that_does_not_fit_is_told_before_the_first_step(trainer: mxt.Trainer) -> None:
    for validation in ({"Input": [1.0]}, [{"Input": [1.0]}]):
        with pytest.raises(mxt.BatchError, match=r'validation: .*\n.*port "Target" .* is missing'):
            mxt.train(trainer, batches_of(), 1, validation=validation)
    with pytest.raises(mxt.ArgumentError, match="validation gives no batches"):
        mxt.train(trainer, batches_of(), 1, validation=[])
    assert trainer.step == 0


def test_all_good_steps_are_in_the_result_of_an_error_and_saved(trainer: mxt.Trainer, tmp_path: Path) -> None:
    def batches() -> Iterator[dict[str, Any]]:
        yield from (drawn_batch(number) for number in range(8))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as raised:
        mxt.train(trainer, batches(), checkpoint=tmp_path / "run")
    assert raised.value.result.steps == 8  # type: ignore[attr-defined]  # as documented
    with mxt.Trainer.load(tmp_path / "run") as loaded:
        assert loaded.step == 8


def test_all_steps_before_one_that_failed_are_in_the_result(trainer: mxt.Trainer) -> None:
    bad = {"Input": np.full(4, np.nan), "Target": np.zeros(4)}
    with pytest.raises(mxt.StepError) as raised:
        mxt.train(trainer, [*(drawn_batch(number) for number in range(8)), bad, *[drawn_batch(1)] * 3], 1)
    assert raised.value.result.steps == 8  # type: ignore[attr-defined]  # as documented
    trainer.recover()
    assert trainer.step == 8


def test_an_error_within_a_with_block_keeps_the_line_of_the_caller(linear_plan: mxt.Plan) -> None:
    def the_users_own_loop(trainer: mxt.Trainer) -> None:
        trainer.update({"Input": np.full(4, np.nan), "Target": np.zeros(4)})
        trainer.current_loss()

    with pytest.raises(mxt.StepError) as raised, mxt.Trainer(linear_plan, mxt.SGD(0.1), 4) as trainer:
        the_users_own_loop(trainer)
    assert "the_users_own_loop" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Let Ctrl-C have its effect: a shell turns it off for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_ends_it_after_the_step_with_the_net(trainer: mxt.Trainer, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    result = mxt.train(trainer, batches_of(), 9, each=interrupt, checkpoint=tmp_path / "run")
    assert (result.reason, result.steps, trainer.step) == ("interrupted", 5, 5)
    assert result.net == trainer.net()
    assert signal.getsignal(signal.SIGINT) is handler
    with mxt.Trainer.load(tmp_path / "run") as loaded:
        assert loaded.step == 5


@pytest.mark.usefixtures("_ctrl_c")
def test_a_second_ctrl_c_is_raised_at_once(trainer: mxt.Trainer) -> None:
    def twice(record: mxt.TrainRecord) -> None:
        interrupt(record)
        interrupt(record)
        pytest.fail("it was not raised")

    with pytest.raises(KeyboardInterrupt) as raised:
        mxt.train(trainer, batches_of(), 9, each=twice)
    assert raised.value.result.steps == 5  # type: ignore[attr-defined]  # as documented
    assert trainer.update(drawn_batch(1)) == 6


def test_it_runs_in_another_thread(trainer: mxt.Trainer) -> None:
    results: list[mxt.TrainResult] = []
    thread = threading.Thread(target=lambda: results.append(mxt.train(trainer, batches_of(), 1)))
    thread.start()
    thread.join(60)
    assert results[0].steps == 5
