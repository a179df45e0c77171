"""What a plan says of its parts: ports, arrays, states, lengths and their dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plan_cases import chain_plan, full_plan

import mxtrainer as mxt
from mxtrainer.arrays import ArraySpec
from mxtrainer.plans.plan import PortSpec

TOKENS = mxt.Sequence("t", mxt.Index(11))


# Parts


def test_inputs_are_the_ports_of_the_net_and_those_of_example_weights_last() -> None:
    plan = full_plan()
    assert tuple(plan.inputs) == ("Input", "Target", "body.lstm.State", "body.lstm.CellState", "Weight")
    assert plan.inputs["Input"] == PortSpec("Input", TOKENS, "int32", "int32")
    assert plan.inputs["Weight"] == PortSpec("Weight", mxt.Scalar(), "float32", "float32")


def test_port_says_its_shape_its_length_and_its_count() -> None:
    plan = full_plan()
    assert plan.inputs["Input"].shape(4, {"t": 7}) == (4, 7)
    assert plan.outputs["Output"].shape(4, {"t": 7}) == (4, 7, 11)
    assert plan.inputs["body.lstm.State"].shape(4, {}) == (4, 5)
    assert (plan.inputs["Input"].length, plan.inputs["Input"].count) == ("t", 11)
    assert (plan.inputs["Weight"].length, plan.inputs["Weight"].count) == (None, None)


def test_port_with_a_dtype_of_its_own_is_transferred_in_it() -> None:
    plan = chain_plan(mxt.Flatten(), inputs={"Input": mxt.Array((2, 2), dtype="uint8")}, losses={"Output": 0.0})
    assert (plan.inputs["Input"].dtype, plan.inputs["Input"].transfer_dtype) == ("float32", "uint8")
    assert plan.outputs["Output"] == PortSpec("Output", mxt.Vector(4), "float32", "float32")


def test_outputs_are_the_ports_of_the_net() -> None:
    plan = full_plan()
    assert tuple(plan.outputs) == ("Loss", "ErrorRate", "Output", "body.lstm.State", "body.lstm.CellState")
    assert tuple(plan.losses) == tuple(plan.outputs)


def test_parameters_stand_in_the_order_of_layers_depth_first_then_of_arrays() -> None:
    plan = full_plan()
    assert tuple(plan.parameters) == (
        "embedding.Weights",
        "body.lstm.InputWeights",
        "body.lstm.StateWeights",
        "body.lstm.InputBiases",
        "body.lstm.StateBiases",
        "body.batchnorm.Scaling",
        "body.batchnorm.Biases",
        "body.linear.Biases",
    )
    assert tuple(plan.auxiliary) == ("body.batchnorm.MovingMean", "body.batchnorm.MovingVariance")
    assert plan.parameters["body.lstm.InputWeights"].shape == (20, 5)
    assert not any(spec.auxiliary for spec in plan.parameters.values())
    assert all(spec.auxiliary for spec in plan.auxiliary.values())


def test_order_of_arrays_is_that_of_layers_as_written_not_of_paths() -> None:
    net = mxt.NetGraph(
        {"b": mxt.Linear(2), "a": mxt.Linear(2)}, [("Input", "a", "b", "Output")], {"Input": mxt.Vector(2)}
    )
    assert [path.partition(".")[0] for path in mxt.compile_plan(net, {"Output": 0.0}).parameters] == [
        "b",
        "b",
        "a",
        "a",
    ]


def test_shared_array_counts_once_and_every_node_names_its_owner() -> None:
    plan = full_plan()
    assert plan.nodes["body.linear"].arrays["Weights"] == "embedding.Weights"
    assert plan.nodes["body.linear"].arrays["Biases"] == "body.linear.Biases"


def test_owner_may_stand_behind_its_user() -> None:
    net = mxt.NetChain({"a": mxt.Linear(3), "b": mxt.Linear(3)}, {"Input": mxt.Vector(3)}, share={"a": "b"})
    assert tuple(mxt.compile_plan(net, {"Output": 0.0}).parameters) == ("b.Weights", "b.Biases")


def test_arrays_lie_as_one_vector_only_where_nobody_groups_them_otherwise() -> None:
    layers = {"a": mxt.GRU(3), "b": mxt.GRU(3)}
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(3))}

    def packs(share: dict[str, str]) -> list[int]:
        plan = mxt.compile_plan(mxt.NetChain(layers, inputs, share), {"Output": 0.0})
        return [len(plan.nodes[name].packs) for name in layers]

    assert packs({}) == [1, 1]
    assert packs({"b": "a"}) == [1, 1]
    assert packs({"b.StateWeights": "a.StateWeights"}) == [0, 0]
    assert packs({"b.StateBiases": "b.InputBiases"}) == [1, 0]  # one array twice is no vector


def test_initializer_is_that_of_the_layer_or_the_one_that_was_chosen() -> None:
    plan = full_plan()
    assert plan.parameters["body.linear.Biases"].initializer == mxt.initializers.Ones()
    forget = mxt.initializers.ForgetBias(2)
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(2))}
    plan = chain_plan(mxt.LSTM(3, initializers={"InputBiases": forget}), inputs=inputs, losses={"Output": 0.0})
    assert plan.parameters["lstm.InputBiases"] == ArraySpec("lstm.InputBiases", (12,), "float32", forget)
    assert plan.parameters["lstm.StateBiases"].initializer == mxt.initializers.Zeros()


def test_states_map_each_state_input_to_its_output() -> None:
    assert dict(full_plan().states) == {port: port for port in ("body.lstm.State", "body.lstm.CellState")}
    net = mxt.NetGraph(
        {"gru": mxt.GRU(2)},
        [("Input", "gru", "Output"), ("Start", "gru.State"), ("gru.State", "End")],
        {"Input": mxt.Sequence("t", mxt.Scalar())},
    )
    assert dict(mxt.compile_plan(net, {"Output": 0.0, "End": 0.0}).states) == {"Start": "End"}


def test_state_that_is_not_taken_out_or_not_put_in_is_none_of_the_states() -> None:
    inputs = {"Input": mxt.Sequence("t", mxt.Scalar())}
    net = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru", "Output"), ("Start", "gru.State")], inputs)
    assert not mxt.compile_plan(net, {"Output": 0.0}).states
    net = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru", "Output"), ("gru.State", "End")], inputs)
    assert not mxt.compile_plan(net, {"Output": 0.0, "End": 0.0}).states


def test_start_of_several_layers_is_none_of_the_states() -> None:
    net = mxt.NetGraph(
        {"a": mxt.GRU(2), "b": mxt.GRU(2)},
        [("Input", "a", "b", "Output"), ("Start", "a.State"), ("Start", "b.State"), ("a.State", "A"), ("b.State", "B")],
        {"Input": mxt.Sequence("t", mxt.Scalar())},
    )
    assert not mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0)).states


def test_random_nodes_are_those_that_drop() -> None:
    assert full_plan().random_nodes == ("body.dropout",)
    assert chain_plan(mxt.Dropout(0.0), losses={"Output": 0.0}).random_nodes == ()


def test_lengths_are_named_in_the_order_of_the_ports() -> None:
    net = mxt.NetGraph(
        {"a": mxt.GRU(2), "b": mxt.GRU(2)},
        [("X", "a", "A"), ("Y", "b", "B")],
        {"Y": mxt.Sequence("t", mxt.Scalar()), "X": mxt.Sequence("s", mxt.Scalar())},
    )
    assert mxt.compile_plan(net, {"A": 0.0, "B": 0.0}).lengths == ("s", "t")
    assert chain_plan(mxt.Linear(2), losses={"Output": 0.0}).lengths == ()


def test_unknown_names_of_a_plan_are_offered_the_nearest() -> None:
    plan = full_plan()
    for mapping, name, text in [
        (plan.inputs, "Inptu", 'the plan has no input "Inptu"; did you mean "Input"?'),
        (plan.outputs, "Los", 'the plan has no output "Los"; did you mean "Loss"?'),
        (plan.parameters, "embedding.Weight", 'no array "embedding.Weight"; did you mean "embedding.Weights"?'),
    ]:
        with pytest.raises(mxt.UnknownNameError) as raised:
            mapping[name]  # type: ignore[index]  # of mappings of several kinds
        assert text in str(raised.value)


# dtype


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64")])
def test_dtype_is_that_of_all_real_arrays(dtype: Any) -> None:
    plan = chain_plan(mxt.Linear(3), mxt.BatchNorm(), mxt.CrossEntropyLoss("index"), dtype=dtype)
    assert plan.dtype == "float64"
    arrays = [*plan.parameters.values(), *plan.auxiliary.values()]
    assert {spec.dtype for spec in arrays} == {spec.dtype for spec in plan.outputs.values()} == {"float64"}
    assert [spec.dtype for spec in plan.inputs.values()] == ["float64", "int32"]


@pytest.mark.parametrize("dtype", ["float16", "int32", "double", None, 64, np.float16])
def test_dtype_that_cannot_be_trained_in_is_refused(dtype: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="dtype must be one of float32, float64, got"):
        chain_plan(mxt.Linear(3), mxt.MeanSquaredLoss(), dtype=dtype)
