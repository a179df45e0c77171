"""Policies: the smallest bucket that holds some lengths; and `fit`: the buckets that need the least padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mxtrainer as mxt
from mxtrainer.executors.buckets import Exact, Fitted, Fixed, Geometric, Multiple, Policy, Tokens, fit
from mxtrainer.executors.buckets.fitting import bytes_per_row
from mxtrainer.values import canonical_json, from_data, parse_json, to_data

MANY = settings(max_examples=60, deadline=None, derandomize=True, database=None)
FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None)
LONGEST = 60
Lengths = list[int]

increasing = st.sets(st.integers(1, LONGEST), min_size=1, max_size=6).map(sorted)
policies: st.SearchStrategy[Policy] = st.one_of(
    st.just(Exact()),
    st.builds(Multiple, st.integers(1, 20)),
    st.builds(Geometric, st.floats(1.01, 3.0), st.integers(1, 20)),
    increasing.map(lambda steps: Fixed([*steps, LONGEST] if steps[-1] < LONGEST else steps)),
)
few_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def steps_for(policy: Policy, longest: int) -> int:
    return policy.bucket({"t": longest})["t"]


@MANY
@given(policy=policies)
def test_a_bucket_is_the_smallest_that_holds_a_length(policy: Policy) -> None:
    found = [steps_for(policy, longest) for longest in range(1, LONGEST + 1)]
    buckets = sorted({steps for steps in found if steps <= LONGEST} | {found[-1]})
    for longest, steps in enumerate(found, 1):
        assert steps == min(bucket for bucket in buckets if bucket >= longest)
    assert all(steps_for(policy, bucket) == bucket for bucket in buckets if bucket <= LONGEST)


@MANY
@given(s=increasing, t=increasing, longest=st.tuples(st.integers(1, LONGEST), st.integers(1, LONGEST)))
def test_a_grid_has_the_smallest_of_each_length_by_itself(s: Lengths, t: Lengths, longest: tuple[int, int]) -> None:
    policy = Fixed({"s": s, "t": t})
    lengths = dict(zip("st", longest))
    if longest[0] > s[-1] or longest[1] > t[-1]:
        with pytest.raises(mxt.ArgumentError, match="of the largest bucket"):
            policy.bucket(lengths)
        return
    bucket = policy.bucket(lengths)
    assert bucket == {name: min(x for x in steps if x >= lengths[name]) for name, steps in (("s", s), ("t", t))}
    assert bucket in policy.known(["s", "t"])


@MANY
@given(s=increasing, t=increasing)
def test_a_grid_knows_all_its_buckets_the_largest_first(s: Lengths, t: Lengths) -> None:
    known = Fixed({"s": s, "t": t}).known(["t", "s"])
    assert sorted((bucket["s"], bucket["t"]) for bucket in known) == list(itertools.product(s, t))
    sums = [sum(bucket.values()) for bucket in known]
    assert sums == sorted(sums, reverse=True)
    assert all(list(bucket) == ["t", "s"] for bucket in known)


def test_fixed_steps_are_known_for_the_one_length_and_none_without() -> None:
    assert Fixed([8, 16]).known(["words"]) == ({"words": 16}, {"words": 8})
    assert Fixed([8, 16]).known([]) == ()


@pytest.mark.parametrize("policy", [Exact(), Multiple(8), Geometric()], ids=repr)
def test_a_policy_without_an_end_knows_no_buckets_and_has_no_sizes(policy: Policy) -> None:
    assert policy.known(["t"]) == ()
    assert policy.batch_size({"t": 8}) is None
    policy.check(["s", "t"])
    assert policy.bucket({"s": 8, "t": 3}).keys() == {"s", "t"}


@MANY
@given(ratio=st.floats(1.001, 4.0), first=st.integers(1, 30), longest=st.integers(1, 500))
def test_geometric_buckets_grow_and_pad_by_at_most_the_ratio(ratio: float, first: int, longest: int) -> None:
    policy = Geometric(ratio, first)
    steps = steps_for(policy, longest)
    assert steps == first or steps <= ratio * longest
    assert steps_for(policy, steps + 1) >= max(steps + 1, ratio * steps)
    assert steps_for(policy, first) == first


def test_multiple_and_exact_are_what_they_say() -> None:
    assert [steps_for(Multiple(of=8), longest) for longest in (1, 8, 9, 16, 17)] == [8, 8, 16, 16, 24]
    assert [steps_for(Exact(), longest) for longest in (1, 7, 1000)] == [1, 7, 1000]


def test_buckets_of_tokens_hold_as_many_rows_as_fit_and_at_least_one() -> None:
    policy = Tokens(64, Fixed({"s": [4, 50], "t": [8, 16]}))
    assert policy.bucket({"t": 9, "s": 3}) == {"t": 16, "s": 4}
    sizes = {tuple(bucket.values()): policy.batch_size(bucket) for bucket in policy.known(["s", "t"])}
    assert sizes == {(50, 16): 1, (50, 8): 1, (4, 16): 3, (4, 8): 5}
    assert Tokens(64, Multiple(8)).known(["t"]) == ()
    with pytest.raises(mxt.ArgumentError, match='no steps for the length "r"'):
        policy.check(["r", "s", "t"])
    with pytest.raises(mxt.ArgumentError, match="needs a plan with sequences"):
        policy.check([])


def test_a_length_beyond_the_last_bucket_is_named() -> None:
    with pytest.raises(mxt.ArgumentError, match=r'17 steps \(length "t"\), more than the 16 of the largest bucket'):
        Fixed([8, 16]).bucket({"t": 17})


@pytest.mark.parametrize(
    ("policy", "lengths", "text"),
    [
        (Fixed([8]), ["s", "t"], r"the plan has the lengths s, t: write Fixed\(\{'s': \[8, 16\]"),
        (Fixed({"t": [8], "ss": [8]}), ["s", "t"], 'no length "ss"; did you mean "s"'),
        (Fixed({"t": [8]}), ["s", "t"], 'no steps for the length "s"'),
        (Fixed({"t": [8]}), [], 'no length "t"'),
    ],
)
def test_a_policy_for_other_lengths_is_refused(policy: Policy, lengths: list[str], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        policy.check(lengths)


@pytest.mark.parametrize(("policy", "lengths"), [(Fixed([8]), ["t"]), (Fixed([8]), []), (Fixed({"t": [8]}), ["t"])])
def test_a_policy_for_these_lengths_is_taken(policy: Policy, lengths: list[str]) -> None:
    policy.check(lengths)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Multiple(0), "Multiple: of must be a positive integer, got 0"),
        (lambda: Multiple(2.5), "Multiple: of"),  # type: ignore[arg-type]  # a user's mistake
        (lambda: Multiple(True), "Multiple: of"),
        (lambda: Geometric(1.0), "ratio must be above 1, got 1.0"),
        (lambda: Geometric(float("nan")), "Geometric: ratio must be a finite number"),
        (lambda: Geometric(float("inf")), "Geometric: ratio must be a finite number"),
        (lambda: Geometric(1.5, first=0), "Geometric: first must be a positive integer, got 0"),
        (lambda: Tokens(0, Exact()), "Tokens: tokens must be a positive integer, got 0"),
        (lambda: Tokens(64, 8), "Tokens: takes a policy such as .*got 8"),  # type: ignore[arg-type]  # as above
        (lambda: Fixed([]), r"positive integers, as in \[8, 16, 32\], got \[\]"),
        (lambda: Fixed(8), "positive integers.*got 8"),  # type: ignore[arg-type]  # a user's mistake
        (lambda: Fixed("8"), "positive integers.*got '8'"),  # type: ignore[arg-type]  # a user's mistake
        (lambda: Fixed([8, 0]), "positive integers"),
        (lambda: Fixed([8, 16.0]), "positive integers"),  # type: ignore[list-item]  # a user's mistake
        (lambda: Fixed([8, 8]), "must increase, but 8 comes after 8"),
        (lambda: Fixed([16, 8]), "must increase, but 8 comes after 16"),
        (
            lambda: Fixed(np.array([[8]])),  # type: ignore[arg-type]  # a user's mistake
            "positive integers",
        ),
        (
            lambda: Fixed(np.array(8)),  # type: ignore[arg-type]  # a user's mistake
            "positive integers",
        ),
        (lambda: Fixed({}), "there are no buckets"),
        (lambda: Fitted((4,), (((4,), 0),)), "Fitted: a batch size must be a positive integer, got 0"),
        (lambda: Fixed({"s": [8, 4], "t": [8]}), 'steps of "s" must increase, but 4 comes after 8'),
        (lambda: Fixed({"s": 8}), 'steps of "s" must be positive integers'),  # type: ignore[dict-item]  # as above
    ],
)
def test_a_policys_arguments_are_checked(make: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        make()


EVERY_KIND = [
    Exact(),
    Multiple(8),
    Geometric(),
    Geometric(1.5, first=3),
    Fixed([8, 16]),
    Fixed({"s": [4], "t": [8, 16]}),
    Fixed({"type": [4], "t": [8, 16]}),
    Tokens(64, Multiple(8)),
    Tokens(64, Fixed({"s": [4], "t": [8, 16]})),
    fit([3, 4, 9], 2),
    fit({"s": [3, 4, 9], "t": [1, 1, 2]}, 4, batch_size=5),
]


@pytest.mark.parametrize("policy", EVERY_KIND, ids=repr)
def test_a_policy_is_the_same_value_after_json(policy: Policy) -> None:
    text = canonical_json(to_data(policy))
    back = from_data(parse_json(text, "a policy"))
    assert back == policy
    assert type(back) is type(policy)
    assert hash(back) == hash(policy)
    assert repr(back) == repr(policy)
    assert canonical_json(to_data(back)) == text


def test_policies_are_equal_where_their_numbers_are() -> None:
    assert len({*EVERY_KIND, *EVERY_KIND}) == len(EVERY_KIND)
    bounds: Any = np.array([8, 16])
    assert Fixed([8, 16]) == Fixed(bounds) != Fixed([8, 17])
    assert Fixed({"s": [4], "t": [8]}) == Fixed({"t": [8], "s": [4]})


def test_a_policy_shows_what_one_would_write() -> None:
    assert repr(Fixed([8, 16])) == "Fixed((8, 16))"
    assert repr(Geometric(1.5, first=4)) == "Geometric(1.5, first=4)"
    assert (repr(Exact()), repr(Multiple(8))) == ("Exact()", "Multiple(8)")


# The buckets that fit some data best


def padded_steps(lengths: Lengths, bounds: Sequence[int]) -> int:
    return sum(min(bound for bound in bounds if bound >= length) for length in lengths)


def choices(lengths: Lengths, most: int) -> list[tuple[int, ...]]:
    """Return every choice of at most so many boundaries that are lengths; one that is none is never better."""
    longest, *others = sorted(set(lengths), reverse=True)
    return [
        tuple(sorted((longest, *some)))
        for count in range(min(most, len(others) + 1))
        for some in itertools.combinations(others, count)
    ]


@FEW
@given(lengths=few_lengths, most=st.integers(1, 5))
def test_fit_is_as_good_as_the_best_of_all_boundaries(lengths: Lengths, most: int) -> None:
    found = fit(lengths, max_buckets=most)
    bounds = found.of("t")
    assert len(bounds) <= most
    assert padded_steps(lengths, bounds) == min(padded_steps(lengths, some) for some in choices(lengths, most))


@FEW
@given(pairs=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8), most=st.integers(1, 6))
def test_fit_of_two_lengths_is_as_good_as_the_best_grid(pairs: list[tuple[int, int]], most: int) -> None:
    s, t = ([pair[place] for pair in pairs] for place in (0, 1))
    found = fit({"s": s, "t": t}, max_buckets=most)
    assert len(found.known(["s", "t"])) <= most
    best = min(
        padded_steps(s, left) + padded_steps(t, right)
        for left, right in itertools.product(choices(s, most), choices(t, most))
        if len(left) * len(right) <= most
    )
    assert padded_steps(s, found.of("s")) + padded_steps(t, found.of("t")) == best


@FEW
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60), most=st.integers(1, 8))
def test_the_waste_is_what_a_recount_gives_and_no_more_than_in_one_bucket(lengths: Lengths, most: int) -> None:
    found = fit(lengths, most)
    assert found.waste_before == pytest.approx(1 - sum(lengths) / (max(lengths) * len(lengths)))
    assert found.waste_after == pytest.approx(1 - sum(lengths) / padded_steps(lengths, found.of("t")))
    assert 0.0 <= found.waste_after <= found.waste_before < 1.0


def test_the_waste_of_two_lengths_is_that_of_their_sum() -> None:
    found = fit({"s": [1, 3], "t": [4, 4]}, 1)
    assert (found.waste_before, found.waste_after) == pytest.approx((1 - 12 / 14, 1 - 12 / 14))
    assert fit({"s": [1, 3], "t": [4, 4]}, 2).waste_after == 0.0


def test_more_buckets_than_lengths_leave_no_padding() -> None:
    assert fit(np.array([3, 3, 7], np.uint8), max_buckets=9).of("t") == (3, 7)  # type: ignore[arg-type]  # an array


def test_2000_distinct_lengths_fit_into_8_buckets() -> None:
    found = fit(list(range(1, 2001)), max_buckets=8)
    assert found.of("t") == tuple(range(250, 2001, 250))


@FEW
@given(pairs=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=9))
def test_every_bucket_has_the_batch_size_in_whatever_order_its_lengths_come(pairs: list[tuple[int, int]]) -> None:
    found = fit({"t": [t for _, t in pairs], "s": [s for s, _ in pairs]}, 6, batch_size=7)
    for order in (["s", "t"], ["t", "s"]):
        assert {found.batch_size(bucket) for bucket in found.known(order)} == {7}


@pytest.fixture(scope="module")
def lstm_plan() -> mxt.Plan:
    net = mxt.NetChain([mxt.LSTM(32), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(16))})
    return mxt.compile_plan(net)


def test_batches_of_every_bucket_fit_into_the_bytes_and_long_ones_have_fewer_rows(lstm_plan: mxt.Plan) -> None:
    found = fit([10, 40, 160], 3, bytes="1MB", plan=lstm_plan)
    assert found == fit([10, 40, 160], 3, bytes=2**20, plan=lstm_plan)
    sizes = [found.batch_size({"t": steps}) or 0 for steps in (10, 40, 160)]
    assert sizes[0] > sizes[1] > sizes[2] >= 1
    for steps, size in zip((10, 40, 160), sizes):
        each = bytes_per_row(lstm_plan, {"t": steps})
        assert size * each <= 2**20 < (size + 1) * each


def test_bytes_of_two_lengths_are_those_of_each_combination() -> None:
    net = mxt.NetGraph(
        {"encoder": mxt.GRU(32), "decoder": mxt.GRU(32), "loss": mxt.MeanSquaredLoss()},
        [("Source", "encoder"), ("encoder.State", "decoder.State"), ("Input", "decoder", "loss", "Loss")],
        inputs={"Source": mxt.Sequence("s", mxt.Vector(16)), "Input": mxt.Sequence("t", mxt.Vector(4))},
    )
    plan = mxt.compile_plan(net)
    found = fit({"t": [10, 80], "s": [20, 160]}, 4, bytes="1MB", plan=plan)
    for order in (["s", "t"], ["t", "s"]):
        for bucket in found.known(order):
            each = bytes_per_row(plan, bucket)
            assert (found.batch_size(bucket) or 0) == 2**20 // each, bucket


@pytest.mark.parametrize(
    ("text", "number"), [("8192KB", 2**23), ("1.5 MB", 3 * 2**19), ("1GB", 2**30), ("65536", 2**16)]
)
def test_bytes_come_as_text_too(lstm_plan: mxt.Plan, text: str, number: int) -> None:
    assert fit([2], bytes=text, plan=lstm_plan) == fit([2], bytes=number, plan=lstm_plan)


def test_fitted_buckets_print_their_padding_and_sizes() -> None:
    found = fit([3, 3, 4, 9, 10], 2, batch_size=5)
    lines = str(found).splitlines()
    assert lines[1] == "padding 42.0% in one bucket, 9.4% in these"
    assert [line.split() for line in lines[2:]] == [["steps", "rows"], ["10", "5"], ["4", "5"]]
    assert repr(found).startswith("Fitted((4, 10), batch_sizes=(((10,), 5), ((4,), 5))")
    assert "rows" not in str(fit([3, 4]))
    assert Fitted((4, 10)).batch_size({"t": 4}) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"lengths": []}, r'lengths "t" must be integers, one an example, got float64 \(0,\)'),
        ({"lengths": {}}, "every length needs one number an example"),
        ({"lengths": 5}, 'lengths "t" must be integers'),
        ({"lengths": [1.0]}, "must be integers.*got float64"),
        ({"lengths": [[1, 2]]}, r"one an example, got int64 \(1, 2\)"),
        ({"lengths": [True]}, "must be integers"),
        ({"lengths": ["x"]}, "must be integers"),
        ({"lengths": [3, 0]}, 'lengths "t": example 1 has length 0'),
        ({"lengths": [3, 2, -4]}, 'lengths "t": example 2 has length -4'),
        ({"lengths": {"s": [1, 2], "t": [1]}}, r"found \{'s': 2, 't': 1\}"),
        ({"max_buckets": 0}, "max_buckets must be a positive integer, got 0"),
        ({"max_buckets": 2.0}, "max_buckets"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"bytes": 5}, "bytes= needs plan="),
        ({"bytes": 5, "batch_size": 3, "plan": "lstm"}, "excludes batch_size="),
        ({"bytes": 2**20, "plan": "text"}, "plan must be a plan"),
        ({"bytes": 0, "plan": "lstm"}, "bytes must be a positive integer, or text"),
        ({"bytes": "1TB", "plan": "lstm"}, "bytes must be a positive integer, or text.*got '1TB'"),
        ({"bytes": True, "plan": "lstm"}, "bytes must be"),
        ({"bytes": 2.5, "plan": "lstm"}, "bytes must be"),
        (
            {"bytes": 100, "plan": "lstm"},
            r"one row of the bucket \{'t': 4\} takes about [\d,]+ bytes, more than the 100",
        ),
        ({"bytes": 2**20, "plan": "lstm", "lengths": {"s": [3]}}, 'the plan has no length "s"'),
    ],
)
def test_fits_arguments_are_checked(lstm_plan: mxt.Plan, arguments: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"lengths": [3, 4], **arguments}
    if given.get("plan") == "lstm":
        given["plan"] = lstm_plan
    with pytest.raises(mxt.ArgumentError, match=text):
        fit(**given)
