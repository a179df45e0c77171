"""Batches made ahead in another thread: the same ones, bounded, with their errors, and an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mxtrainer as mxt


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "mxtrainer-prefetch"]


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(items=st.lists(st.integers(), max_size=20), depth=st.integers(1, 5))
def test_what_comes_is_what_went_in(items: list[int], depth: int) -> None:
    assert list(mxt.prefetch(items, depth=depth)) == items
    assert threads() == []


def test_no_more_than_depth_batches_are_made_ahead() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    ahead = mxt.prefetch(make(), depth=3)
    time.sleep(0.05)
    assert made == []  # it starts with the loop
    for number in ahead:
        time.sleep(0.02)
        assert len(made) <= number + 1 + 3
    assert made == list(range(10))


@pytest.mark.parametrize("error", [ValueError("a bad file"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_comes_after_the_batches_before_it(error: BaseException) -> None:
    def make() -> Iterator[int]:
        yield from (1, 2)
        raise error

    ahead = mxt.prefetch(make())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(type(error)) as caught:
        next(ahead)
    assert caught.value is error
    assert threads() == []


def test_a_loop_that_is_left_ends_the_thread() -> None:
    for number in mxt.prefetch(iter(int, 1)):  # without end
        assert number == 0
        break
    ahead: Any = mxt.prefetch(iter(int, 1))
    assert next(ahead) == 0
    ahead.close()
    assert threads() == []
    with pytest.raises(StopIteration):
        next(ahead)


def test_each_loop_over_batches_is_the_next_round_with_its_positions() -> None:
    data = {"Input": np.arange(10.0), "Target": np.arange(10.0)}
    batches, plain = (mxt.Batches(data, batch_size=4, seed=1) for _ in range(2))
    for _ in range(2):
        for found, expected in zip(mxt.prefetch(batches), plain):
            assert found.position == expected.position
            np.testing.assert_array_equal(found["Input"], expected["Input"])


def test_preparing_and_consuming_overlap() -> None:
    def make() -> Iterator[int]:
        for number in range(10):
            time.sleep(0.02)
            yield number

    begin = time.perf_counter()
    for _ in mxt.prefetch(make()):
        time.sleep(0.02)
    together = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in make():
        time.sleep(0.02)
    assert together < 0.9 * (time.perf_counter() - begin)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batches": 3}, "prefetch takes an iterable of batches, got 3"),
        ({"batches": [], "depth": 0}, "depth must be a positive integer, got 0"),
        ({"batches": [], "depth": 2.0}, "depth must be"),
    ],
)
def test_arguments_are_checked_at_once(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.prefetch(**arguments)
