"""States that are carried from step to step: what goes on, what starts anew, and what fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from fault_cases import BAD_STEP, FAULTS, good_batch, plan_of
from reference import ORACLES
from state_cases import LAYERS, SIZE, Still, assert_same_states, recurrent_plan, sequence, states_of, window

import mxtrainer as mxt

ROWS = 3


def batches(*steps: int, rows: int = ROWS) -> list[dict[str, Any]]:
    """Return batches of so many steps each, which follow one another."""
    whole = [sequence(sum(steps), seed) for seed in range(rows)]
    begins = np.cumsum((0, *steps))
    return [window(whole, [begin] * rows, [count] * rows) for begin, count in zip(begins.tolist(), steps)]


# Going on


@pytest.mark.parametrize("options", [{}, {"guard": False}, {"guard": 3}, {"lengths": {"t": 6}}], ids=str)
@pytest.mark.parametrize("optimizer", [mxt.Adam(0.01), mxt.SGD(0.1, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[1]], ids=repr)
def test_carried_states_are_those_of_handles_fed_back_bit_for_bit(layer: Any, optimizer: Any, options: Any) -> None:
    plan = recurrent_plan(layer)
    carrying = mxt.Trainer(plan, optimizer, ROWS, carry=True, **options)
    feeding = mxt.Trainer(plan, optimizer, ROWS, **options)
    states: dict[str, Any] = {}
    for batch in batches(4, 6, 3, 4, 5):
        carrying.update(batch)
        feeding.update({**batch, **states})
        states = {port: feeding.outputs[output] for port, output in plan.states.items()}
        assert carrying.current_loss() == feeding.current_loss()
    assert_same(values_of(carrying.arrays), values_of(feeding.arrays))
    for row in range(ROWS):
        for port, output in plan.states.items():
            assert carrying.state[row][port].tobytes() == feeding.outputs[output][row].tobytes()


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_each_window_is_the_oracles_from_the_states_where_the_last_one_ended_and_no_gradient_crosses(
    layer: Any,
) -> None:
    plan = recurrent_plan(layer, "examples", "float64")
    trainer = mxt.Trainer(plan, mxt.SGD(0.05), ROWS, carry=True)
    told = {"size": SIZE, **({"activation": layer.activation} if hasattr(layer, "activation") else {})}
    states: dict[str, Any] = {}
    for batch in batches(4, 2, 5):
        arrays = {path: array[:] for path, array in trainer.arrays.items()}
        trainer.update(batch)
        own = {path[len("layer.") :]: array for path, array in arrays.items() if path.startswith("layer.")}
        inputs = {"Input": np.stack(batch["Input"]).astype(np.float64), **states}
        result = ORACLES[type(layer).__name__](inputs, own, **told)
        given = result.outputs["Output"] @ arrays["linear.Weights"].T + arrays["linear.Biases"]
        error = given - np.stack(batch["Target"])
        assert trainer.current_loss()["Loss"] == pytest.approx(float((error**2).mean()), rel=1e-12)
        head = 2 * error / error.size
        expected = result.backward({"Output": head @ arrays["linear.Weights"]}).arrays
        for name, gradient in expected.items():
            np.testing.assert_allclose(trainer.gradients[f"layer.{name}"][:], gradient, rtol=1e-9, atol=1e-12)
        states = {port: result.outputs[port] for port in layer.states}


def test_a_short_batch_leaves_the_states_of_missing_rows_alone() -> None:
    trainer = mxt.Trainer(recurrent_plan(), Still(), ROWS, carry=True)
    first, second = batches(4, 4)
    trainer.update(first)
    before = states_of(trainer)
    trainer.update({port: rows[:2] for port, rows in second.items()})
    after = states_of(trainer)
    assert_same_states({2: before[2]}, {2: after[2]})
    assert not np.array_equal(before[1]["layer.State"], after[1]["layer.State"])


def test_a_state_that_is_given_wins_for_its_step_alone() -> None:
    given = np.full((ROWS, SIZE), 0.3, np.float32)
    trainer, other = (mxt.Trainer(recurrent_plan(mxt.GRU(SIZE)), Still(), ROWS, carry=True) for _ in range(2))
    first, second, third = batches(4, 4, 4)
    trainer.update(first)
    trainer.update({**second, "layer.State": given})
    for row in range(ROWS):
        other.state[row] = {"layer.State": given[row]}
    other.update(second)
    assert trainer.current_loss() == other.current_loss()
    trainer.update(third)
    other.update(third)
    assert trainer.current_loss() == other.current_loss()


def test_any_output_can_be_carried_to_any_input_of_its_type(state_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(state_plan, Still(), 2, carry={"StateIn": "StateOut"}, arrays={"linear.Weights": [[2.0]]})
    batch = {"Input": [1.0, 3.0], "Target": [0.0, 0.0]}
    for expected in ([2.0, 6.0], [6.0, 18.0], [14.0, 42.0]):  # 2 (x + s)
        trainer.update(batch)
        np.testing.assert_array_equal(trainer.outputs["StateOut"][:], expected)
    assert trainer.state[1]["StateIn"] == 42.0


def test_learning_goes_the_same_way_whether_batches_are_staged_or_not() -> None:
    plain, staged = (mxt.Trainer(recurrent_plan(), mxt.Adam(0.01), ROWS, carry=True) for _ in range(2))
    for batch in batches(4, 3, 4, 5):
        plain.update(batch)
        staged.stage(batch)
        staged.update()
    assert plain.current_loss() == staged.current_loss()
    assert_same_states(states_of(plain), states_of(staged))


# Beginning anew


def test_reset_lets_all_rows_begin_anew_also_where_the_next_batch_is_staged_already() -> None:
    trainer, fresh = (mxt.Trainer(recurrent_plan(), Still(), ROWS, carry=True) for _ in range(2))
    first, second = batches(4, 4)
    trainer.update(first)
    trainer.stage(second)
    trainer.reset()
    trainer.update()
    fresh.update(second)
    assert trainer.current_loss() == fresh.current_loss()
    assert_same_states(states_of(trainer), states_of(fresh))


@pytest.mark.parametrize("way", ["rows", "streams", "update"])
def test_some_rows_begin_anew_and_the_others_go_on(way: str) -> None:
    trainer, fresh, going = (mxt.Trainer(recurrent_plan(), Still(), ROWS, carry=True) for _ in range(3))
    first, second = batches(4, 4)
    trainer.update(first)
    going.update(first)
    options: dict[str, Any] = {}
    if way == "rows":
        trainer.reset(rows=[False, True, False])
    elif way == "streams":
        trainer.reset(streams=[1])
    else:
        options = {"reset": [False, True, False]}
    trainer.update(second, **options)
    fresh.update(second)
    going.update(second)
    expected = {0: going.state[0], 1: fresh.state[1], 2: going.state[2]}
    assert_same_states(states_of(trainer), expected)


@pytest.mark.parametrize("way", ["reset=", "reset()", "new"])
def test_what_begins_starts_at_a_constant_or_at_what_was_learned(way: str) -> None:
    for initial in (0.4, "learned"):
        plan = recurrent_plan(mxt.LSTM(SIZE, initial=initial))
        start = {} if initial == 0.4 else {f"layer.Initial{state}": np.full(SIZE, 0.4) for state in mxt.LSTM.states}
        trainer = mxt.Trainer(plan, Still(), ROWS, carry=True, arrays=start)
        zero = mxt.Trainer(recurrent_plan(), Still(), ROWS, carry=True)
        for path, array in zero.arrays.items():
            trainer.arrays[path] = array[:]
        first, second = batches(4, 4)
        if way != "new":
            trainer.update(first)
        if way == "reset()":
            trainer.reset()
        trainer.update(second, reset=[True] * ROWS if way == "reset=" else None)
        zero.update({**second, **{port: np.full((ROWS, SIZE), 0.4) for port in plan.states}})
        assert trainer.current_loss()["Loss"] == pytest.approx(zero.current_loss()["Loss"], rel=1e-6)
        assert trainer.outputs["Output"].asnumpy() == pytest.approx(zero.outputs["Output"].asnumpy(), rel=1e-6)


def test_a_learned_initial_state_gets_the_gradient_of_the_rows_that_begin_and_of_no_others() -> None:
    plan = recurrent_plan(mxt.GRU(SIZE, initial="learned"), "examples", "float64")
    trainer = mxt.Trainer(plan, Still(), ROWS, carry=True, input_gradients=["layer.State"])
    first, second = batches(4, 3)
    trainer.update(first, reset=[True] * ROWS)
    assert np.abs(trainer.gradients["layer.InitialState"][:]).min() > 0
    trainer.update(second)
    assert not trainer.gradients["layer.InitialState"][:].any()
    trainer.update(second, reset=[False, True, False])
    learned, each = trainer.gradients["layer.InitialState"][:], trainer.gradients["layer.State"][:]
    assert not each[1].any()
    assert each[0].any()
    alone = {port: rows[1:2] for port, rows in second.items()}
    assert learned == pytest.approx(_gradient_alone(plan, trainer, alone) / ROWS, rel=1e-9)


def _gradient_alone(plan: mxt.Plan, trainer: mxt.Trainer, batch: dict[str, Any]) -> Any:
    one = mxt.Trainer(plan, Still(), 1, carry=True, arrays=trainer.arrays)
    one.update(batch)
    return one.gradients["layer.InitialState"][:]


def test_ports_with_an_initial_value_may_be_left_out_without_carry_too() -> None:
    net = mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [(["Input", "Offset"], "add", "linear", "loss", "Loss")],
        inputs={"Input": mxt.Vector(2), "Offset": mxt.Vector(2, initial=0.5)},
    )
    executor = mxt.instantiate(mxt.compile_plan(net), 2)
    batch = {"Input": [[1.0, 2.0], [3.0, 4.0]], "Target": [[0.0, 0.0], [0.0, 0.0]]}
    executor.forward(batch)
    left_out = executor.outputs["Loss"].asnumpy()
    executor.forward({**batch, "Offset": np.full((2, 2), -3.0)})
    assert executor.outputs["Loss"].asnumpy() != pytest.approx(left_out)
    executor.forward(batch)
    np.testing.assert_array_equal(executor.outputs["Loss"].asnumpy(), left_out)
    executor.forward({**batch, "Offset": np.full((2, 2), 0.5)})
    np.testing.assert_array_equal(executor.outputs["Loss"].asnumpy(), left_out)


# Evaluation has a scope of its own


def test_evaluation_carries_over_the_batches_of_one_call_and_disturbs_nothing() -> None:
    plan = recurrent_plan()
    trainer = mxt.Trainer(plan, mxt.Adam(0.01), ROWS, carry=True)
    whole = [sequence(12, seed) for seed in range(ROWS)]
    parts = batches(4, 3, 5)
    trainer.update(parts[0])
    before = states_of(trainer)
    expected = trainer.evaluate(window(whole, [0] * ROWS, [12] * ROWS))
    for _ in range(2):  # each call begins anew
        found = trainer.evaluate(parts, outputs=["Output"])
        assert found.losses["Loss"] == pytest.approx(expected.losses["Loss"], rel=1e-6)
    joined = np.concatenate(
        [found.outputs["Output"][k * ROWS : (k + 1) * ROWS, :n] for k, n in enumerate((4, 3, 5))], 1
    )
    np.testing.assert_allclose(joined, expected.outputs["Output"], atol=1e-6)
    assert_same_states(before, states_of(trainer))


def test_evaluation_heeds_streams_and_resets_and_cuts_large_batches_by_rows() -> None:
    trainer = mxt.Trainer(recurrent_plan(), Still(), 2, carry=True)
    whole = [sequence(10, seed) for seed in range(5)]
    first = mxt.Batch(window(whole, [0] * 5, [4] * 5), streams=list("abcde"))
    second = mxt.Batch(window(whole[::-1], [4] * 5, [6] * 5), streams=list("edcba"), reset=[True, *[False] * 4])
    found = trainer.evaluate([first, second], outputs=["Output"]).ragged("Output")
    goes_on = trainer.evaluate(window(whole, [0] * 5, [10] * 5)).ragged("Output")
    begins = trainer.evaluate(window(whole[4:], [4], [6])).ragged("Output")[0]
    for row in range(4):
        np.testing.assert_allclose(found[9 - row], goes_on[row][4:], atol=1e-6)
    np.testing.assert_allclose(found[5], begins, atol=1e-6)
    assert len(trainer.state) == 0


def test_one_batch_is_evaluated_from_the_beginning_whatever_was_evaluated_before() -> None:
    trainer = mxt.Trainer(recurrent_plan(), Still(), ROWS, carry=True)
    parts = batches(4, 4, 4)
    first = trainer.evaluate(parts[2], outputs=["Output"]).outputs["Output"]
    trainer.evaluate(parts)
    np.testing.assert_array_equal(trainer.evaluate(parts[2], outputs=["Output"]).outputs["Output"], first)
    np.testing.assert_array_equal(trainer.evaluate(parts[2]).outputs["Output"], first)


def test_a_trainer_without_carry_evaluates_each_batch_from_the_beginning() -> None:
    trainer = mxt.Trainer(recurrent_plan(), Still(), ROWS)
    parts = batches(4, 4)
    each = [trainer.evaluate(part).losses["Loss"] for part in parts]
    assert trainer.evaluate(parts).losses["Loss"] == pytest.approx(np.mean(each), rel=1e-6)


# Failures


@pytest.mark.parametrize("guard", [True, 2])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_after_recovery_states_are_as_before_the_step_that_failed(fault: Any, guard: Any) -> None:
    plan, optimizer = plan_of(fault.way), fault.optimizer or mxt.Adam(0.01)
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
    if fault.optimizer is None:
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
    trainer, straight = (mxt.Trainer(recurrent_plan(), Still(), ROWS, carry=True) for _ in range(2))
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
