"""Carried state where steps fail or are skipped, and what cannot be carried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fault_cases import BAD_STEP, FAULTS, good_batch, plan_of
from state_cases import ROWS, SIZE, assert_same_states, batches, recurrent_plan, states_of

import mxtrainer as mxt

# Failures


@pytest.mark.parametrize("guard", [True, 2])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_after_recovery_states_are_as_before_the_step_that_failed(fault: Any, guard: Any) -> None:
    plan, optimizer = plan_of(fault.way), mxt.Adam(0.01)
    trainer, straight = (mxt.Trainer(plan, optimizer, 8, carry={"StateIn": "StateOut"}, guard=guard) for _ in range(2))
    good = [_without_state(good_batch(number)) for number in range(6)]
    for batch in good[:2]:
        trainer.update(batch)
        straight.update(batch)
    before = states_of(straight)
    trainer.update(fault.spoil(good[2]), streams=["new", 0, 1])
    trainer.update(good[3], streams=["newer", "new", 1])  # there are places for all of them
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    assert trainer.step == BAD_STEP - 1
    assert_same_states(states_of(trainer), before)
    for batch in good[2:]:
        trainer.update(batch)
        straight.update(batch)
    assert trainer.current_loss() == straight.current_loss()
    assert_same_states(states_of(trainer), states_of(straight))


def test_a_table_that_must_grow_waits_and_takes_no_batch_behind_a_step_that_failed() -> None:
    trainer = mxt.Trainer(plan_of("nan"), mxt.Adam(0.01), 3, carry={"StateIn": "StateOut"})
    trainer.update(_without_state(good_batch(0)))
    before = states_of(trainer)
    trainer.update({**_without_state(good_batch(1)), "Trigger": [-1.0, -1.0, -1.0]})
    with pytest.raises(mxt.StepError, match="step 2 gave"):
        trainer.update(_without_state(good_batch(2)), streams=["a", "b", "c"])
    assert trainer.step == 2
    trainer.recover()
    assert_same_states(states_of(trainer), before)
    trainer.update(_without_state(good_batch(2)), streams=["a", "b", "c"])
    assert list(trainer.state) == [0, 1, 2, "a", "b", "c"]
    assert_same_states({stream: trainer.state[stream] for stream in before}, before)


def _without_state(batch: dict[str, Any]) -> dict[str, Any]:
    return {port: array for port, array in batch.items() if port != "StateIn"}


def test_what_a_user_resets_before_a_step_that_fails_stays_reset() -> None:
    trainer = mxt.Trainer(plan_of("nan"), mxt.Adam(0.01), 4, carry={"StateIn": "StateOut"})
    trainer.update(_without_state(good_batch(0)))
    trainer.reset(streams=[1])
    spoilt = {**_without_state(good_batch(1)), "Trigger": [-1.0, -1.0, -1.0]}
    trainer.update(spoilt)
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    assert not trainer.state[1]["StateIn"].any()
    assert trainer.state[0]["StateIn"].any()


def test_a_step_that_is_skipped_moves_no_state() -> None:
    trainer = mxt.Trainer(plan_of("nan"), mxt.Adam(0.01), 4, carry={"StateIn": "StateOut"}, on_nan="skip")
    trainer.update(_without_state(good_batch(0)))
    before = states_of(trainer)
    trainer.update({**_without_state(good_batch(1)), "Trigger": [-1.0, -1.0, -1.0]})
    assert_same_states(states_of(trainer), before)
    trainer.update(_without_state(good_batch(2)))
    assert np.isfinite(trainer.current_loss()["Loss"])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [mxt.Adam(1e-9), mxt.SGD(1e-9, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("initial", [0.0, 0.25, "learned"])
@pytest.mark.parametrize("way", ["new", "reset()", "reset=", "dropped", "evicted"])
def test_a_row_that_begins_at_a_step_that_is_skipped_has_begun_all_the_same(
    way: str, initial: Any, optimizer: Any
) -> None:
    plan = recurrent_plan(mxt.GRU(SIZE, initial=initial))
    arrays = {"layer.InitialState": [0.1, 0.2, -0.3]} if initial == "learned" else None
    capacity = 2 * SIZE * 4 if way == "evicted" else None
    trainer = mxt.Trainer(plan, optimizer, 2, carry=True, on_nan="skip", state_capacity=capacity, arrays=arrays)
    first, second, third = batches(4, 4, 4, rows=2)
    bad = {**second, "Target": [np.full((4, 2), np.nan)] * 2}
    trainer.update(first, streams=["a", "b"])
    kept, streams = trainer.state["b"], ["a", "b"]
    if way in {"new", "evicted"}:
        streams = ["new", "b"]
    elif way == "reset()":
        trainer.reset(streams=["a"])
    elif way == "dropped":
        del trainer.state["a"]
    trainer.update(bad, streams=streams, reset=[True, False] if way == "reset=" else None)
    trainer.update(third, streams=streams)
    assert trainer.stats().skipped in {(), (2,)}
    fresh = mxt.Trainer(plan, optimizer, 2, carry=True, arrays=trainer.arrays)
    fresh.state["b"] = kept
    fresh.update(third, streams=["x", "b"])
    np.testing.assert_allclose(trainer.state[streams[0]]["layer.State"], fresh.state["x"]["layer.State"], atol=1e-6)
    np.testing.assert_allclose(trainer.state["b"]["layer.State"], fresh.state["b"]["layer.State"], atol=1e-6)


def test_batches_that_were_dropped_say_which_rows_had_been_reset() -> None:
    trainer, straight = (mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True) for _ in range(2))
    first, second, third = batches(4, 4, 4)
    bad = {**second, "Target": [np.full((4, 2), np.nan)] * ROWS}
    for each in (trainer, straight):
        each.update(first)
    trainer.update(bad)
    for each in (trainer, straight):
        each.reset(rows=[True, False, False])
    trainer.update(third)
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    trainer.recover()
    for _, batch in caught.value.dropped:
        trainer.update(batch)
    straight.update(third)
    assert_same_states(states_of(trainer), states_of(straight))


def test_a_state_that_is_not_finite_fails_its_own_step_and_not_the_next() -> None:
    net = mxt.NetGraph(
        {
            "add": mxt.Threading("plus"),
            "log": mxt.Elementwise("log"),
            "linear": mxt.Linear(),
            "loss": mxt.MeanSquaredLoss(),
        },
        [("Input", "linear", "loss", "Loss"), (["Input", "StateIn"], "add", "log", "StateOut")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    plan = mxt.compile_plan(net, losses={"StateOut": 0.0})
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), 2, carry={"StateIn": "StateOut"})
    trainer.update({"Input": [1.0, 2.0], "Target": [0.0, 0.0]})
    trainer.update({"Input": [-1.0, 2.0], "Target": [0.0, 0.0]})
    with pytest.raises(
        mxt.StepError, match='step 2 gave losses, gradients or states that are not finite, in layer "log"'
    ):
        trainer.current_loss()
    trainer.recover()
    assert trainer.state[0]["StateIn"] == 0.0
    assert trainer.state[1]["StateIn"] == pytest.approx(np.log(2))


def test_the_layer_is_named_where_only_the_carried_state_makes_a_step_fail() -> None:
    net = mxt.NetGraph(
        {
            "add": mxt.Threading("plus"),
            "sqrt": mxt.Elementwise("sqrt"),
            "linear": mxt.Linear(),
            "loss": mxt.MeanSquaredLoss(),
        },
        [(["Input", "StateIn"], "add", "StateOut"), ("add", "sqrt", "linear", "loss", "Loss")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    trainer = mxt.Trainer(
        mxt.compile_plan(net, losses={"StateOut": 0.0}), mxt.SGD(0.0001), 1, carry={"StateIn": "StateOut"}
    )
    trainer.update({"Input": [1.0], "Target": [0.0]})
    trainer.state[0] = {"StateIn": -5.0}
    trainer.update({"Input": [1.0], "Target": [0.0]})
    with pytest.raises(mxt.StepError, match='in layer "sqrt"'):
        trainer.current_loss()


# Bad input


def test_what_cannot_be_carried_is_refused_with_the_ports(state_plan: mxt.Plan, linear_plan: mxt.Plan) -> None:
    def refuses(plan: mxt.Plan, carry: Any, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            mxt.Trainer(plan, mxt.SGD(0.1), 2, carry=carry)

    refuses(linear_plan, True, mxt.NetError, r"has none: compile net.with_states\(\)")
    refuses(state_plan, {"StateInn": "StateOut"}, mxt.UnknownNameError, 'no input "StateInn"; did you mean "StateIn"')
    refuses(
        state_plan, {"StateIn": "StateOutt"}, mxt.UnknownNameError, 'no output "StateOutt"; did you mean "StateOut"'
    )
    refuses(state_plan, {}, mxt.ArgumentError, "carry must be True, or map input ports")
    refuses(state_plan, "StateIn", mxt.ArgumentError, "carry must be True, or map input ports")
    plan = recurrent_plan()
    refuses(plan, {"layer.State": "Output"}, mxt.NetError, '"Output" is Sequence.*no sequence')
    refuses(
        plan, {"layer.State": "Loss"}, mxt.NetError, r'"layer.State" takes Vector\(3\), and "Loss" gives Scalar\(\)'
    )
    net = mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(), "loss": mxt.MeanSquaredLoss()},
        [(["Input", "StateIn"], "add", "linear", "loss", "Loss"), ("linear", "StateOut")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar("uint8"), "Target": mxt.Scalar()},
    )
    whole = mxt.compile_plan(net, losses={"StateOut": 0.0})
    refuses(whole, {"StateIn": "StateOut"}, mxt.NetError, '"StateIn" travels as uint8, which would round the state')


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reset": [True]}, "reset: expected one for each of 3 rows, found 1"),
        ({"reset": [1, 0, 0]}, "reset must be one boolean a row"),
        ({"reset": True}, "reset must be one boolean a row"),
        ({"streams": ["a", "b"]}, "streams: expected one for each of 3 rows, found 2"),
        ({"streams": ["a", "b", "a"]}, "rows 0 and 2 are both stream 'a'"),
        ({"streams": ["a", 1.5, "b"]}, "that of row 1 must be a string or an integer, got 1.5"),
        ({"streams": "abc"}, "streams must be a list of one stream a row"),
        ({"streams": [True, 2, 3]}, "that of row 0 must be a string or an integer, got True"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_rows_is_refused_and_nothing_changes(options: Any, text: str) -> None:
    trainer = mxt.Trainer(recurrent_plan(), mxt.Adam(0.01), ROWS, carry=True)
    first, second = batches(4, 4)
    trainer.update(first)
    before = states_of(trainer)
    for refuse in (trainer.update, trainer.stage):
        with pytest.raises(mxt.BatchError, match=text):
            refuse(second, **options)
    assert trainer.step == 1
    assert_same_states(states_of(trainer), before)


def test_streams_and_resets_without_carried_state_are_refused(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), 2)
    batch = {"Input": [1.0, 2.0], "Target": [1.0, 2.0]}
    for options in ({"streams": [0, 1]}, {"reset": [True, True]}):
        with pytest.raises(mxt.BatchError, match=r"no carried state.*Trainer\(..., carry=True\)"):
            trainer.update(batch, **options)
        with pytest.raises(mxt.BatchError, match="no carried state"):
            trainer.update(mxt.Batch(batch, **options))
    for call in (trainer.reset, lambda: trainer.state):
        with pytest.raises(mxt.Error, match="carries no state"):
            call()
    with pytest.raises(mxt.ArgumentError, match="there is none; add carry=True"):
        mxt.Trainer(linear_plan, mxt.SGD(0.1), 2, state_capacity=100)


def test_streams_come_in_the_batch_or_beside_it_and_never_both() -> None:
    trainer = mxt.Trainer(recurrent_plan(), mxt.Adam(0.01), ROWS, carry=True)
    batch = mxt.Batch(batches(4)[0], streams=[1, 2, 3])
    with pytest.raises(mxt.BatchError, match="streams come in the Batch and as streams= as well"):
        trainer.update(batch, streams=[1, 2, 3])
    trainer.stage(batch)
    for reset in ([True] * ROWS, np.ones(ROWS, bool)):
        with pytest.raises(mxt.ArgumentError, match="belong to a batch"):
            trainer.update(reset=reset)  # type: ignore[arg-type]


def test_resets_that_cannot_be_are_refused() -> None:
    trainer = mxt.Trainer(recurrent_plan(), mxt.Adam(0.01), ROWS, carry=True)
    trainer.update(batches(4)[0])
    with pytest.raises(mxt.UnknownNameError, match=r"no state of stream 'a'. Known: 0, 1, 2"):
        trainer.reset(streams=["a"])
    with pytest.raises(mxt.ArgumentError, match="rows= or streams="):
        trainer.reset(rows=[True] * ROWS, streams=[0])
    with pytest.raises(mxt.ArgumentError, match="up to 3 booleans, found 4"):
        trainer.reset(rows=[True] * 4)
    with pytest.raises(mxt.ArgumentError, match="rows must be one boolean a row"):
        trainer.reset(rows=[1, 2, 3])  # type: ignore[list-item]


def test_a_learned_initial_state_that_something_else_feeds_is_refused() -> None:
    layers = {
        "encoder": mxt.GRU(3),
        "decoder": mxt.GRU(3, initial="learned"),
        "linear": mxt.Linear(1),
        "loss": mxt.MeanSquaredLoss(),
    }
    paths = [("Source", "encoder"), ("encoder.State", "decoder.State"), ("Input", "decoder", "linear", "loss", "Loss")]
    inputs = {"Source": mxt.Sequence("s", mxt.Vector(1)), "Input": mxt.Sequence("t", mxt.Vector(1))}
    with pytest.raises(mxt.NetError, match=r'layer "decoder".*initial State is to be learned.*"encoder.State"'):
        mxt.compile_plan(mxt.NetGraph(layers, paths, inputs=inputs))
    with pytest.raises(mxt.ArgumentError, match="initial must be a number, or \"learned\", got 'zeros'"):
        mxt.LSTM(3, initial="zeros")
    with pytest.raises(mxt.ArgumentError, match="GRU: initial must be a finite number"):
        mxt.GRU(3, initial=float("nan"))
    with pytest.raises(mxt.ArgumentError, match="initial must be a finite number, got 'a'"):
        mxt.Vector(3, initial="a")  # type: ignore[arg-type]
    with pytest.raises(mxt.ArgumentError, match="a sequence has no initial value"):
        mxt.Sequence("t", mxt.Vector(3, initial=0.0))


@pytest.mark.parametrize("layer", [mxt.LSTM(SIZE), mxt.GRU(SIZE)], ids=repr)
def test_the_first_layer_is_named_also_where_its_states_leave_the_net(layer: Any) -> None:
    trainer = mxt.Trainer(recurrent_plan(layer), mxt.SGD(0.1), ROWS, carry=True)
    batch = batches(4)[0]
    trainer.update({**batch, "Input": [np.full((4, 2), np.nan)] * ROWS})
    with pytest.raises(mxt.StepError, match='in layer "layer"; input port "Input" of its batch is not finite'):
        trainer.current_loss()
