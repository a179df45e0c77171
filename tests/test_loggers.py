"""Loggers write every record once, also where a training goes back to a checkpoint and goes on."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_cases import HELD_OUT, batches_of

import mxtrainer as mxt

LINES = {"csv": mxt.loggers.CSV, "jsonl": mxt.loggers.JSONLines}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read a log with Python's own readers; an empty cell is None."""
    with path.open(newline="") as file:
        if path.suffix == ".csv":
            return [{name: found or None for name, found in row.items()} for row in csv.DictReader(file)]
        return [json.loads(line) for line in file]


def steps_in(path: Path) -> list[int]:
    return [int(row["step"]) for row in rows_of(path)]


def events_in(folder: Path) -> list[Any]:
    """Read the events of a folder as its format has them: length, its checksum, the event, its checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    events = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            events.append(event_pb2.Event.FromString(data[place + 12 : place + 12 + length]))
            place += 16 + length
    return events


@pytest.mark.parametrize("kind", LINES)
def test_a_file_has_every_record(trainer: mxt.Trainer, tmp_path: Path, kind: str) -> None:
    records: list[mxt.TrainRecord] = []
    path = tmp_path / f"run.{kind}"
    mxt.train(trainer, batches_of(), 2, every=2, validation=HELD_OUT, loggers=[LINES[kind](path)], each=records.append)
    rows = rows_of(path)
    assert len(rows) == len(records) == 6
    for row, record in zip(rows, records):
        assert (int(row["step"]), int(row["round"]), float(row["loss"])) == (record.step, record.round, record.loss)
        assert float(row["loss/Loss"]) == record.losses["Loss"]
        if record.validation is None:
            assert row["validation_loss"] is row["validation/Loss"] is None
        else:
            assert float(row["validation_loss"]) == float(row["validation/Loss"]) == record.validation["Loss"]


def test_numbers_that_are_not_finite_are_valid_json(trainer: mxt.Trainer, tmp_path: Path) -> None:
    bad = {"Input": [np.nan] * 4, "Target": [0.0] * 4}
    with mxt.Trainer(trainer.plan, mxt.SGD(0.1), 4, on_nan="skip") as skipping:
        mxt.train(skipping, [bad], 1, loggers=[mxt.loggers.JSONLines(tmp_path / "run")])
    (line,) = (tmp_path / "run").read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert (row["step"], row["loss"]) == (1, None)


@pytest.mark.parametrize("kind", LINES)
def test_a_training_that_goes_back_has_no_step_twice(linear_plan: mxt.Plan, tmp_path: Path, kind: str) -> None:
    path, saved = tmp_path / f"run.{kind}", tmp_path / "run"
    with mxt.Trainer(linear_plan, mxt.Adam(0.1), 4) as trainer:
        mxt.train(trainer, batches_of(), 4, steps=7, every=2, checkpoint=saved, loggers=[LINES[kind](path)])
        mxt.train(trainer, batches_of(), 4, every=2, loggers=[LINES[kind](path)])
    assert steps_in(path) == [2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18, 20]
    whole = path.read_text()
    with path.open("a") as file:
        file.write(whole.splitlines()[-1][:9])  # the process was killed while it wrote
    with mxt.Trainer.load(saved) as trainer:
        mxt.train(trainer, batches_of(), 4, steps=13, every=2, loggers=[LINES[kind](path)])
    assert steps_in(path) == [2, 4, 5, 6, 8, 10, 12]
    before = 4 + (kind == "csv")
    assert path.read_text().splitlines()[:before] == whole.splitlines()[:before]


@pytest.mark.parametrize("kind", LINES)
def test_a_new_training_takes_the_file_over(linear_plan: mxt.Plan, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"run.{kind}"
    for every in (1, 5):
        with mxt.Trainer(linear_plan, mxt.Adam(0.1), 4) as trainer:
            mxt.train(trainer, batches_of(), 2, every=every, loggers=[LINES[kind](path)])
    assert steps_in(path) == [5, 10]


@pytest.mark.parametrize("kind", LINES)
def test_the_same_logger_goes_on_in_a_second_training(trainer: mxt.Trainer, tmp_path: Path, kind: str) -> None:
    logger = LINES[kind](tmp_path / f"run.{kind}")
    for rounds in (1, 2):
        mxt.train(trainer, batches_of(), rounds, loggers=[logger])
    assert steps_in(tmp_path / f"run.{kind}") == [5, 10]


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("text", ["name,price\npen,3\n", '{"name": "pen"}\n', "[1]\n", "step,round\nx,1\n", "\xff"])
def test_another_file_is_refused_and_left_alone(trainer: mxt.Trainer, tmp_path: Path, kind: str, text: str) -> None:
    path = tmp_path / f"run.{kind}"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(mxt.FileFormatError, match=r"was not written by loggers.*give another path"):
        mxt.train(trainer, batches_of(), 1, loggers=[LINES[kind](path)])
    assert path.read_bytes() == text.encode("latin-1")
    assert trainer.step == 0


def test_a_training_with_other_losses_needs_another_file(trainer: mxt.Trainer, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("step,round,loss\n0,1,0.5\n")
    with pytest.raises(
        mxt.FileFormatError, match=r"has the columns step, round, loss, and this training has.*loss/Loss"
    ):
        mxt.train(trainer, batches_of(), 1, loggers=[mxt.loggers.CSV(path)])


@pytest.mark.parametrize("kind", LINES)
def test_a_file_that_cannot_be_written_is_named(trainer: mxt.Trainer, tmp_path: Path, kind: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"nowhere.*cannot be written"):
        mxt.train(trainer, batches_of(), 1, loggers=[LINES[kind](tmp_path / "nowhere" / "run")])
    with pytest.raises(mxt.ArgumentError, match="cannot be read"):
        mxt.train(trainer, batches_of(), 1, loggers=[LINES[kind](tmp_path)])
    with pytest.raises(mxt.ArgumentError, match="path must be the path of a file, got 3"):
        LINES[kind](3)  # type: ignore[arg-type]


def test_a_record_can_be_written_without_a_training(trainer: mxt.Trainer, tmp_path: Path) -> None:
    records: list[mxt.TrainRecord] = []
    mxt.train(trainer, batches_of(), 2, each=records.append)
    logger = mxt.loggers.CSV(tmp_path / "run.csv")
    for record in records:
        logger(record)
    logger.close()
    assert steps_in(tmp_path / "run.csv") == [5, 10]


def test_tensorboard_gets_curves_by_step(trainer: mxt.Trainer, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra tensorboard")
    records: list[mxt.TrainRecord] = []
    logger = mxt.loggers.TensorBoard(tmp_path / "run")
    mxt.train(trainer, batches_of(), 2, validation=HELD_OUT, loggers=[logger], each=records.append)
    found = {
        (event.step, value.tag): value.simple_value
        for event in events_in(tmp_path / "run")
        for value in event.summary.value
    }
    for record in records:
        assert record.validation is not None
        for tag, expected in (
            ("total/training", record.loss),
            ("Loss/training", record.losses["Loss"]),
            ("Loss/validation", record.validation["Loss"]),
            ("total/validation", record.validation.total),
            ("learning_rate", record.learning_rate),
        ):
            assert found[record.step, tag] == np.float32(expected)


def test_tensorboard_is_told_what_a_training_replaces(trainer: mxt.Trainer, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra tensorboard")
    logger = mxt.loggers.TensorBoard(tmp_path / "run")
    for rounds in (1, 2):
        mxt.train(trainer, batches_of(), rounds, loggers=[logger])
    starts = [event.step for event in events_in(tmp_path / "run") if event.session_log.status == 1]
    assert starts == [1, 6]  # events from these steps on, of files before, do not count


def test_tensorboard_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(mxt.MissingExtraError, match=r'TensorBoard needs tensorboardX.*"mxtrainer\[tensorboard\]"'):
        mxt.loggers.TensorBoard(tmp_path)
