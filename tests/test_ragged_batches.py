"""Batches of examples of different lengths: each is as if it were alone, in whichever form its lengths come."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.buckets import Fixed, Geometric, Policy

Rows = list[NDArray[Any]]
LENGTHS = [3, 7, 1, 5]


def rows_of(lengths: list[int], *item: int, seed: int = 3) -> Rows:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, *item)) for length in lengths]


def padded(rows: Rows, fill: float = 0.0, more: int = 2) -> NDArray[Any]:
    """Return one array of so many steps more than the longest, with a number over padding."""
    array = np.full((len(rows), more + max(map(len, rows)), *rows[0].shape[1:]), fill)
    for place, row in enumerate(rows):
        array[place, : len(row)] = row
    return array


@pytest.fixture(scope="module")
def plan() -> mxt.Plan:
    net = mxt.NetChain([mxt.LSTM(4), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(3))})
    return mxt.compile_plan(net)


@pytest.fixture(scope="module")
def translator() -> mxt.Plan:
    """An encoder over "s" whose last state starts a decoder over "t"."""
    net = mxt.NetGraph(
        {"encoder": mxt.GRU(4), "decoder": mxt.GRU(4), "loss": mxt.MeanSquaredLoss(), "linear": mxt.Linear(2)},
        [
            ("Source", "encoder"),
            ("encoder.State", "decoder.State"),
            ("Input", "decoder", "loss", "Loss"),
            ("encoder", "linear", "Coded"),
        ],
        inputs={"Source": mxt.Sequence("s", mxt.Vector(2)), "Input": mxt.Sequence("t", mxt.Vector(3))},
    )
    return mxt.compile_plan(net, losses={"Coded": 0.5})


FORMS = ["lists", "lengths=", "a Batch", "NDArrays", "lengths= and lists", "longer arrays", "Ragged", "offsets"]


def given(form: str, rows: Mapping[str, Rows]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Return a batch in some form, and the arguments beside it."""
    lengths = {"t": [len(row) for row in rows["Input"]]}
    arrays = {port: padded(found, np.nan) for port, found in rows.items()}
    offsets = np.cumsum([1, *lengths["t"]])
    around = {port: np.concatenate([found[0][:1], *found, found[0]]) for port, found in rows.items()}
    forms: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {
        "lists": (rows, {}),
        "lengths=": (arrays, {"lengths": {name: np.array(found) for name, found in lengths.items()}}),
        "lengths= and lists": ({"Input": rows["Input"], "Target": arrays["Target"]}, {"lengths": lengths}),
        "a Batch": (mxt.Batch(arrays, lengths), {}),
        "NDArrays": ({port: mx.nd.array(array) for port, array in arrays.items()}, {"lengths": lengths}),
        "longer arrays": ({port: padded(found, 1e300, more=9) for port, found in rows.items()}, {"lengths": lengths}),
        "Ragged": ({port: mxt.Ragged(found, offsets) for port, found in around.items()}, {}),
        "offsets": ({port: SimpleNamespace(values=found, offsets=offsets) for port, found in around.items()}, {}),
    }
    return forms[form]


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("policy", [Geometric(), Fixed([4, 8, 16])], ids=repr)
def test_in_whichever_form_lengths_come_the_step_is_the_same(plan: mxt.Plan, form: str, policy: Policy) -> None:
    rows = {"Input": rows_of(LENGTHS, 3), "Target": rows_of(LENGTHS, 4)}
    runs: list[Any] = []
    for one in ("lists", form):
        trainer = mxt.Trainer(plan, mxt.Adam(0.1), batch_size=5, buckets=policy, input_gradients=["Input"])
        batch, beside = given(one, rows)
        for _ in range(2):
            trainer.update(batch, **beside)
        losses = trainer.evaluate(batch, **beside).losses
        assert trainer.stats().nan_inputs == {}
        assert trainer.outputs["Loss"].lengths == {"t": pytest.approx(LENGTHS)}
        runs.append((values_of(trainer.gradients), values_of(trainer.arrays), trainer.current_loss(), losses))
    assert_same(runs[0][0], runs[1][0])
    assert_same(runs[0][1], runs[1][1])
    assert runs[0][2:] == runs[1][2:]


