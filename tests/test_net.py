"""A net is a value: it compares by its description, with its arrays, and cannot be changed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from net_cases import NETS, language_model, seed_net

import mxtrainer as mxt


def test_nets_are_equal_where_their_descriptions_are() -> None:
    assert seed_net() == seed_net()
    assert hash(seed_net()) == hash(seed_net())
    assert seed_net() != language_model()
    assert seed_net() != "a net"


def test_nets_differ_in_layers_types_share_and_order() -> None:
    layers: dict[str, mxt.plans.layers.base.Layer] = {"a": mxt.Linear(3), "b": mxt.Linear(3)}
    base = mxt.NetChain(layers, {"Input": mxt.Vector(3)})
    assert base != mxt.NetChain(layers)
    assert base != mxt.NetChain(layers, {"Input": mxt.Vector(3, dtype="uint8")})
    assert base != mxt.NetChain(layers, {"Input": mxt.Vector(3)}, share={"b": "a"})
    assert base != mxt.NetChain({**layers, "b": mxt.Linear(4)}, {"Input": mxt.Vector(3)})
    turned = mxt.NetGraph(
        {"b": mxt.Linear(3), "a": mxt.Linear(3)}, [("Input", "a", "b", "Output")], {"Input": mxt.Vector(3)}
    )
    assert base != turned  # its arrays lie in another order


def test_type_that_follows_need_not_be_given_to_be_the_same_net() -> None:
    layers = [mxt.Linear(3), mxt.MeanSquaredLoss()]
    one = mxt.NetChain(layers, {"Input": mxt.Vector(2)})
    other = mxt.NetChain(layers, {"Target": mxt.Vector(3), "Input": mxt.Vector(2)})
    assert one == other
    assert one.to_json() == other.to_json()


def test_share_may_be_given_in_any_order() -> None:
    layers = {"a": mxt.Linear(3), "b": mxt.Linear(3), "c": mxt.Linear(3)}
    one, other = (mxt.NetChain(layers, share=share) for share in ({"b": "a", "c": "a"}, {"c": "a", "b": "a"}))
    assert one == other
    assert one.to_json() == other.to_json()


def test_arrays_are_copied_and_cannot_be_written() -> None:
    given = np.zeros(3)
    net = mxt.NetChain([mxt.Linear(3)]).with_arrays({"linear.Biases": given})
    given[:] = 1
    np.testing.assert_array_equal(net.arrays["linear.Biases"], np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        net.arrays["linear.Biases"][0] = 1


def test_nets_with_arrays_compare_them() -> None:
    net = mxt.NetChain([mxt.Linear(3)])
    biases = net.with_arrays({"linear.Biases": np.zeros(3)})
    assert biases != net
    assert biases == net.with_arrays({"linear.Biases": np.zeros(3)})
    assert biases != net.with_arrays({"linear.Biases": np.ones(3)})
    assert biases != net.with_arrays({"linear.Biases": np.zeros(3, np.float32)})
    assert biases != net.with_arrays({"linear.Weights": np.zeros(3)})
    assert net.with_arrays({"linear.Biases": [np.nan]}) == net.with_arrays({"linear.Biases": [np.nan]})
    assert biases.with_arrays({}) == net
    assert hash(biases) == hash(net)


def test_with_arrays_leaves_the_net_as_it_is() -> None:
    net = mxt.NetChain([mxt.Linear(3)])
    net.with_arrays({"linear.Biases": np.zeros(3)})
    assert not net.arrays


@pytest.mark.parametrize("name", ["layers", "inputs", "arrays", "anything"])
def test_net_cannot_be_changed(name: str) -> None:
    net = seed_net()
    with pytest.raises(AttributeError, match="build another one"):
        setattr(net, name, {})
    with pytest.raises(AttributeError, match="build another one"):
        delattr(net, name)


def test_mappings_of_a_net_cannot_be_changed() -> None:
    net: Any = seed_net()
    for mapping in (net.layers, net.inputs, net.outputs, net.share, net.arrays, net.feeds, net.layer_inputs):
        with pytest.raises(TypeError):
            mapping["x"] = 1


def test_net_does_not_follow_changes_of_what_it_was_built_from() -> None:
    layers: dict[str, Any] = {"linear": mxt.Linear(3)}
    inputs = {"Input": mxt.Vector(2)}
    net = mxt.NetGraph(layers, [("Input", "linear", "Output")], inputs)
    layers["more"] = mxt.Linear(2)
    inputs["Input"] = mxt.Vector(9)
    assert tuple(net.layers) == ("linear",)
    assert net.inputs["Input"] == mxt.Vector(2)


def test_repr_shows_ports_and_str_shows_every_layer() -> None:
    assert repr(seed_net()) == "NetGraph(Input, StateIn, Target -> Loss, StateOut, 3 layers)"
    assert repr(mxt.NetChain([mxt.Linear(3)])) == "NetGraph(Input -> Output, 1 layer)"
    assert str(mxt.NetChain([mxt.Linear(3)], {"Input": mxt.Vector(2)})).splitlines() == [
        "input   Input: Vector(2)",
        "output  Output: Vector(3)",
        "",
        "layer   kind       inputs           outputs",
        "linear  Linear(3)  Input Vector(2)  Output Vector(3)",
    ]


@pytest.mark.parametrize("net", NETS, ids=repr)
def test_net_can_be_pickled_and_copied(net: mxt.NetGraph) -> None:
    net = net.with_arrays({"a": np.arange(3)})
    for back in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), copy.copy(net)):  # noqa: S301 - our own bytes
        assert back == net
        assert back.arrays["a"].flags.writeable is False
