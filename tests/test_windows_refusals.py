"""What stream, lanes and Batch refuse: one clear message, which names sequence and port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from window_cases import Again, kinds_of, numbered

import mxtrainer as mxt

GOOD: dict[str, Any] = {"Input": np.zeros((4, 2)), "Target": np.zeros(4)}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"window": 0}, "window must be a positive integer, got 0"),
        ({"window": 2.0}, "window must be"),
        ({"window": None}, "window must be"),
        ({"rows": -1}, "rows must be a positive integer, got -1"),
        ({"rows": True}, "rows must be"),
        ({"overlap": 3}, "overlap must be an integer from 0 to 2, less than the window of 3 steps, got 3"),
        ({"overlap": -1}, "overlap must be"),
        ({"overlap": 1.0}, "overlap must be"),
        ({"shuffle": 1}, "shuffle must be True or False, got 1"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"sequences": 3}, "stream takes sequences, a mapping of ports to arrays each.*got 3"),
        ({"sequences": None}, "stream takes sequences"),
        ({"sequences": "text"}, "stream takes sequences.*got 'text'"),
        ({"sequences": GOOD}, r"got one mapping: give \[mapping\].*mxt.lanes\(mapping, 20\)"),
        ({"sequences": []}, "there are no sequences"),
        ({"sequences": iter([GOOD]), "shuffle": True}, "shuffle=True needs a list of sequences"),
        ({"sequences": lambda: [GOOD], "shuffle": True}, "shuffle=True needs a list of sequences"),
    ],
)
def test_the_arguments_of_stream_are_checked_at_once(arguments: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"sequences": [GOOD], "window": 3, "rows": 2, **arguments}
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.stream(**given)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (np.zeros(4), "sequence 2: expected a mapping of ports to arrays, as in"),
        ({}, "sequence 2: expected a mapping"),
        (
            {"Input": GOOD["Input"]},
            "sequence 2: expected the ports Input, Target, as sequence 0 has them, found Input$",
        ),
        ({**GOOD, "More": 1}, "found Input, Target, More"),
        ({**GOOD, "Target": np.zeros(5)}, 'sequence 2: .*same number of steps, found 4 in "Input", 5 in "Target"'),
        ({"Input": np.zeros((0, 2)), "Target": []}, 'sequence 2, port "Input": it has no steps'),
        ({"Input": 1, "Target": 2}, r"sequence 2: expected arrays, \(steps, \*item\), found numbers only"),
        ({**GOOD, "Target": "text"}, "sequence 2, port \"Target\": expected an array.*or a number, found 'text'"),
        ({**GOOD, "Target": None}, 'sequence 2, port "Target": expected an array'),
        ({**GOOD, "Target": {1, 2, 3, 4}}, 'sequence 2, port "Target": expected an array'),
        ({**GOOD, "Input": [[1], [1, 2], [1], [1]]}, 'sequence 2, port "Input": is ragged'),
        ({**GOOD, "Input": np.ma.zeros((4, 2))}, 'sequence 2, port "Input": is a masked array'),
        (
            {**GOOD, "Input": np.zeros((4, 3))},
            r'sequence 1, port "Input": .*in sequence 2, where a window is \(3, 3\), found \(3, 2\)',
        ),
        ({**GOOD, "Target": 1}, r'sequence 1, port "Target": .*in sequence 2, where a window is \(\), found \(3,\)'),
    ],
)
@pytest.mark.parametrize("kind", ["list", "function", "iterator"])
def test_a_bad_sequence_is_named_when_its_turn_comes(bad: Any, text: str, kind: str) -> None:
    sequences = [{"Input": np.zeros((3, 2)), "Target": np.zeros(3)}, {"Input": np.zeros((9, 2)), "Target": np.zeros(9)}]
    batches = iter(mxt.stream(kinds_of([*sequences, bad])[kind](), window=3, rows=2))
    next(batches)
    with pytest.raises(mxt.ArgumentError, match=text):
        for _ in batches:
            pass


@pytest.mark.parametrize("given_", [lambda: 3, lambda: None, lambda: "text", lambda: GOOD])
def test_a_function_must_return_an_iterable_of_sequences(given_: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="the function must return an iterable of sequences"):
        iter(mxt.stream(given_))


@pytest.mark.parametrize("empty", [iter([]), list, Again([])])
def test_a_round_without_sequences_is_an_error(empty: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="there are no sequences"):
        next(iter(mxt.stream(empty)))


def test_an_error_of_an_iterator_comes_as_it_is() -> None:
    def make() -> Iterator[dict[str, Any]]:
        yield GOOD
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        list(mxt.stream(make, rows=2))


def test_repr_says_the_size() -> None:
    assert repr(mxt.stream([GOOD], 4, 2, overlap=1)) == "Stream(window=4, rows=2, overlap=1, shuffle=False)"


# What a Batch may hold


def test_a_batch_keeps_whose_state_its_rows_are() -> None:
    batch = mxt.Batch({"Input": [1.0]}, None, ["a"], [True], carry_at=3, loss_from=[2], position=(0, 1))
    assert (batch.streams, batch.reset, batch.carry_at, batch.loss_from, batch.position) == (
        ["a"],
        [True],
        3,
        [2],
        (0, 1),
    )
    assert repr(batch) == "Batch(Input, streams=['a'], reset=[True], position=(0, 1), carry_at=3, loss_from=[2])"
    plain = mxt.Batch({"Input": [1.0]})
    assert (plain.streams, plain.reset, plain.carry_at, plain.loss_from) == (None, None, None, None)


@pytest.mark.parametrize("name", ["streams", "reset", "loss_from"])
@pytest.mark.parametrize("value", ["ab", 3, {"a": 1}, True])
def test_what_a_batch_says_of_its_rows_has_an_entry_a_row(name: str, value: Any) -> None:
    with pytest.raises(mxt.BatchError, match=f"Batch: {name} must have one entry a row"):
        mxt.Batch({"Input": [1.0]}, **{name: value})


# Positions and lanes


@pytest.mark.parametrize("position", [3, (0,), (0, 0, 0), (-1, 0), (0, -1), (0, 4), (0, 1.0), "01", None, (True, 0)])
@pytest.mark.parametrize("kind", ["list", "function", "iterator"])
def test_what_is_no_position_is_refused(position: Any, kind: str) -> None:
    stream = mxt.stream(kinds_of(numbered([5, 3, 8]))[kind](), window=4, rows=2)
    with pytest.raises(mxt.ArgumentError, match=r"position must be that of a batch, \(round, batches taken"):
        stream.after(position)
    assert (stream.next_round, stream.position) == (0, None)


@pytest.mark.parametrize("number", [-1, 1.0, None, True, "0"])
def test_what_is_no_round_is_refused(number: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="round must be a non-negative integer"):
        mxt.stream(numbered([3])).round(number)


@pytest.mark.parametrize(
    ("ports", "count", "text"),
    [
        ({"Input": np.zeros(3)}, 4, "3 steps cannot be cut into 4 lanes"),
        (
            {"Input": np.zeros(3), "Target": np.zeros(4)},
            2,
            'lanes: .*same number of steps, found 3 in "Input", 4 in "T',
        ),
        (np.zeros(3), 2, "lanes takes a mapping of ports to arrays"),
        ({}, 2, "lanes: expected a mapping of ports to arrays"),
        ({"Input": "text"}, 2, 'lanes, port "Input": expected an array'),
        ({"Input": [[1], [2, 3]]}, 2, 'lanes, port "Input": is ragged'),
        ({"Input": 3}, 2, "lanes: expected arrays.*numbers only"),
        ({"Input": np.zeros(3)}, 0, "lanes: count must be a positive integer, got 0"),
        ({"Input": np.zeros(3)}, 2.0, "lanes: count must be"),
    ],
)
def test_the_arguments_of_lanes_are_checked(ports: Any, count: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.lanes(ports, count)
