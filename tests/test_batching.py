"""Batches of a data set: what a round holds, in which order, and how large its batches are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mxtrainer as mxt
from mxtrainer.executors.buckets import Exact, Fitted, Fixed, Geometric, Multiple, Policy, Tokens, fit

MANY = settings(max_examples=40, deadline=None, derandomize=True, database=None)
LONGEST = 40
Data = dict[str, Any]
Size = dict[str, Any]

lengths_of_examples = st.lists(st.integers(1, LONGEST), min_size=1, max_size=60)
policies: st.SearchStrategy[Policy] = st.sampled_from(
    [Exact(), Multiple(7), Geometric(1.4, 5), Fixed([6, 17, LONGEST]), Fixed([LONGEST])]
)
sizes = st.one_of(
    st.fixed_dictionaries({"batch_size": st.integers(1, 9)}),
    st.fixed_dictionaries({"tokens": st.integers(2 * LONGEST, 6 * LONGEST)}),
)


def sequences(lengths: Iterable[int]) -> Data:
    """Return a data set whose every step is the number of its example."""
    return {"Input": [np.full(length, float(number)) for number, length in enumerate(lengths)]}


def rows_of(batches: Iterable[mxt.Batch]) -> list[list[int]]:
    """Return the numbers of the examples of each batch."""
    return [[int(row.flat[0]) for row in batch["Input"]] for batch in batches]


@MANY
@given(lengths=lengths_of_examples, policy=policies, size=sizes, shuffle=st.booleans(), number=st.integers(0, 5))
def test_a_round_takes_every_example_once(
    lengths: list[int], policy: Policy, size: Size, shuffle: bool, number: int
) -> None:
    batches = mxt.Batches(sequences(lengths), buckets=policy, shuffle=shuffle, **size)
    rows = rows_of(batches.round(number))
    assert sorted(itertools.chain(*rows)) == list(range(len(lengths)))
    assert len(rows) == len(batches)
    assert all(rows)
    if not shuffle:
        assert list(itertools.chain(*rows)) == list(range(len(lengths)))


@MANY
@given(lengths=lengths_of_examples, policy=policies, size=sizes, shuffle=st.booleans())
def test_no_batch_is_larger_than_was_said(lengths: list[int], policy: Policy, size: Size, shuffle: bool) -> None:
    batches = mxt.Batches(sequences(lengths), buckets=policy, shuffle=shuffle, **size)
    for rows in rows_of(batches):
        bucket = policy.bucket({"t": max(lengths[row] for row in rows)})["t"]
        assert len(rows) <= size.get("batch_size", len(rows))
        assert len(rows) * bucket <= size.get("tokens", len(rows) * bucket)


@MANY
@given(lengths=lengths_of_examples, size=sizes, seed=st.integers(0, 9), number=st.integers(0, 5))
def test_a_round_is_a_function_of_seed_and_round(lengths: list[int], size: Size, seed: int, number: int) -> None:
    first, second = (mxt.Batches(sequences(lengths), seed=seed, buckets=Multiple(7), **size) for _ in range(2))
    list(first)  # what has been iterated before does not matter
    assert rows_of(first.round(number)) == rows_of(second.round(number)) == rows_of(first.round(number))


def test_rounds_and_seeds_differ() -> None:
    data = sequences([3] * 50)
    batches = mxt.Batches(data, batch_size=4, seed=1)
    others = [rows_of(batches.round(1)), rows_of(mxt.Batches(data, batch_size=4, seed=2).round(0))]
    assert rows_of(batches.round(0)) not in others
    assert others[0] != others[1]
    assert mxt.Batches(data, 4, seed=None).seed != mxt.Batches(data, 4, seed=None).seed


def test_each_iteration_is_the_next_round_and_a_call_of_round_is_none() -> None:
    batches = mxt.Batches(sequences([3, 1, 4, 1, 5] * 4), batch_size=3)
    assert batches.next_round == 0
    found = [rows_of(batches) for _ in range(3)]
    assert batches.next_round == 3
    assert found == [rows_of(batches.round(number)) for number in range(3)]
    assert batches.next_round == 3


@MANY
@given(
    lengths=lengths_of_examples,
    policy=policies,
    size=sizes,
    shuffle=st.booleans(),
    number=st.integers(0, 3),
    part=st.floats(0, 1),
)
def test_a_position_resumes_to_the_same_rest(
    lengths: list[int], policy: Policy, size: Size, shuffle: bool, number: int, part: float
) -> None:
    first, second = (mxt.Batches(sequences(lengths), buckets=policy, shuffle=shuffle, seed=5, **size) for _ in range(2))
    first.next_round = number
    running = iter(first)
    taken = [next(running) for _ in range(1 + int(part * (len(first) - 1)))]
    assert [batch.position for batch in taken] == [(number, place + 1) for place in range(len(taken))]
    position = taken[-1].position
    assert position is not None
    assert rows_of(second.after(position)) == rows_of(running)
    assert second.next_round == first.next_round == number + 1
    assert rows_of(second) == rows_of(first)


def test_after_the_last_batch_nothing_is_left_of_the_round() -> None:
    batches = mxt.Batches(sequences([1, 2, 3]), batch_size=2)
    assert list(batches.after((4, 2))) == []
    assert batches.next_round == 5
    assert len(rows_of(batches.after((4, 0)))) == 2


@MANY
@given(lengths=lengths_of_examples, size=sizes, shuffle=st.booleans(), data=st.data())
def test_the_batch_of_a_position_is_the_one_of_its_round_in_any_order(
    lengths: list[int], size: Size, shuffle: bool, data: st.DataObject
) -> None:
    batches = mxt.Batches(sequences(lengths), shuffle=shuffle, **size)
    positions = [(number, place + 1) for number in range(3) for place in range(len(batches))]
    expected = dict(zip(positions, rows_of(batch for number in range(3) for batch in batches.round(number))))
    for position in data.draw(st.permutations(positions)):
        batch = batches.batch(position)
        assert batch.position == position
        assert rows_of([batch]) == [expected[position]]
    assert batches.next_round == 0


@pytest.mark.parametrize("position", [(0, 0), (0, 3), (-1, 1), 1, None])
def test_there_is_no_batch_beside_the_positions_of_a_round(position: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="position must be that of a batch"):
        mxt.Batches(sequences([1, 2, 3]), batch_size=2).batch(position)


def test_the_last_batch_of_the_cut_may_be_short() -> None:
    batches = mxt.Batches(sequences([2] * 7), batch_size=3)
    assert sorted(map(len, rows_of(batches))) == [1, 3, 3]
    assert list(map(len, rows_of(mxt.Batches(sequences([2] * 7), batch_size=3, shuffle=False)))) == [3, 3, 1]


@pytest.mark.parametrize("size", [{"batch_size": 8}, {"tokens": 800}], ids=str)
def test_a_shuffled_round_pads_less_than_random_batches(rng: np.random.Generator, size: Size) -> None:
    lengths = rng.integers(1, 101, 400)
    policy = Fixed([20, 40, 60, 80, 100])

    def padded(batches: list[list[int]]) -> int:
        return sum(len(rows) * policy.bucket({"t": int(lengths[rows].max())})["t"] for rows in batches)

    found = rows_of(mxt.Batches(sequences(lengths), buckets=policy, **size))
    order = rng.permutation(400)
    random = [order[begin : begin + 8].tolist() for begin in range(0, 400, 8)]
    true = int(lengths.sum())
    assert padded(found) - true < 0.5 * (padded(random) - true)


# Buckets with batch sizes of their own, and several lengths


@MANY
@given(lengths=lengths_of_examples, shuffle=st.booleans(), number=st.integers(0, 3))
def test_a_buckets_own_batch_size_is_never_exceeded(lengths: list[int], shuffle: bool, number: int) -> None:
    policy = Fitted((5, 20, LONGEST), (((5,), 8), ((20,), 3), ((LONGEST,), 1)))
    batches = mxt.Batches(sequences(lengths), buckets=policy, shuffle=shuffle)
    found = rows_of(batches.round(number))
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    for rows in found:
        assert len(rows) <= (policy.batch_size(policy.bucket({"t": max(lengths[row] for row in rows)})) or 0)


@pytest.fixture(scope="module")
def translator() -> mxt.Plan:
    """An encoder over "s" whose last state starts a decoder over "t"."""
    net = mxt.NetGraph(
        {"encoder": mxt.GRU(4), "decoder": mxt.GRU(4), "loss": mxt.MeanSquaredLoss()},
        [("Source", "encoder"), ("encoder.State", "decoder.State"), ("Input", "decoder", "loss", "Loss")],
        inputs={"Source": mxt.Sequence("s", mxt.Scalar()), "Input": mxt.Sequence("t", mxt.Scalar())},
    )
    return mxt.compile_plan(net)


def pairs_of(lengths: list[tuple[int, int]]) -> Data:
    """Return a data set of two lengths, whose ports come in another order than the plan's."""
    s, t = ([pair[place] for pair in lengths] for place in (0, 1))
    numbers = list(range(len(lengths)))
    return {
        "Input": [np.full(steps, float(number)) for steps, number in zip(t, numbers)],
        "Target": [np.zeros((steps, 4)) for steps in t],
        "Source": [np.full(steps, float(number)) for steps, number in zip(s, numbers)],
    }