def test_the_numbers_of_true_steps_are_counted_where_they_are_nan(plan: mxt.Plan) -> None:
    rows = {"Input": rows_of(LENGTHS, 3), "Target": rows_of(LENGTHS, 4)}
    rows["Input"][1][6, 0] = np.nan
    trainer = mxt.Trainer(plan, mxt.SGD(0.0), batch_size=5)
    batch, beside = given("lengths=", rows)
    trainer.update(batch, **beside)
    assert trainer.stats().nan_inputs == {"Input": 1}


BAD = [
    ({"t": [3, 7, 1]}, ['"t": expected one for each of 4 rows, found 3']),
    ({"t": [5]}, ['"t": expected one for each of 4 rows, found 1']),
    ({"t": np.array([], int)}, ['"t": expected one for each of 4 rows, found 0']),
    ({"t": [3, 6, 1, 5]}, ['length "t"', '6 in lengths= and 7 in "Input" for example 1']),
    ({"t": [3, 7, 0, 5]}, ['"t": example 2 has length 0']),
    ({"t": [3, 7, -1, 5]}, ['"t": example 2 has length -1']),
    ({"t": [3.0, 7.0, 1.0, 5.0]}, ['"t": expected integers, found float64']),
    ({"t": [True] * 4}, ['"t": expected integers, found bool']),
    ({"t": [[3], [7], [1], [5]]}, ['"t": expected one length a row', "found (4, 1)"]),
    ({"t": 3}, ['"t": expected one length a row', "found ()"]),
    ({"tt": [3, 7, 1, 5]}, ['no length "tt"; did you mean "t"', "known: t"]),
    ([3, 7, 1, 5], ["lengths must map length names", "got [3, 7, 1, 5]"]),
]


@pytest.mark.parametrize(("lengths", "parts"), BAD)
def test_lengths_that_do_not_fit_the_lists_are_named_and_nothing_has_changed(
    plan: mxt.Plan, lengths: Any, parts: list[str]
) -> None:
    batch = {"Input": rows_of(LENGTHS, 3), "Target": rows_of(LENGTHS, 4)}
    trainer = mxt.Trainer(plan, mxt.Adam(0.1), batch_size=4)
    executor = mxt.instantiate(plan, 4, {"t": 8})
    trainer.update(batch)
    handle, before = trainer.outputs["Loss"], values_of(trainer.arrays)
    calls: list[Any] = [trainer.update, trainer.evaluate, executor.forward]
    for call in calls:
        with pytest.raises(mxt.BatchError) as caught:
            call(batch, lengths=lengths)
        assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert trainer.step == handle.step == 1
    assert handle.asnumpy().shape == (4,)
    assert_same(values_of(trainer.arrays), before)


BAD_LISTS = [
    ([[1.0, 2.0], None, [3.0]], r"example 1 must be \(steps,\), found None"),
    ([[1.0, 2.0], "abc", [3.0]], r"example 1 must be \(steps,\), found 'abc'"),
    ([[1.0, 2.0], [3.0], ["abc"]], "example 2 expected real numbers, found <U3"),
    ([[1.0, 2.0], [3.0], []], "example 2 is an empty sequence"),
    ([[1.0, 2.0], [[3.0]], [4.0]], r"example 1 must be \(steps,\), found \(1, 1\)"),
    ([[1.0, 2.0], [[3.0], [4.0, 5.0]], [4.0]], "example 1 is ragged"),
    ([], "has no rows"),
    (mxt.Ragged([], [0]), "has no rows"),
    (mxt.Ragged([1.0], [0, 1, 1]), "example 1 is an empty sequence"),
    (mxt.Ragged([[1.0]], [0, 1]), r"example 0 must be \(steps,\), found \(1, 1\)"),
    (mxt.Ragged(["a"], [0, 1]), "example 0 expected real numbers"),
]


@pytest.mark.parametrize(("rows", "text"), BAD_LISTS)
def test_an_example_that_does_not_fit_is_named(rows: Any, text: str) -> None:
    net = mxt.NetChain([mxt.Aggregate("mean")], inputs={"Input": mxt.Sequence("t", mxt.Scalar())})
    executor = mxt.instantiate(mxt.compile_plan(net, losses={"Output": 0.0}), 4, {"t": 4})
    with pytest.raises(mxt.BatchError, match=f'port "Input" .*{text}'):
        executor.forward({"Input": rows})


