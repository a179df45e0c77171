"""What a training ends with: its history, table, frame and picture, and the line that shows its progress."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import drawn_batch
from train_cases import HELD_OUT, batches_of, losses_given

import mxtrainer as mxt


@pytest.fixture
def result(trainer: mxt.Trainer, monkeypatch: pytest.MonkeyPatch) -> mxt.TrainResult:
    """Of three rounds, the second of which was the best, and two steps of a fourth."""
    losses_given(monkeypatch, 3.0, 1.0, 2.0)
    return mxt.train(trainer, batches_of(), steps=17, validation=HELD_OUT)


@pytest.fixture
def pyplot() -> Iterator[Any]:
    found = pytest.importorskip("matplotlib.pyplot", reason="the extra plots")
    found.switch_backend("agg")
    yield found
    found.close("all")


# History


def test_a_round_that_has_not_ended_is_in_the_steps_alone(result: mxt.TrainResult) -> None:
    history = result.history
    assert history.steps.round.tolist() == [*[1] * 5, *[2] * 5, *[3] * 5, 4, 4]
    assert history.rounds.step.tolist() == [5, 10, 15]
    assert len(history.rounds) == len(history.seconds) == len(history.learning_rate) == 3
    assert (np.diff(history.seconds) > 0).all()


def test_rounds_count_examples_and_not_steps(trainer: mxt.Trainer) -> None:
    short = {port: found[:1] for port, found in drawn_batch(2).items()}
    history = mxt.train(trainer, [drawn_batch(1), short], 1).history
    assert history.examples.tolist() == [4, 1]
    assert history.rounds.total[0] == pytest.approx(history.steps.total @ [0.8, 0.2])


def test_losses_have_their_weights_in_the_total_alone(linear_plan: mxt.Plan) -> None:
    with mxt.Trainer(mxt.compile_plan(linear_plan.net, losses={"Loss": 3.0}), mxt.SGD(0.01), 4) as trainer:
        steps = mxt.train(trainer, batches_of(), 1).history.steps
    assert steps.total.tolist() == (3.0 * steps.of("Loss")).tolist()


def test_arrays_of_the_history_cannot_be_written(result: mxt.TrainResult) -> None:
    for array in (result.history.steps.total, result.history.rounds.losses["Loss"], result.history.seconds):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_a_loss_that_there_is_not_is_named(result: mxt.TrainResult) -> None:
    with pytest.raises(mxt.UnknownNameError, match='the training has no loss "Los"; did you mean "Loss"'):
        result.history.steps.of("Los")


# The table


def test_it_prints_as_a_short_table(result: mxt.TrainResult) -> None:
    losses = [f"{loss:.4g}" for loss in result.history.rounds.total]
    head, end, *lines = str(result).splitlines()
    assert re.fullmatch(r"3 rounds, 17 steps, 68 examples in \d+\.\d s, [\d,]+ a second", head)
    assert end == "ended by steps: the last step was taken"
    assert [line.split() for line in lines] == [
        ["training", "validation"],
        ["round", "1", losses[0], "3"],
        ["round", "3", losses[2], "2"],
        ["best:", "round", "2", losses[1], "1"],
    ]


def test_without_a_whole_round_it_shows_steps(trainer: mxt.Trainer) -> None:
    lines = str(mxt.train(trainer, batches_of(), 9, steps=2)).splitlines()
    assert [line.split()[:2] for line in lines[3:]] == [["step", "1"], ["step", "2"]]


# The frame


def test_a_frame_has_a_row_a_step(result: mxt.TrainResult) -> None:
    pytest.importorskip("pandas", reason="the extra frames")
    frame = result.to_frame()
    assert frame.index.name == "step"
    assert frame.index.tolist() == list(range(1, 18))
    assert frame["loss"].tolist() == result.history.steps.total.tolist()
    assert frame["validation"].dropna().to_dict() == {5: 3.0, 10: 1.0, 15: 2.0}
    assert frame["examples"].sum() == 68


def test_a_frame_can_have_a_row_a_round(result: mxt.TrainResult) -> None:
    pytest.importorskip("pandas", reason="the extra frames")
    frame = result.to_frame("round")
    assert frame.index.tolist() == [1, 2, 3]
    assert frame["step"].tolist() == [5, 10, 15]
    assert frame["validation/Loss"].tolist() == [3.0, 1.0, 2.0]
    with pytest.raises(mxt.ArgumentError, match=r"by must be .step. or .round., got 'epoch'"):
        result.to_frame("epoch")


# The picture


@pytest.mark.usefixtures("pyplot")
def test_the_picture_has_the_losses_and_marks_the_best(result: mxt.TrainResult) -> None:
    axes = result.plot()
    training, validation, best = axes.lines
    assert training.get_ydata().tolist() == result.history.steps.total.tolist()
    assert validation.get_xydata().tolist() == [[5.0, 3.0], [10.0, 1.0], [15.0, 2.0]]
    assert best.get_xydata().tolist() == [[10.0, 1.0]]
    buffer = io.BytesIO()
    axes.figure.savefig(buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_a_picture_can_be_drawn_into_axes_of_ones_own(result: mxt.TrainResult, pyplot: Any) -> None:
    _, axes = pyplot.subplots()
    assert result.plot("Loss", ax=axes) is axes
    assert axes.get_ylabel() == "Loss"
    with pytest.raises(mxt.UnknownNameError, match='no loss "Los"'):
        result.plot("Los")


@pytest.mark.usefixtures("pyplot")
def test_a_long_training_is_smoothed(trainer: mxt.Trainer) -> None:
    result = mxt.train(trainer, [drawn_batch(number) for number in range(400)], 1)
    raw, smooth = (line.get_ydata() for line in result.plot().lines)
    assert raw.tolist() == result.history.steps.total.tolist()
    expected = [raw[max(0, place - 8) : place + 9].mean() for place in range(400)]  # 8 is a 50th of 400
    np.testing.assert_allclose(smooth, expected)


def test_what_is_not_installed_is_named(result: mxt.TrainResult, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib.pyplot", "pandas", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(mxt.MissingExtraError, match=r"TrainResult.plot needs matplotlib.*mxtrainer\[plots\]"):
        result.plot()
    with pytest.raises(mxt.MissingExtraError, match=r"to_frame\(\) needs pandas.*mxtrainer\[frames\]"):
        result.to_frame()


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what trains with another standard error, and gives what was written to it."""

    def run(trainer: mxt.Trainer, *arguments: Any, to: io.StringIO | None = None, **options: Any) -> str:
        file = Terminal() if to is None else to
        with contextlib.redirect_stderr(file):
            mxt.train(trainer, *arguments, **options)
        return file.getvalue()

    monkeypatch.setenv("COLUMNS", "200")
    return run


