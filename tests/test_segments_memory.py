"""Segments keep long sequences in a small memory, which is known before, and are chosen where a budget asks for it."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from conftest import values_of
from segment_cases import worst

import mxtrainer as mxt
from mxtrainer.executors.buckets import Cut

ROWS, SIZE, WIDTH = 8, 64, 16
STEPS = 2000


def net() -> mxt.NetGraph:
    chain = [mxt.LSTM(SIZE), mxt.Linear(4), mxt.MeanSquaredLoss()]
    return mxt.NetChain(chain, inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))})


PLAN = mxt.compile_plan(net().with_states())
WHOLE = mxt.compile_plan(net())
VECTORS = {"Input": mxt.Sequence("t", mxt.Vector(WIDTH))}
BATCH_NORM = mxt.NetChain([mxt.Linear(WIDTH), mxt.BatchNorm()], inputs={"Input": mxt.Vector(WIDTH)})


def drawn(steps: int, rows: int = ROWS) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    sizes = {"Input": WIDTH, "Target": 4}
    return {port: generator.normal(size=(rows, steps, size)).astype("float32") for port, size in sizes.items()}


def bytes_of(segment: int | None, steps: int = STEPS) -> int:
    return PLAN.memory(ROWS, {"t": steps}, optimizer=mxt.SGD(0.1), segment=segment).bytes_total


def test_a_segment_takes_a_fraction_of_the_whole_whatever_the_length() -> None:
    assert bytes_of(100) < 0.2 * bytes_of(None)
    more = bytes_of(100, 100 * STEPS) - bytes_of(100)  # states between segments alone: h and c
    assert more == 99 * STEPS // 100 * 2 * SIZE * ROWS * 4


@pytest.mark.parametrize("segment", [100, 300])
def test_a_trainer_takes_what_was_said_before(segment: int) -> None:
    optimizer = mxt.Adam()
    said = PLAN.memory(ROWS, {"t": STEPS}, optimizer=optimizer, segment=segment)
    with mxt.Trainer(PLAN, optimizer, ROWS, {"t": STEPS}, segment=segment) as trainer:
        trainer.update(drawn(STEPS))
        found = trainer.memory()
    # on the device there is also how much each row counts in each segment
    assert {name for name in vars(said) if getattr(found, name) != getattr(said, name)} <= {
        "title", "graphs", "bytes_inputs", "bytes_segments"
    }  # fmt: skip
    assert abs(found.bytes_total - said.bytes_total) < 100_000
    assert sorted(graph.bytes_operators for graph in found.graphs) == sorted(
        graph.bytes_operators for graph in said.graphs
    )


@pytest.mark.parametrize("share", [0.6, 0.3, 0.15])
def test_a_budget_that_the_whole_does_not_fit_into_cuts_it(share: float) -> None:
    budget = int(share * bytes_of(None))
    batch = drawn(STEPS)
    with mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": STEPS}, memory_budget=budget) as trainer:
        assert isinstance(trainer.buckets.policy, Cut)
        segment = trainer.explain().segment
        assert segment is not None
        assert bytes_of(segment) <= budget < bytes_of(4 * segment)
        trainer.update(batch)
        assert trainer.memory().bytes_total <= budget + 100_000
        with mxt.Trainer(WHOLE, mxt.SGD(0.1), ROWS, {"t": STEPS}) as whole:
            whole.update(batch)
            assert trainer.current_loss()["Loss"] == pytest.approx(whole.current_loss()["Loss"], rel=1e-6)
            assert worst(values_of(trainer.gradients), values_of(whole.gradients)) < 1e-5


def test_a_budget_that_cuts_has_room_for_the_graphs_of_batches_of_any_lengths() -> None:
    generator = np.random.default_rng(1)
    budget = int(0.3 * bytes_of(None))
    with mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": STEPS}, memory_budget=budget) as trainer:
        binds = []
        for _ in range(6):
            lengths = generator.integers(1, STEPS, ROWS)
            trainer.update(drawn(STEPS), lengths={"t": lengths})
            binds.append(sum(bucket.binds for bucket in trainer.buckets.report().buckets))
        assert binds[1] == binds[-1]
        assert trainer.memory().bytes_total <= budget + 100_000


def test_no_graph_outlives_its_eviction() -> None:
    with mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, segment=100, bytes_kept=1) as trainer:
        cache = trainer.buckets._cache
        alive: weakref.WeakSet[Any] = weakref.WeakSet()
        bind = cache._bind

        def binding(bucket: Any) -> Any:
            entry = bind(bucket)
            alive.add(entry.bound)
            held = [found.bound for found in cache.entries.values() if found.bound is not None]
            assert len(alive) <= len(held) + 1, "the one whose pass is being queued"
            return entry

        cache._bind = binding  # type: ignore[method-assign]
        for steps in (350, 420, 290):
            trainer.update(drawn(steps))
            trainer.current_loss()
        assert sum(bucket.evictions for bucket in trainer.buckets.report().buckets) > 5


def test_sequences_that_are_never_longer_than_a_segment_are_not_cut() -> None:
    lengths = {"t": 100}
    with mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, lengths, segment=10**6) as trainer:
        assert trainer.explain().segment is None
        assert trainer.memory().bytes_total == PLAN.memory(ROWS, lengths, optimizer=mxt.SGD(0.1)).bytes_total
    said = PLAN.memory(ROWS, lengths, optimizer=mxt.SGD(0.1), segment=10**6)
    assert said.bytes_total == PLAN.memory(ROWS, lengths, optimizer=mxt.SGD(0.1)).bytes_total


def test_a_budget_that_the_whole_fits_into_cuts_nothing() -> None:
    with mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": STEPS}, memory_budget=bytes_of(None) + 2**20) as trainer:
        assert trainer.explain().segment is None
        assert "segments" not in str(trainer.explain())


def test_a_budget_too_small_for_any_segment_names_the_smallest_that_is_not() -> None:
    with pytest.raises(mxt.MemoryBudgetError, match="in segments neither; the smallest budget") as caught:
        mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": STEPS}, memory_budget="3MB")
    least = int(str(caught.value).split("fits into is ")[1].split(" ")[0].replace(",", ""))
    with mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": STEPS}, memory_budget=least) as trainer:
        trainer.update(drawn(STEPS))
        trainer.current_loss()


def test_a_refusal_says_why_nothing_is_cut() -> None:
    both = mxt.compile_plan(mxt.NetChain([mxt.Map(BATCH_NORM), mxt.MeanSquaredLoss()], inputs=VECTORS))
    for plan, options, match in (
        (WHOLE, {"lengths": {"t": STEPS}}, r"cannot be cut into segments. .* compile_plan\(net.with_states\(\)\)"),
        (PLAN, {"lengths": {"t": STEPS}, "guard": 4}, "not cut into segments because of guard=4"),
        (PLAN, {"lengths": {"t": STEPS}, "input_gradients": ["Input"]}, "because of input_gradients="),
        (PLAN, {"lengths": {"t": STEPS}, "segment": STEPS - 1}, "or a segment shorter than 1999"),
        (both, {"lengths": {"t": 10 * STEPS}}, '"map" .* takes statistics over all steps'),
    ):
        with pytest.raises(mxt.MemoryBudgetError, match=match):
            mxt.Trainer(plan, mxt.SGD(0.1), ROWS, memory_budget="4MB", **options)
    with (
        mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, memory_budget="4MB") as trainer,
        pytest.raises(mxt.MemoryBudgetError, match="or give lengths="),
    ):
        trainer.update(drawn(STEPS))


def test_what_excludes_segments_is_not_cut() -> None:
    for options in ({"input_gradients": ["Input"]}, {"guard": 4}):
        with pytest.raises(mxt.MemoryBudgetError, match="it does not fit"):
            mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": STEPS}, memory_budget="8MB", **options)


def test_the_longest_that_fits_is_longer_in_segments() -> None:
    optimizer = mxt.SGD(0.1)
    whole = PLAN.max_length("16MB", ROWS, optimizer=optimizer)
    found = PLAN.max_length("16MB", ROWS, optimizer=optimizer, segment=100)
    assert found > 5 * whole
    assert PLAN.memory(ROWS, {"t": found}, optimizer=optimizer, segment=100).bytes_total <= 2**24
    after = (found // 100 + 1) * 100
    assert PLAN.memory(ROWS, {"t": after}, optimizer=optimizer, segment=100).bytes_total > 2**24


# Explained


def test_what_becomes_of_a_batch_is_explained_without_running_it() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, buckets=mxt.buckets.Multiple(10), segment=100)
    batch = drawn(35, rows=6)
    found = trainer.explain(batch)
    assert (dict(found.bucket), found.batch_size, found.rows, found.segments) == ({"t": 40}, ROWS, 6, 1)
    assert found.longest == {"t": (0, 35)}
    assert (found.masked, found.bound, found.repeated) == (True, False, 0.0)
    assert found.padding == 1.0 - 6 * 35 / (ROWS * 40)
    assert found.bytes_left == found.limit - found.memory.bytes_total > 0
    assert "6 rows go through the bucket t=40, of 8 rows\nbecause example 0 has 35 steps" in str(found)
    assert trainer.step == 0
    trainer.update(batch)
    assert trainer.explain(batch).bound
    found = trainer.explain(batch)

    long = trainer.explain(drawn(250))
    assert (dict(long.bucket), long.segments) == ({"t": 100}, 3)
    assert long.padding == 0.0
    assert "8 rows go through 3 segments of t=100" in str(long)
    assert (long.memory.bytes_segments, found.memory.bytes_segments) == (
        PLAN.memory(ROWS, {"t": 250}, optimizer=mxt.SGD(0.1), segment=100).bytes_segments, 0
    )  # fmt: skip
    with pytest.raises(mxt.BatchError, match="it has 9 rows"):
        trainer.explain(drawn(35, rows=9))
    with pytest.raises(mxt.ArgumentError, match="lengths= belongs to a batch"):
        trainer.explain(lengths={"t": [3]})  # type: ignore[call-overload]


def test_the_explanation_says_how_many_rows_would_fit() -> None:
    budget = 30_000_000
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), ROWS, {"t": 100}, memory_budget=budget)
    most = trainer.explain(drawn(100)).most_rows
    lengths = {"t": 100}
    assert PLAN.memory(most, lengths, optimizer=mxt.SGD(0.1)).bytes_total <= budget
    assert PLAN.memory(most + 2, lengths, optimizer=mxt.SGD(0.1)).bytes_total > budget


def test_a_trainer_explains_what_it_has_decided() -> None:
    layers = [layer for _ in range(20) for layer in (mxt.Linear(64), mxt.Elementwise("tanh"))]
    deep = mxt.compile_plan(mxt.NetChain([*layers, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(64)}))
    whole = deep.memory(2000, optimizer=mxt.SGD(0.1)).bytes_total
    trainer = mxt.Trainer(deep, mxt.SGD(0.1), 2000, memory_budget=int(0.7 * whole))
    found = trainer.explain()
    assert found.budget == int(0.7 * whole)
    assert found.memory.bytes_total == trainer.memory().bytes_total
    assert "% of the forward pass run again" in str(found)
    batch = {"Input": np.zeros((2000, 64)), "Target": np.zeros((2000, 64))}
    assert trainer.explain(batch).repeated == found.memory.graphs[0].repeated > 0
    assert "runs again in the backward pass" in str(trainer.explain(batch))
    trainer.close()
    with pytest.raises(mxt.Error, match="closed"):
        trainer.explain()