def test_an_index_is_named_by_its_example_and_step(text_plan: mxt.Plan) -> None:
    rows = [[1, 2], [3, 4, 5], [6, 11, 7]]
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    for given in (rows, mxt.Ragged(np.concatenate(rows), [0, 2, 5, 8])):
        with pytest.raises(mxt.BatchError, match="from 0 to 10, found 11 in example 2, step 1"):
            trainer.update({"Input": given, "Target": [[1] * 2, [1] * 3, [1] * 3]})
    with pytest.raises(mxt.BatchError, match="example 1 expected integers, found float64"):
        trainer.update({"Input": [[1, 2], [3.0, 4.0]], "Target": [[1, 2], [3, 4]]})


def test_lengths_of_no_rows_are_a_batch_without_rows(plan: mxt.Plan) -> None:
    batch = {"Input": np.zeros((0, 5, 3)), "Target": np.zeros((0, 5, 4))}
    with pytest.raises(mxt.BatchError, match="it has no rows"):
        mxt.Trainer(plan, mxt.SGD(0.1), batch_size=4).update(batch, lengths={"t": np.array([], int)})


def test_lengths_belong_to_one_batch_and_not_to_an_iterable(plan: mxt.Plan) -> None:
    rows = {"Input": rows_of(LENGTHS, 3), "Target": rows_of(LENGTHS, 4)}
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), batch_size=3)
    batch, beside = given("lengths=", rows)
    with pytest.raises(mxt.BatchError, match=r"lengths= belongs to one batch.*as a Batch does"):
        trainer.evaluate([batch], **beside)
    whole = trainer.evaluate(rows).losses
    assert trainer.evaluate([given("a Batch", rows)[0]]).losses["Loss"] == pytest.approx(whole["Loss"])


# Two lengths

SOURCE, TARGET = [4, 1, 6, 2], [3, 5, 1, 8]


def pairs() -> dict[str, Rows]:
    return {"Source": rows_of(SOURCE, 2), "Input": rows_of(TARGET, 3), "Target": rows_of(TARGET, 4, seed=4)}


def test_with_two_lengths_every_example_is_as_if_it_were_alone(translator: mxt.Plan) -> None:
    buckets = Fixed({"s": [2, 8], "t": [4, 8]})
    trainer = mxt.Trainer(translator, mxt.SGD(0.0), batch_size=5, buckets=buckets)
    trainer.update(pairs())
    whole, losses = values_of(trainer.gradients), trainer.outputs["Loss"][:]
    coded = trainer.outputs["Coded"].ragged()
    assert trainer.outputs["Coded"].lengths == {"s": pytest.approx(SOURCE), "t": pytest.approx(TARGET)}
    summed = {path: np.zeros_like(value) for path, value in whole.items()}
    for row in range(4):
        trainer.update({port: rows[row : row + 1] for port, rows in pairs().items()})
        np.testing.assert_allclose(trainer.outputs["Loss"][:], losses[row : row + 1], rtol=1e-5)
        np.testing.assert_allclose(trainer.outputs["Coded"].ragged()[0], coded[row], rtol=1e-5, atol=1e-6)
        for path, value in values_of(trainer.gradients).items():
            summed[path] += value / 4
    for path, value in whole.items():
        np.testing.assert_allclose(value, summed[path], rtol=1e-4, atol=1e-6)


def test_an_evaluation_of_two_lengths_in_slices_is_that_of_each_alone(translator: mxt.Plan) -> None:
    buckets = Fixed({"s": [2, 8], "t": [4, 8]})
    trainer = mxt.Trainer(translator, mxt.SGD(0.1), batch_size=3, buckets=buckets)
    found = trainer.evaluate(pairs(), outputs=["Coded", "decoder", "Loss"])
    assert found.outputs["Coded"].shape == (4, 6, 2)
    assert found.outputs["decoder"].shape == (4, 8, 4)
    for row in range(4):
        alone = trainer.evaluate({port: rows[row : row + 1] for port, rows in pairs().items()}, ["Coded", "decoder"])
        for name, steps in (("Coded", SOURCE[row]), ("decoder", TARGET[row])):
            assert found.ragged(name)[row].shape[0] == steps
            np.testing.assert_allclose(found.ragged(name)[row], alone.outputs[name][0], rtol=1e-5, atol=1e-6)
            assert not found.outputs[name][row, steps:].any()
    assert found.losses["Loss"] == pytest.approx(found.outputs["Loss"].mean())


