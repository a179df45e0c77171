"""What holds for nets inside of nets, and for very many layers: order, types and sharing."""

from __future__ import annotations

import copy
import pickle

import pytest
from net_cases import VECTORS, nested

import mxtrainer as mxt
from mxtrainer.plans.graph import Source


def test_nested_nets_are_flattened_depth_first() -> None:
    assert tuple(nested().graph.nodes) == (
        "middle.first.gru",
        "middle.first.linear",
        "middle.second.gru",
        "middle.second.linear",
        "last",
        "loss",
    )
    assert nested().graph.nodes["middle.second.gru"].feeds["Input"] == Source("middle.first.linear", "Output")


def test_types_go_through_nested_nets() -> None:
    assert nested().inputs["Target"] == mxt.Vector(3)
    assert nested().types.nodes["middle.second.linear"].outputs["Output"] == VECTORS


def test_share_inside_of_a_nested_net_holds_at_its_place() -> None:
    graph = nested().graph
    assert graph.owner_of("middle.second.linear.Weights") == "middle.first.linear.Weights"
    assert graph.owner_of("middle.second.gru.InputWeights") == "middle.second.gru.InputWeights"


def test_share_of_nets_goes_on_to_the_share_inside_of_them() -> None:
    tied = mxt.NetChain({"a": mxt.Linear(3), "b": mxt.Linear(3)}, share={"b": "a"})
    net = mxt.NetChain({"left": tied, "right": tied}, share={"right": "left"}, inputs={"Input": mxt.Vector(3)})
    assert {net.graph.owner_of(f"{path}.Weights") for path in ("left.a", "left.b", "right.a", "right.b")} == {
        "left.a.Weights"
    }
    assert tuple(mxt.compile_plan(net, {"Output": 0.0}).parameters) == ("left.a.Weights", "left.a.Biases")


def test_type_given_to_a_nested_net_holds_where_it_is_used() -> None:
    inner = mxt.NetChain([mxt.Linear(2)], inputs={"Input": mxt.Vector(7, dtype="uint8")})
    assert mxt.NetChain({"inner": inner}).inputs["Input"] == mxt.Vector(7)
    assert mxt.NetChain({"outer": mxt.NetChain({"inner": inner})}).inputs["Input"] == mxt.Vector(7)
    with pytest.raises(mxt.NetError, match=r'layer "inner.linear", port "Input": needs Vector\(7\).*gives Vector\(6\)'):
        mxt.NetChain({"inner": inner}, inputs={"Input": mxt.Vector(6)})


def test_same_net_may_be_used_twice_with_other_types() -> None:
    inner = mxt.NetChain([mxt.Linear(2)])
    net = mxt.NetGraph(
        {"a": inner, "b": inner}, [("X", "a", "A"), ("Y", "b", "B")], {"X": mxt.Vector(3), "Y": mxt.Scalar()}
    )
    plan = mxt.compile_plan(net, {"A": 0.0, "B": 0.0})
    assert plan.parameters["a.linear.Weights"].shape == (2, 3)
    assert plan.parameters["b.linear.Weights"].shape == (2, 1)


def test_nets_may_be_nested_deeply() -> None:
    net = mxt.NetChain([mxt.Linear(2)])
    for _ in range(60):
        net = mxt.NetChain({"n": net})
    assert mxt.NetGraph.from_json(net.to_json()) == net
    assert pickle.loads(pickle.dumps(net)) == net  # noqa: S301 - our own bytes
    assert hash(net) == hash(copy.deepcopy(net))


def test_chain_of_a_thousand_layers_is_no_burden() -> None:
    layers = {f"layer{number}": mxt.Elementwise("tanh") for number in reversed(range(1000))}
    net = mxt.NetGraph(layers, [("Input", *reversed(layers), "Output")], inputs={"Input": VECTORS})
    assert net.graph.order == tuple(reversed(layers))
    assert net.outputs["Output"] == VECTORS
