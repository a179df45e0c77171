"""Plots: their bars have the lengths of the numbers that a report has, or that follow from what was done."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from conftest import linear_batch

import mxtrainer as mxt
from mxtrainer.engine.step_plot import Span

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _no_figure_is_left() -> Iterator[None]:
    from matplotlib import pyplot as plt

    yield
    plt.close("all")


def bars_of(ax: Any) -> dict[str, list[float]]:
    """Return the lengths of the bars of each part."""
    return {group.get_label(): [bar.get_width() for bar in group] for group in ax.containers}


def labels_of(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def notes_of(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.fixture
def bucketed(text_plan: mxt.Plan) -> Iterator[mxt.Trainer]:
    """Two batches in the bucket of 4 steps: rows of 2 and 4 steps, and of 3; one in that of 8: rows of 8 and 5."""
    with mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, buckets=mxt.buckets.Fixed([4, 8])) as trainer:
        for lengths in ([2, 4], [3], [8, 5]):
            rows = [np.zeros(length, int) for length in lengths]
            trainer.update({"Input": rows, "Target": rows})
        yield trainer


def test_a_report_of_buckets_draws_true_steps_padding_and_missing_rows(bucketed: mxt.Trainer) -> None:
    report = bucketed.buckets.report()
    ax = report.plot()
    assert bars_of(ax) == {
        "true steps": [2 + 4 + 3, 8 + 5],
        "padding": [2 + 1, 3],
        "missing rows": [4 + 2 * 4, 8],
    }
    assert labels_of(ax) == ["t=4", "t=8"]
    assert notes_of(ax)[0].startswith(f"2 passes, {1 - 9 / 24:.0%} padding")
    assert f"{1 - 22 / 48:.1%}" in ax.get_title()
    starts = [[bar.get_x() for bar in group] for group in ax.containers]
    assert starts == [[0, 0], [9, 13], [12, 16]]  # end to end
    assert [bucket.steps_missing for bucket in report.buckets] == [12, 8]


def test_buckets_without_lengths_count_rows(linear_plan: mxt.Plan) -> None:
    with mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=5) as trainer:
        trainer.update(linear_batch())
        report = trainer.buckets.report()
        assert bars_of(report.plot()) == {"true steps": [4], "padding": [0], "missing rows": [1]}
        assert report.padding == trainer.stats().padding == pytest.approx(0.2)


def test_a_report_without_batches_is_drawn_empty(text_plan: mxt.Plan) -> None:
    with mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3) as trainer:
        assert labels_of(trainer.buckets.report().plot()) == []


def test_a_policy_draws_what_it_would_pad() -> None:
    ax = mxt.buckets.Fixed([4, 10, 20]).plot([3, 3, 4, 9, 10])
    assert bars_of(ax) == {"true steps": [10, 19], "padding": [2, 1]}
    assert labels_of(ax) == ["4", "10"]
    assert notes_of(ax) == ["3 examples, 17% padding", "2 examples, 5% padding"]
    fitted = mxt.buckets.fit([3, 3, 4, 9, 10], max_buckets=2)
    assert bars_of(fitted.plot([3, 3, 4, 9, 10])) == bars_of(ax)
    assert f"{fitted.waste_after:.1%}" in ax.get_title()


def test_a_policy_of_several_lengths_draws_their_combinations() -> None:
    policy = mxt.buckets.Tokens(100, mxt.buckets.Multiple(4))
    ax = policy.plot({"s": [1, 5, 4], "t": [2, 2, 3]})
    assert labels_of(ax) == ["s=4, t=4", "s=8, t=4"]
    assert bars_of(ax) == {"true steps": [10, 7], "padding": [6, 5]}


@pytest.mark.parametrize(
    ("policy", "lengths", "text"),
    [
        (mxt.buckets.Fixed([4]), [3, 5, 5], r'plot: 2 of the examples fit into no bucket: 5 steps \(length "t"\)'),
        (mxt.buckets.Fixed({"s": [4]}), [3], 'the plan has no length "s"'),
        (mxt.buckets.Exact(), [], 'plot: lengths "t" must be integers'),
        (mxt.buckets.Exact(), [1.5], 'plot: lengths "t" must be integers, one an example, got float64'),
        (mxt.buckets.Exact(), [3, 0], 'plot: lengths "t": example 1 has length 0'),
        (mxt.buckets.Exact(), {"s": [1], "t": [1, 2]}, "plot: every length needs one number an example"),
    ],
)
def test_lengths_that_cannot_be_are_refused(policy: mxt.buckets.Policy, lengths: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        policy.plot(lengths)


def test_a_memory_report_draws_its_parts_in_megabytes(linear_plan: mxt.Plan) -> None:
    report = linear_plan.memory(2**18, optimizer=mxt.Adam())
    ax = report.plot()
    (widths,) = bars_of(ax).values()
    drawn = dict(zip(labels_of(ax), widths))
    assert drawn["inputs"] == 2 * 1 * 4  # two ports of 1 MB, on the device and for 3 steps
    assert drawn["optimizer"] == report.bytes_optimizer / 2**20
    assert sum(widths) == pytest.approx(report.bytes_total / 2**20)


def test_steps_are_drawn_with_the_times_in_which_they_were_unfinished(
    gated_plan: mxt.Plan, gate: threading.Event
) -> None:
    with mxt.Trainer(gated_plan, mxt.SGD(0.1), batch_size=4) as trainer:
        trainer.update(linear_batch())
        trainer.update(linear_batch())
        threading.Timer(0.05, gate.set).start()
        begin = time.perf_counter()
        trainer.current_loss()
        seconds = time.perf_counter() - begin
        trainer.update(linear_batch())
        stats = trainer.stats()
    ax = stats.plot(steps=2)
    rows = {group.get_label(): [round(bar.get_y() + bar.get_height() / 2) for bar in group] for group in ax.containers}
    assert rows["check"] == rows["copy"] == rows["queue"] == [2, 3]
    assert rows["unfinished"][0] == 2
    (waited, *_) = bars_of(ax)["wait"]
    assert 0.04 < waited / 1e3 <= seconds
    assert bars_of(ax)["unfinished"][0] >= waited
    bottom, top = ax.get_ylim()
    assert bottom > 3
    assert top < 2  # the first step is at the top
    everything = bars_of(stats.plot())
    assert len(everything["queue"]) == 3


def test_spans_follow_one_another_and_are_few(trainer: mxt.Trainer) -> None:
    for _ in range(300):
        trainer.update(linear_batch())
    trainer.current_loss()
    spans = trainer.stats().spans
    assert len(spans) == 512
    host = [span for span in spans if span.what != "unfinished"]
    assert all(one.begin <= one.end <= other.begin for one, other in zip(host, host[1:]))
    ends = {span.step: span.end for span in spans if span.what == "unfinished"}
    assert list(ends) == sorted(ends)
    assert max(ends) == 300
    assert isinstance(spans[0], Span)


@pytest.mark.parametrize("steps", [0, -1, 2.5, "3", None])
def test_a_number_of_steps_that_cannot_be_is_refused(trainer: mxt.Trainer, steps: Any) -> None:
    trainer.update(linear_batch())
    with pytest.raises(mxt.ArgumentError, match="steps must be a positive integer"):
        trainer.stats().plot(steps=steps)


def test_there_is_nothing_to_draw_before_the_first_step(trainer: mxt.Trainer) -> None:
    with pytest.raises(mxt.Error, match="no steps to draw yet: call update"):
        trainer.stats().plot()


@pytest.fixture
def plots(bucketed: mxt.Trainer) -> list[Callable[[Any], Any]]:
    """All there are."""
    report, stats, memory = bucketed.buckets.report(), bucketed.stats(), bucketed.memory()
    return [report.plot, memory.plot, lambda ax: mxt.buckets.Exact().plot([1, 2], ax), lambda ax: stats.plot(ax=ax)]


def test_axes_that_are_given_are_drawn_into_and_others_refused(plots: list[Callable[[Any], Any]]) -> None:
    from matplotlib import pyplot as plt

    for plot in plots:
        _, ax = plt.subplots()
        assert plot(ax) is ax
        assert ax.containers
        for wrong in (plt, "axes", plt.subplots(2)[1]):
            with pytest.raises(mxt.ArgumentError, match=r"\.plot: ax must be axes of matplotlib"):
                plot(wrong)


def test_without_matplotlib_the_extra_is_named(
    plots: list[Callable[[Any], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    for plot in plots:
        for ax in (None, object()):
            with pytest.raises(mxt.MissingExtraError, match=r'plot needs matplotlib.*pip install "mxtrainer\[plots\]"'):
                plot(ax)