PAIRS = st.lists(st.tuples(st.integers(1, 16), st.integers(1, 16)), min_size=1, max_size=40)
OWN_SIZES = {(4, 4): 8, (4, 16): 4, (16, 4): 3, (16, 16): 1}


own_sizes: st.SearchStrategy[Policy] = st.sampled_from(
    [
        Fitted({"s": (4, 16), "t": (4, 16)}, tuple(OWN_SIZES.items())),
        Tokens(40, Fixed({"t": (4, 16), "s": (5, 16)})),
        Tokens(40, Geometric(1.5, 3)),
    ]
)


@MANY
@given(lengths=PAIRS, shuffle=st.booleans(), number=st.integers(0, 3), policy=own_sizes)
def test_own_batch_sizes_hold_for_the_bucket_of_all_of_a_batchs_lengths(
    translator: mxt.Plan, lengths: list[tuple[int, int]], shuffle: bool, number: int, policy: Policy
) -> None:
    batches = mxt.Batches(pairs_of(lengths), buckets=policy, shuffle=shuffle, plan=translator)
    found = rows_of(batches.round(number))
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert len(found) == len(batches)
    for rows in found:
        longest = {name: max(lengths[row][place] for row in rows) for place, name in enumerate("st")}
        assert len(rows) <= (policy.batch_size(policy.bucket(longest)) or 0)


