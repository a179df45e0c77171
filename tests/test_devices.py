"""Several devices take a step together as one device does, but for the order in which numbers are added up."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, drawn_batch, values_of
from fault_cases import Fault
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import LAYERS, batch_of, plan_of, worst

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors import capi, data_parallel, forms, parallel_buckets
from mxtrainer.executors.data_parallel import DataParallel, Traffic
from mxtrainer.executors.store import ParameterStore

EXACT = 1e-11  # of the largest number, in float64
ROWS = 5
PLAN = plan_of(LAYERS["lstm"])
DEVICES = {2: ["cpu:0", "cpu:1"], 3: ["cpu:2", "cpu:0", "cpu:1"]}


def pair(plan: mxt.Plan, devices: int = 2, rows: int | None = ROWS, **options: Any) -> tuple[mxt.Trainer, mxt.Trainer]:
    """Return a trainer on one device, and one on several."""
    optimizer = options.pop("optimizer", mxt.SGD(0.1, momentum=0.9))
    alone = mxt.Trainer(plan, optimizer, rows, **options)
    return alone, mxt.Trainer(plan, optimizer, rows, devices=DEVICES[devices], **options)


def assert_alike(alone: mxt.Trainer, together: mxt.Trainer, within: float = EXACT) -> None:
    """Assert that losses, outputs, gradients and arrays are equal."""
    losses, expected = together.current_loss(), alone.current_loss()
    for port, loss in expected.items():
        assert losses[port] == pytest.approx(loss, rel=within), port
    assert (losses.examples, losses.steps, losses.weights) == (expected.examples, expected.steps, expected.weights)
    for left, right in ((alone.gradients, together.gradients), (alone.arrays, together.arrays)):
        assert worst(values_of(right), values_of(left)) < within
    outputs = {name: handle.asnumpy() for name, handle in alone.outputs.items()}
    assert worst({name: together.outputs[name].asnumpy() for name in outputs}, outputs) < within


# Equal to one device


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("average", ["examples", "steps"])
@pytest.mark.parametrize("layer", ["lstm", "gru", "learned", "fold"])
def test_steps_on_several_devices_are_those_on_one(layer: str, average: str, devices: int) -> None:
    plan = plan_of(LAYERS[layer], average)
    alone, together = pair(plan, devices, buckets=mxt.buckets.Multiple(4))
    for number, lengths in enumerate([[7, 3, 9, 2, 8], [4] * 5, [6, 1], [3], [8, 8, 5, 5]]):
        batch = batch_of(plan, lengths, number)
        alone.update(batch)
        together.update(batch)
        assert_alike(alone, together)


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=ROWS), devices=st.sampled_from(sorted(DEVICES)))
def test_any_rows_of_any_lengths_give_the_gradients_of_one_device(lengths: list[int], devices: int) -> None:
    alone, together = pair(PLAN, devices, buckets=mxt.buckets.Fixed([4, 9]))
    batch = batch_of(PLAN, lengths)
    alone.compute(batch)
    together.compute(batch)
    assert_alike(alone, together)


def test_in_float32_only_rounding_differs() -> None:
    plan = plan_of(LAYERS["lstm"], dtype="float32")
    alone, together = pair(plan, optimizer=mxt.Adam(1e-2))
    for number in range(10):
        batch = batch_of(plan, [6] * ROWS, number)
        alone.update(batch)
        together.update(batch)
    assert worst(values_of(together.arrays), values_of(alone.arrays)) < 1e-5


def test_where_no_sum_has_rounding_every_bit_is_that_of_one_device(linear_plan: mxt.Plan) -> None:
    alone, together = pair(linear_plan, rows=4, optimizer=mxt.SGD(0.25), arrays={"linear.Weights": [[1.0]]})
    batch = {"Input": [1.0, 2.0, -1.0, 3.0], "Target": [0.5, 1.0, 2.0, 8.0]}
    for trainer in (alone, together):
        trainer.update(batch)
    assert_same(values_of(together.arrays), values_of(alone.arrays))


def test_two_runs_on_the_same_devices_have_the_same_bits() -> None:
    first, second = (pair(PLAN, 3)[1] for _ in range(2))
    for number in range(3):
        for trainer in (first, second):
            trainer.update(batch_of(PLAN, [5, 5, 3, 2, 4], number))
    assert_same(values_of(first.arrays), values_of(second.arrays))


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("steps", [(12,), (4, 12)])
def test_devices_rest_where_a_bucket_has_fewer_rows_than_devices(steps: tuple[int, ...], devices: int) -> None:
    policy = mxt.buckets.Tokens(16, mxt.buckets.Fixed(steps))
    alone, together = pair(PLAN, devices, None, buckets=policy)
    assert policy.batch_size({"t": 12}) == 1 < devices
    for number, lengths in enumerate([[11], [4, 2, 3, 4][: 16 // steps[0]], [12], [3]]):
        batch = batch_of(PLAN, lengths, number)
        if not number:
            assert together.explain(batch).batch_size == 1
        for trainer in (alone, together):
            trainer.update(batch)
        assert_alike(alone, together)


@pytest.mark.parametrize("devices", DEVICES)
def test_carried_states_go_with_their_rows_and_streams(devices: int) -> None:
    alone, together = pair(PLAN, devices, carry=True)
    batches = [batch_of(PLAN, [4] * ROWS, number) for number in range(3)]
    streams: list[list[str | int]] = [[*"abcde"], [*"cab"], [*"edcfa"]]
    for whole, names in zip(batches, streams):
        batch = {port: value[: len(names)] for port, value in whole.items()}
        for trainer in (alone, together):
            trainer.update(batch, streams=names, reset=[name == "a" for name in names])
        assert_alike(alone, together)
    assert list(together.state) == list(alone.state)
    for stream in alone.state:
        assert worst(together.state[stream], alone.state[stream]) < EXACT


def test_the_way_out_of_the_state_table_is_made_once_and_again_where_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def noting(name: str, *arguments: Any, **attributes: Any) -> Any:
        made.append(name)
        return capi.prepared(name, *arguments, **attributes)

    monkeypatch.setattr(data_parallel, "prepared", noting)
    alone, together = pair(PLAN, carry=True)
    ways = [len(PLAN.states)] * 3 + [2 * len(PLAN.states)] * 2
    for number, count in enumerate(ways):
        streams = [f"{stream} {number // 3}" for stream in range(ROWS)]
        for trainer in (alone, together):
            trainer.update(batch_of(PLAN, [4] * ROWS, number), streams=streams)
        assert made.count("take") == count
    assert_alike(alone, together)
    for stream in alone.state:
        assert worst(together.state[stream], alone.state[stream]) < EXACT


def test_rows_that_are_missing_begin_at_no_state_of_an_earlier_step() -> None:
    alone, together = pair(PLAN, carry=True, on_nan="skip")
    bad = {**batch_of(PLAN, [4] * ROWS), **{port: np.zeros((ROWS, 3)) for port in PLAN.states}}
    bad["first.State"][ROWS - 1] = np.nan
    for trainer in (alone, together):
        trainer.update(bad)
        trainer.update(batch_of(PLAN, [4] * 3, 1))
    assert together.stats().skipped == alone.stats().skipped == (1,)
    assert_alike(alone, together)


def test_outputs_of_the_step_before_are_inputs_of_the_next(state_plan: mxt.Plan) -> None:
    alone, together = pair(state_plan, rows=3)
    for trainer in (alone, together):
        trainer.update({"Input": [1.0, 2.0, 3.0], "StateIn": [0.0] * 3, "Target": [1.0] * 3})
        trainer.update({"Input": [0.5, 1.0], "StateIn": trainer.outputs["StateOut"].copy()[:2], "Target": [1.0] * 2})
        trainer.update({"Input": [1.0] * 2, "StateIn": trainer.outputs["StateOut"], "Target": [2.0] * 2})
    assert_alike(alone, together, within=1e-6)


def test_gradients_of_inputs_have_the_rows_of_all_devices(linear_plan: mxt.Plan) -> None:
    alone, together = pair(linear_plan, devices=3, rows=4, input_gradients=["Input"])
    for rows in (4, 2):
        batch = {port: value[:rows] for port, value in drawn_batch(rows).items()}
        for trainer in (alone, together):
            trainer.update(batch)
        np.testing.assert_allclose(together.gradients["Input"][:], alone.gradients["Input"][:], rtol=1e-6)


def test_batches_add_up_over_devices(linear_plan: mxt.Plan) -> None:
    alone, together = pair(linear_plan, rows=4)
    for trainer in (alone, together):
        for number, rows in enumerate((4, 1, 3)):
            trainer.accumulate({port: value[:rows] for port, value in drawn_batch(number).items()})
        trainer.apply()
    assert worst(values_of(together.arrays), values_of(alone.arrays)) < 1e-6


def test_a_batch_can_be_staged_taken_back_and_fired(linear_plan: mxt.Plan) -> None:
    alone, together = pair(linear_plan, rows=4)
    for trainer in (alone, together):
        trainer.stage(drawn_batch(1))
        back = trainer.unstage()
        np.testing.assert_array_equal(back["Input"], np.float32(drawn_batch(1)["Input"]))
        trainer.stage(back)
        trainer.update()
        trainer.update(drawn_batch(2))
    assert worst(values_of(together.arrays), values_of(alone.arrays)) < 1e-6


def test_evaluation_sees_the_arrays_as_they_are(linear_plan: mxt.Plan) -> None:
    alone, together = pair(linear_plan, rows=4)
    many = {port: np.concatenate([drawn_batch(number)[port] for number in range(4)]) for port in ("Input", "Target")}
    for trainer in (alone, together):
        trainer.update(drawn_batch(1))
        trainer.arrays["linear.Biases"] = [0.5]
        trainer.update(drawn_batch(2))
    assert together.evaluate(many, outputs=[]).losses["Loss"] == pytest.approx(
        alone.evaluate(many, outputs=[]).losses["Loss"], rel=1e-5
    )


# What each device does by itself


def batch_norm_plan() -> mxt.Plan:
    net = mxt.NetChain(
        [mxt.BatchNorm(), mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(3), "Target": mxt.Scalar()}
    )
    return mxt.compile_plan(net)


def test_moving_statistics_are_the_mean_of_those_of_the_devices_by_rows() -> None:
    plan = batch_norm_plan()
    drawn = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    together = mxt.Trainer(plan, mxt.SGD(0.1), 5, devices=DEVICES[2])
    together.update({"Input": drawn, "Target": np.zeros(5)})
    found = []
    for rows in (slice(0, 3), slice(3, 5)):
        own = mxt.Trainer(plan, mxt.SGD(0.1), 5)
        own.update({"Input": drawn[rows], "Target": np.zeros(len(drawn[rows]))})
        found.append({path: own.arrays[path][:] for path in plan.auxiliary})
    for path in plan.auxiliary:
        expected = (3 * found[0][path] + 2 * found[1][path]) / 5
        np.testing.assert_allclose(together.arrays[path][:], expected, rtol=1e-5)


def test_devices_drop_other_elements_and_a_step_drops_the_same_each_time() -> None:
    net = mxt.NetGraph(
        {"drop": mxt.Dropout(0.5), "linear": mxt.Linear(), "loss": mxt.MeanSquaredLoss()},
        [("Input", "drop", "linear", "loss", "Loss"), ("drop", "Dropped")],
        inputs={"Input": mxt.Vector(64), "Target": mxt.Scalar()},
    )
    plan = mxt.compile_plan(net, losses={"Dropped": 0.0})
    seen = []
    for _ in range(2):
        trainer = mxt.Trainer(plan, mxt.SGD(0.0), 2, devices=DEVICES[2])
        trainer.update({"Input": np.ones((2, 64)), "Target": [0.0, 0.0]})
        seen.append(trainer.outputs["Dropped"][:])
    assert not np.array_equal(seen[0][0], seen[0][1])
    np.testing.assert_array_equal(seen[0], seen[1])


# Failures


@pytest.mark.parametrize("row", [0, 3])
def test_a_step_that_is_not_finite_on_one_device_moves_nothing_on_any(linear_plan: mxt.Plan, row: int) -> None:
    with mxt.Trainer(linear_plan, mxt.Adam(0.1), 4, devices=DEVICES[2]) as trainer:
        trainer.update(drawn_batch(1))
        before = values_of(trainer.arrays)
        bad = drawn_batch(2)
        bad["Input"][row] = np.nan
        trainer.update(bad)
        with pytest.raises(mxt.StepError, match=r'step 2 gave .* not finite.*input port "Input"') as caught:
            trainer.current_loss()
        assert caught.value.batch is not None
        np.testing.assert_array_equal(caught.value.batch["Input"], np.float32(bad["Input"]))
        trainer.recover()
        assert_same(values_of(trainer.arrays), before)
        assert trainer.update(drawn_batch(3)) == 2
        trainer.current_loss()


def test_a_step_that_is_skipped_moves_nothing_on_any_device() -> None:
    alone, together = pair(PLAN, carry=True, on_nan="skip")
    for number in range(4):
        batch = batch_of(PLAN, [4] * ROWS, number)
        if number == 2:
            batch["Input"][4][0] = np.inf
        for trainer in (alone, together):
            trainer.update(batch)
    assert together.stats().skipped == alone.stats().skipped == (3,)
    assert worst(values_of(together.arrays), values_of(alone.arrays)) < EXACT
    for stream in alone.state:
        assert worst(together.state[stream], alone.state[stream]) < EXACT


@pytest.mark.parametrize("way", ["raises", "raises backward", "nan backward"])
@pytest.mark.parametrize("row", [0, 3])
def test_a_layer_that_fails_on_one_device_is_named_and_training_goes_on(way: str, row: int) -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "fault": Fault(way), "loss": mxt.MeanSquaredLoss()},
        [("Input", "linear", "fault", "loss", "Loss"), ("Bad", "fault.Trigger")],
        inputs={"Input": mxt.Vector(2), "Bad": mxt.Scalar()},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 4, devices=DEVICES[2])
    good = {"Input": np.ones((4, 2)), "Bad": np.ones(4), "Target": np.zeros((4, 2))}
    trainer.update(good)
    before = values_of(trainer.arrays)
    signs = np.ones(4)
    signs[row] = -1
    trainer.update({**good, "Bad": signs})
    with pytest.raises(mxt.StepError, match=r"step 2 .*fault"):
        trainer.current_loss()
    trainer.recover()
    assert_same(values_of(trainer.arrays), before)
    for _ in range(3):
        trainer.update(good)
    trainer.current_loss()
    assert trainer.step == 4


def test_a_wrong_index_in_an_ndarray_is_found_on_any_device() -> None:
    net = mxt.NetChain(
        [mxt.Embedding(2), mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Index(3), "Target": mxt.Scalar()}
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 4, devices=DEVICES[2])
    trainer.update({"Input": mx.nd.array([0, 1, 2, 3], dtype="int32"), "Target": np.zeros(4)})
    with pytest.raises(mxt.StepError, match='port "Input": expected indices from 0 to 2'):
        trainer.current_loss()


# Files and reports


def test_a_checkpoint_goes_on_with_another_number_of_devices(linear_plan: mxt.Plan, tmp_path: Path) -> None:
    together = pair(linear_plan, rows=4, optimizer=mxt.Adam(0.1))[1]
    together.update(drawn_batch(1))
    together.save(tmp_path / "run.safetensors")
    resumed = mxt.Trainer.load(tmp_path / "run.safetensors", devices=DEVICES[2])
    fewer = mxt.Trainer.load(tmp_path / "run.safetensors")
    assert_same(values_of(fewer.arrays), values_of(together.arrays))
    for trainer in (together, resumed, fewer):
        trainer.update(drawn_batch(2))
    assert_same(values_of(resumed.arrays), values_of(together.arrays))
    assert worst(values_of(fewer.arrays), values_of(together.arrays)) < 1e-6


def test_the_trainer_tells_its_devices_and_what_becomes_of_a_batch() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, devices=DEVICES[3], buckets=mxt.buckets.Multiple(4))
    assert trainer.devices == (mx.cpu(2), mx.cpu(0), mx.cpu(1))
    assert trainer.device == mx.cpu(2)
    found = trainer.explain(batch_of(PLAN, [3, 5, 1, 2, 2]))
    assert (dict(found.bucket), found.batch_size) == ({"t": 8}, ROWS)
    trainer.update(batch_of(PLAN, [3, 5, 1, 2, 2]))
    assert trainer.buckets.report().buckets[0].hits == 1
    assert trainer.memory().bytes_total > 0
    trainer.buckets.release({"t": 8})
    trainer.update(batch_of(PLAN, [3, 5, 1, 2, 2]))
    assert trainer.current_loss().step == 2


@pytest.mark.parametrize("lengths", [[1, 1, 1, 7], [8, 8, 8, 8], [8, 8, 8, 7]])
def test_what_is_told_of_a_batch_is_what_its_step_does(lengths: list[int]) -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), 4, devices=DEVICES[2], buckets=mxt.buckets.Multiple(4))
    trainer.update(batch_of(PLAN, [8] * 4))
    batch = batch_of(PLAN, lengths)
    told = trainer.explain(batch)
    known = lengths == [8] * 4
    assert (dict(told.bucket), told.batch_size, told.rows) == ({"t": 8}, 4, len(lengths))
    assert (told.masked, told.bound) == (not known, known)
    assert told.padding == pytest.approx(1 - sum(lengths) / (4 * 8))
    trainer.update(batch)
    report = trainer.buckets.report()
    assert [dict(found.lengths) for found in report.buckets] == [{"t": 8}]
    assert trainer.explain(batch).bound


def test_a_bucket_that_some_devices_have_had_no_row_of_can_be_released() -> None:
    alone, together = pair(PLAN, 3, buckets=mxt.buckets.Multiple(4))
    for trainer in (alone, together):
        trainer.update(batch_of(PLAN, [3]))
        trainer.update(batch_of(PLAN, [7, 5]))
        trainer.buckets.release({"t": 4})  # not that of the outputs
        assert trainer.buckets.report().buckets[0].bytes_planned == 0
    assert_alike(alone, together)
    for trainer in (alone, together):
        trainer.update(batch_of(PLAN, [2, 4, 1]))
    assert_alike(alone, together)
    with pytest.raises(mxt.UnknownNameError, match=r"\{'t': 12\}"):
        together.buckets.release({"t": 12})
    assert_alike(alone, together)  # whose graphs are there still


def test_a_staged_batch_outlives_the_release_of_its_bucket() -> None:
    alone, together = pair(PLAN, buckets=mxt.buckets.Multiple(4))
    for trainer in (alone, together):
        trainer.update(batch_of(PLAN, [2, 3]))
        trainer.stage(batch_of(PLAN, [4, 1], 1))
        trainer.current_loss()
        trainer.buckets.release({"t": 4})
        trainer.update()
        trainer.update(batch_of(PLAN, [3], 2))
    assert_alike(alone, together)


# Memory


def test_what_is_kept_does_not_grow_with_the_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    made: weakref.WeakSet[DataParallel] = weakref.WeakSet()
    copies = []

    class Noted(DataParallel):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.add(self)

    def between(first: ParameterStore, other: ParameterStore) -> Traffic:
        copies.append(Traffic(*traffic(first, other)))
        return copies[-1]

    traffic = Traffic.between
    monkeypatch.setattr(parallel_buckets, "DataParallel", Noted)
    monkeypatch.setattr(Traffic, "between", between)
    plan = mxt.compile_plan(
        mxt.NetChain([mxt.BasicRecurrent(1), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Scalar())})
    )
    alone, together = pair(plan, rows=2, bytes_kept=1)
    for steps in (*range(1, 31), 7, 8, 7):
        batch = {"Input": np.ones((2, steps)), "Target": np.ones((2, steps, 1))}
        for trainer in (alone, together):
            trainer.update(batch)
        assert len(made) <= 2
    assert len(copies) == 1
    assert worst(values_of(together.arrays), values_of(alone.arrays)) < 1e-5


def test_whoever_is_to_know_hears_of_graphs_that_go_on_any_device() -> None:
    class Heard:
        times = 0

        def hear(self) -> None:
            self.times += 1

    heard, buckets = Heard(), pair(PLAN, 3)[1].buckets
    assert isinstance(buckets, parallel_buckets.ParallelBuckets)
    buckets.call_before_eviction(heard.hear)
    for part in (buckets, *buckets._others):
        part._cache.before_eviction()
    assert heard.times == 3


def test_forms_of_batches_are_forgotten(linear_plan: mxt.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    met: weakref.WeakSet[forms.Form] = weakref.WeakSet()

    class Noted(forms.Form):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            met.add(self)

    monkeypatch.setattr(forms, "MOST", 2)
    monkeypatch.setattr(forms, "Form", Noted)
    together = pair(linear_plan, rows=6)[1]
    for rows in (*range(1, 7), *range(1, 7)):
        for dtype in ("float32", "float64"):
            together.update({"Input": np.ones(rows, dtype), "Target": np.ones(rows, dtype)})
            together.current_loss()
    assert 0 < len(met) <= 4


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "cpu"}, 'devices must be a list of devices, as in \\["gpu:0", "gpu:1"\\], got \'cpu\''),
        ({"devices": []}, "devices must be a list of devices"),
        ({"devices": ["cpu:0", "cpu"]}, "cpu\\(0\\) comes twice"),
        ({"devices": ["cpu:0", "disk"]}, "device must be"),
        ({"devices": ["cpu:0", "cpu:1"], "device": "cpu:3"}, "give device= or devices=, and not both"),
        ({"devices": ["cpu:0", "cpu:1"], "batch_size": 1}, "leaves some of the 2 devices without a row"),
        ({"devices": ["cpu:0", "cpu:1"], "segment": 4}, "segment= goes with one device, and devices= names 2"),
        ({"devices": ["cpu:0", "cpu:1"], "memory_budget": "1GB"}, "memory_budget= goes with one device"),
    ],
)
def test_arguments_that_do_not_go_with_several_devices_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=message):
        mxt.Trainer(PLAN, mxt.SGD(0.1), **{"batch_size": 4, **options})


def test_carried_states_that_start_at_what_was_learned_need_one_device() -> None:
    with pytest.raises(mxt.ArgumentError, match="states whose start is learned goes with one device"):
        mxt.Trainer(plan_of(LAYERS["learned"]), mxt.SGD(0.1), 4, devices=DEVICES[2], carry=True)


def test_batches_that_do_not_fit_change_nothing() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), 4, devices=DEVICES[2], buckets=mxt.buckets.Fixed([4]))
    for lengths, message in (([2] * 5, "5 rows"), ([2, 6], "example 1")):
        with pytest.raises(mxt.BatchError, match=message):
            trainer.update(batch_of(PLAN, lengths))
    assert trainer.step == 0
    trainer.update(batch_of(PLAN, [2, 4]))
    trainer.current_loss()
