"""Windows of long sequences: what a round holds, in which order, and what of the sequences is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_cases import kinds_of, numbered

import mxtrainer as mxt

Sizes = dict[str, Any]
MANY = settings(max_examples=60, deadline=None, derandomize=True, database=None)
many_lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12)
sizes: st.SearchStrategy[Sizes] = st.integers(1, 9).flatmap(
    lambda window: st.fixed_dictionaries(
        {"window": st.just(window), "rows": st.integers(1, 5), "overlap": st.integers(0, window - 1)}
    )
)


def rows_of(batch: mxt.Batch) -> list[tuple[int, list[int], bool]]:
    """Return for each row its sequence, its steps, and whether it begins one; the lane is where it should be."""
    assert batch.reset is not None
    for row, target in zip(batch["Input"], batch["Target"]):
        assert (row[:, 1] * 10 == target).all()
        assert (row[:, 0] == row[0, 0]).all()
    return [(int(row[0, 0]), row[:, 1].tolist(), reset) for row, reset in zip(batch["Input"], batch.reset)]


def said(batches: Iterable[mxt.Batch]) -> list[Any]:
    """Return all that batches say, to compare."""
    return [(rows_of(one), one.streams, one.position, one.carry_at, one.loss_from) for one in batches]


@MANY
@given(lengths=many_lengths, size=sizes, shuffle=st.booleans(), number=st.integers(0, 3))
def test_every_step_of_every_sequence_has_a_loss_once(
    lengths: list[int], size: Sizes, shuffle: bool, number: int
) -> None:
    found = []
    for batch in mxt.stream(numbered(lengths), shuffle=shuffle, **size).round(number):
        for (sequence, steps, _), begin in zip(rows_of(batch), batch.loss_from or [0] * size["rows"]):
            assert len(steps) > begin
            found += [(sequence, step) for step in steps[begin:]]
    assert sorted(found) == [(sequence, step) for sequence, steps in enumerate(lengths) for step in range(steps)]


@MANY
@given(lengths=many_lengths, size=sizes, shuffle=st.booleans())
def test_a_sequence_goes_through_one_lane_in_windows_that_follow_on_each_other(
    lengths: list[int], size: Sizes, shuffle: bool
) -> None:
    window, overlap = size["window"], size["overlap"]
    last: dict[int, tuple[int, list[int]]] = {}
    for batch in mxt.stream(numbered(lengths), shuffle=shuffle, **size):
        assert batch.streams is not None
        assert batch.carry_at == (window - overlap if overlap else None)
        assert (batch.loss_from is None) == (overlap == 0)
        for place, (lane, (sequence, steps, reset)) in enumerate(zip(batch.streams, rows_of(batch))):
            assert isinstance(lane, int)
            begin = steps[0]
            assert steps == list(range(begin, min(begin + window, lengths[sequence])))
            assert reset == (begin == 0)  # only the first window of a sequence begins it
            before = last.get(lane)
            if not reset:
                assert before is not None
                assert before[0] == sequence
                assert begin == before[1][0] + window - overlap
            elif before is not None:
                assert before[1][-1] == lengths[before[0]] - 1  # the one before has come to its end
            if batch.loss_from is not None:
                assert batch.loss_from[place] == (0 if reset else overlap)
            last[lane] = sequence, steps
    assert set(last) <= set(range(size["rows"]))


@MANY
@given(lengths=many_lengths, size=sizes)
def test_lanes_are_full_as_long_as_there_are_sequences_and_then_drop_out(lengths: list[int], size: Sizes) -> None:
    begun = 0
    streams: set[Any] = set(range(size["rows"]))
    for batch in mxt.stream(numbered(lengths), **size):
        assert batch.streams is not None
        assert list(batch.streams) == sorted(set(batch.streams))
        assert set(batch.streams) <= streams  # a lane that has dropped out stays out
        streams = set(batch.streams)
        for sequence, _, reset in rows_of(batch):
            if reset:
                assert sequence == begun  # as they come, without shuffle
                begun += 1
        assert len(streams) == size["rows"] or begun == len(lengths)
    assert begun == len(lengths)


@MANY
@given(lengths=many_lengths, size=sizes)
def test_windows_of_the_same_number_of_steps_are_one_array_and_others_a_list(lengths: list[int], size: Sizes) -> None:
    for batch in mxt.stream(numbered(lengths), **size):
        steps = [len(row) for row in batch["Input"]]
        if len(set(steps)) == 1:
            assert batch["Input"].shape == (len(steps), steps[0], 2)
            assert batch["Target"].shape == (len(steps), steps[0])
        else:
            assert isinstance(batch["Input"], list)
            assert isinstance(batch["Target"], list)


def test_a_window_longer_than_a_sequence_is_one_short_window() -> None:
    (batch,) = mxt.stream(numbered([3]), window=50, overlap=10)
    assert said([batch]) == [([(0, [0, 1, 2], True)], [0], (0, 1), 40, [0])]


# Rounds and positions


@pytest.mark.parametrize("kind", ["list", "tuple", "array", "iterable", "function", "iterator"])
@settings(MANY, max_examples=15)
@given(lengths=many_lengths, size=sizes, shuffle=st.booleans(), number=st.integers(0, 2))
def test_after_a_position_comes_what_would_have_come(
    kind: str, lengths: list[int], size: Sizes, shuffle: bool, number: int
) -> None:
    make = kinds_of(numbered(lengths))[kind]
    size["shuffle"] = shuffle and kind in {"list", "tuple", "array"}
    number *= kind != "iterator"
    whole = said(mxt.stream(make(), **size).round(number))
    assert [position for _, _, position, _, _ in whole] == [(number, place + 1) for place in range(len(whole))]
    for taken in range(len(whole) + 1):
        stream = mxt.stream(make(), **size)
        rest = stream.after((number, taken))
        assert stream.position == (number, taken)
        assert said(rest) == whole[taken:]
        assert stream.next_round == number + 1
        assert stream.position == (number, len(whole))


@MANY
@given(lengths=many_lengths, size=sizes, shuffle=st.booleans())
def test_each_iteration_is_the_next_round_and_a_call_of_round_is_none(
    lengths: list[int], size: Sizes, shuffle: bool
) -> None:
    stream = mxt.stream(numbered(lengths), shuffle=shuffle, **size)
    assert (stream.next_round, stream.position) == (0, None)
    counts, found = [], []
    for _ in range(3):
        counts.append(len(stream))
        found.append(said(stream))
    assert (stream.next_round, stream.position) == (3, found[-1][-1][2])
    assert found == [said(stream.round(number)) for number in range(3)]
    assert counts == list(map(len, found))
    assert (stream.next_round, stream.position) == (3, found[-1][-1][2])


def test_the_order_of_sequences_is_a_function_of_seed_and_round() -> None:
    sequences = numbered([2] * 30)

    def order(seed: int | None, number: int) -> list[int]:
        stream = mxt.stream(sequences, window=2, rows=3, shuffle=True, seed=seed)
        return [sequence for batch in stream.round(number) for sequence, _, _ in rows_of(batch)]

    assert order(3, 1) == order(3, 1)
    assert len({tuple(order(seed, number)) for seed in (3, 4) for number in range(3)}) == 6
    assert sorted(order(3, 1)) == list(range(30))
    assert order(None, 0) != order(None, 0)
    assert [stream.seed for stream in (mxt.stream(sequences), mxt.stream(sequences, seed=7))] == [0, 7]


@pytest.mark.parametrize("kind", ["iterable", "function", "function that returns a list"])
def test_what_can_be_opened_again_gives_every_round_and_has_no_known_length(kind: str) -> None:
    sequences = numbered([5, 3, 8])
    stream = mxt.stream(kinds_of(sequences)[kind](), window=4, rows=2)
    assert bool(stream)
    with pytest.raises(TypeError, match="for a list of sequences only"):
        len(stream)
    for number in range(2):
        assert said(list(stream)) == said(mxt.stream(sequences, window=4, rows=2).round(number))


@pytest.mark.parametrize(
    "again", [iter, lambda stream: stream.round(0), lambda stream: stream.round(1), lambda stream: stream.after((0, 1))]
)
def test_an_iterator_gives_one_round(again: Any) -> None:
    stream = mxt.stream(iter(numbered([5, 3, 8])), window=4, rows=2)
    assert len(list(stream)) == 3
    with pytest.raises(mxt.ArgumentError, match=r"used up.*a function that returns a new iterator"):
        again(stream)


def test_prefetch_gives_the_same_batches_and_their_positions() -> None:
    stream, plain = (mxt.stream(numbered([5, 9, 2, 7]), window=3, rows=2, overlap=1) for _ in range(2))
    for _ in range(2):
        assert said(mxt.prefetch(stream)) == said(plain)


# What is read


class Counted:
    """An array that counts which of its steps are read."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.read: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, part: slice) -> Any:
        self.read.append((part.start, part.stop))
        return np.arange(self.steps)[part]


