"""A net that keeps its state from call to call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from state_cases import LAYERS, SIZE, recurrent_plan, sequence

import mxtrainer as mxt
from mxtrainer._mxnet import mx


def trained(layer: Any = LAYERS[0], seed: int = 3) -> mxt.NetGraph:
    with mxt.Trainer(recurrent_plan(layer), mxt.SGD(0.1), 1, seed=seed) as trainer:
        return trainer.net()


@pytest.mark.parametrize("layer", [*LAYERS, mxt.GRU(SIZE, initial=0.3), mxt.LSTM(SIZE, initial="learned")], ids=repr)
def test_steps_one_by_one_give_what_the_whole_sequence_gives_at_once(layer: Any) -> None:
    net = trained(layer)
    if getattr(layer, "initial", 0) == "learned":
        net = net.with_arrays({**net.arrays, "layer.InitialState": [0.1, -0.2, 0.3]})
    x = sequence(7)["Input"]
    state = mxt.NetState(net, outputs=["linear"])
    whole = state(x)["linear"]
    assert whole.shape == (7, 2)
    final = state.states
    state.reset()
    for cut in ([1] * 7, [3, 4]):
        parts, begin = [], 0
        for steps in cut:
            parts.append(state(x[begin : begin + steps])["linear"])
            begin += steps
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
        for port, found in state.states.items():
            np.testing.assert_allclose(found, final[port], atol=1e-6)
        state.reset()


def test_many_rows_go_on_at_once_each_as_alone() -> None:
    net, rows = trained(), [sequence(5, seed)["Input"] for seed in range(3)]
    many = mxt.NetState(net, ["linear"], batch_size=3)
    found = [many(np.stack([row[begin : begin + 2] for row in rows]))["linear"] for begin in (0, 2)]
    for number, row in enumerate(rows):
        one = mxt.NetState(net, ["linear"])
        np.testing.assert_allclose(np.concatenate([part[number] for part in found]), one(row[:4])["linear"], atol=1e-6)
        np.testing.assert_allclose(many.states["layer.State"][number], one.states["layer.State"], atol=1e-6)


def test_rows_may_have_sequences_of_different_lengths() -> None:
    net, rows = trained(), [sequence(steps)["Input"] for steps in (2, 4)]
    many = mxt.NetState(net, ["linear"], batch_size=2)
    found = many([rows[0], rows[1]])["linear"]
    assert not found[0, 2:].any()
    for number, row in enumerate(rows):
        one = mxt.NetState(net, ["linear"])
        np.testing.assert_allclose(found[number, : len(row)], one(row)["linear"], atol=1e-6)
        np.testing.assert_allclose(many.states["layer.CellState"][number], one.states["layer.CellState"], atol=1e-6)


def test_a_copy_goes_its_own_way() -> None:
    state, x = mxt.NetState(trained(), ["linear"]), sequence(4)["Input"]
    state(x[:2])
    beam = state.copy()
    before = state.states
    beam(x[2:])
    for port, found in state.states.items():
        np.testing.assert_array_equal(found, before[port])
    other = beam.states
    state(x[2:])
    for port, found in state.states.items():
        np.testing.assert_array_equal(found, other[port])


def test_states_are_read_as_copies_and_can_be_given() -> None:
    state, x = mxt.NetState(trained(), ["linear"]), sequence(4)["Input"]
    assert not any(found.any() for found in state.states.values())
    state(x)
    found = state.states
    found["layer.State"][:] = 7
    assert state.states["layer.State"].max() < 1
    state.reset({"layer.State": [0.5, 0.5, 0.5]})
    np.testing.assert_array_equal(state.states["layer.State"], [0.5] * 3)
    assert not state.states["layer.CellState"].any()
    given = state(x)["linear"]
    state.reset()
    np.testing.assert_array_equal(state({"Input": x, "layer.State": np.full(3, 0.5)})["linear"], given)


def test_losses_are_left_out_and_what_feeds_them_comes_instead() -> None:
    net = mxt.NetChain(
        [mxt.Embedding(4), mxt.LSTM(3), mxt.Linear(5), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(5))},
    )
    with mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 1) as trainer:
        state = mxt.NetState(trainer.net())
    assert repr(state) == "NetState(Input -> linear; lstm.State, lstm.CellState)"
    number = 0
    for _ in range(3):
        number = int(state([number])["linear"][0].argmax())
    assert set(mxt.NetState(trained())([[1.0, 2.0]])) == {"Output"}


def test_states_of_ones_own_are_kept_too(state_plan: mxt.Plan) -> None:
    net = state_plan.net.with_arrays({"linear.Weights": [[2.0]], "linear.Biases": [0.0]})
    state = mxt.NetState(net, ["linear"], carry={"StateIn": "StateOut"})
    assert [float(state(1.0)["linear"]) for _ in range(3)] == [2.0, 6.0, 14.0]


def test_outputs_may_be_states_and_inputs_several() -> None:
    net = mxt.NetGraph(
        {"gru": mxt.GRU(3), "last": mxt.SequenceLast(), "add": mxt.Threading("plus")},
        [("Input", "gru", "last"), (["last", "Bias"], "add", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2)), "Bias": mxt.Vector(3)},
    )
    net = net.with_arrays(mxt.instantiate(mxt.compile_plan(net, losses={"Output": 0.0}), 1, {"t": 1}).arrays)
    state = mxt.NetState(net, ["Output", "gru.State"])
    found = state({"Input": sequence(4)["Input"], "Bias": [1.0, 2.0, 3.0]})
    np.testing.assert_allclose(found["Output"], found["gru.State"] + [1, 2, 3], rtol=1e-6)
    with pytest.raises(mxt.BatchError, match="inputs Input, Bias: give a mapping of them"):
        state(sequence(4)["Input"])


def test_what_cannot_be_is_refused_and_the_state_stays(linear_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.ArgumentError, match="takes a net with arrays"):
        mxt.NetState(linear_plan)  # type: ignore[arg-type]
    with pytest.raises(mxt.NetError, match="no state to keep: no recurrent layer"):
        mxt.NetState(linear_plan.net)
    with pytest.raises(mxt.NetError, match=r'no values for "layer.InputWeights"; give a net with arrays'):
        mxt.NetState(recurrent_plan().net)
    with pytest.raises(mxt.UnknownNameError, match='no output or layer "liner"; did you mean "linear"'):
        mxt.NetState(trained(), ["liner"])
    with pytest.raises(mxt.ArgumentError, match="outputs names nothing"):
        mxt.NetState(trained(), [])
    with pytest.raises(mxt.ArgumentError, match="keeps no state"):
        mxt.NetState(trained(), carry=False)
    state = mxt.NetState(trained(), ["linear"])
    state(sequence(3)["Input"])
    before = state.states
    for wrong in (np.zeros((3, 4)), np.zeros(2), [[1.0], [2.0, 3.0]], {"Inputs": np.zeros((3, 2))}, np.zeros((0, 2))):
        with pytest.raises(mxt.BatchError):
            state(wrong)
    for states in ({"layer.State": [1.0]}, 3, {"layer.State": "x"}):
        with pytest.raises(mxt.BatchError):
            state.reset(states)  # type: ignore[arg-type]
    with pytest.raises(mxt.UnknownNameError, match=r'no state "layer.Stat"; did you mean'):
        state.reset({"layer.Stat": [1.0, 1.0, 1.0]})
    for port, found in state.states.items():
        np.testing.assert_array_equal(found, before[port])
    with pytest.raises(mxt.BatchError, match="it has 2 rows, and the state is of 3"):
        mxt.NetState(trained(), ["linear"], batch_size=3)(np.zeros((2, 4, 2)))


def test_ndarrays_are_taken_too() -> None:
    state, x = mxt.NetState(trained(), ["linear"]), sequence(4)["Input"]
    expected = state(x)["linear"]
    state.reset()
    np.testing.assert_array_equal(state(mx.nd.array(x))["linear"], expected)
    many = mxt.NetState(trained(), ["linear"], batch_size=2)
    many.reset({"layer.State": mx.nd.ones((2, SIZE))})
    np.testing.assert_array_equal(many.states["layer.State"], np.ones((2, SIZE)))


def test_lengths_of_a_batch_are_heeded_and_what_cannot_be_is_refused() -> None:
    net, x = trained(), np.stack([sequence(5, seed)["Input"] for seed in range(2)])
    padded, ragged = (mxt.NetState(net, ["linear"], batch_size=2) for _ in range(2))
    padded(mxt.Batch({"Input": x}, lengths={"t": [3, 5]}))
    ragged({"Input": [x[0, :3], x[1]]})
    for port, found in padded.states.items():
        np.testing.assert_array_equal(found, ragged.states[port])
    with pytest.raises(mxt.BatchError, match="the batch has streams, reset, which a NetState does not heed"):
        padded(mxt.Batch({"Input": x}, streams=[0, 1], reset=[True, False]))
    with pytest.raises(mxt.BatchError, match=r"expected \(batch, t, 2\), found \(1, 2, 5, 2\)(.|\n)*adds one of 1"):
        mxt.NetState(net, ["linear"])(x)


def test_a_net_of_float64_stays_so() -> None:
    plan = recurrent_plan(dtype="float64")
    with mxt.Trainer(plan, mxt.SGD(0.1), 1) as trainer:
        state = mxt.NetState(trainer.net(), ["linear"])
        x = sequence(6)["Input"].astype(np.float64)
        found = trainer.evaluate({"Input": x[None]}, outputs=["linear"]).outputs["linear"][0]
    assert state(x)["linear"].dtype == np.float64
    np.testing.assert_array_equal(mxt.NetState(trainer_net(plan), ["linear"])(x)["linear"], found)


def trainer_net(plan: mxt.Plan) -> mxt.NetGraph:
    with mxt.Trainer(plan, mxt.SGD(0.1), 1) as trainer:
        return trainer.net()


def test_states_that_are_not_kept_are_no_outputs_by_default() -> None:
    net = mxt.NetGraph(
        {"gru": mxt.GRU(2), "last": mxt.SequenceLast(), "add": mxt.Threading("plus"), "loss": mxt.MeanSquaredLoss()},
        [("Input", "gru", "last"), (["last", "StateIn"], "add", "StateOut"), ("add", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2)), "StateIn": mxt.Vector(2)},
    )
    plan = mxt.compile_plan(net, losses={"StateOut": 0.0})
    state = mxt.NetState(trainer_net(plan), carry={"StateIn": "StateOut"})
    assert set(state(sequence(3)["Input"])) == {"add"}


def test_what_goes_into_the_loss_is_the_output_by_default_whatever_port_it_is_of() -> None:
    net = mxt.NetGraph(
        {"gru": mxt.GRU(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "gru.Input"), ("gru.State", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )
    state = mxt.NetState(trainer_net(mxt.compile_plan(net)))
    found = state(sequence(3)["Input"])
    assert set(found) == {"gru.State"}
    np.testing.assert_array_equal(found["gru.State"], state.states["gru.State"])