def test_a_batch_of_two_lengths_that_no_bucket_holds_is_named(translator: mxt.Plan) -> None:
    trainer = mxt.Trainer(translator, mxt.SGD(0.1), batch_size=4, buckets=Fixed({"s": [8], "t": [4]}))
    with pytest.raises(mxt.BatchError, match=r'example 3: 8 steps \(length "t"\), more than the 4'):
        trainer.update(pairs())
    with pytest.raises(mxt.BatchError, match='2 in "Input" and 3 in "Target" for example 0'):
        trainer.update({**pairs(), "Input": rows_of([2, 5, 1, 8], 3)})
    assert trainer.step == 0
    assert trainer.buckets.report().padding == 0.0


# Sequences that come out, and go in again


@pytest.fixture(scope="module")
def stack() -> mxt.Plan:
    """A layer from Vector(3) to Vector(3), whose output can be its next input."""
    net = mxt.NetGraph(
        {"lstm": mxt.LSTM(3), "loss": mxt.MeanSquaredLoss()},
        [("Input", "lstm", "loss", "Loss"), ("lstm", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(3))},
    )
    return mxt.compile_plan(net, losses={"Output": 0.0})


@pytest.mark.parametrize("policy", [None, Fixed([16]), Fixed([4, 8])], ids=repr)
def test_a_sequence_fed_back_is_what_its_numbers_are(stack: mxt.Plan, policy: Policy | None) -> None:
    target = rows_of(LENGTHS, 3)
    ways: dict[str, Any] = {
        "a handle": lambda handle: ({"Input": handle, "Target": target}, None),
        "lists": lambda handle: ({"Input": handle.ragged(), "Target": target}, None),
        "an array": lambda handle: ({"Input": handle.asnumpy(), "Target": target}, {"t": LENGTHS}),
        "an NDArray": lambda handle: ({"Input": handle.copy(), "Target": target}, {"t": LENGTHS}),
        "a handle and lengths": lambda handle: ({"Input": handle, "Target": target}, {"t": LENGTHS}),
    }
    runs = {}
    for name, fed in ways.items():
        trainer = mxt.Trainer(stack, mxt.SGD(0.5), batch_size=6, buckets=policy)
        trainer.update({"Input": rows_of(LENGTHS, 3, seed=9), "Target": target})
        for _ in range(3):
            batch, lengths = fed(trainer.outputs["Output"])
            trainer.update(batch, lengths=lengths)
        assert trainer.outputs["Output"].lengths["t"].tolist() == LENGTHS
        runs[name] = values_of(trainer.arrays)
    for found in runs.values():
        assert_same(found, runs["lists"])


def test_a_handle_with_other_lengths_than_the_batch_is_named(stack: mxt.Plan) -> None:
    trainer = mxt.Trainer(stack, mxt.SGD(0.5), batch_size=4, buckets=Fixed([8]))
    trainer.update({"Input": rows_of(LENGTHS, 3), "Target": rows_of(LENGTHS, 3)})
    with pytest.raises(mxt.BatchError, match='7 in "Input" and 6 in "Target" for example 1'):
        trainer.update({"Input": trainer.outputs["Output"], "Target": rows_of([3, 6, 1, 5], 3)})
    trainer.update({"Input": trainer.outputs["Output"], "Target": rows_of(LENGTHS, 3)})


def test_a_handle_is_stale_after_a_step_in_another_bucket(stack: mxt.Plan) -> None:
    trainer = mxt.Trainer(stack, mxt.SGD(0.5), batch_size=4, buckets=Fixed([4, 8]))
    trainer.update({"Input": rows_of([3], 3), "Target": rows_of([3], 3)})
    handle, copied = trainer.outputs["Output"], trainer.outputs["Output"].copy()
    before = handle.asnumpy()
    trainer.update({"Input": rows_of([8, 2], 3), "Target": rows_of([8, 2], 3)})
    for read in (handle.asnumpy, handle.ragged, handle.copy, lambda: trainer.evaluate({"Input": handle}, ["lstm"])):
        with pytest.raises(mxt.StaleHandleError, match="of step 1 was overwritten by step 2"):
            read()
    assert copied.asnumpy().tobytes() == before.tobytes()
