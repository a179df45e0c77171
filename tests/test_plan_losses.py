"""What a plan takes as losses: their weights, the outputs that must be listed, and example weights."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import chain_plan

import mxtrainer as mxt
from mxtrainer.plans.plan import LossSpec

HUGE = pytest.param(10**400, id="huge")


def test_port_of_a_loss_counts_as_one_unless_given() -> None:
    layers = (mxt.Linear(2), mxt.MeanSquaredLoss())
    assert chain_plan(*layers).losses["Loss"] == LossSpec(1.0, None, None, is_loss=True)
    assert chain_plan(*layers, losses={"Loss": -0.5}).losses["Loss"].weight == -0.5
    assert chain_plan(*layers, losses={"Loss": 0}).losses["Loss"].weight == 0.0


def test_output_that_is_no_loss_must_be_listed() -> None:
    with pytest.raises(mxt.NetError, match=r'the output "Output" feeds no loss.*losses=\{"Output": 0.0\}'):
        chain_plan(mxt.Linear(2))
    assert chain_plan(mxt.Linear(2), losses={"Output": 0.0}).losses["Output"] == LossSpec(
        0.0, None, None, is_loss=False
    )
    assert chain_plan(mxt.Linear(2), losses={"Output": 2}).losses["Output"] == LossSpec(2.0, None, None, is_loss=False)


def test_state_ports_need_not_be_listed_but_states_taken_out_by_a_path_do() -> None:
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(3))}
    net = mxt.NetChain({"n": mxt.NetChain([mxt.LSTM(3)]), "loss": mxt.MeanSquaredLoss()}, inputs)
    plan = mxt.compile_plan(net.with_states())
    assert {name: loss.weight for name, loss in plan.losses.items()} == {
        "Loss": 1.0,
        "n.lstm.State": 0.0,
        "n.lstm.CellState": 0.0,
    }
    assert mxt.compile_plan(net.with_states(), {"n.lstm.State": 1.0}).losses["n.lstm.State"].weight == 1.0
    taken = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru.Input"), ("gru.State", "End")], inputs)
    with pytest.raises(mxt.NetError, match='"End" feeds no loss'):
        mxt.compile_plan(taken)
    part = net.with_states().take({"n.lstm.State": "n.lstm.State"})
    assert mxt.compile_plan(part).losses["n.lstm.State"].weight == 0.0


def test_output_named_like_its_layers_port_must_be_listed_where_it_is_no_state() -> None:
    net = mxt.NetChain([mxt.Linear(3)], {"Input": mxt.Vector(2)}).take({"linear.Output": "linear"})
    with pytest.raises(mxt.NetError, match=r'"linear\.Output" feeds no loss'):
        mxt.compile_plan(net)


def test_error_rate_is_never_trained() -> None:
    layers = (mxt.Linear(3), mxt.ErrorRate())
    assert chain_plan(*layers).losses["ErrorRate"] == LossSpec(0.0, None, None, is_loss=True, trained=False)
    with pytest.raises(
        mxt.NetError, match=r'"ErrorRate" comes from ErrorRate\(\), which has no gradient.*weight must be 0'
    ):
        chain_plan(*layers, losses={"ErrorRate": 1.0})


def test_loss_that_averages_over_steps_names_its_length() -> None:
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(3))}
    assert chain_plan(mxt.MeanSquaredLoss("steps"), inputs=inputs).losses["Loss"].length == "t"
    assert chain_plan(mxt.MeanSquaredLoss(), inputs=inputs).losses["Loss"].length is None
    assert chain_plan(mxt.MeanSquaredLoss("steps")).losses["Loss"].length is None


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ({"Lost": 1.0}, 'losses: the net has no output "Lost"; did you mean "Loss"? Its outputs: Loss'),
        ({3: 1.0}, 'losses: the net has no output "3"'),
        ([("Loss", 1.0)], 'losses must map output ports, as in {"Loss": 1.0}'),
        ("Loss", "losses must map output ports"),
        (0, "losses must map output ports"),
    ],
)
def test_losses_that_name_no_output_are_refused(losses: Any, text: str) -> None:
    with pytest.raises(mxt.NetError) as raised:
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), losses=losses)
    assert text in str(raised.value)


@pytest.mark.parametrize("weight", [None, "1", True, float("nan"), float("inf"), HUGE, [1.0]])
def test_weight_that_is_no_number_is_refused(weight: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match='losses: the weight of "Loss" must be a finite number'):
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), losses={"Loss": weight})


def test_two_losses_may_have_the_same_example_weights() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "a": mxt.MeanSquaredLoss(), "b": mxt.MeanAbsoluteLoss()},
        [("Input", "linear", "a", "A"), ("linear", "b", "B"), ("Target", "a.Target"), ("Target", "b.Target")],
        {"Input": mxt.Vector(2)},
    )
    plan = mxt.compile_plan(net, example_weights={"A": "Weight", "B": "Weight"})
    assert tuple(plan.inputs) == ("Input", "Target", "Weight")
    assert [loss.example_weights for loss in plan.losses.values()] == ["Weight", "Weight"]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"Lost": "Weight"}, 'example_weights: the net has no output "Lost"; did you mean "Loss"?'),
        ({"Output": "Weight"}, '"Output" comes from no loss layer'),
        ({"Loss": "Input"}, "needs the name of a new input port, without a dot, got 'Input'; taken: Input, Target"),
        ({"Loss": "linear"}, "got 'linear'"),
        ({"Loss": ""}, "got ''"),
        ({"Loss": "a.b"}, "got 'a.b'"),
        ({"Loss": "a\n"}, "got 'a"),
        ({"Loss": None}, "got None"),
        ({"Loss": 1.0}, "got 1.0"),
        (["Loss"], 'example_weights must map output ports, as in {"Loss": "Weight"}'),
    ],
)
def test_example_weights_that_cannot_be_are_refused(weights: Any, text: str) -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "linear", "loss", "Loss"), ("linear", "Output")],
        {"Input": mxt.Vector(2)},
    )
    with pytest.raises(mxt.NetError) as raised:
        mxt.compile_plan(net, {"Output": 0.0}, weights)
    assert text in str(raised.value)