def test_progress_shows_round_losses_speed_and_the_best(
    trainer: mxt.Trainer, shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm", reason="the extra progress")
    records: list[mxt.TrainRecord] = []
    losses_given(monkeypatch, 3.0, 1.0, 2.0)
    text = shown(trainer, batches_of(), 3, validation=HELD_OUT, progress=True, each=records.append)
    last = text.rstrip().rsplit("\r", 1)[-1]
    loss = np.mean([record.loss for record in records])
    assert last.startswith("round 3/3 100% |")
    assert f"loss {loss:.4g}  validation 2  " in last
    assert last.endswith(" ex/s  best 1")


def test_progress_is_shown_by_itself_on_a_terminal_alone(trainer: mxt.Trainer, shown: Callable[..., str]) -> None:
    pytest.importorskip("tqdm", reason="the extra progress")
    assert "round 1/1" in shown(trainer, batches_of(), 1)
    assert shown(trainer, batches_of(), 2, to=io.StringIO()) == ""


def test_progress_can_be_turned_off(trainer: mxt.Trainer, shown: Callable[..., str]) -> None:
    assert shown(trainer, batches_of(), 1, progress=False) == ""


def test_progress_of_what_has_no_known_end_counts_steps(trainer: mxt.Trainer, shown: Callable[..., str]) -> None:
    pytest.importorskip("tqdm", reason="the extra progress")
    text = shown(trainer, (drawn_batch(number) for number in range(3)))
    assert "round 1/1 3 steps, 00:0" in text.rsplit("\r", 1)[-1]


def test_progress_of_a_training_that_goes_on_begins_where_that_was(
    trainer: mxt.Trainer, shown: Callable[..., str]
) -> None:
    pytest.importorskip("tqdm", reason="the extra progress")
    mxt.train(trainer, batches_of(), 4, steps=8)
    text = shown(trainer, batches_of(), 4)
    assert text.lstrip("\r").startswith("round 2/4  40% |")


def test_progress_is_not_refreshed_more_often_than_it_can_be_read(
    trainer: mxt.Trainer, shown: Callable[..., str]
) -> None:
    pytest.importorskip("tqdm", reason="the extra progress")
    begin = time.monotonic()
    text = shown(trainer, batches_of(), seconds=0.5)
    seconds = time.monotonic() - begin
    assert trainer.step > 50
    assert text.count("\r") <= seconds / 0.1 + 4


def test_progress_without_tqdm_is_an_error_only_if_it_was_asked_for(
    trainer: mxt.Trainer, shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert shown(trainer, batches_of(), 1) == ""
    with pytest.raises(mxt.MissingExtraError, match=r'progress=True needs tqdm.*pip install "mxtrainer\[progress\]"'):
        shown(trainer, batches_of(), 2, progress=True)
    assert trainer.step == 5
