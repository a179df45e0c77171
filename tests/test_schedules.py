"""Schedules: each rate against its formula, written out once more; how they show, and come back from files."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mxtrainer as mxt
from mxtrainer.schedules import Schedule, constant, cosine, exponential, one_cycle, piecewise, plateau, polynomial
from mxtrainer.values import canonical_json, from_data, parse_json, to_data

MANY = settings(max_examples=150, deadline=None, derandomize=True, database=None)
NAN, INF = math.nan, math.inf

rates = st.floats(0.0, 10.0).map(lambda rate: round(rate, 6))
counts = st.integers(0, 30)
lengths = st.integers(1, 60)
runs: st.SearchStrategy[Schedule] = st.one_of(
    st.builds(polynomial, rates, st.floats(0.1, 4.0), rates, counts, lengths),
    st.builds(cosine, rates, rates, counts, lengths),
)
schedules: st.SearchStrategy[Schedule] = st.one_of(
    runs,
    st.builds(constant, rates, counts),
    st.builds(exponential, rates, st.floats(0.01, 1.0), lengths, counts),
    st.builds(one_cycle, rates, rise=st.floats(0.0, 0.99), steps=lengths),
    st.builds(lambda first, others: piecewise({**others, 1: first}), rates, st.dictionaries(lengths, rates)),
    st.builds(plateau, rates, st.floats(0.0, 0.9), counts, cooldown=counts, best=rates, waited=counts, resting=counts),
)


def at(schedule: Schedule, steps: list[int], total: int | None = None) -> list[float]:
    return [schedule(step, total) for step in steps]


# Each against its formula


def test_constant_is_its_rate_at_every_step() -> None:
    assert at(constant(0.1), [1, 2, 10**9]) == [0.1, 0.1, 0.1]


def test_polynomial_is_the_published_line() -> None:
    # PolynomialLR(total_iters=4, power=1.0) of rate 0.001 in the PyTorch documentation, whose first epoch is 0.
    assert at(polynomial(0.001), [1, 2, 3, 4, 5, 50], total=4) == [0.001, 0.00075, 0.0005, 0.00025, 0.0, 0.0]


def test_polynomial_follows_its_formula() -> None:
    schedule = polynomial(0.9, power=3, end=0.1, steps=8)
    assert at(schedule, [1, 5, 8]) == pytest.approx([0.9, 0.1 + 0.8 / 8, 0.1 + 0.8 / 512])
    assert at(schedule, [9, 10, 1000]) == [0.1, 0.1, 0.1]


def test_cosine_follows_its_formula() -> None:
    schedule = cosine(0.9, end=0.1)
    expected = [0.1 + 0.8 * math.cos(math.pi * done / 24) ** 2 for done in range(12)]  # by half the angle
    assert at(schedule, list(range(1, 13)), total=12) == pytest.approx(expected, rel=1e-14)
    assert at(schedule, [1, 7, 13, 14], total=12) == [0.9, pytest.approx(0.5), 0.1, 0.1]


def test_exponential_follows_its_formula() -> None:
    schedule = exponential(0.8, decay=0.25, every=4)
    assert at(schedule, [1, 3, 5, 9]) == pytest.approx([0.8, 0.4, 0.2, 0.05])
    assert at(exponential(0.8, 0.5), [1, 2, 3]) == [0.8, 0.4, 0.2]
    assert exponential(1.0, 0.5)(10_000) == 0.0


def test_piecewise_holds_each_rate_from_its_step_on() -> None:
    schedule = piecewise({31: 0.005, 1: 0.05, 61: 0.0005})
    assert at(schedule, [1, 30, 31, 60, 61, 10**6]) == [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]


def one_cycle_elsewhere(step: int, total: int, peak: float, rise: float) -> float:
    """The cycle as the PyTorch documentation describes it: of steps from 0, whose last one is at the end already."""

    def anneal(first: float, last: float, part: float) -> float:
        return last + (first - last) / 2.0 * (math.cos(math.pi * part) + 1.0)

    first, last = peak / 25.0, peak / 25.0 / 1e4
    turn = rise * total - 1.0
    if step <= turn:
        return anneal(first, peak, step / turn)
    return anneal(peak, last, (step - turn) / (total - 1.0 - turn))


@pytest.mark.parametrize("rise", [0.3, 0.5])
def test_one_cycle_is_the_published_one_which_counts_a_step_more(rise: float) -> None:
    steps = 40
    moved = (rise * steps + 1) / (steps + 1)
    expected = [one_cycle_elsewhere(done, steps + 1, 2.0, moved) for done in range(steps + 1)]
    found = at(one_cycle(2.0, rise=rise), list(range(1, steps + 2)), total=steps)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == pytest.approx(2.0 / 25)
    assert found[int(rise * steps)] == max(found) == 2.0
    assert found[-1] == 2.0 / 25 / 10_000


def test_one_cycle_goes_between_the_rates_that_are_given() -> None:
    schedule = one_cycle(1.0, start=0.5, end=0.25, rise=0.5, steps=8)
    assert at(schedule, [1, 3, 5, 7, 9, 10]) == pytest.approx([0.5, 0.75, 1.0, 0.625, 0.25, 0.25])
    assert at(one_cycle(1.0, end=0.0, rise=0.0, steps=2), [1, 2, 3]) == pytest.approx([1.0, 0.5, 0.0])


# The warm-up


@pytest.mark.parametrize(
    "schedule",
    [constant(0.3, warmup=3), polynomial(0.3, warmup=3), cosine(0.3, warmup=3), exponential(0.3, 0.5, warmup=3)],
    ids=repr,
)
def test_warm_up_rises_in_a_line_and_then_the_schedule_begins(schedule: Any) -> None:
    assert at(schedule, [1, 2, 3], total=9) == pytest.approx([0.1, 0.2, 0.3])
    assert at(schedule, [3, 4], total=9) == [0.3, 0.3]
    alone = dataclasses.replace(schedule, warmup=0)
    assert at(schedule, [4, 5, 6, 9, 10, 20], total=9) == at(alone, [1, 2, 3, 6, 7, 17], total=6)


def test_warm_up_comes_before_the_steps_of_a_schedule() -> None:
    assert at(polynomial(0.5, warmup=2, steps=4), [2, 3, 4, 7], total=100) == [0.5, 0.5, 0.375, 0.0]


def test_warm_up_may_take_all_steps() -> None:
    assert at(cosine(0.5, end=0.1, warmup=2), [1, 2, 3], total=2) == [0.25, 0.5, 0.1]


@MANY
@given(schedule=schedules, total=st.integers(60, 200))
def test_every_rate_is_finite_and_within_those_that_were_given(schedule: Schedule, total: int) -> None:
    found = at(schedule, list(range(1, 100)), total)
    given_rates = list(dict(schedule.rates).values()) if isinstance(schedule, piecewise) else []
    largest = max([getattr(schedule, name, 0.0) or 0.0 for name in ("rate", "end", "peak")] + given_rates)
    assert all(type(rate) is float and 0.0 <= rate <= largest * (1 + 1e-12) for rate in found)


@MANY
@given(schedule=runs)
def test_a_run_rises_to_its_rate_goes_one_way_to_its_end_and_stays(schedule: Any) -> None:
    warm = at(schedule, list(range(1, schedule.warmup + 1)))
    own = at(schedule, list(range(schedule.warmup + 1, schedule.warmup + schedule.steps + 3)))
    assert warm == sorted(warm)
    assert warm[-1:] in ([], [schedule.rate])
    assert (own[0], own[-2:]) == (schedule.rate, [schedule.end, schedule.end])
    sign = -1.0 if schedule.rate > schedule.end else 1.0
    moves = np.diff([sign * rate for rate in own])
    assert moves.min() >= -1e-12


@MANY
@given(rate=rates, every=lengths, step=lengths)
def test_exponential_shrinks_by_its_factor_each_time(rate: float, every: int, step: int) -> None:
    schedule = exponential(rate, 0.5, every=every)
    assert schedule(step + every) == pytest.approx(schedule(step) / 2, rel=1e-12)
    assert schedule(step + 1) <= schedule(step)


@MANY
@given(peak=rates, rise=st.floats(0.0, 0.9), steps=lengths)
def test_one_cycle_rises_once_and_falls_once(peak: float, rise: float, steps: int) -> None:
    found = np.array(at(one_cycle(peak, rise=rise, steps=steps), list(range(1, steps + 3))))
    top = int(found.argmax())
    assert np.diff(found[: top + 1]).min(initial=0.0) >= -1e-12
    assert np.diff(found[top:]).max(initial=0.0) <= 1e-12


@MANY
@given(schedule=runs, total=st.integers(31, 200))
def test_steps_that_are_given_or_left_by_the_total_are_the_same(schedule: Any, total: int) -> None:
    assume(schedule.warmup < total)
    open_end = dataclasses.replace(schedule, steps=None)
    closed = dataclasses.replace(schedule, steps=total - schedule.warmup)
    steps = [1, 2, schedule.warmup + 1, total // 2, total, total + 1]
    assert at(open_end, steps, total) == at(closed, steps)


# Plateau


def lowered_elsewhere(losses: list[float], schedule: plateau) -> list[float]:
    """The rate after each loss, by looking back over all of them each time."""
    found: list[float] = []
    rate, begin = schedule.rate, 0  # from where losses without improvement are counted
    for now in range(len(losses)):
        better = [
            k for k in range(now + 1) if math.isfinite(losses[k]) and losses[k] < bar(losses[:k], schedule.threshold)
        ]
        since = max([begin, *(k + 1 for k in better)])
        if now + 1 - since > schedule.patience:
            rate = max(rate * schedule.factor, schedule.least)
            begin = now + 1 + schedule.cooldown
        found.append(rate)
    return found


def bar(losses: list[float], threshold: float) -> float:
    """What a loss has to be below to be an improvement on those before."""
    best = INF
    for loss in losses:
        if math.isfinite(loss) and (best == INF or loss < best - threshold * abs(best)):
            best = loss
    return best if best == INF else best - threshold * abs(best)


@MANY
@given(
    losses=st.lists(st.one_of(st.integers(-3, 3).map(float), st.sampled_from([NAN, INF, -INF, 0.999])), max_size=40),
    schedule=st.builds(
        plateau,
        st.just(1.0),
        factor=st.sampled_from([0.1, 0.5]),
        patience=st.integers(0, 4),
        threshold=st.sampled_from([0.0, 1e-4, 0.5]),
        least=st.sampled_from([0.0, 0.2]),
        cooldown=st.integers(0, 4),
    ),
)
def test_plateau_lowers_its_rate_where_losses_no_longer_fall(losses: list[float], schedule: plateau) -> None:
    found, now = [], schedule
    for loss in losses:
        now = now.after(loss)
        found.append(now(1))
    assert found == lowered_elsewhere(losses, schedule)


def test_plateau_bears_as_many_as_its_patience() -> None:
    rate = plateau(0.1, patience=2)
    for loss in (1.0, 1.0, 1.0):
        rate = rate.after(loss)
        assert rate(7) == 0.1
    assert rate.after(1.0)(7) == pytest.approx(0.01)
    assert rate.after(0.5).after(0.5).after(0.5)(7) == 0.1


def test_plateau_rests_after_it_has_lowered() -> None:
    rate = plateau(1.0, factor=0.5, patience=0, cooldown=2).after(1.0)
    found = []
    for _ in range(7):
        rate = rate.after(1.0)
        found.append(rate(1))
    assert found == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_plateau_never_goes_below_the_least() -> None:
    rate = plateau(0.1, patience=0, least=0.03).after(1.0).after(1.0).after(1.0)
    assert rate(1) == 0.03


@pytest.mark.parametrize("loss", [NAN, INF, -INF], ids=repr)
def test_plateau_takes_what_is_not_finite_for_no_improvement(loss: float) -> None:
    assert plateau(0.1, patience=0).after(loss) == plateau(0.1 * 0.1, patience=0)
    assert plateau(0.1).after(1.0).after(loss) == plateau(0.1, best=1.0, waited=1)


def test_plateau_sees_improvement_of_negative_numbers_too() -> None:
    rate = plateau(0.1, threshold=0.1).after(-1.0)
    assert rate.after(-1.05).best == -1.0
    assert rate.after(-1.15).best == -1.15


def test_plateau_itself_does_not_change() -> None:
    rate = plateau(0.1, patience=0)
    rate.after(1.0).after(2.0)
    assert rate == plateau(0.1, patience=0)


@pytest.mark.parametrize("value", [None, True, "1", [1.0], np.ones(1), {"Loss": 1.0}], ids=repr)
def test_plateau_takes_one_number(value: Any) -> None:
    with pytest.raises(
        mxt.ArgumentError, match=r'plateau: after\(value\) must be one number, such as losses\["Loss"\]'
    ):
        plateau(0.1).after(value)
    assert plateau(0.1).after(np.ones(1)[0] + 1).best == plateau(0.1).after(2).best == 2.0


# As values


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (constant(1e-3), "constant(0.001)"),
        (polynomial(1e-3, steps=9), "polynomial(0.001, steps=9)"),
        (cosine(1e-3, warmup=100), "cosine(0.001, warmup=100)"),
        (exponential(1, 0.5), "exponential(1.0, 0.5)"),
        (piecewise({1001: 1e-3, 1: 1e-2}), "piecewise({1: 0.01, 1001: 0.001})"),
        (one_cycle(1, rise=0.5), "one_cycle(1.0, rise=0.5)"),
        (plateau(0.1).after(2), "plateau(0.1, best=2.0)"),
    ],
)
def test_schedule_shows_as_it_is_written(schedule: Schedule, text: str) -> None:
    assert repr(schedule) == text
    assert eval(text, vars(mxt.schedules).copy()) == schedule  # noqa: S307  # that it can be pasted is the promise


@MANY
@given(schedule=schedules)
def test_schedule_comes_back_from_json_and_pickle_and_paste(schedule: Schedule) -> None:
    again = from_data(parse_json(canonical_json(to_data(schedule)), "schedule"))
    pasted = eval(repr(schedule), vars(mxt.schedules).copy())  # noqa: S307  # as above
    for other in (again, pasted, pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):  # noqa: S301  # ours
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert type(other) is type(schedule)


def test_file_with_wrong_numbers_is_refused() -> None:
    with pytest.raises(mxt.FileFormatError, match=r'a "cosine" cannot be read: cosine: rate must be at least 0'):
        from_data({"type": "cosine", "rate": -1.0})


def test_schedule_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        cosine(0.1).rate = 0.2  # type: ignore[misc]  # the mistake


def test_numbers_of_numpy_become_those_of_python() -> None:
    schedule = cosine(np.float32(0.5), warmup=np.int64(3))  # type: ignore[arg-type]  # accepted at run time
    assert (type(schedule.rate), type(schedule.warmup)) == (float, int)
    assert piecewise([(np.int32(1), np.float64(0.5))]) == piecewise({1: 0.5})  # type: ignore[list-item]  # as above
