"""The examples run, and what they show is so."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt

# the last matplotlib for Python 3.9 uses names that pyparsing has renamed since
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(matplotlib|pyparsing)")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FOX = "the quick brown fox jumps over the lazy dog; then the dog jumps over the quick fox. " * 12


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Imports an example by name, in an empty folder."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return importlib.import_module(request.param)


def use(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


# linear.py


@use("linear")
def test_linear_gives_the_thirty_losses_of_the_dialogue(example: Any) -> None:
    with example.make_trainer() as trainer:
        losses = example.run(trainer)
    assert len(losses) == 30
    np.testing.assert_allclose(losses, example.EXPECTED, rtol=0, atol=5e-4)
    assert example.largest_deviation(losses) <= 5e-4


@use("linear")
def test_linear_prints_the_losses_and_their_deviation(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    printed = capsys.readouterr().out
    assert "16.3051" in printed
    assert "largest deviation" in printed


# toy_state.py


@use("toy_state")
def test_toy_state_is_what_numpy_computes(example: Any) -> None:
    batches = example.make_batches(5)
    with mxt.Trainer(example.make_plan(), mxt.SGD(0.0), example.BATCH_SIZE, arrays=example.START) as trainer:
        losses, state = example.train(trainer, batches)
    expected = np.zeros(example.BATCH_SIZE)
    for batch, loss in zip(batches, losses):
        expected = 0.5 * (batch["Input"] + expected) + 0.1
        assert loss == pytest.approx(np.abs(expected - batch["Target"]).mean(), rel=1e-5)
    np.testing.assert_allclose(state, expected, rtol=1e-5)


@use("toy_state")
def test_toy_state_output_adds_nothing_to_the_gradient(example: Any) -> None:
    (batch,) = example.make_batches(1)
    batch["StateIn"] = np.ones(example.BATCH_SIZE, np.float32)
    plan = example.make_plan()
    bare = mxt.compile_plan(plan.net.take({"Loss": "mae"}))
    found = []
    for each in (plan, bare):
        executor = mxt.instantiate(each, example.BATCH_SIZE, arrays=example.START)
        executor.forward(batch)
        executor.backward()
        found.append({path: handle[:] for path, handle in executor.gradients.items()})
    with_state, without = found
    assert any(gradient.any() for gradient in without.values())
    for path, gradient in without.items():
        np.testing.assert_array_equal(with_state[path], gradient)


@use("toy_state")
def test_toy_state_learns(example: Any) -> None:
    with mxt.Trainer(example.make_plan(), mxt.SGD(0.01), example.BATCH_SIZE, arrays=example.START) as trainer:
        losses, _ = example.train(trainer, example.make_batches(400))
    assert np.mean(losses[-50:]) < 0.2 * np.mean(losses[:50])


@use("toy_state")
def test_toy_state_prints_its_losses(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    assert "mean loss" in capsys.readouterr().out


# random_walk.py


@use("random_walk")
def test_random_walk_is_known_only_with_its_state(example: Any) -> None:
    settings = example.Settings(rounds=20)
    carried, forgotten = example.train(settings, carried=True), example.train(settings, carried=False)
    last = range(15, 20)
    bound = example.best_without_memory(settings, last)
    assert forgotten[last].mean() > 0.9 * bound  # no luck beats what cannot be known
    assert carried[last].mean() < 0.4 * bound


@use("random_walk")
def test_random_walk_windows_join_to_whole_walks(example: Any) -> None:
    settings = example.Settings(rows=3, windows=4, steps=5)
    batches = example.make_round(settings, seed=7)
    increments = np.concatenate([batch["Input"] for batch in batches], axis=1)
    levels = np.concatenate([batch["Target"] for batch in batches], axis=1)
    np.testing.assert_array_equal(example.accumulate(increments), levels)
    assert levels[:, 1] == pytest.approx(example.PULL * increments[:, 0] + increments[:, 1], rel=1e-5)


@use("random_walk")
def test_random_walk_draws_a_picture(example: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra demo")
    example.plot(np.array([0.5, 0.1]), np.array([0.5, 0.4]), str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


# text.py


def small(example: Any) -> Any:
    return example.Settings(phases=((1e-2, 6), (3e-3, 2)), rows=4, window=8, embedding=8, size=24, dropout=0.0)


@use("text")
def test_text_is_learned(example: Any) -> None:
    corpus = example.make_corpus(FOX, hold_out=0.2)
    heard: list[float] = []
    result = example.train(corpus, small(example), heard.append)
    letters = len(corpus.alphabet)
    assert result.curve[0] == pytest.approx(math.log2(letters), abs=0.3)
    assert result.hold_out[0][1] == pytest.approx(math.log2(letters), abs=0.3)
    assert np.mean(result.curve[-10:]) < 0.6 * result.curve[0]
    assert result.hold_out[-1][1] < 0.6 * result.hold_out[0][1]
    assert heard == result.curve
    assert len(result.hold_out) == 1 + 8
    assert "characters per second" in example.summary(result, small(example))


@use("text")
def test_text_windows_join_to_lanes_of_the_text(example: Any) -> None:
    corpus = example.make_corpus(FOX, hold_out=0.0)
    batches = list(example.make_batches(corpus.training, rows=4, window=8))
    for port, text in (("Input", corpus.training[:-1]), ("Target", corpus.training[1:])):
        lanes = [np.concatenate([batch[port][row] for batch in batches if row < len(batch[port])]) for row in range(4)]
        np.testing.assert_array_equal(np.concatenate(lanes), text)


@use("text")
def test_text_written_depends_on_the_seed_alone(example: Any) -> None:
    corpus = example.make_corpus(FOX, hold_out=0.2)
    with example.make_trainer(example.make_plan(len(corpus.alphabet), small(example)), small(example), 1e-3) as trainer:
        net = trainer.net()
    texts = [example.write(net, corpus.alphabet, prompt="the ", count=20, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the ")
    assert len(texts[0]) == 24


@use("text")
def test_text_of_python_is_there(example: Any) -> None:
    text = example.read_text()
    assert len(text) > 300_000
    corpus = example.make_corpus(text, hold_out=0.1)
    assert len(corpus.hold_out) == pytest.approx(0.1 * len(text), abs=1)
    assert len(corpus.training) + len(corpus.hold_out) == len(text)


@use("text")
def test_text_runs_from_its_beginning_to_its_end(
    example: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = small(example)
    monkeypatch.setattr(example, "Settings", lambda: settings)
    monkeypatch.setattr(example, "read_text", lambda: FOX.replace("then", "The "))
    example.main(str(tmp_path / "curve.png"))
    printed = capsys.readouterr().out
    assert "hold-out after training" in printed
    assert "The " in printed
    assert "curve.png" in printed or "no picture" in printed


# documents.py


@use("documents")
def test_documents_are_learned_whole_and_with_little_padding(example: Any) -> None:
    settings = example.Settings(longest=1_200, characters=2_048, size=16, rounds=3)
    data, _, left_out = example.read(settings)
    history, trainer = example.train(settings)
    report = trainer.buckets.report()
    assert history[-1] < 0.9 * history[0]
    assert sum(bucket.rows for bucket in report.buckets) == 3 * len(data["Input"])
    assert all(bucket.binds <= 2 for bucket in report.buckets)
    assert report.padding < 0.4
    assert left_out + len(data["Input"]) == len(example.topics)
