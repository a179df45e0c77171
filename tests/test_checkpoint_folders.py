"""A folder of checkpoints has the newest few and the best, written when they are due."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from test_checkpoints import batch, names_in, started

import mxtrainer as mxt


def test_the_newest_few_are_kept_and_the_best(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path / "runs" / "one", keep=2)
    assert (checkpoints.newest(), checkpoints.best(), checkpoints.best_measure()) == (None, None, None)
    with started(0) as trainer:
        for number, measure in enumerate([3.0, 1.0, 2.0, None, 1.5]):
            trainer.update(batch(number))
            checkpoints.save(trainer, measure, wait=number % 2 == 0)
    assert names_in(tmp_path / "runs" / "one") == [
        "best.safetensors", "step-0000000004.safetensors", "step-0000000005.safetensors"
    ]  # fmt: skip
    again = mxt.Checkpoints(tmp_path / "runs" / "one", keep=2)  # as a process would that goes on
    assert (again.best_measure(), len(again.paths())) == (1.0, 2)
    best, newest = again.best(), again.newest()
    assert best is not None
    assert newest is not None
    assert (mxt.Trainer.load(best).step, mxt.Trainer.load(newest).step) == (2, 5)
    with mxt.Trainer.load(best) as trainer:
        trainer.update(batch())
        again.save(trainer, 0.5)
        assert names_in(tmp_path / "runs" / "one") == ["best.safetensors", "step-0000000003.safetensors"]
        assert again.best_measure() == 0.5


def test_checkpoints_are_written_when_they_are_due(tmp_path: Path) -> None:
    by_steps = mxt.Checkpoints(tmp_path / "steps", every=3)
    by_time = mxt.Checkpoints(tmp_path / "time", seconds=0.001, keep=1)
    never = mxt.Checkpoints(tmp_path / "never")
    with started(0) as trainer:
        written = []
        for number in range(7):
            trainer.update(batch(number))
            time.sleep(0.002)
            written.append((by_steps.step(trainer), by_steps.step(trainer), never.step(trainer)))
            assert by_time.step(trainer)
    assert [number + 1 for number, pair in enumerate(written) if pair[0]] == [3, 6]
    assert not any(second or third for _, second, third in written)
    assert names_in(tmp_path / "time") == ["step-0000000007.safetensors"]
    assert repr(by_steps) == f"Checkpoints({str(tmp_path / 'steps')!r}: 2)"


def test_a_folder_of_checkpoints_takes_no_nonsense(tmp_path: Path) -> None:
    for options, match in (
        ({"every": 0}, "every must be a positive integer"),
        ({"seconds": 0}, "seconds must be"),
        ({"keep": 0}, "keep must be a positive integer"),
    ):
        with pytest.raises(mxt.ArgumentError, match=match):
            mxt.Checkpoints(tmp_path, **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(mxt.ArgumentError, match="cannot be made"):
        mxt.Checkpoints(tmp_path / "file" / "folder")
    (tmp_path / "best.safetensors").write_text("nothing")
    with started(1) as trainer:
        with pytest.raises(mxt.ArgumentError, match="measure must be a finite number"):
            mxt.Checkpoints(tmp_path).save(trainer, float("nan"))
        mxt.Checkpoints(tmp_path).save(trainer, 1.0)  # in place of the damaged one
        assert mxt.Checkpoints(tmp_path).best_measure() == 1.0


def test_another_training_does_not_take_the_place_of_one_that_is_further(tmp_path: Path) -> None:
    checkpoints = mxt.Checkpoints(tmp_path, every=2, keep=2)
    with started(0) as trainer:
        for number in range(6):
            trainer.update(batch(number))
            checkpoints.step(trainer)
    with started(2) as trainer, pytest.raises(mxt.ArgumentError, match="has checkpoints of the steps 4 to 6"):
        mxt.Checkpoints(tmp_path, every=2).step(trainer)
    with mxt.Trainer.load(checkpoints.paths()[0]) as trainer:  # goes back, and on again
        written = []
        for number in range(2):
            trainer.update(batch(number))
            written.append(checkpoints.step(trainer))
    assert written == [False, True]
    assert names_in(tmp_path) == ["step-0000000004.safetensors", "step-0000000006.safetensors"]