@MANY
@given(lengths=PAIRS, shuffle=st.booleans(), number=st.integers(0, 3), policy=policies.filter(lambda p: p != Exact()))
def test_tokens_are_the_steps_of_all_lengths(
    translator: mxt.Plan, lengths: list[tuple[int, int]], shuffle: bool, number: int, policy: Policy
) -> None:
    grid = Fixed({"s": policy.of("t"), "t": (16,)}) if isinstance(policy, Fixed) else policy
    batches = mxt.Batches(pairs_of(lengths), tokens=150, buckets=grid, shuffle=shuffle, plan=translator)
    found = rows_of(batches.round(number))
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert len(found) == len(batches)
    for rows in found:
        longest = {name: max(lengths[row][place] for row in rows) for place, name in enumerate("st")}
        assert len(rows) * sum(grid.bucket(longest).values()) <= 150


def test_buckets_fitted_to_bytes_give_batches_that_their_trainer_takes(
    translator: mxt.Plan, rng: np.random.Generator
) -> None:
    lengths = [(int(s), int(t)) for s, t in rng.integers(1, 30, (60, 2))]
    policy = fit({"t": [t for _, t in lengths], "s": [s for s, _ in lengths]}, 4, bytes="64KB", plan=translator)
    trainer = mxt.Trainer(translator, mxt.SGD(0.1), batch_size=None, buckets=policy)
    batches = mxt.Batches(pairs_of(lengths), buckets=policy, plan=translator)
    for batch in batches:
        trainer.update(batch)
    assert trainer.current_loss()["Loss"] > 0
    assert trainer.stats().examples == 60


