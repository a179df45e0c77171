"""A batch with its lengths, and the columns of a data set: in which forms sequences come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mxtrainer as mxt

MANY = settings(max_examples=80, deadline=None, derandomize=True, database=None)

# Batch


def test_a_batch_is_a_mapping_that_cannot_change() -> None:
    arrays = {"Input": np.ones((2, 3)), "Target": np.zeros(2)}
    batch = mxt.Batch(arrays, lengths={"t": [3, 1]}, position=(2, 5))
    assert dict(batch) == arrays
    assert (list(batch), len(batch), batch["Input"] is arrays["Input"]) == (["Input", "Target"], 2, True)
    assert batch.lengths is not None
    assert (dict(batch.lengths), batch.position) == ({"t": [3, 1]}, (2, 5))
    for held in (batch, batch.lengths):
        with pytest.raises(TypeError, match="item assignment"):
            held["Input"] = np.ones(1)  # type: ignore[index]  # a user's mistake
    del arrays["Target"]
    assert "Target" in batch


def test_a_batch_shows_its_ports_and_what_else_it_knows() -> None:
    arrays = {"Input": np.ones((2, 3)), "Target": np.zeros(2)}
    assert repr(mxt.Batch(arrays)) == "Batch(Input, Target)"
    assert repr(mxt.Batch(arrays, {"t": [3, 1]}, position=(0, 1))) == (
        "Batch(Input, Target, lengths={'t': [3, 1]}, position=(0, 1))"
    )
    assert {mxt.Batch({}).lengths, mxt.Batch({}).position} == {None}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mxt.Batch([1.0]), "mapping from input ports to arrays, got list"),  # type: ignore[arg-type]
        (lambda: mxt.Batch(None), "got NoneType"),  # type: ignore[arg-type]
        (lambda: mxt.Batch({}, [3, 1]), r"lengths must map length names.*got \[3, 1\]"),  # type: ignore[arg-type]
        (lambda: mxt.Batch({}, 3), "lengths must map length names.*got 3"),  # type: ignore[arg-type]
    ],
)
def test_a_batchs_arguments_are_checked(make: Any, text: str) -> None:
    with pytest.raises(mxt.BatchError, match=text):
        make()


# Ragged


@MANY
@given(lengths=st.lists(st.integers(0, 5), max_size=8), begin=st.integers(0, 3), more=st.integers(0, 3))
def test_ragged_gives_each_example_as_a_view(lengths: list[int], begin: int, more: int) -> None:
    values = np.arange(begin + sum(lengths) + more)
    offsets = begin + np.concatenate([[0], np.cumsum(lengths, dtype=int)])
    ragged = mxt.Ragged(values, offsets)
    assert len(ragged) == len(lengths)
    assert ragged.lengths.tolist() == lengths
    rows = list(ragged)
    assert [len(row) for row in rows] == lengths
    for number, row in enumerate(rows):
        assert row.tolist() == values[offsets[number] : offsets[number + 1]].tolist()
        assert ragged[number - len(rows)].tolist() == row.tolist()
        assert not len(row) or np.shares_memory(row, values)
    for beyond in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            ragged[beyond]
    some = ragged[begin : begin + more]
    assert [row.tolist() for row in some] == [row.tolist() for row in rows[begin : begin + more]]
    with pytest.raises(mxt.ArgumentError, match="leave out its step"):
        ragged[::-1]


def test_ragged_shows_how_much_it_holds() -> None:
    assert repr(mxt.Ragged(np.zeros((5, 2)), [0, 2, 5])) == "Ragged(2 examples, values (5, 2) float64)"


@pytest.mark.parametrize(
    ("values", "offsets", "text"),
    [
        ([1.0, 2.0], [0.0, 2.0], "offsets must be integers.*got float64"),
        ([1.0, 2.0], [[0, 2]], r"offsets must be integers.*\(1, 2\)"),
        ([1.0, 2.0], [], "offsets must be integers"),
        ([1.0, 2.0], 2, "offsets must be integers"),
        ([1.0, 2.0], [0, 3], "at most 2, the number of values"),
        ([1.0, 2.0], [-1, 2], "from 0 or above"),
        ([1.0, 2.0], [0, 2, 1], "must increase"),
        ([[1.0], [2.0, 3.0]], [0, 2], "ragged"),
        (3.0, [0, 1], r"values must be \(steps of all, \*item\)"),
    ],
)
def test_raggeds_arguments_are_checked(values: Any, offsets: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.Ragged(values, offsets)


# Columns


def objects(rows: list[Any]) -> NDArray[Any]:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


ROWS = [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]
FORMS: dict[str, Any] = {
    "arrays": [np.array(row) for row in ROWS],
    "a tuple of arrays": tuple(np.array(row) for row in ROWS),
    "nested lists": ROWS,
    "objects": objects(ROWS),
    "objects that are arrays": objects([np.array(row) for row in ROWS]),
    "ragged": mxt.Ragged(np.arange(1.0, 7.0), [0, 2, 3, 6]),
    "values and offsets": SimpleNamespace(values=np.arange(1.0, 7.0), offsets=np.array([0, 2, 3, 6])),
}


@pytest.mark.parametrize("form", FORMS)
def test_sequences_come_in_many_forms(form: str) -> None:
    batches = mxt.Batches({"Input": FORMS[form], "Target": np.array([7, 8, 9])}, batch_size=2, shuffle=False)
    first, second = batches
    assert [row.tolist() for row in [*first["Input"], *second["Input"]]] == ROWS
    assert [*first["Target"], *second["Target"]] == [7, 8, 9]
    sorted_rows = mxt.Batches({"Input": FORMS[form]}, tokens=3, shuffle=False)
    assert [len(batch["Input"]) for batch in sorted_rows] == [1, 1, 1]
    assert repr(batches) == "Batches(Input, Target: 3 examples in 2 batches)"


def test_plain_arrays_are_taken_by_rows() -> None:
    data = {"Input": np.arange(15).reshape(5, 3), "Weight": [0.0, 1.0, 2.0, 3.0, 4.0]}
    for batch in mxt.Batches(data, batch_size=2):
        assert isinstance(batch["Input"], np.ndarray)
        np.testing.assert_array_equal(batch["Input"][:, 0], 3 * batch["Weight"])


@pytest.fixture(scope="module")
def plan() -> mxt.Plan:
    """Two lengths: "s" of Source, "t" of Input and Target."""
    net = mxt.NetGraph(
        {"encoder": mxt.GRU(3), "decoder": mxt.GRU(3), "loss": mxt.MeanSquaredLoss()},
        [("Source", "encoder"), ("encoder.State", "decoder.State"), ("Input", "decoder", "loss", "Loss")],
        inputs={"Source": mxt.Sequence("s", mxt.Scalar()), "Input": mxt.Sequence("t", mxt.Scalar())},
    )
    return mxt.compile_plan(net)


def test_a_plan_tells_the_ports_of_each_length(plan: mxt.Plan) -> None:
    target = [np.zeros((length, 3)) for length in (1, 2, 2)]
    data: dict[str, list[Any]] = {"Source": ROWS, "Input": [[1.0], [2.0, 3.0], [4.0, 5.0]], "Target": target}
    with pytest.raises(mxt.ArgumentError, match='2 in "Source" and 1 in "Input" for example 0'):
        mxt.Batches(data, batch_size=2)
    batches = mxt.Batches(data, batch_size=2, plan=plan, shuffle=False)
    one, by_one = (mxt.Trainer(plan, mxt.SGD(0.1), batch_size=2) for _ in range(2))
    for batch, rows in zip(batches, (slice(0, 2), slice(2, 3))):
        one.update(batch)
        by_one.update({port: list(column[rows]) for port, column in data.items()})
    assert_same(values_of(one.arrays), values_of(by_one.arrays))


def test_with_a_plan_sequences_of_one_length_count_their_steps(text_plan: mxt.Plan) -> None:
    tokens = np.zeros((6, 5), int)
    data = {"Input": tokens, "Target": tokens.tolist()}
    assert [len(batch["Input"]) for batch in mxt.Batches(data, tokens=12, plan=text_plan)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"Input": ROWS, "Target": [np.ones(1)] * 3}, 'length "t".*2 in "Input" and 1 in "Target" for example 0'),
        ({"Input": ROWS, "Target": ROWS[:2]}, r"same number of examples, found \{'Input': 3, 'Target': 2\}"),
        ({"Input": []}, "data has no examples"),
        ({"Input": [[1.0], []]}, 'port "Input": example 1 is an empty sequence'),
        ({"Input": mxt.Ragged([1.0], [0, 1, 1])}, 'port "Input": example 1 is an empty sequence'),
        ({"Input": [[1.0, 2.0], 3.0]}, 'port "Input": example 1 is a number'),
        ({"Input": [1.0, [2.0, 3.0]]}, 'port "Input": example 0 is a number'),
        ({"Input": 3.0}, 'port "Input": expected one entry an example'),
        ({"Input": [[[1.0], [2.0, 3.0]], [[4.0]]]}, 'port "Input": example 0.*ragged'),
    ],
)
def test_bad_columns_are_named(data: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.Batches(data, batch_size=2)


TARGET = [np.zeros((len(row), 3)) for row in ROWS]


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        ({"Sauce": ROWS}, mxt.UnknownNameError, 'no input "Sauce"; did you mean "Source"'),
        ({"Source": [1.0, 2.0, 3.0]}, mxt.ArgumentError, 'port "Source": expected sequences, .*found .3,'),
        ({"Input": ROWS[::-1]}, mxt.ArgumentError, 'length "t".*3 in "Input" and 2 in "Target" for example 0'),
        ({"Target": [*TARGET[:2], TARGET[2][:1]]}, mxt.ArgumentError, '3 in "Input" and 1 in "Target" for example 2'),
    ],
)
def test_columns_that_do_not_fit_the_plan_are_named(
    plan: mxt.Plan, changed: dict[str, Any], kind: type[Exception], text: str
) -> None:
    data = {"Source": ROWS, "Input": ROWS, "Target": TARGET, **changed}
    with pytest.raises(kind, match=text):
        mxt.Batches(data, batch_size=2, plan=plan)


def test_a_port_that_is_no_sequence_takes_no_ragged_column(linear_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.ArgumentError, match='port "Input": its examples differ in length, but the plan has no seq'):
        mxt.Batches({"Input": mxt.Ragged([1.0], [0, 1]), "Target": [1.0]}, batch_size=2, plan=linear_plan)
    with pytest.raises(mxt.ArgumentError, match='port "Input": is ragged'):
        mxt.Batches({"Input": ROWS, "Target": [1.0, 2.0, 3.0]}, batch_size=2, plan=linear_plan)


def test_a_batch_of_padded_arrays_is_no_data_set() -> None:
    batch = mxt.Batch({"Input": np.zeros((2, 3))}, lengths={"t": [3, 1]})
    with pytest.raises(mxt.ArgumentError, match="whose lengths would be lost"):
        mxt.Batches(batch, 1)