def test_sequences_are_taken_when_a_lane_is_free_and_only_their_windows_are_read() -> None:
    taken = []
    arrays = [Counted(steps) for steps in (4, 2, 5, 3)]

    def make() -> Iterator[dict[str, Any]]:
        for number, array in enumerate(arrays):
            taken.append(number)
            yield {"Input": array}

    batches = iter(mxt.stream(make, window=2, rows=2))
    assert taken == []
    for expected in ([0, 1], [0, 1, 2], [0, 1, 2, 3]):
        next(batches)
        assert taken == expected
    assert [array.read for array in arrays] == [[(0, 2), (2, 4)], [(0, 2)], [(0, 2), (2, 4)], [(0, 2)]]


@pytest.mark.parametrize("overlap", [0, 2])
def test_what_after_skips_is_not_read(overlap: int) -> None:
    arrays = [Counted(steps) for steps in (40, 7, 50)]
    sequences = [{"Input": array} for array in arrays]
    stream = mxt.stream(sequences, window=5, rows=2, overlap=overlap, shuffle=True)
    count = len(stream)
    rest = list(stream.after((0, count - 1)))
    assert len(rest) == 1
    assert sum(len(array.read) for array in arrays) == len(rest[0]["Input"])


def test_memory_mapped_arrays_and_lists_are_sliced(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.normal(size=(11, 3)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    stream = mxt.stream([{"Input": mapped, "Target": list(range(11)), "Speaker": 4}], window=4)
    for batch, begin in zip(stream, (0, 4, 8)):
        np.testing.assert_array_equal(batch["Input"], values[None, begin : begin + 4])
        assert batch["Target"].tolist() == [list(range(begin, min(begin + 4, 11)))]
        assert batch["Speaker"].tolist() == [4]


def test_numbers_go_with_every_window_of_their_sequence() -> None:
    sequences = [{"Input": np.zeros(steps), "Speaker": np.array(steps), "Weight": 0.5} for steps in (5, 3, 2)]
    found = [batch["Speaker"].tolist() for batch in mxt.stream(sequences, window=2, rows=2)]
    assert found == [[5, 3], [5, 3], [5, 2]]
    assert next(iter(mxt.stream(sequences)))["Weight"].tolist() == [0.5] * 3


def test_a_trainer_takes_the_batches() -> None:
    net = mxt.NetChain(
        [mxt.GRU(4), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(2))}
    )
    with mxt.Trainer(mxt.compile_plan(net.with_states()), mxt.SGD(1e-6), batch_size=2, carry=True) as trainer:
        for batch in mxt.stream(numbered([5, 3, 8]), window=4, rows=2):
            trainer.update(batch)
        assert trainer.current_loss()["Loss"] > 0


# Lanes


@MANY
@given(steps=st.integers(1, 60), part=st.floats(0, 1), size=sizes)
def test_lanes_lose_nothing_and_copy_nothing(steps: int, part: float, size: Sizes) -> None:
    count = 1 + int(part * (steps - 1))
    text = np.arange(steps + 1)
    found = mxt.lanes({"Input": text[:-1], "Target": text[1:], "Speaker": 3}, count)
    assert len(found) == count
    for lane, expected in zip(found, np.array_split(text[:-1], count)):
        np.testing.assert_array_equal(lane["Input"], expected)
        np.testing.assert_array_equal(lane["Target"], expected + 1)
        assert np.shares_memory(lane["Input"], text)
        assert lane["Speaker"] == 3
    steps_read = [
        step for batch in mxt.stream(found, size["window"], size["rows"]) for row in batch["Input"] for step in row
    ]
    assert sorted(steps_read) == list(range(steps))
