"""Schedules: what they refuse, what needs a total, and what the engine takes for a learning rate and asks of it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer.engine.schedules import check_schedule, check_total, rate_at, schedule_needs_total
from mxtrainer.schedules import Schedule, constant, cosine, exponential, one_cycle, piecewise, plateau, polynomial

NAN, INF = math.nan, math.inf
ONE_OF_EACH = [
    constant(0.1),
    constant(0.1, warmup=5),
    polynomial(0.1, power=2.0, end=0.01, warmup=5, steps=100),
    cosine(0.1),
    cosine(0.1, warmup=5),
    exponential(0.1, 0.5, every=10),
    piecewise({1: 0.1, 101: 0.01}),
    one_cycle(0.1, start=0.01, steps=100),
    plateau(0.1, factor=0.5),
    plateau(0.1).after(2.0).after(3.0),
]


def test_namespace_holds_every_schedule() -> None:
    assert sorted(cls.__name__ for cls in {type(schedule) for schedule in ONE_OF_EACH}) == [
        name for name in mxt.schedules.__all__ if name != "Schedule"
    ]


# What is refused

_numbers: list[tuple[str, Callable[[Any], Schedule]]] = [
    ("constant: rate", constant),
    ("polynomial: rate", polynomial),
    ("polynomial: power", lambda bad: polynomial(0.1, power=bad)),
    ("polynomial: end", lambda bad: polynomial(0.1, end=bad)),
    ("cosine: rate", cosine),
    ("cosine: end", lambda bad: cosine(0.1, end=bad)),
    ("exponential: rate", lambda bad: exponential(bad, 0.5)),
    ("exponential: decay", lambda bad: exponential(0.1, bad)),
    ("piecewise: the rate from step 5 on", lambda bad: piecewise({1: 0.1, 5: bad})),
    ("one_cycle: peak", one_cycle),
    ("one_cycle: start", lambda bad: one_cycle(0.1, start=bad)),
    ("one_cycle: end", lambda bad: one_cycle(0.1, end=bad)),
    ("one_cycle: rise", lambda bad: one_cycle(0.1, rise=bad)),
    ("plateau: rate", plateau),
    ("plateau: factor", lambda bad: plateau(0.1, factor=bad)),
    ("plateau: threshold", lambda bad: plateau(0.1, threshold=bad)),
    ("plateau: least", lambda bad: plateau(0.1, least=bad)),
]
_counts: list[tuple[str, Callable[[Any], Schedule]]] = [
    ("constant: warmup", lambda bad: constant(0.1, warmup=bad)),
    ("polynomial: warmup", lambda bad: polynomial(0.1, warmup=bad)),
    ("polynomial: steps", lambda bad: polynomial(0.1, steps=bad)),
    ("cosine: warmup", lambda bad: cosine(0.1, warmup=bad)),
    ("cosine: steps", lambda bad: cosine(0.1, steps=bad)),
    ("exponential: warmup", lambda bad: exponential(0.1, 0.5, warmup=bad)),
    ("exponential: every", lambda bad: exponential(0.1, 0.5, every=bad)),
    ("piecewise: the step from which a rate holds", lambda bad: piecewise({1: 0.1, bad: 0.2})),
    ("one_cycle: steps", lambda bad: one_cycle(0.1, steps=bad)),
    ("plateau: patience", lambda bad: plateau(0.1, patience=bad)),
    ("plateau: cooldown", lambda bad: plateau(0.1, cooldown=bad)),
    ("plateau: waited", lambda bad: plateau(0.1, waited=bad)),
    ("plateau: resting", lambda bad: plateau(0.1, resting=bad)),
]


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1, 1e39, "0.1", True, [0.1], np.ones(1)], ids=repr)
@pytest.mark.parametrize(("what", "make"), _numbers, ids=[what for what, _ in _numbers])
def test_number_that_is_none_or_out_of_range_is_refused(what: str, make: Callable[[Any], Schedule], bad: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=rf"^{what} must be (a finite number|at least 0|above 0)"):
        make(bad)


@pytest.mark.parametrize("bad", [-1, 2.0, NAN, "3", False], ids=repr)
@pytest.mark.parametrize(("what", "make"), _counts, ids=[what for what, _ in _counts])
def test_count_that_is_none_is_refused(what: str, make: Callable[[Any], Schedule], bad: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=rf"^{what} must be a (positive|non-negative) integer, got {bad!r}"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: polynomial(0.1, power=0), "polynomial: power must be above 0, got 0"),
        (lambda: exponential(0.1, 1.5), "exponential: decay must be above 0 and at most 1, got 1.5"),
        (lambda: exponential(0.1, 0.5, every=0), "exponential: every must be a positive integer, got 0"),
        (lambda: cosine(0.1, steps=0), "cosine: steps must be a positive integer, got 0"),
        (lambda: one_cycle(0.1, start=0.2), "one_cycle: start must be at least 0 and at most 0.1, got 0.2"),
        (lambda: one_cycle(0.1, end=0.2), "one_cycle: end must be at least 0 and at most 0.1, got 0.2"),
        (lambda: one_cycle(0.1, rise=1), "one_cycle: rise must be at least 0 and below 1, got 1"),
        (lambda: plateau(0.1, factor=1.0), "plateau: factor must be at least 0 and below 1, got 1.0"),
        (lambda: plateau(0.1, least=0.2), "plateau: least must be at least 0 and at most 0.1, got 0.2"),
        (lambda: plateau(0.1, best=NAN), "plateau: best must be a finite number, or None, got nan"),
        (lambda: piecewise({}), r"piecewise: rates must be learning rates by the step .*, as in \{1: .*got \{\}"),
        (lambda: piecewise(0.1), "piecewise: rates must be learning rates by the step"),  # type: ignore[arg-type]  # as is
        (lambda: piecewise("ab"), "got 'ab'"),  # type: ignore[arg-type]  # the mistake
        (lambda: piecewise([0.1, 0.2]), r"got \[0.1, 0.2\]"),  # type: ignore[list-item]  # the mistake
        (lambda: piecewise({5: 0.1, 9: 0.2}), "there is no rate for step 1, but only from step 5 on"),
        (lambda: piecewise({0: 0.1}), "the step from which a rate holds must be a positive integer, got 0"),
        (lambda: piecewise([(1, 0.1), (1, 0.2)]), "there are two rates for one step"),
    ],
)
def test_schedule_that_cannot_be_is_refused(make: Callable[[], Schedule], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        make()


def test_rates_of_zero_are_taken() -> None:
    for schedule in (constant(0), polynomial(0, end=0.1), cosine(0, warmup=2), one_cycle(0), plateau(0)):
        assert rate_at(schedule, 1, 10) == 0.0


@pytest.mark.parametrize("schedule", ONE_OF_EACH, ids=repr)
def test_steps_below_1_are_refused(schedule: Schedule) -> None:
    if not isinstance(schedule, plateau):  # which has no steps
        with pytest.raises(mxt.ArgumentError, match=r"steps are counted from 1, got step 0"):
            schedule(0, 100)


@pytest.mark.parametrize("schedule", [polynomial(0.1), cosine(0.1, warmup=5), one_cycle(0.1)], ids=repr)
def test_schedule_without_an_end_needs_the_total(schedule: Any) -> None:
    assert schedule_needs_total(schedule)
    for step in (1, 50):
        with pytest.raises(mxt.ArgumentError) as raised:
            rate_at(schedule, step, None)
        assert str(raised.value).startswith(f"{schedule!r} needs to know how many steps there are")
        assert "give Trainer(..., total_steps=n), or steps=n to the schedule itself" in str(raised.value)
    with pytest.raises(mxt.ArgumentError, match="total_steps=n"):
        check_total(schedule, None)
    check_total(schedule, 10)
    fixed = dataclasses.replace(schedule, steps=10)
    assert not schedule_needs_total(fixed)
    check_total(fixed, None)


@pytest.mark.parametrize("rate", [0.1, constant(0.1), exponential(0.1, 0.5), piecewise({1: 0.1}), plateau(0.1), max])
def test_others_do_not_need_the_total(rate: Any) -> None:
    assert not schedule_needs_total(rate)
    check_total(rate, None)


def test_warm_up_longer_than_the_training_is_refused() -> None:
    text = r"^cosine\(0.1, warmup=20\): the warm-up has 20 steps, but there are only 10 in all: expected .* at most 10$"
    for step in (1, 11):
        with pytest.raises(mxt.ArgumentError, match=text):
            rate_at(cosine(0.1, warmup=20), step, 10)
    with pytest.raises(mxt.ArgumentError, match=text):
        check_total(cosine(0.1, warmup=20), 10)


def test_schedule_of_ones_own_says_what_it_lacks() -> None:
    with pytest.raises(TypeError, match=r"Schedule does not define __call__\(step, total\)"):
        Schedule()(1)


# What the engine asks


def warm(step: int, _total: int | None) -> Any:
    return {1: 1, 2: np.float32(0.5), 3: 0.25, 4: np.int64(0)}[step]


class Slow:
    def __call__(self, step: int, total: int | None = None) -> float:
        return 0.1 / step


@pytest.mark.parametrize("rate", [warm, Slow(), functools.partial(max, 0), lambda *both: 0.1 * both[0], cosine(0.1)])
def test_function_of_step_and_total_is_a_schedule(rate: Any) -> None:
    assert check_schedule(rate, "Adam: learning_rate") is rate


def test_number_is_a_schedule() -> None:
    assert check_schedule(np.float32(0.5), "Adam: learning_rate") == 0.5
    assert type(check_schedule(1, "Adam: learning_rate")) is float
    assert rate_at(0.5, 3, None) == 0.5


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (-1, "must be at least 0, got -1"),
        (NAN, "must be a finite number, got nan"),
        (INF, "must be a finite number, got inf"),
        (
            True,
            r"must be a number of at least 0, a schedule such as schedules.cosine\(1e-3\), or a function.* got True",
        ),
        ("cosine", "or a function of .*, got 'cosine'"),
        (None, "got None"),
        ([0.1], r"got \[0.1\]"),
        (cosine, "got the class cosine itself"),
        (lambda step: 1 / step, r"or a function of \(step, total\), got the function <lambda>\(step\)"),
        (lambda step, total, rate: rate * step / total, r"got the function <lambda>\(step, total, rate\)"),
        (lambda step, *, total: step / total, r"got the function <lambda>\(step, \*, total\)"),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_anything_else_is_no_schedule(bad: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=f"^Adam: learning_rate .*{text}"):
        check_schedule(bad, "Adam: learning_rate")


def test_rate_of_a_function_becomes_a_float() -> None:
    found = [rate_at(warm, step, None) for step in (1, 2, 3, 4)]
    assert found == [1.0, 0.5, 0.25, 0.0]
    assert {type(rate) for rate in found} == {float}


def test_function_gets_step_and_total() -> None:
    assert rate_at(lambda step, total: step / total if total else NAN, 3, 12) == 0.25


@pytest.mark.parametrize("bad", [NAN, INF, -0.1, 1e39, None, True, "0.1", np.ones(1)], ids=repr)
def test_what_a_function_gives_is_checked(bad: Any) -> None:
    def wrong(*_: Any) -> Any:
        return bad

    with pytest.raises(mxt.ArgumentError) as raised:
        rate_at(wrong, 7, None)
    assert str(raised.value).startswith("the function wrong(*_: ")
    assert f" gave {bad!r} as the learning rate of step 7; expected a finite number of at least 0" in str(raised.value)


def test_exception_of_a_function_passes_through() -> None:
    with pytest.raises(KeyError) as raised:
        rate_at(warm, 99, None)
    assert raised.value.args == (99,)
