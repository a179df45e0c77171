"""States that are carried from step to step: what goes on, what starts anew, and what fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from reference import ORACLES
from state_cases import (
    LAYERS,
    ROWS,
    SIZE,
    assert_same_states,
    batches,
    recurrent_plan,
    sequence,
    states_of,
    window,
)

import mxtrainer as mxt

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
    trainer = mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True)
    first, second = batches(4, 4)
    trainer.update(first)
    before = states_of(trainer)
    trainer.update({port: rows[:2] for port, rows in second.items()})
    after = states_of(trainer)
    assert_same_states({2: before[2]}, {2: after[2]})
    assert not np.array_equal(before[1]["layer.State"], after[1]["layer.State"])


def test_a_state_that_is_given_wins_for_its_step_alone() -> None:
    given = np.full((ROWS, SIZE), 0.3, np.float32)
    trainer, other = (mxt.Trainer(recurrent_plan(mxt.GRU(SIZE)), mxt.SGD(0.0), ROWS, carry=True) for _ in range(2))
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
    trainer = mxt.Trainer(
        state_plan, mxt.SGD(0.0), 2, carry={"StateIn": "StateOut"}, arrays={"linear.Weights": [[2.0]]}
    )
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
    trainer, fresh = (mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True) for _ in range(2))
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
    trainer, fresh, going = (mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True) for _ in range(3))
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
        trainer = mxt.Trainer(plan, mxt.SGD(0.0), ROWS, carry=True, arrays=start)
        zero = mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True)
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
    trainer = mxt.Trainer(plan, mxt.SGD(0.0), ROWS, carry=True, input_gradients=["layer.State"])
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
    one = mxt.Trainer(plan, mxt.SGD(0.0), 1, carry=True, arrays=trainer.arrays)
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
    trainer = mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), 2, carry=True)
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
    trainer = mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS, carry=True)
    parts = batches(4, 4, 4)
    first = trainer.evaluate(parts[2], outputs=["Output"]).outputs["Output"]
    trainer.evaluate(parts)
    np.testing.assert_array_equal(trainer.evaluate(parts[2], outputs=["Output"]).outputs["Output"], first)
    np.testing.assert_array_equal(trainer.evaluate(parts[2]).outputs["Output"], first)


def test_a_trainer_without_carry_evaluates_each_batch_from_the_beginning() -> None:
    trainer = mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), ROWS)
    parts = batches(4, 4)
    each = [trainer.evaluate(part).losses["Loss"] for part in parts]
    assert trainer.evaluate(parts).losses["Loss"] == pytest.approx(np.mean(each), rel=1e-6)
