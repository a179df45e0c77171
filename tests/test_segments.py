"""A step in segments is the step on the whole sequence, but for the order in which numbers are added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import LAYERS, SIZE, WIDTH, batch_of, plan_of, worst

import mxtrainer as mxt

EXACT = 1e-11  # of the largest number, in float64
ROWS = 4
PLAN = plan_of(mxt.LSTM(SIZE))


def pair(plan: mxt.Plan, segment: int, rows: int = ROWS, **options: Any) -> tuple[mxt.Trainer, mxt.Trainer]:
    """Return a trainer that runs sequences whole, and one that runs them in segments."""
    optimizer = options.pop("optimizer", mxt.SGD(0.1, momentum=0.9))
    whole = mxt.Trainer(plan, optimizer, rows, **options)
    return whole, mxt.Trainer(plan, optimizer, rows, segment=segment, **options)


def assert_alike(whole: mxt.Trainer, cut: mxt.Trainer, within: float = EXACT) -> None:
    """Assert that losses, gradients, states and arrays are equal."""
    losses, expected = cut.current_loss(), whole.current_loss()
    for port, loss in expected.items():
        assert losses[port] == pytest.approx(loss, rel=within), port
    assert (losses.examples, losses.steps, losses.weights) == (expected.examples, expected.steps, expected.weights)
    assert worst(values_of(cut.gradients), values_of(whole.gradients)) < within
    assert worst(values_of(cut.arrays), values_of(whole.arrays)) < within
    states = whole.plan.states.values()
    assert (
        worst({name: cut.outputs[name][:] for name in states}, {name: whole.outputs[name][:] for name in states})
        < within
    )


# Equal to the whole


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[24] * ROWS, [23, 7, 16, 1], [9], [17, 24]], ids=str)
@pytest.mark.parametrize("average", ["examples", "steps"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_step_in_segments_is_the_step_on_the_whole_sequence(layer: str, average: str, lengths: list[int]) -> None:
    plan = plan_of(LAYERS[layer], average)
    whole, cut = pair(plan, 8)
    for number in range(3):
        batch = batch_of(plan, lengths, number)
        whole.update(batch)
        cut.update(batch)
        assert_alike(whole, cut)


@pytest.mark.parametrize("layer", LAYERS)
def test_in_float32_only_rounding_differs(layer: str) -> None:
    plan = plan_of(LAYERS[layer], dtype="float32")
    whole, cut = pair(plan, 16)
    batch = batch_of(plan, [100, 61, 100])
    whole.update(batch)
    cut.update(batch)
    assert_alike(whole, cut, within=1e-5)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=ROWS),
    segment=st.integers(1, 12),
    buckets=st.sampled_from([None, mxt.buckets.Multiple(5), mxt.buckets.Fixed([4, 30]), mxt.buckets.Fixed([30])]),
    carry=st.booleans(),
)
def test_any_lengths_go_in_any_segments(lengths: list[int], segment: int, buckets: Any, carry: bool) -> None:
    whole, cut = pair(PLAN, segment, buckets=buckets, carry=carry)
    for number in range(2):
        batch = batch_of(PLAN, lengths, number)
        whole.update(batch)
        cut.update(batch)
        assert_alike(whole, cut)
        if carry:
            for stream in whole.state:
                assert worst(cut.state[stream], whole.state[stream]) < EXACT


def test_sequences_come_as_padded_arrays_too_with_anything_over_padding() -> None:
    lengths = [20, 5, 13]
    whole, cut = pair(PLAN, 6)
    ragged = batch_of(PLAN, lengths)
    padded = dict(ragged)
    for port in ("Input", "Target"):
        padded[port] = np.full((3, 22, WIDTH), np.nan)
        for row, steps in enumerate(ragged[port]):
            padded[port][row, : len(steps)] = steps
    whole.update(ragged)
    cut.update(padded, lengths={"t": lengths})
    assert_alike(whole, cut)


def test_carried_states_go_from_step_to_step_and_begin_anew() -> None:
    plan = plan_of(LAYERS["learned"])
    whole, cut = pair(plan, 5, carry=True)
    calls: list[dict[str, Any]] = [
        {"streams": ["a", "b", "c"]},
        {"streams": ["b", "a", "d"]},
        {"streams": ["d", "a", "c"], "reset": [False, True, False]},
        {"streams": ["e", "b", "a"]},
    ]
    for number, options in enumerate(calls):
        batch = batch_of(plan, [12, 3, 17], number)
        for trainer in (whole, cut):
            trainer.update(batch, **options)
            if number == 2:
                trainer.reset(streams=["b"])
        assert_alike(whole, cut)
    assert list(whole.state) == list(cut.state)
    for stream in whole.state:
        assert worst(cut.state[stream], whole.state[stream]) < EXACT


def test_given_states_are_where_the_first_segment_begins() -> None:
    whole, cut = pair(PLAN, 4)
    batch = batch_of(PLAN, [10, 6])
    batch.update({port: np.random.default_rng(1).normal(size=(2, SIZE)) for port in PLAN.states})
    whole.update(batch)
    cut.update(batch)
    assert_alike(whole, cut)
    after = {port: cut.outputs[output] for port, output in PLAN.states.items()}  # fed back on the device
    of_whole = {port: whole.outputs[output] for port, output in PLAN.states.items()}
    more = batch_of(PLAN, [11, 6], 1)
    whole.update({**more, **of_whole})
    cut.update({**more, **after})
    assert_alike(whole, cut)


def test_short_and_long_batches_take_turns() -> None:
    whole, cut = pair(PLAN, 8, carry=True)
    for number, lengths in enumerate([[20, 3], [5, 8], [9, 1], [2, 2], [30, 30]]):
        batch = batch_of(PLAN, lengths, number)
        whole.update(batch)
        cut.update(batch)
        assert_alike(whole, cut)


def test_batches_of_any_length_are_accumulated() -> None:
    whole, cut = pair(PLAN, 6)
    for lengths in ([20, 3], [5, 4], [13]):
        for trainer in (whole, cut):
            trainer.accumulate(batch_of(PLAN, lengths))
    whole.apply()
    cut.apply()
    assert worst(values_of(cut.gradients), values_of(whole.gradients)) < EXACT
    assert cut.current_loss()["Loss"] == pytest.approx(whole.current_loss()["Loss"], rel=EXACT)
    for trainer in (whole, cut):
        trainer.compute(batch_of(PLAN, [14, 2]))
        trainer.gradients["linear.Weights"] = 0.5 * trainer.gradients["linear.Weights"][:]
        trainer.apply()
    assert_alike(whole, cut)


def test_what_a_step_is_told_counts_for_all_of_its_segments() -> None:
    whole, cut = pair(PLAN, 6, optimizer=mxt.SGD(0.1, clip_norm=0.01))
    batch = batch_of(PLAN, [20, 3])
    for trainer in (whole, cut):
        trainer.update(batch, losses={"Class": 1.0})
        trainer.loss_weights["Loss"] = 0.0
        trainer.update(batch, only="second.*")
        trainer.loss_weights.update({"Loss": 3.0, "Class": 0.25})
        trainer.update(batch)
    assert_alike(whole, cut)


def test_examples_have_weights() -> None:
    net = mxt.NetChain([mxt.GRU(SIZE), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))})
    plan = mxt.compile_plan(net.with_states(), example_weights={"Loss": "Weight"}, dtype="float64")
    generator = np.random.default_rng(0)
    steps = [21, 4, 8]
    batch: dict[str, Any] = {"Input": [generator.normal(size=(n, WIDTH)) for n in steps], "Weight": [0.5, 2.0, 0.0]}
    batch["Target"] = [generator.normal(size=(n, SIZE)) for n in steps]
    whole, cut = pair(plan, 5)
    whole.update(batch)
    cut.update(batch)
    assert_alike(whole, cut)


def test_dropout_draws_the_same_numbers_in_both_passes() -> None:
    """Against finite differences: a mask drawn anew in the backward pass would give other gradients."""
    plan = plan_of(mxt.LSTM(SIZE), drop=0.4)
    batch = batch_of(plan, [13, 20])
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), 2, segment=6)

    def loss() -> float:  # a step that is given up gives back its number, and so its masks
        trainer.compute(batch)
        total = trainer.current_loss().total
        trainer.discard()
        return total

    trainer.compute(batch)
    gradients = values_of(trainer.gradients)
    trainer.discard()
    assert loss() == loss()
    for path, gradient in gradients.items():
        flat = np.abs(gradient).argmax()
        place, step = np.unravel_index(flat, gradient.shape), 1e-5
        array = trainer.arrays[path][:]
        found = []
        for sign in (1, -1):
            moved = array.copy()
            moved[place] += sign * step
            trainer.arrays[path] = moved
            found.append(loss())
        trainer.arrays[path] = array
        assert (found[0] - found[1]) / (2 * step) == pytest.approx(gradient[place], rel=1e-6), path


def test_repeats_give_the_same_bits() -> None:
    plan = plan_of(mxt.LSTM(SIZE), dtype="float32", drop=0.3)
    runs = []
    for _ in range(2):
        trainer = mxt.Trainer(plan, mxt.Adam(), ROWS, segment=7)
        for number in range(3):
            trainer.update(batch_of(plan, [30, 4, 22], number))
        runs.append(values_of(trainer.arrays))
    assert all(found.tobytes() == runs[1][path].tobytes() for path, found in runs[0].items())


# Evaluations


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("layer", ["lstm", "learned", "fold"])
def test_evaluations_run_in_segments_too(layer: str, carry: bool) -> None:
    plan = plan_of(LAYERS[layer], "steps", drop=0.5)
    whole, cut = pair(plan, 8, carry=carry)
    batches = [batch_of(plan, lengths, 5) for lengths in ([23, 7, 16, 1], [8, 8, 2, 9])]
    found, expected = cut.evaluate(batches[0]), whole.evaluate(batches[0])
    assert dict(found.losses) == pytest.approx(dict(expected.losses), rel=EXACT)
    assert worst(dict(found.outputs), dict(expected.outputs)) < EXACT
    outputs = ["first", "second.State", "linear"]
    found, expected = (trainer.evaluate(batches, outputs) for trainer in (cut, whole))
    assert worst(dict(found.outputs), dict(expected.outputs)) < EXACT
    assert dict(found.losses) == pytest.approx(dict(expected.losses), rel=EXACT)
    for left, right in zip(found.ragged("linear"), expected.ragged("linear")):
        np.testing.assert_allclose(left, right, atol=EXACT)


def test_an_evaluation_of_more_rows_than_the_batch_size_goes_in_slices() -> None:
    whole, cut = pair(PLAN, 8, rows=2)
    batch = batch_of(PLAN, [3, 20, 9, 8, 31])
    found, expected = (trainer.evaluate(batch, ["Output"]) for trainer in (cut, whole))
    assert worst(dict(found.outputs), dict(expected.outputs)) < EXACT


# What goes wrong


def far(steps: int, row: int, step: int) -> dict[str, Any]:
    """Return a batch whose loss is infinite in float32 because of one target."""
    batch = batch_of(FLOAT, [steps, 7])
    batch["Target"][row] = batch["Target"][row].copy()
    batch["Target"][row][step] = 3e38
    return batch


FLOAT = plan_of(mxt.LSTM(SIZE), dtype="float32")


@pytest.mark.parametrize("step", [0, 13, 29])
def test_a_step_that_fails_moves_nothing_and_names_the_layer(step: int) -> None:
    trainer = mxt.Trainer(FLOAT, mxt.Adam(), 2, segment=8, carry=True)
    trainer.update(batch_of(FLOAT, [30, 7]))
    before, states = values_of(trainer.arrays), {stream: trainer.state[stream] for stream in trainer.state}
    trainer.update(far(30, 0, step))
    with pytest.raises(mxt.StepError, match=r'step 2 .* in layer "loss"') as caught:
        trainer.current_loss()
    assert caught.value.batch is not None
    np.testing.assert_array_equal(caught.value.batch["Target"][0][step], 3e38)
    trainer.recover()
    assert all(found.tobytes() == before[path].tobytes() for path, found in values_of(trainer.arrays).items())
    for stream, found in states.items():
        assert all(found[port].tobytes() == state.tobytes() for port, state in trainer.state[stream].items())
    other = mxt.Trainer(FLOAT, mxt.Adam(), 2, segment=8, carry=True)
    other.update(batch_of(FLOAT, [30, 7]))
    for each in (trainer, other):
        each.update(batch_of(FLOAT, [19, 8], 1))
    assert trainer.current_loss() == other.current_loss()


def test_a_step_that_is_not_finite_can_be_skipped() -> None:
    trainer = mxt.Trainer(FLOAT, mxt.SGD(0.1), 2, segment=8, carry=True, on_nan="skip")
    other = mxt.Trainer(FLOAT, mxt.SGD(0.1), 2, segment=8, carry=True)
    for each in (trainer, other):
        each.update(batch_of(FLOAT, [30, 7]))
    trainer.update(far(30, 0, 12))
    for each in (trainer, other):
        each.update(batch_of(FLOAT, [11, 9], 2))
    assert trainer.stats().skipped == (2,)
    assert worst(values_of(trainer.arrays), values_of(other.arrays)) == 0.0


def test_rows_that_a_skipped_step_had_and_the_next_ones_have_not_skip_none_of_these() -> None:
    trainer, other = (mxt.Trainer(FLOAT, mxt.SGD(0.1), 2, segment=8, carry=True, on_nan="skip") for _ in range(2))
    trainer.update(far(30, 1, 3))
    for each in (trainer, other):
        for number in range(3):
            each.update(batch_of(FLOAT, [20], number))
    assert (trainer.stats().skipped, other.stats().skipped) == ((1,), ())
    assert worst(values_of(trainer.arrays), values_of(other.arrays)) == 0.0


def test_a_row_that_has_ended_is_harmless_whatever_its_state() -> None:
    net = mxt.NetChain(
        [mxt.BasicRecurrent(1, "relu"), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(1))}
    )
    plan = mxt.compile_plan(net.with_states())
    batch = {port: [np.full((5, 1), fill), np.zeros((1000, 1))] for port, fill in (("Input", 1.0), ("Target", 0.0))}
    whole, cut = pair(plan, 200, rows=2, optimizer=mxt.SGD(1e-9))
    for trainer in (whole, cut):
        for path, array in trainer.arrays.items():
            trainer.arrays[path] = np.full(array.shape, 0.0 if "Biases" in path else 2.0)
        trainer.update(batch)  # a state of 62, which doubles at every step after its row's end
    assert_alike(whole, cut, within=1e-6)
    found, expected = (trainer.evaluate(batch) for trainer in (cut, whole))
    assert worst(dict(found.outputs), dict(expected.outputs)) < 1e-6


# Bad input


def refused(net: mxt.NetGraph, match: str, **options: Any) -> None:
    plan = mxt.compile_plan(net, **options)
    with pytest.raises(mxt.NetError, match=match):
        mxt.Trainer(plan, mxt.SGD(0.1), 2, segment=8)


def chain(*layers: Any, **inputs: Any) -> mxt.NetGraph:
    return mxt.NetChain([*layers], inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH)), **inputs})


def test_plans_that_need_the_whole_sequence_are_refused_with_the_layer() -> None:
    loss = mxt.MeanSquaredLoss()
    refused(chain(mxt.LSTM(2), loss), r'"lstm" .* has the state "State", .* compile_plan\(net.with_states\(\)\)')
    refused(chain(mxt.Bidirectional(mxt.LSTM(2)), loss), '"bidirectional" .* needs the whole sequence at once')
    refused(chain(mxt.LSTM(2), mxt.Aggregate("mean"), loss).with_states(), '"aggregate" .* needs all steps at once')
    refused(chain(mxt.LSTM(2), mxt.BatchNorm(), loss).with_states(), '"batchnorm.*takes statistics over all steps')
    refused(chain(mxt.SequenceReverse(), mxt.GRU(2), loss).with_states(), "needs the whole sequence at once")
    vectors = mxt.NetChain([mxt.Linear(2), loss], inputs={"Input": mxt.Vector(2)})
    refused(vectors, "segments are of the one length of a plan, and this one has none")
    states = mxt.NetGraph(
        {"one": mxt.GRU(2), "two": mxt.GRU(2), "loss": loss},
        [("Input", "one"), ("one.State", "two.State"), ("Input", "two.Input"), ("two", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))},
    )
    refused(states.with_states(), '"two" .* has the state "State"')
    weighted = chain(mxt.GRU(2)).with_states()
    refused(weighted, '"Output" has a weight and comes from no loss layer', losses={"Output": 1.0})


@pytest.mark.parametrize("segment", [0, -3, 2.5, "8", True])
def test_a_segment_is_a_positive_number_of_steps(segment: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="segment must be a positive integer"):
        mxt.Trainer(PLAN, mxt.SGD(0.1), 2, segment=segment)


def test_what_does_not_go_with_segments_is_refused() -> None:
    sizes = mxt.buckets.fit([4, 9], plan=PLAN, bytes="1GB")
    for options, match in (
        ({"input_gradients": ["Input"]}, "segment= excludes input_gradients="),
        ({"guard": 4}, "segment= takes guard=True or False"),
        ({"buckets": sizes, "batch_size": None}, "segment= needs one batch size"),
        ({"batch_size": None}, "segment= needs one batch size for all buckets: give batch_size=, got None"),
        ({"batch_size": None, "memory_budget": "9MB", "lengths": {"t": 99}}, "segment= needs one batch size"),
    ):
        with pytest.raises(mxt.ArgumentError, match=match):
            mxt.Trainer(PLAN, mxt.SGD(0.1), **{"batch_size": 2, "segment": 8, **options})  # type: ignore[arg-type]
    own = mxt.NetGraph(
        {"plus": mxt.Threading("plus"), "gru": mxt.GRU(WIDTH), "loss": mxt.MeanSquaredLoss()},
        [(["gru.State", "Memory"], "plus", "After"), ("Input", "gru", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH)), "Memory": mxt.Vector(WIDTH)},
    )
    plan = mxt.compile_plan(own.with_states(), losses={"After": 0.0})
    with pytest.raises(mxt.ArgumentError, match=r"segment= carries states of layers, and \['Memory'\] are none"):
        mxt.Trainer(plan, mxt.SGD(0.1), 2, segment=8, carry={"Memory": "After"})
    with pytest.raises(mxt.ArgumentError, match="segment= is of trainers"):
        PLAN.memory(2, {"t": 100}, segment=8)


def test_batches_that_cannot_be_run_in_segments_are_refused_and_change_nothing() -> None:
    from mxtrainer._mxnet import mx

    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1), 2, {"t": 40}, segment=8)
    good = batch_of(PLAN, [20, 20])
    array = mx.nd.array(np.stack(good["Input"]), dtype="float64")
    for batch, match in (
        ({**good, "Input": array}, 'port "Input": what is run in segments is read piece by piece'),
        (batch_of(PLAN, [41, 20]), "example 0: .*41"),
        (batch_of(PLAN, [20, 20, 20]), "it has 3 rows, more than the batch size of 2"),
        (mxt.Batch(good, carry_at=9), "windows that overlap are not run in segments"),
    ):
        with pytest.raises(mxt.BatchError, match=match):
            trainer.update(batch)
    with pytest.raises(mxt.BatchError, match='port "Input": what is run in segments'):
        trainer.evaluate({**good, "Input": array})
    with pytest.raises(mxt.ArgumentError, match="it cannot be staged"):
        trainer.stage(good)
    assert trainer.step == 0
    trainer.update(good)
    with pytest.raises(mxt.UnknownNameError, match='in segments, where no sequence is kept, has no output "Output"'):
        _ = trainer.outputs["Output"]
    trainer.stage(batch_of(PLAN, [8, 3]))
    assert trainer.update() == 2
