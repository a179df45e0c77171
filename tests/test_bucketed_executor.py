"""A bucketed executor: one set of arrays, one pool of memory, and whose outputs stand in it."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of

import mxtrainer as mxt
from mxtrainer.executors.bound import Bound
from mxtrainer.executors.buckets import Exact, Fixed, Multiple

Batch = dict[str, Any]


@pytest.fixture(scope="module")
def plan() -> mxt.Plan:
    net = mxt.NetChain([mxt.LSTM(5), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(3))})
    return mxt.compile_plan(net)


def batch_of(*lengths: int) -> Batch:
    generator = np.random.default_rng(lengths)
    widths = {"Input": 3, "Target": 5}
    return {port: [generator.normal(size=(length, width)) for length in lengths] for port, width in widths.items()}


def graphs_alive() -> int:
    gc.collect()
    return sum(type(found) is Bound for found in gc.get_objects())


def test_all_buckets_are_on_the_same_arrays(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    small, large = (bucketed.executor({"t": steps}) for steps in (3, 8))
    small.forward(batch_of(3))
    large.forward(batch_of(7))
    assert small.store is large.store is bucketed.store
    for path in plan.parameters:
        assert small.arrays[path].array is large.arrays[path].array
        assert small.gradients[path].array is large.gradients[path].array
    small.arrays["lstm.InputWeights"] = 0.0
    small.arrays["lstm.InputBiases"] = 0.0
    small.arrays["lstm.StateBiases"] = 0.0
    target = batch_of(7)["Target"][0]
    large.forward(batch_of(7))
    np.testing.assert_allclose(large.outputs["Loss"][0], (target**2).mean(), rtol=1e-5)


def test_the_executor_of_a_bucket_is_made_once(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    assert bucketed.executor({"t": 3}) is bucketed.executor({"t": 4})
    assert bucketed.executor({"t": 3}).lengths == {"t": 4}
    assert bucketed.report().buckets == ()
    for lengths in [(3,), (8, 2), (4, 4), (8, 8)]:
        bucketed.executor({"t": max(lengths)}).forward(batch_of(*lengths))
    binds = [bucket.binds for bucket in bucketed.report().buckets]
    for lengths in [(3,), (8, 2), (4, 4), (8, 8)] * 2:
        bucketed.executor({"t": max(lengths)}).forward(batch_of(*lengths))
    assert [bucket.binds for bucket in bucketed.report().buckets] == binds
    assert [bucket.hits for bucket in bucketed.report().buckets] == [6, 6]


def test_a_bucket_gives_what_an_executor_of_its_own_gives(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 3, Multiple(4), input_gradients=["Input"])
    for lengths in [(2, 4), (9, 5, 1), (4, 3), (10, 12, 7)]:
        executor = bucketed.executor({"t": max(lengths)})
        alone = mxt.instantiate(plan, 3, executor.lengths, input_gradients=["Input"])
        for one in (executor, alone):
            one.forward(batch_of(*lengths))
            one.backward()
        assert_same(values_of(executor.outputs), values_of(alone.outputs))
        assert_same(values_of(executor.gradients), values_of(alone.gradients))


def test_outputs_are_those_of_the_last_pass_alone_whichever_bucket_it_was(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    small, large = (bucketed.executor({"t": steps}) for steps in (4, 8))
    small.forward(batch_of(4, 2))
    kept = small.outputs["Loss"]
    large.forward(batch_of(8))
    for read in (lambda: small.outputs, small.backward):
        with pytest.raises(mxt.StaleHandleError, match=r"pass 1 .*t=4.* was overwritten by pass 2"):
            read()
    with pytest.raises(mxt.StaleHandleError, match="pass 1 was overwritten by pass 2"):
        kept.asnumpy()
    large.backward()
    gradients = values_of(large.gradients)
    assert values_of(small.gradients).keys() == gradients.keys()
    small.forward(batch_of(4, 2))
    assert small.outputs["Loss"].step == 3
    with pytest.raises(mxt.StaleHandleError, match=r"pass 2 .*t=8.* was overwritten by pass 3"):
        large.backward()


def test_before_its_first_pass_an_executor_has_no_outputs(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    bucketed.executor({"t": 8}).forward(batch_of(8))
    with pytest.raises(mxt.Error, match="there are no outputs yet"):
        assert bucketed.executor({"t": 4}).outputs
    with pytest.raises(mxt.Error, match="backward needs a forward pass"):
        bucketed.executor({"t": 4}).backward()


def test_evicted_graphs_are_freed(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Exact(), bytes_kept=1)
    before = graphs_alive()
    for steps in range(3, 9):
        executor = bucketed.executor({"t": steps})
        executor.forward(batch_of(steps))
        executor.backward()
    assert graphs_alive() - before == 1
    assert [bucket.evictions for bucket in bucketed.report().buckets] == [1] * 5 + [0]
    assert [bucket.bytes_operators > 0 for bucket in bucketed.report().buckets] == [False] * 5 + [True]


def test_a_trainer_keeps_no_evicted_graphs(plan: mxt.Plan) -> None:
    before = graphs_alive()
    with mxt.Trainer(plan, mxt.SGD(0.1), batch_size=2, bytes_kept=1) as trainer:
        for steps in range(3, 9):
            trainer.update(batch_of(steps))
        assert graphs_alive() - before == 1
        assert trainer.outputs["Loss"].shape == (1,)


def test_a_released_bucket_gives_its_memory_back_and_comes_again(plan: mxt.Plan) -> None:
    before = graphs_alive()
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    executor = bucketed.executor({"t": 4})
    executor.forward(batch_of(4))
    first = executor.outputs["Loss"][:]
    bucketed.release({"t": 8})
    bucketed.release({"t": 4})
    assert graphs_alive() == before
    assert {bucket.bytes_operators for bucket in bucketed.report().buckets} == {0}
    with pytest.raises(mxt.StaleHandleError, match="was released"):
        assert executor.outputs
    for again in (executor, bucketed.executor({"t": 4})):
        again.forward(batch_of(4))
        assert again.outputs["Loss"][:].tobytes() == first.tobytes()
    assert [bucket.binds for bucket in bucketed.report().buckets] == [2, 2]  # the largest one comes first again


@pytest.mark.parametrize(
    ("bucket", "kind", "text"),
    [
        ({"t": 5}, mxt.UnknownNameError, r"no bucket .*Known: \{'t': 8\}, \{'t': 4\}"),
        ({}, mxt.UnknownNameError, "no bucket"),
        ({"t": 4, "s": 4}, mxt.UnknownNameError, "no bucket"),
        ({"s": 4}, mxt.UnknownNameError, "no bucket"),
        (4, mxt.ArgumentError, "release takes numbers of steps by length name, got 4"),
        ("t", mxt.ArgumentError, "got 't'"),
    ],
)
def test_what_is_no_bucket_is_not_released(plan: mxt.Plan, bucket: Any, kind: type[Exception], text: str) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    bucketed.executor({"t": 4}).forward(batch_of(4))
    with pytest.raises(kind, match=text):
        bucketed.release(bucket)
    assert [bucket.bytes_operators > 0 for bucket in bucketed.report().buckets] == [True, True]


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ({}, r"as in \{'t': 8\}, got \{\}"),
        ({"s": 3}, "numbers of steps by length name"),
        ({"t": 3, "s": 3}, "numbers of steps by length name"),
        (3, "got 3"),
        ({"t": 0}, "t must be a positive integer, got 0"),
        ({"t": 2.0}, "t must be a positive integer"),
        ({"t": 9}, r'9 steps \(length "t"\), more than the 8'),
    ],
)
def test_lengths_that_have_no_bucket_are_named(plan: mxt.Plan, lengths: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.BucketedExecutor(plan, 2, Fixed([4, 8])).executor(lengths)


def test_an_executor_takes_batches_of_its_bucket_alone(plan: mxt.Plan) -> None:
    executor = mxt.BucketedExecutor(plan, 2, Fixed([4, 8])).executor({"t": 3})
    with pytest.raises(mxt.BatchError, match=r'example 1 has 5 steps \(length "t"\), more than the 4 of the bucket'):
        executor.forward(batch_of(1, 5))
    with pytest.raises(mxt.BatchError, match="it has 3 rows, more than the batch size of 2 of the bucket t=4"):
        executor.forward(batch_of(1, 2, 3))
    executor.forward(batch_of(1, 4))


def test_the_executor_for_a_batch_is_that_of_its_longest_example(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    batch = batch_of(3, 5)
    assert bucketed.executor_for(batch) is bucketed.executor({"t": 5})
    bucketed.executor_for(batch).forward(batch)
    padded = {"Input": np.zeros((2, 8, 3)), "Target": np.zeros((2, 8, 5))}
    assert bucketed.executor_for(padded, lengths={"t": [1, 4]}).lengths == {"t": 4}
    for bad, text in [
        (batch_of(9), "example 0: 9 steps"),
        (batch_of(1, 2, 3), "3 rows"),
        ({"Input": [[1.0]]}, "Target"),
        (3, "a batch must map"),
    ]:
        with pytest.raises(mxt.BatchError, match=text):
            bucketed.executor_for(bad)  # type: ignore[arg-type]  # a user's mistake


def test_a_closed_one_gives_no_executors_and_no_report(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]))
    bucketed.close()
    for call in (bucketed.report, lambda: bucketed.executor({"t": 4}), lambda: bucketed.executor_for(batch_of(4))):
        with pytest.raises(mxt.Error, match="closed"):
            call()


def test_a_report_prints_a_line_a_bucket(plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(plan, 2, Multiple(4))
    for lengths in [(8, 8), (3, 1), (4,)]:
        bucketed.executor({"t": max(lengths)}).forward(batch_of(*lengths))
    head, small, large, foot = str(bucketed.report()).splitlines()
    assert " ".join(head.split()) == "bucket rows hits padding bytes planned operators binds seconds evictions"
    assert small.split()[:4] == ["t=4", "2", "2", "50.0%"]
    assert large.split()[:4] == ["t=8", "2", "1", "0.0%"]
    assert foot == f"bytes of inputs {bucketed.report().bytes_inputs:,}, padding 25.0%"
    with pytest.raises(mxt.UnknownNameError, match='no length "s"'):
        assert bucketed.report().buckets[0].lengths["s"]


def test_a_trainers_arrays_are_run_in_buckets_without_gradients(plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), batch_size=2)
    runner = mxt.BucketedExecutor(plan, 2, Fixed([4, 8]), training=False, store=trainer.store)
    trainer.update(batch_of(3, 2))
    expected = trainer.evaluate(batch_of(5, 6)).outputs["Loss"]
    executor = runner.executor({"t": 6})
    executor.forward(batch_of(5, 6))
    np.testing.assert_allclose(executor.outputs["Loss"][:], expected, rtol=1e-5)
    with pytest.raises(mxt.Error, match="no gradients"):
        assert executor.gradients
