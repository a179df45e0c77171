"""What a plan prints: its lowered graph, and its tables."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import chain_plan, full_plan

import mxtrainer as mxt


def test_lowered_graph_of_training_drops_and_that_of_evaluation_does_not() -> None:
    plan = full_plan()
    assert "Op:Dropout" in plan.lowered({"t": 3})
    assert "Op:Dropout" not in plan.lowered({"t": 3}, training=False)
    assert "Op:RNN" in plan.lowered({"t": 3}, training=False)


def test_lowered_graph_names_layers_inputs_arrays_and_outputs() -> None:
    text = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).lowered()
    for name in ("input:Input", "input:Target", "array:linear.Weights", "linear.fullyconnected0", "output:Loss"):
        assert name in text


def test_lowered_graph_does_not_depend_on_what_was_lowered_before() -> None:
    plan = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss())
    assert plan.lowered() == plan.lowered()


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        (None, r'the number of steps of "t" is missing, as in \{"t": 64\}'),
        ({"t": 0}, 'lengths: "t" must be a positive integer, got 0'),
        ({"t": 2.5}, "must be a positive integer"),
        ({"t": 3, "s": 3}, 'the plan has no length "s"'),
        ({"tt": 3}, 'did you mean "t"'),
        (3, "lengths must map length names to numbers of steps"),
    ],
)
def test_lengths_of_a_lowering_are_checked(lengths: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        full_plan().lowered(lengths)


def test_repr_shows_ports_and_str_shows_tables() -> None:
    plan = chain_plan(mxt.Linear(2), mxt.BatchNorm(), mxt.MeanSquaredLoss())
    assert repr(plan) == f"Plan(Input, Target -> Loss, float32, {plan.content_hash[:12]})"
    assert str(plan).splitlines() == [
        repr(plan),
        "",
        "        port    type       dtype",
        "input   Input   Vector(3)  float32",
        "input   Target  Vector(2)  float32",
        "output  Loss    Scalar()   float32  weight 1",
        "",
        "array                     shape   elements  initializer",
        "linear.Weights            (2, 3)  6         Xavier()",
        "linear.Biases             (2,)    2         Zeros()",
        "batchnorm.Scaling         (2,)    2         Ones()",
        "batchnorm.Biases          (2,)    2         Zeros()",
        "batchnorm.MovingMean      (2,)    2         auxiliary",
        "batchnorm.MovingVariance  (2,)    2         auxiliary",
        "12 elements to train",
    ]


def test_plan_without_arrays_prints() -> None:
    assert str(chain_plan(mxt.Flatten(), losses={"Output": 0.0})).endswith("0 elements to train")
