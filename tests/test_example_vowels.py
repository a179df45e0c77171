"""The example on unequal series: its data are what they are said to be, and it learns."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def vowels(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("vowels")


def test_the_data_are_those_that_were_published(vowels: Any) -> None:
    training, test = vowels.read()
    assert np.bincount(training.speakers).tolist() == [30] * 9
    assert np.bincount(test.speakers).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    lengths = [len(one) for one in training.series + test.series]
    assert (min(lengths), max(lengths), sum(lengths)) == (7, 29, 9961)
    assert {one.shape[1] for one in training.series} == {12}


def test_channels_are_standardized_by_the_training_set_alone(vowels: Any) -> None:
    training, test = vowels.standardize(*vowels.read())
    steps = np.concatenate(training.series)
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-5)
    assert np.abs(np.concatenate(test.series).mean(axis=0)).max() > 0.01


def test_the_hold_out_is_a_part_of_the_training_set_of_its_own(vowels: Any) -> None:
    kept, held_out = vowels.split(vowels.read()[0])
    assert np.bincount(kept.speakers).tolist() == [20] * 9
    assert np.bincount(held_out.speakers).tolist() == [10] * 9


def test_a_few_rounds_tell_most_speakers_apart(vowels: Any) -> None:
    training, test = vowels.standardize(*vowels.read())
    trainer = vowels.train(training, vowels.Settings(phases=((1e-2, 4),), size=32, noise=0.3), seed=0)
    assert vowels.accuracy(trainer, test) > 0.8
