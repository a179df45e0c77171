"""What a trainer takes in memory is known before, and kept to a budget, without a changed bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import CASES, Case, Extents, example

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors import free_memory
from mxtrainer.executors.binding import MIRROR
from mxtrainer.executors.blueprint import Blueprint, Bucket
from mxtrainer.executors.bound import Bound, Shared
from mxtrainer.executors.graph_memory import dry_bind
from mxtrainer.executors.handles import Clock
from mxtrainer.executors.inputs import Limits, check_batch
from mxtrainer.executors.room import repeat
from mxtrainer.executors.staging import InputBuffers
from mxtrainer.executors.store import ParameterStore
from mxtrainer.plans.layers.losses import Loss
from mxtrainer.plans.recompute import EXACT, Choice, choices

ROWS, WIDTH, LAYERS = 64, 32, 8
FLOAT = 4  # bytes


def deep(layers: int = LAYERS, width: int = WIDTH) -> mxt.Plan:
    chain = [layer for _ in range(layers) for layer in (mxt.Linear(width), mxt.Elementwise("tanh"))]
    return mxt.compile_plan(mxt.NetChain([*chain, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(width)}))


def drawn(plan: mxt.Plan, rows: int, lengths: dict[str, int] | None = None) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for port, spec in plan.inputs.items():
        shape = spec.shape(rows, lengths or {})
        real = spec.count is None
        found[port] = (
            generator.normal(size=shape).astype("float32") if real else generator.integers(0, spec.count, shape)
        )
    return found


# Known before


def test_parts_are_what_one_counts_by_hand() -> None:
    report = deep().memory(ROWS, optimizer=mxt.Adam())
    parameters = LAYERS * (WIDTH * WIDTH + WIDTH) * FLOAT
    assert report.bytes_parameters == report.bytes_gradients == parameters
    assert report.bytes_optimizer == 2 * parameters
    assert report.bytes_inputs == 2 * ROWS * WIDTH * FLOAT * (1 + 3)  # two ports, on the device and in three slots
    assert report.bytes_total == sum(getattr(report, name) for name in vars(report) if name.startswith("bytes_"))


def test_the_forward_pass_leaves_what_the_backward_pass_of_each_layer_reads() -> None:
    report = deep().memory(ROWS, optimizer=mxt.SGD(0.1))
    one = ROWS * WIDTH * FLOAT
    # all outputs of tanh; of the loss the differences, their squares, and what these are multiplied by for its mean
    assert report.bytes_kept == (LAYERS + 2) * one + (WIDTH + ROWS) * FLOAT


@pytest.mark.parametrize("optimizer", [mxt.SGD(0.1), mxt.SGD(0.1, momentum=0.9), mxt.Adam(), mxt.LAMB()])
@pytest.mark.parametrize("guard", [True, 4])
def test_a_trainer_takes_what_was_said_before(optimizer: mxt.Optimizer, guard: bool | int) -> None:
    plan = deep()
    with mxt.Trainer(plan, optimizer, batch_size=ROWS, guard=guard) as trainer:
        trainer.update(drawn(plan, ROWS))
        found, said = trainer.memory(), plan.memory(ROWS, optimizer=optimizer, guard=guard)
    differing = [name for name in vars(said) if getattr(found, name) != getattr(said, name)]
    # a count of every array's updates, for the optimizers that keep one, is in the snapshot too
    assert set(differing) <= {"title", "bytes_snapshot"}
    assert abs(found.bytes_snapshot - said.bytes_snapshot) <= 1024


def test_states_and_sequences_are_counted_too() -> None:
    net = mxt.NetChain([mxt.LSTM(8), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(4))})
    plan = mxt.compile_plan(net.with_states())
    lengths = {"t": 6}
    with mxt.Trainer(plan, mxt.Adam(), batch_size=3, lengths=lengths, carry=True) as trainer:
        batch = {port: found for port, found in drawn(plan, 3, lengths).items() if port in {"Input", "Target"}}
        trainer.update(batch)
        found, said = trainer.memory(), plan.memory(3, lengths, optimizer=mxt.Adam(), carry=True)
    assert found.bytes_states == said.bytes_states == (3 + 2) * 2 * 8 * FLOAT
    assert found.bytes_total == said.bytes_total


def test_frozen_parts_have_neither_gradient_nor_state() -> None:
    rules = [("linear", mxt.Rule(frozen=True))]
    frozen, free = (deep().memory(ROWS, optimizer=mxt.Adam(rules=found)) for found in (rules, []))
    one = (WIDTH * WIDTH + WIDTH) * FLOAT
    assert free.bytes_gradients - frozen.bytes_gradients == one
    assert free.bytes_optimizer - frozen.bytes_optimizer == 2 * one


def test_a_plan_far_too_large_for_any_machine_is_measured_in_no_memory() -> None:
    plan = deep(4, 1024)
    before = free_memory.resident_bytes()
    report = plan.memory(500_000, optimizer=mxt.Adam())
    assert report.bytes_planned > 4 * 500_000 * 1024 * FLOAT
    assert free_memory.resident_bytes() - before < 2**26


def test_an_explanation_names_what_each_layer_takes() -> None:
    net = mxt.NetChain(
        [mxt.Embedding(8), mxt.LSTM(16), mxt.Linear(100), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(100))},
    )
    plan, rows, steps = mxt.compile_plan(net), 4, 10
    found = plan.explain(rows, {"t": steps}, optimizer=mxt.Adam())
    parameters = [layer.bytes_parameters for layer in found.layers if layer.path]
    assert parameters == [FLOAT * count for count in (100 * 8, 4 * 16 * (8 + 16 + 2), 100 * 17, 0)]
    kept = {layer.path: layer.bytes_kept for layer in found.layers}
    assert kept["lstm"] >= rows * steps * 16 * FLOAT  # its output, which it reads itself
    assert kept["linear"] == rows * steps * 100 * FLOAT  # the logits
    assert sum(kept.values()) == found.memory.bytes_kept
    assert found.memory == plan.memory(rows, {"t": steps}, optimizer=mxt.Adam())
    assert [line.split()[0] for line in str(found).splitlines()[:3]] == ["layer", "linear", "lstm"]


def test_a_report_prints_its_parts_and_its_graphs() -> None:
    net = mxt.NetChain([mxt.GRU(4), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(4))})
    report = mxt.compile_plan(net).memory(2, optimizer=mxt.Adam(), buckets=mxt.buckets.Fixed([4, 8]))
    lines = str(report).splitlines()
    assert lines[0].split() == ["batch_size=2,", "2", "buckets", "bytes"]
    assert [line.split()[0] for line in lines[1:4]] == ["parameters", "gradients", "optimizer"]
    assert [line.partition(")")[0] for line in lines[-2:]] == ["(batch_size=2, t=8", "(batch_size=2, t=4"]


# The largest that fits


def test_the_largest_batch_fits_and_one_row_more_does_not() -> None:
    plan, limit = deep(), 2**24
    rows = plan.max_batch(limit, optimizer=mxt.Adam())
    totals = [plan.memory(size, optimizer=mxt.Adam()).bytes_total for size in (rows, rows + 1)]
    assert totals[0] <= limit < totals[1]


def test_the_longest_sequence_fits_and_one_step_more_does_not() -> None:
    net = mxt.NetChain([mxt.LSTM(16), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(4))})
    plan = mxt.compile_plan(net)
    steps = plan.max_length("32MB", batch_size=4, optimizer=mxt.Adam())
    totals = [plan.memory(4, {"t": count}, optimizer=mxt.Adam()).bytes_total for count in (steps, steps + 1)]
    assert totals[0] <= 2**25 < totals[1]


# Kept to a budget


def trained(plan: mxt.Plan, budget: int | None, rows: int = ROWS) -> tuple[bytes, mxt.MemoryReport]:
    """Return the arrays after three steps, and the report."""
    with mxt.Trainer(plan, mxt.SGD(0.1), batch_size=rows, memory_budget=budget) as trainer:
        for _ in range(3):
            trainer.update(drawn(plan, rows))
        arrays = b"".join(handle[:].tobytes() for handle in trainer.arrays.values())
        return arrays, trainer.memory()


def smallest_budget(plan: mxt.Plan, rows: int) -> int:
    """Return what the error of a budget that is too small says would do."""
    fixed = plan.memory(rows, optimizer=mxt.SGD(0.1))
    alone = fixed.bytes_parameters + fixed.bytes_gradients + fixed.bytes_auxiliary
    with pytest.raises(mxt.MemoryBudgetError, match="smallest budget that it fits into") as caught:
        mxt.Trainer(plan, mxt.SGD(0.1), batch_size=rows, memory_budget=alone + 1)
    text = str(caught.value)
    return int(text.partition("smallest budget that it fits into is ")[2].partition(" ")[0].replace(",", ""))


def convolutions() -> mxt.Plan:
    block = [mxt.Convolution(8, (3, 3), padding=1), mxt.BatchNorm(), mxt.Elementwise("relu"), mxt.Dropout(0.2)]
    chain = [layer for _ in range(4) for layer in block]
    net = mxt.NetChain([*chain, mxt.Linear(3), mxt.CrossEntropyLoss("index")], inputs={"Input": mxt.Array((2, 12, 12))})
    return mxt.compile_plan(net)


@pytest.mark.parametrize(("plan", "rows"), [(deep(40, 64), 2048), (convolutions(), 512)], ids=["deep", "convolutions"])
def test_a_budget_is_kept_and_changes_no_bit(plan: mxt.Plan, rows: int) -> None:
    expected, whole = trained(plan, None, rows)
    least = smallest_budget(plan, rows)
    assert least < 0.7 * whole.bytes_total
    for budget in (whole.bytes_total, (whole.bytes_total + least) // 2, least):
        arrays, report = trained(plan, budget, rows)
        assert arrays == expected
        assert report.bytes_total <= budget
        assert (report.graphs[0].repeated > 0) == (budget < whole.bytes_total)


layers_drawn = st.lists(
    st.sampled_from(
        [
            mxt.Linear(6),
            mxt.Elementwise("tanh"),
            mxt.Elementwise("relu"),
            mxt.BatchNorm(),
            mxt.LayerNorm(),
            mxt.Dropout(0.3),
            mxt.GradientScale(-0.5),
        ]
    ),
    min_size=3,
    max_size=14,
)


def pass_of(
    blueprint: Blueprint, batch: Mapping[str, Any], arrays: object = None, heads: Mapping[str, Any] | None = None
) -> list[bytes]:
    """Return all gradients and outputs of a pass forward and backward."""
    store = ParameterStore(blueprint.plan, arrays=arrays)
    bound = Bound(blueprint, Shared(store, Clock(), InputBuffers(store.context, 1), blueprint.input_gradients))
    bound.forward(bound.load(check_batch(batch, Limits.of(blueprint.plan, None))))
    bound.backward(heads)
    bound.collect()
    handles: list[Any] = [
        *store.gradient_handles(bound.collect).values(),
        *bound.input_gradient_handles(bound.collect).values(),
        *bound.handles("pass", bound.collect).values(),
    ]
    return [handle.asnumpy().tobytes() for handle in handles]


def with_repeated(blueprint: Blueprint, names: Iterable[str]) -> Blueprint:
    repeat(blueprint, Choice(frozenset(names), 0.0))
    return blueprint


SMALL = Extents(4, 4, 5, {"a": 4, "b": 3, "h": 6, "w": 5}, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_operator_of_each_layer_may_run_again(case: Case, padded: bool) -> None:
    drawn_case = example(case, SMALL)
    plan = drawn_case.plan
    if padded and not plan.lengths:
        return
    bucket = Bucket(SMALL.batch_size, tuple((name, SMALL.steps + 2 * padded) for name in plan.lengths), padded)
    blueprint = Blueprint(plan, bucket, input_gradients=case.real_ports)
    arrays = {f"layer.{name}": found for name, found in drawn_case.arrays.items()}
    heads = None if isinstance(case.layer, Loss) else drawn_case.heads
    expected = pass_of(blueprint, drawn_case.inputs, arrays, heads)
    _, graph = dry_bind(blueprint, mx.cpu())
    names = [one.name for one in graph.operations if (one.name, 0) in graph.sizes and one.kind in EXACT]
    alone = [] if padded else [[name] for name in names]  # the operators of padding are the same in all layers
    for some in [names, *alone]:
        assert pass_of(with_repeated(blueprint, some), drawn_case.inputs, arrays, heads) == expected, some


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(layers=layers_drawn)
def test_whatever_runs_again_gives_the_same_gradients(layers: list[Any]) -> None:
    net = mxt.NetChain([*layers, mxt.Linear(3), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(6)})
    plan = mxt.compile_plan(net)
    batch, blueprint = drawn(plan, 5), Blueprint(plan, Bucket(5, ()))
    expected = pass_of(blueprint, batch)
    _, graph = dry_bind(blueprint, mx.cpu())
    for choice in choices(blueprint.lowered.symbol, graph.shapes, graph.sizes, graph.kept):
        assert choice.names
        assert pass_of(with_repeated(blueprint, choice.names), batch) == expected


def test_what_must_not_run_again_never_does() -> None:
    net = mxt.NetChain(
        [mxt.Linear(8), mxt.LSTM(8), mxt.Dropout(0.5), mxt.Linear(8), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(4))},
    )
    blueprint = Blueprint(mxt.compile_plan(net), Bucket(64, (("t", 20),), padded=True))
    _, graph = dry_bind(blueprint, mx.cpu())
    kinds = {one.name: one.kind for one in graph.operations}
    found = choices(blueprint.lowered.symbol, graph.shapes, graph.sizes, graph.kept)
    assert found
    assert not {kinds[name] for choice in found for name in choice.names} & {"RNN", "Dropout", "_NDArray"}


def test_an_executor_keeps_to_a_budget_too() -> None:
    plan, rows = deep(40, 64), 2048
    whole = mxt.instantiate(plan, batch_size=rows)
    budget = int(0.6 * whole.memory().bytes_total)
    small = mxt.instantiate(plan, batch_size=rows, memory_budget=budget)
    bucketed = mxt.BucketedExecutor(plan, rows, memory_budget=budget).executor({})
    found = []
    for executor in (whole, small, bucketed):
        executor.forward(drawn(plan, rows))
        executor.backward()
        found.append(executor.gradients["linear.Weights"][:].tobytes())
    assert found[0] == found[1] == found[2]
    for executor in (small, bucketed):
        assert executor.memory().bytes_total <= budget
        assert executor.memory().graphs[0].repeated > 0
    with pytest.raises(mxt.MemoryBudgetError, match="arrays alone"):
        mxt.BucketedExecutor(plan, rows, memory_budget=1000)


def test_graphs_that_do_not_fit_together_take_turns() -> None:
    net = mxt.NetChain([mxt.LSTM(16), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(16))})
    plan, buckets = mxt.compile_plan(net), mxt.buckets.Fixed([50, 60])
    large = plan.memory(32, {"t": 60}, optimizer=mxt.SGD(0.1)).bytes_total
    with mxt.Trainer(plan, mxt.SGD(0.1), 32, buckets=buckets, memory_budget=int(1.1 * large)) as trainer:
        for steps in (60, 50, 60):
            trainer.update(drawn(plan, 32, {"t": steps}))
            assert trainer.memory().bytes_total <= 1.1 * large
        assert sum(bucket.evictions for bucket in trainer.buckets.report().buckets) >= 2
        assert trainer.current_loss()["Loss"] > 0


def test_lengths_that_rise_take_the_place_of_those_before() -> None:
    net = mxt.NetChain([mxt.Linear(64), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(64))})
    plan = mxt.compile_plan(net)
    budget = int(1.1 * plan.memory(64, {"t": 40}, optimizer=mxt.SGD(0.1)).bytes_total)
    with mxt.Trainer(plan, mxt.SGD(0.1), 64, memory_budget=budget) as trainer:
        for steps in (10, 20, 30, 40, 30, 20):
            trainer.update(drawn(plan, 64, {"t": steps}))
            assert trainer.memory().bytes_total <= budget
            planned = [graph.bytes_planned for graph in trainer.memory().graphs]
            assert planned[0] == max(planned)  # all others are in its memory
        assert trainer.losses()


def test_what_is_refused_leaves_everything_as_it_was() -> None:
    net = mxt.NetChain([mxt.GRU(16), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(16))})
    plan, buckets = mxt.compile_plan(net), mxt.buckets.Fixed([10, 5000])
    with mxt.Trainer(plan, mxt.SGD(0.1), 64, buckets=buckets, memory_budget="24MB") as trainer:
        trainer.update(drawn(plan, 64, {"t": 10}))  # the larger bucket may never come
        with pytest.raises(mxt.MemoryBudgetError, match="t=5000"):
            trainer.update(drawn(plan, 64, {"t": 5000}))
        assert [graph.bucket for graph in trainer.memory().graphs] == ["(batch_size=64, t=10)"]
        assert trainer.outputs["Loss"].asnumpy().shape == (64,)
        trainer.update(drawn(plan, 64, {"t": 10}))
        assert trainer.step == 2


def test_a_step_that_failed_is_told_before_graphs_go_for_another() -> None:
    net = mxt.NetChain([mxt.LSTM(16), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(16))})
    plan, buckets = mxt.compile_plan(net), mxt.buckets.Fixed([50, 60])
    budget = int(1.1 * plan.memory(32, {"t": 60}, optimizer=mxt.SGD(0.1)).bytes_total)
    with mxt.Trainer(plan, mxt.SGD(0.1), 32, buckets=buckets, memory_budget=budget) as trainer:
        bad = drawn(plan, 32, {"t": 60})
        bad["Input"][:] = np.nan
        trainer.update(bad)
        with pytest.raises(mxt.StepError, match="step 1"):
            trainer.update(drawn(plan, 32, {"t": 50}))
        trainer.recover()
        assert trainer.update(drawn(plan, 32, {"t": 50})) == 1
        assert trainer.current_loss()["Loss"] > 0


def test_gradients_of_inputs_and_sums_of_gradients_are_counted_once() -> None:
    plan = deep()
    said = plan.memory(ROWS, optimizer=mxt.SGD(0.1), input_gradients=["Input"])
    with mxt.Trainer(plan, mxt.SGD(0.1), ROWS, input_gradients=["Input"]) as trainer:
        assert trainer.memory().bytes_total == said.bytes_total
        assert said.bytes_input_gradients == ROWS * WIDTH * FLOAT
        trainer.accumulate(drawn(plan, ROWS))
        assert trainer.memory().bytes_accumulated == trainer.memory().bytes_gradients


def test_without_a_batch_size_each_bucket_has_the_rows_that_fit() -> None:
    net = mxt.NetChain([mxt.GRU(8), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(8))})
    plan = mxt.compile_plan(net)
    options: dict[str, Any] = {"buckets": mxt.buckets.Fixed([10, 40]), "memory_budget": "24MB"}
    with mxt.Trainer(plan, mxt.Adam(), None, **options) as trainer:
        sizes = {}
        for steps in (10, 40):
            sizes[steps] = trainer.buckets.batch_size({"t": steps})
            trainer.update(drawn(plan, sizes[steps], {"t": steps}))
        assert 2 * sizes[40] < sizes[10]
        assert trainer.memory().bytes_total <= 24 * 2**20


def test_without_sequences_the_batch_size_is_what_fits() -> None:
    plan = deep()
    with mxt.Trainer(plan, mxt.Adam(), None, memory_budget="16MB") as trainer:
        assert trainer.batch_size is not None
        assert plan.memory(trainer.batch_size, optimizer=mxt.Adam()).bytes_total <= 2**24


# Bad input


@pytest.mark.parametrize("budget", ["lots", "2TB", "1.5", "0.5", "9" * 400 + "GB", 0, -5, 1.5, 0.0, True, [1]])
def test_what_is_no_number_of_bytes_is_refused(budget: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="memory_budget must be a positive integer, or text such as"):
        mxt.Trainer(deep(), mxt.Adam(), batch_size=ROWS, memory_budget=budget)


def test_a_budget_below_the_arrays_says_what_these_take() -> None:
    with pytest.raises(mxt.MemoryBudgetError, match=r"(?s)arrays alone take more .*parameters +33,792"):
        mxt.Trainer(deep(), mxt.Adam(), batch_size=ROWS, memory_budget="64KB")


def test_buckets_without_an_end_leave_no_rows_to_choose() -> None:
    net = mxt.NetChain([mxt.GRU(4), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(4))})
    with pytest.raises(mxt.ArgumentError, match="needs all buckets"):
        mxt.Trainer(mxt.compile_plan(net), mxt.Adam(), None, memory_budget="64MB")
    with pytest.raises(mxt.ArgumentError, match="memory depends on the lengths"):
        mxt.compile_plan(net).memory(4, optimizer=mxt.Adam())


def test_what_memory_does_not_take_is_named() -> None:
    plan = deep()
    with pytest.raises(mxt.ArgumentError, match=r'max_batch takes no optimiser=; did you mean "optimizer"\?; it takes'):
        plan.max_batch("64MB", optimiser=mxt.Adam())
    with pytest.raises(mxt.ArgumentError, match=r"explain takes no memory_budget=; it takes"):
        plan.explain(4, memory_budget="2GB")
    for wrong in ({"guard": "x"}, {"carry": "what"}, {"depth": 0}):
        with pytest.raises(mxt.Error):
            plan.memory(4, **wrong)


def test_a_fraction_may_be_numpys() -> None:
    assert 0 < free_memory.budget_of(np.float32(0.5)) < free_memory.budget_of(0.9)


def test_not_even_one_row_or_step_says_what_it_takes() -> None:
    with pytest.raises(mxt.MemoryBudgetError, match=r"(?s)not even one row fits into 65,536 bytes:.*total"):
        deep().max_batch("64KB", optimizer=mxt.Adam())
    with pytest.raises(mxt.ArgumentError, match="max_length is of plans with one length; this one has none"):
        deep().max_length("64MB", 4)


def test_a_graph_that_is_larger_than_what_is_free_is_refused_before_it_takes_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = deep()
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), batch_size=ROWS)
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 100_000)
    with pytest.raises(mxt.MemoryBudgetError, match=r"the arrays of the trainer would take .* and 100,000 are free"):
        mxt.Trainer(deep(8, 256), mxt.SGD(0.1), batch_size=1)
    with pytest.raises(mxt.MemoryBudgetError, match=r"the inputs of the bucket \(batch_size=1024\) would take"):
        mxt.instantiate(plan, batch_size=1024)
    with pytest.raises(mxt.MemoryBudgetError, match=r": the bucket \(batch_size=16\) would take|^the bucket"):
        mxt.instantiate(plan, batch_size=16)
    trainer.update(drawn(plan, ROWS))  # which is there already
    assert trainer.current_loss()["Loss"] > 0


def test_the_variable_that_lets_mxnet_run_things_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, "1")
    with pytest.raises(mxt.Error, match=r"MXNET_BACKWARD_DO_MIRROR is set: .* unset it"):
        mxt.Trainer(deep(), mxt.SGD(0.1), batch_size=ROWS)


# What is free


def test_a_control_group_leaves_what_its_limit_and_its_use_say(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "pod" / "box"
    group.mkdir(parents=True)
    for folder, most in ((group, "max"), (tmp_path / "pod", "5000000")):
        (folder / "memory.max").write_text(most + "\n")
        (folder / "memory.current").write_text("3000000\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    folders = [(folder, "v2") for folder in (group, tmp_path / "pod", tmp_path)]
    monkeypatch.setattr(free_memory, "_folders", lambda: iter(folders))
    assert free_memory.free_bytes() == 3_000_000


@pytest.mark.slow
def test_what_is_said_before_is_what_becomes_resident() -> None:
    program = """
import re
import numpy as np
import mxtrainer as mxt
from mxtrainer.executors.free_memory import resident_bytes

def plan(width):
    chain = [layer for _ in range(20) for layer in (mxt.Linear(width), mxt.Elementwise("tanh"))]
    return mxt.compile_plan(mxt.NetChain([*chain, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(width)}))

def train(plan, rows):
    trainer = mxt.Trainer(plan, mxt.Adam(), batch_size=rows, memory_budget=0.9)
    batch = {port: np.zeros((rows, *spec.shape(1, {})[1:]), "float32") for port, spec in plan.inputs.items()}
    for _ in range(3):
        trainer.update(batch)
    trainer.current_loss()
    return trainer, batch

warm = train(plan(8), 2)
before = resident_bytes()
large = plan(400)
trained = train(large, 4000)
own = sum(array.nbytes for array in trained[1].values())
print(resident_bytes() - before - own, trained[0].memory().bytes_total)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    resident, said = map(int, done.stdout.split())
    assert resident == pytest.approx(said, rel=0.1)  # without what operators take in turn