# Shards


@MANY
@given(
    lengths=st.lists(st.integers(1, LONGEST), min_size=4, max_size=60),
    workers=st.integers(1, 4),
    size=sizes,
    shuffle=st.booleans(),
)
def test_shards_are_disjoint_complete_and_equally_many(
    lengths: list[int], workers: int, size: Size, shuffle: bool
) -> None:
    lengths = lengths[: len(lengths) // workers * workers]  # of others, single rows may be left over
    shards = [
        mxt.Batches(sequences(lengths), shard=(rank, workers), shuffle=shuffle, **size) for rank in range(workers)
    ]
    for number in range(2):
        found = [rows_of(shard.round(number)) for shard in shards]
        assert {len(batches) for batches in found} == {len(shards[0])}
        flat = [row for batches in found for rows in batches for row in rows]
        assert sorted(flat) == list(range(len(lengths)))
        assert all(len(rows) <= size.get("batch_size", len(rows)) for batches in found for rows in batches)


def test_too_few_examples_for_the_workers_are_refused() -> None:
    with pytest.raises(mxt.ArgumentError, match="3 examples cannot be dealt evenly to 4 workers"):
        mxt.Batches(sequences([1, 2, 3]), batch_size=2, shard=(0, 4))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_size": None}, "give batch_size= or tokens=.*got none"),
        ({"tokens": 50}, "one of them only; got batch_size and tokens"),
        ({"buckets": Fitted((4,), (((4,), 2),))}, "got batch_size and the buckets' own batch sizes"),
        ({"data": {"Input": np.ones((3, 4))}, "batch_size": None, "tokens": 50}, "no column is known.*give plan="),
        ({"data": {"Input": np.ones((3, 4))}, "batch_size": None, "buckets": Tokens(50, Exact())}, "no column is"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"batch_size": 2.0}, "batch_size must be"),
        ({"batch_size": None, "tokens": 0}, "tokens must be a positive integer, got 0"),
        ({"batch_size": None, "tokens": 3}, "example 2 alone takes 4 steps in its bucket, more than tokens=3"),
        ({"buckets": [8]}, r"buckets must be a policy.*got \[8\]"),
        ({"buckets": Fixed([3])}, r'example 2: 4 steps \(length "t"\), more than the 3 of the largest'),
        ({"buckets": Fixed({"s": [8]})}, 'no length "s"'),
        ({"shuffle": 1}, "shuffle must be True or False, got 1"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"seed": 1.5}, "seed must be"),
        ({"plan": "net"}, "plan must be a plan"),
        ({"shard": 2}, "shard must be"),
        ({"shard": (2, 2)}, r"0 <= rank < workers, got \(2, 2\)"),
        ({"shard": (-1, 2)}, "shard must be"),
        ({"shard": (0, 1, 2)}, "shard must be"),
        ({"shard": (0.0, 1)}, "shard must be"),
        ({"shard": (0, 2), "seed": None}, "must have the same seed"),
        ({"data": [[1.0]]}, "data must map input ports to columns"),
        ({"data": {}}, "data must map input ports to columns"),
    ],
)
def test_the_arguments_of_batches_are_checked(arguments: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"data": sequences([1, 2, 4]), "batch_size": 2, **arguments}
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.Batches(**given)


@pytest.mark.parametrize("position", [3, (0,), (0, 0, 0), (-1, 0), (0, -1), (0, 3), (0, 1.0), "01", None, (True, 0)])
def test_what_is_no_position_is_refused(position: Any) -> None:
    batches = mxt.Batches(sequences([1, 2, 3]), batch_size=2)
    with pytest.raises(mxt.ArgumentError, match=r"position must be that of a batch, \(round, batches taken of 2\)"):
        batches.after(position)
    assert batches.next_round == 0


@pytest.mark.parametrize("number", [-1, 1.0, None, True, "0"])
def test_what_is_no_round_is_refused(number: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="round must be a non-negative integer"):
        mxt.Batches(sequences([1, 2, 3]), batch_size=2).round(number)
