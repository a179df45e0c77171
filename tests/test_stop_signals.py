"""A signal in a loop leaves a checkpoint of the step that it was at, and then has its usual effect."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_checkpoints import batch, started

import mxtrainer as mxt

ROOT = Path(__file__).resolve().parents[1]
LOOP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from test_checkpoints import batch, started
import mxtrainer as mxt

checkpoints = mxt.Checkpoints(sys.argv[2], every=10**6)
with started() as trainer, checkpoints.on_signals(trainer):
    while True:
        trainer.update(batch())
        checkpoints.step(trainer)
        print(trainer.step, flush=True)
"""


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    """Have Ctrl-C raise, also where the tests run in the background, for which shells turn it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.source
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_leaves_a_checkpoint_of_the_last_step_and_ends_the_process(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LOOP, str(ROOT), str(tmp_path / "folder")]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process, process.stdout as output:  # type: ignore[union-attr]  # it is a pipe
        seen = [int(output.readline()) for _ in range(5)]
        process.send_signal(number)
        last = [*seen, *map(int, output.read().split())][-1]
    text = (tmp_path / "errors").read_text()
    assert process.returncode == status, text
    assert ("KeyboardInterrupt" in text) is (number == signal.SIGINT)
    path = mxt.Checkpoints(tmp_path / "folder").newest()
    assert path is not None
    with mxt.Trainer.load(path) as trainer:
        assert trainer.step in {last, last + 1}


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def loop(checkpoints: mxt.Checkpoints, trainer: mxt.Trainer, *actions: Callable[[], object]) -> None:
    with checkpoints.on_signals(trainer):
        for action in actions:
            action()


def test_ctrl_c_is_held_back_to_the_next_call_of_step(tmp_path: Path) -> None:
    checkpoints, before, written = mxt.Checkpoints(tmp_path), signal.getsignal(signal.SIGINT), []
    with started() as trainer:
        step = partial(trainer.update, batch())
        look = lambda: written.append(len(checkpoints.paths()))  # noqa: E731 - an action like the others
        with pytest.raises(KeyboardInterrupt):
            loop(checkpoints, trainer, step, interrupt, step, look, partial(checkpoints.step, trainer), step)
        assert written == [0]
        assert [path.name for path in checkpoints.paths()] == [f"step-{trainer.step:010d}.safetensors"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_after_the_last_call_leaves_a_checkpoint_at_the_end_of_the_loop(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    with started() as trainer:
        with pytest.raises(KeyboardInterrupt):
            loop(checkpoints, trainer, partial(trainer.update, batch()), interrupt)
        assert len(checkpoints.paths()) == 1


def test_a_second_signal_has_its_effect_at_once(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    with started() as trainer:
        with pytest.raises(KeyboardInterrupt):
            loop(checkpoints, trainer, interrupt, interrupt, partial(time.sleep, 60))
        assert not checkpoints.paths()


def test_an_error_in_the_loop_goes_its_way(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    end = partial(signal.raise_signal, signal.SIGTERM)
    with started() as trainer, pytest.raises(ZeroDivisionError):
        loop(checkpoints, trainer, end, lambda: 1 / 0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_after_one_that_let_the_loop_go_on_leaves_a_checkpoint_too(tmp_path: Path) -> None:
    checkpoints, seen = mxt.Checkpoints(tmp_path), []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(len(checkpoints.paths())))
    ask = partial(signal.raise_signal, signal.SIGUSR1)
    with started() as trainer:
        update, step = partial(trainer.update, batch()), partial(checkpoints.step, trainer)
        with checkpoints.on_signals(trainer, signal.SIGUSR1):
            for action in (update, ask, step, update, ask, step, update, ask):
                action()
    signal.signal(signal.SIGUSR1, before)
    assert seen == [1, 2, 3]


def test_without_a_signal_nothing_is_written(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    with started() as trainer, checkpoints.on_signals(trainer):
        trainer.update(batch())
        assert not checkpoints.step(trainer)
    assert not checkpoints.paths()


@pytest.mark.parametrize("number", [signal.SIGKILL, 0, -1, 10_000, "SIGTERM", 15.0, True, [15]])
def test_what_is_no_signal_is_refused(number: Any, tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    refused = pytest.raises(mxt.ArgumentError, match="no signal that can be handled")
    with started() as trainer, refused, checkpoints.on_signals(trainer, number):
        raise AssertionError


def test_other_threads_are_refused(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    found: list[Exception] = []

    def enter() -> None:
        try:
            with started() as trainer, checkpoints.on_signals(trainer):
                pass
        except mxt.ArgumentError as error:
            found.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread only" in str(found[0])
