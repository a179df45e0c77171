"""Kernels in MXNet's queue: in order, failing with what they read, alive as long as needed; and memory of the host."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from typing import Any

import extra_layers
import numpy as np
import pytest
from conftest import OnMove, values_of

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors import capi, kernels
from mxtrainer.executors.capi import address_of, prepared
from mxtrainer.executors.host_memory import host_slot, zeros
from mxtrainer.executors.kernels import Stage, block_of, copying, queueing, usable

GATE = extra_layers.OPEN  # whose module registers the gate's operator


@pytest.fixture(params=["kernels", "operators"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "operators":
        monkeypatch.setattr(kernels, "_numba_loads", lambda: False)


def gated(array: Any) -> Any:
    """Return a copy of an array that is there once the gate is open."""
    late = zeros(array.shape, mx.cpu(), "float32")
    mx.nd.Custom(array, op_type="mxtrainer_test_gate", out=late)
    return late


def poisoned(size: int) -> Any:
    """Return an array whose operator has failed."""
    return mx.nd.linalg.potrf(-mx.nd.eye(2)).reshape((-1,))[:size]


def queue(*stages: Stage) -> None:
    for call in queueing(stages):
        call()


# Copies


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "int64"])
def test_pairs_of_any_dtype_and_size_are_copied(dtype: str) -> None:
    sizes = (1, 3, 17, 1000)
    sources = [mx.nd.array(np.arange(size) % 200 + size % 7, dtype=dtype) for size in sizes]
    targets = [zeros((size,), mx.cpu(), dtype) for size in sizes]
    queue(copying(list(zip(sources, targets)), sources, targets))
    for source, target in zip(sources, targets):
        assert source.asnumpy().tobytes() == target.asnumpy().tobytes()


@pytest.mark.usefixtures("ways")
def test_parts_of_arrays_are_copied_to_parts() -> None:
    source, target = mx.nd.arange(10), zeros((12,), mx.cpu(), "float32")
    source.wait_to_read()
    queue(copying([(source[2:5], target[0:3]), (source[7:9], target[10:12])], [source], [target]))
    np.testing.assert_array_equal(target.asnumpy(), [2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 7, 8])


@pytest.mark.usefixtures("ways")
def test_a_copy_takes_its_turn_in_the_queue(gate: threading.Event) -> None:
    one, (two, out) = mx.nd.array([1.0, 2.0]), (zeros((2,), mx.cpu(), "float32") for _ in range(2))
    one.wait_to_read()
    late = gated(one)
    copy, back = copying([(late, two)], [late], [two]), copying([(two, one)], [two], [one])
    queue(copy)
    doubled = two * 2
    queue(back)
    one += 1
    two[:] = 7
    queue(copying([(doubled, out)], [doubled], [out]))
    assert not gate.is_set()
    gate.set()
    np.testing.assert_array_equal(out.asnumpy(), [2.0, 4.0])
    np.testing.assert_array_equal(one.asnumpy(), [2.0, 3.0])
    np.testing.assert_array_equal(two.asnumpy(), [7.0, 7.0])
    queue(copy)
    np.testing.assert_array_equal(two.asnumpy(), [1.0, 2.0])


@pytest.mark.parametrize("place", [0, 1])
def test_where_one_source_has_failed_nothing_is_copied_and_who_reads_is_told(place: int) -> None:
    if not usable(mx.cpu()):
        pytest.skip("operators copy one by one")
    sources = [mx.nd.array([1.0]), mx.nd.array([2.0])]
    targets = [mx.nd.array([5.0]), mx.nd.array([6.0])]
    for array in (*sources, *targets):
        array.wait_to_read()
    sources[place] = poisoned(1)
    queue(copying(list(zip(sources, targets)), sources, targets))
    with pytest.raises(mx.MXNetError):
        targets[1 - place].asnumpy()
    with contextlib.suppress(mx.MXNetError):  # it may tell once for each
        targets[place].asnumpy()
    assert [float(target.asscalar()) for target in targets] == [5.0, 6.0]


def test_what_is_queued_between_tasks_keeps_its_place(gate: threading.Event) -> None:
    late = gated(mx.nd.array([1.0]))
    one, two, three = (zeros((1,), mx.cpu(), "float32") for _ in range(3))
    add = prepared("_plus_scalar", [two], [two], scalar=1.0)
    stages = [copying([(late, one)], [late], [one]), copying([(one, two)], [one], [two]), add]
    calls = queueing([*stages, copying([(two, three)], [two], [three])])
    if usable(mx.cpu()):
        assert len(calls) == 3
    for call in calls:
        call()
    gate.set()
    assert [float(array.asscalar()) for array in (one, two, three)] == [1.0, 2.0, 2.0]
    assert queueing([]) == []


def test_tasks_that_are_one_call_fail_together() -> None:
    if not usable(mx.cpu()):
        pytest.skip("operators fail one by one")
    sources = [mx.nd.array([1.0]), poisoned(1)]
    targets = [mx.nd.array([5.0]), mx.nd.array([6.0])]
    for array in (sources[0], *targets):
        array.wait_to_read()
    (call,) = queueing([copying([(source, target)], [source], [target]) for source, target in zip(sources, targets)])
    call()
    for target in targets:
        with contextlib.suppress(mx.MXNetError):
            target.wait_to_read()
    assert [float(target.asscalar()) for target in targets] == [5.0, 6.0]


# What is dropped


@pytest.mark.usefixtures("ways")
def test_memory_is_freed_only_after_the_queue_has_run(gate: threading.Event) -> None:
    size = 5000
    for round_ in range(20):
        gate.clear()
        source = mx.nd.full((size,), float(round_))
        middle, target = (zeros((size,), mx.cpu(), "float32") for _ in range(2))
        late = gated(source)
        first, second = copying([(late, middle)], [late], [middle]), copying([(middle, target)], [middle], [target])
        queue(first)
        queue(second)
        del source, late, middle, first, second
        others = [mx.nd.full((size,), -1.0) for _ in range(8)]  # which would take the memory
        hosts = [np.full(size, -2.0, np.float32) for _ in range(8)]
        gate.set()
        np.testing.assert_array_equal(target.asnumpy(), float(round_))
        assert len(others) == len(hosts)


@pytest.mark.usefixtures("ways")
def test_a_trainer_that_is_dropped_while_it_is_busy_harms_nobody(gated_plan: mxt.Plan, gate: threading.Event) -> None:
    for round_ in range(10):
        gate.clear()
        trainer = mxt.Trainer(gated_plan, mxt.Adam(0.1), batch_size=4, depth=3, guard=(True, 2, False)[round_ % 3])
        for _ in range(2):
            trainer.update({"Input": np.ones(4), "Target": np.ones(4)})
        trainer.accumulate({"Input": np.ones(4), "Target": np.ones(4)})
        del trainer
        others = [mx.nd.full((300,), float(number)) for number in range(20)]
        gate.set()
        mx.nd.waitall()
        for number, other in enumerate(others):
            np.testing.assert_array_equal(other.asnumpy(), number)


# Memory of the host


def test_the_address_of_an_array_is_where_its_numbers_are() -> None:
    array = mx.nd.array([1.0, 2.0, 3.0, 4.0])
    assert address_of(array[2:]) == address_of(array) + 8
    assert address_of(array.reshape((2, 2))) == address_of(array)
    values = np.ctypeslib.as_array((ctypes.c_float * 4).from_address(address_of(array)))
    np.testing.assert_array_equal(values, [1, 2, 3, 4])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_a_host_slot_is_seen_by_numpy_and_mxnet_alike(dtype: str) -> None:
    host, array = host_slot(3, dtype)
    assert host.dtype == array.dtype == np.dtype(dtype)
    assert (host.tolist(), host.flags.writeable) == ([0, 0, 0], True)
    host[:] = [1, 2, 3]
    np.testing.assert_array_equal(array.asnumpy(), [1, 2, 3])
    array += 1
    array.wait_to_read()
    np.testing.assert_array_equal(host, [2, 3, 4])


def test_what_is_left_of_a_host_slot_keeps_its_memory() -> None:
    views, arrays = [], []
    for number in range(50):
        host, array = host_slot(1000, "float32")
        host[:] = number
        views.append(host[10:20])
        host, array = host_slot(1000, "float32")
        host[:] = -number
        arrays.append(array)
    del host, array
    gc.collect()  # once: it looks at everything that there is
    others = [mx.nd.full((1000,), 99.0) for _ in range(100)]
    mx.nd.waitall()
    assert len(others) == 100
    for number, (view, array) in enumerate(zip(views, arrays)):
        np.testing.assert_array_equal(view, number)
        np.testing.assert_array_equal(array.asnumpy(), -number)


def test_a_block_holds_words() -> None:
    host, array = block_of([1, -2, 2**62])
    assert host.tolist() == array.asnumpy().tolist() == [1, -2, 2**62]


def test_kernels_are_for_the_host_and_where_mxnet_can_be_pushed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable(mx.cpu())
    assert not usable(mx.gpu(0))
    monkeypatch.setattr(capi, "available", lambda: False)
    assert not usable(mx.cpu())


# Evaluation beside kernels


def nets() -> dict[str, tuple[mxt.Plan, dict[str, tuple[int, ...]]]]:
    sequence = mxt.Sequence("t", mxt.Vector(3))
    chains: dict[str, tuple[list[Any], Any, dict[str, tuple[int, ...]]]] = {
        "linear": (
            [mxt.Linear(16), mxt.Elementwise("tanh"), mxt.Linear(2)], mxt.Vector(8), {"Input": (8,), "Target": (2,)}
        ),
        "LSTM": ([mxt.LSTM(16), mxt.Linear(2)], sequence, {"Input": (5, 3), "Target": (5, 2)}),
        "GRU": ([mxt.GRU(8), mxt.Linear(2)], sequence, {"Input": (5, 3), "Target": (5, 2)}),
        "convolution": (
            [mxt.Convolution(8, (3, 3)), mxt.Elementwise("relu"), mxt.Linear(2)],
            mxt.Array((3, 8, 8)),
            {"Input": (3, 8, 8), "Target": (2,)},
        ),
    }  # fmt: skip
    return {
        name: (mxt.compile_plan(mxt.NetChain([*layers, mxt.MeanSquaredLoss()], inputs={"Input": kind})), shapes)
        for name, (layers, kind, shapes) in chains.items()
    }


NETS = nets()


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("net", NETS)
def test_evaluation_sees_the_arrays_as_the_last_move_has_left_them(net: str) -> None:
    plan, shapes = NETS[net]
    generator = np.random.default_rng(0)
    batch = {port: generator.normal(size=(4, *shape)) for port, shape in shapes.items()}
    trainer = mxt.Trainer(plan, mxt.Adam(0.05), batch_size=4)
    seen = []
    for _ in range(4):
        found = trainer.evaluate(batch).losses["Loss"]
        fresh = mxt.Trainer(plan, mxt.SGD(0.1), batch_size=4, arrays=values_of(trainer.arrays))
        assert found == pytest.approx(fresh.evaluate(batch).losses["Loss"], rel=1e-5)
        seen.append(found)
        trainer.update(batch)
        assert trainer.current_loss()["Loss"] == pytest.approx(found, rel=1e-4)
        trainer.compute(batch)
        trainer.apply()
    assert len(set(seen)) == 4


def test_an_array_that_is_set_between_kernels_counts(on_move: OnMove) -> None:
    moves: list[int] = []
    on_move(moves.append)
    plan, shapes = NETS["linear"]
    batch = {port: np.ones((4, *shape)) for port, shape in shapes.items()}
    trainer = mxt.Trainer(plan, mxt.SGD(0.0), batch_size=4)
    for number in range(3):
        trainer.arrays["linear_2.Weights"] = float(number)
        trainer.update(batch)
        np.testing.assert_array_equal(trainer.arrays["linear_2.Weights"][:], float(number))
    assert moves == [1, 2, 3]
