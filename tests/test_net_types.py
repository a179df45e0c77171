"""How types follow through a net, forwards and backwards."""

from __future__ import annotations

from net_cases import TOKENS, VECTORS, language_model, seed_net, translator

import mxtrainer as mxt


def test_types_follow_forwards() -> None:
    net = language_model()
    assert net.types.nodes["linear"].outputs["Output"] == mxt.Sequence("t", mxt.Vector(11))
    assert dict(net.inputs) == {"Input": TOKENS, "Target": TOKENS}
    assert dict(net.outputs) == {"Loss": mxt.Scalar()}


def test_types_follow_backwards_so_that_linear_has_the_size_of_its_target() -> None:
    net = seed_net()
    assert net.types.nodes["linear"].outputs["Output"] == mxt.Scalar()
    assert mxt.compile_plan(net, {"StateOut": 0.0}).parameters["linear.Weights"].shape == (1, 1)


def test_types_follow_from_the_target_to_the_input_of_the_net() -> None:
    net = mxt.NetChain([mxt.Elementwise("tanh"), mxt.MeanSquaredLoss()], inputs={"Target": VECTORS})
    assert net.inputs["Input"] == VECTORS


def test_type_follows_backwards_through_a_long_chain() -> None:
    layers = {f"layer{number}": mxt.Elementwise("tanh") for number in range(300)}
    net = mxt.NetChain({**layers, "loss": mxt.MeanSquaredLoss()}, inputs={"Target": mxt.Vector(3)})
    assert net.inputs["Input"] == mxt.Vector(3)


def test_types_that_do_not_follow_are_none() -> None:
    net = mxt.NetChain([mxt.Linear(3), mxt.Linear()])
    assert net.inputs["Input"] is None
    assert net.outputs["Output"] is None
    assert "Input: not determined" in str(net)


def test_state_gets_its_type_from_the_layer() -> None:
    assert translator().types.nodes["decoder"].inputs["State"] == mxt.Vector(4)
    assert language_model().with_states().inputs["lstm.CellState"] == mxt.Vector(5)


def test_transfer_dtype_stays_at_the_port_of_the_net() -> None:
    net = mxt.NetChain([mxt.Flatten()], inputs={"Input": mxt.Array((2, 3), dtype="uint8")})
    assert net.inputs["Input"] == mxt.Array((2, 3), dtype="uint8")
    assert net.outputs["Output"] == mxt.Vector(6)
    same = mxt.NetChain([mxt.Elementwise("tanh")], inputs={"Input": mxt.Vector(3, dtype="uint8")})
    assert same.outputs["Output"] == mxt.Vector(3)
