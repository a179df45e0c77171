"""What a checkpoint's files are, and what is said of them, where a call of the system fails or a process was killed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from test_checkpoints import batch, names_in, started

import mxtrainer as mxt
from mxtrainer import tensor_file, whole_files
from mxtrainer.engine import checkpoints as folders
from mxtrainer.executors.state_table import StateTable

NOBODY = 2**22 + 1  # the number of no process: Linux has none so large


def fail(*_: object, **__: object) -> Any:
    raise OSError(errno.EIO, "Input/output error")


def test_a_file_whose_name_may_not_be_on_the_disk_is_there_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(1) as trainer:
        trainer.save(tmp_path / "run")
        trainer.update(batch())
        with monkeypatch.context() as patched:
            patched.setattr(whole_files, "_sync_folder", fail)
            with pytest.raises(mxt.ArgumentError, match=r"run' is written, but if the machine stops now"):
                trainer.save(tmp_path / "run")
        assert mxt.Trainer.load(tmp_path / "run").step == 2
        assert names_in(tmp_path) == ["run"]


def test_what_killed_processes_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    """A process in a container may have the number of the one before it."""
    with started(1) as trainer:
        for process in (NOBODY, os.getpid()):
            for number in range(500):  # one of them would be the name of the next new file
                (tmp_path / f".run.{process}-{number}.new").write_text("a part")
        alive = [".run.1-3.new", f".other.{NOBODY}-3.new"]
        for name in alive:
            (tmp_path / name).write_text("a part")
        with whole_files.replacing(tmp_path / "run") as new:
            new.write_text("of another thread")
            trainer.save(tmp_path / "run")
            assert names_in(tmp_path) == sorted([*alive, new.name, "run"])


def test_a_folder_of_checkpoints_keeps_nothing_of_killed_processes(tmp_path: Path) -> None:
    left = [f".step-0000000007.safetensors.{NOBODY}-6.new", f".best.safetensors.{NOBODY}-6.new"]
    other = f".notes.{NOBODY}-6.new"
    for name in (*left, other):
        (tmp_path / name).write_text("a part")
    with started(1) as trainer:
        mxt.Checkpoints(tmp_path).save(trainer)
    assert names_in(tmp_path) == [other, "step-0000000001.safetensors"]


def test_a_best_checkpoint_that_cannot_be_read_now_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = mxt.Checkpoints(tmp_path)
    with started(1) as trainer:
        checkpoints.save(trainer, 1.0)
        trainer.update(batch())
        with monkeypatch.context() as patched:
            patched.setattr(tensor_file, "safe_open", fail)
            with pytest.raises(mxt.ArgumentError, match=r"step-0000000002.safetensors' is written, but 'best.*may not"):
                checkpoints.save(trainer, 2.0)
        assert checkpoints.best_measure() == 1.0
        assert len(checkpoints.paths()) == 2
        (tmp_path / "best.safetensors").write_bytes(b"")  # which no reader will ever take
        checkpoints.save(trainer, 2.0)
        assert checkpoints.best_measure() == 2.0


def test_the_best_is_the_one_before_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = mxt.Checkpoints(tmp_path, keep=1)
    with started(1) as trainer:
        checkpoints.save(trainer, 2.0)
        trainer.update(batch())
        real = Path.replace

        def replace(path: Path, target: Path) -> Path:
            return real(path, target) if target.name != "best.safetensors" else Path(fail())

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            with pytest.raises(mxt.ArgumentError, match=r"step-0000000002.safetensors' is written, but 'best"):
                checkpoints.save(trainer, 1.0)
        assert checkpoints.best_measure() == 2.0
        assert [name for name in names_in(tmp_path) if name.startswith(".")] == []
        with monkeypatch.context() as patched:
            patched.setattr(folders.os, "link", fail)  # type: ignore[attr-defined]  # a file system without links
            checkpoints.save(trainer, 1.0)
        assert checkpoints.best_measure() == 1.0
        assert names_in(tmp_path) == ["best.safetensors", "step-0000000002.safetensors"]
        best = checkpoints.best()
        assert best is not None
        assert mxt.Trainer.load(best).step == 2


def test_a_batch_size_with_more_states_than_an_array_holds_is_refused(tmp_path: Path) -> None:
    with started(1) as trainer:
        trainer.save(tmp_path / "run")
        carry = {"lstm.State": "lstm.State"}
        with pytest.raises(mxt.ArgumentError, match=r'"lstm.State": .*3\) has more than the 2,147,483,647 elements'):
            StateTable(trainer.store, carry, 10**9)
    with pytest.raises(mxt.Error, match=r"more than the 2,147|take fewer rows"):  # as much memory as there is
        mxt.Trainer.load(tmp_path / "run", batch_size=10**9)
