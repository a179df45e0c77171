"""What nets derived from another by take and with_states keep and change."""

from __future__ import annotations

import numpy as np
import pytest
from net_cases import TOKENS, VECTORS, language_model, nested, seed_net, translator

import mxtrainer as mxt

# take


def test_take_gives_the_outputs_that_were_asked_for_and_only_what_they_need() -> None:
    part = language_model().take({"Output": "linear", "Hidden": "lstm.State"})
    assert tuple(part.layers) == ("embedding", "lstm", "linear")
    assert dict(part.inputs) == {"Input": TOKENS}
    assert dict(part.outputs) == {"Output": mxt.Sequence("t", mxt.Vector(11)), "Hidden": mxt.Vector(5)}


def test_take_keeps_a_size_that_followed_from_what_it_leaves_out() -> None:
    part = seed_net().take({"Output": "linear"})
    assert part.outputs["Output"] == mxt.Scalar()
    assert part.layers["linear"] == mxt.Linear(())
    inner = mxt.NetChain([mxt.Linear()])
    net = mxt.NetChain([inner, mxt.MeanSquaredLoss()], inputs={"Input": VECTORS, "Target": VECTORS})
    assert net.take({"Output": "netgraph"}).outputs["Output"] == VECTORS


def test_take_leaves_a_size_that_still_follows() -> None:
    net = mxt.NetChain(
        [mxt.Linear(), mxt.Elementwise("tanh"), mxt.MeanSquaredLoss()], {"Input": VECTORS, "Target": VECTORS}
    )
    assert net.take({"Loss": "meansquaredloss"}) == net


def test_take_cuts_where_an_input_is_put_in_place() -> None:
    part = translator().take({"Output": "linear"}, inputs={"Start": "decoder.State"})
    assert tuple(part.layers) == ("decoder", "linear")
    assert dict(part.inputs) == {"Input": mxt.Sequence("t", mxt.Vector(2)), "Start": mxt.Vector(4)}


def test_take_cuts_the_first_input_of_a_bare_layer() -> None:
    part = language_model().take({"Output": "linear"}, inputs={"Hidden": "linear"})
    assert tuple(part.layers) == ("linear",)
    assert dict(part.inputs) == {"Hidden": mxt.Sequence("t", mxt.Vector(5))}


def test_take_may_give_a_cut_the_name_of_an_input_that_goes() -> None:
    part = language_model().take({"Output": "linear"}, inputs={"Input": "linear"})
    assert dict(part.inputs) == {"Input": mxt.Sequence("t", mxt.Vector(5))}


def test_take_cuts_a_state_that_nothing_fed() -> None:
    part = language_model().take({"Output": "linear"}, inputs={"h": "lstm.State"})
    assert tuple(part.inputs) == ("Input", "h")
    assert part.inputs["h"] == mxt.Vector(5)


def test_take_cuts_before_a_nested_net() -> None:
    net = nested()
    part = net.take({"Output": "middle"}, inputs={"x": "middle"})
    assert dict(part.inputs) == {"x": VECTORS}


def test_take_carries_the_arrays_of_what_it_keeps() -> None:
    net = language_model().with_arrays({"embedding.Weights": np.ones((11, 4)), "linear.Biases": np.zeros(11)})
    part = net.take({"Output": "embedding"})
    assert tuple(part.arrays) == ("embedding.Weights",)
    np.testing.assert_array_equal(part.arrays["embedding.Weights"], np.ones((11, 4)))


def test_take_gives_arrays_whose_owner_is_dropped_to_who_shared_them() -> None:
    net = mxt.NetGraph(
        {"left": mxt.Linear(3), "right": mxt.Linear(3), "other": mxt.Linear(3)},
        [("X", "left", "A"), ("Y", "right", "B"), ("Z", "other", "C")],
        share={"right": "left", "other.Weights": "left.Weights"},
    ).with_arrays({"left.Weights": np.full((3, 2), 7.0), "left.Biases": np.ones(3), "other.Biases": np.zeros(3)})
    part = net.take({"B": "right", "C": "other"})
    assert dict(part.share) == {"other.Weights": "right.Weights"}
    assert set(part.arrays) == {"right.Weights", "right.Biases", "other.Biases"}
    np.testing.assert_array_equal(part.arrays["right.Weights"], np.full((3, 2), 7.0))


def test_take_keeps_sharing_of_what_it_keeps() -> None:
    net = mxt.NetGraph(
        {"a": mxt.Linear(3), "b": mxt.Linear(3), "c": mxt.Linear(3)},
        [("X", "a", "A"), ("X", "b", "B"), ("X", "c", "C")],
        share={"b": "a", "c": "a"},
    )
    assert dict(net.take({"A": "a", "C": "c"}).share) == {"c": "a"}
    assert dict(net.take({"B": "b", "C": "c"}).share) == {"c": "b"}
    assert dict(net.take({"B": "b"}).share) == {}


# with_states


def test_with_states_gives_ports_in_and_out_of_every_state() -> None:
    net = language_model().with_states()
    assert tuple(net.inputs) == ("Input", "Target", "lstm.State", "lstm.CellState")
    assert tuple(net.outputs) == ("Loss", "lstm.State", "lstm.CellState")


@pytest.mark.parametrize("pattern", ["encoder", "enc*", "encoder.*", "encoder.State", "*"])
def test_with_states_takes_a_glob_over_paths(pattern: str) -> None:
    assert tuple(translator().with_states(pattern).inputs) == ("Source", "Input", "encoder.State")


def test_with_states_chooses_one_state_of_a_layer() -> None:
    assert tuple(language_model().with_states("lstm.CellState").outputs) == ("Loss", "lstm.CellState")


def test_with_states_passes_over_states_that_are_fed_and_over_bidirectional() -> None:
    with pytest.raises(mxt.NetError, match="no recurrent state"):
        translator().with_states("decoder")
    net = mxt.NetChain([mxt.Bidirectional(mxt.LSTM(2))])
    with pytest.raises(mxt.NetError, match="no recurrent state"):
        net.with_states()


def test_with_states_reaches_into_nested_nets_and_chooses_there() -> None:
    states = ("middle.first.gru.State", "middle.second.gru.State")
    assert tuple(nested().with_states().inputs)[2:] == states
    assert tuple(nested().with_states("middle.first").inputs)[2:] == states[:1]
    assert tuple(nested().with_states("*.second.*").inputs)[2:] == states[1:]
    plan = mxt.compile_plan(nested().with_states())
    assert dict(plan.states) == {state: state for state in states}


def test_with_states_leaves_the_states_that_a_nested_net_shows_to_the_pattern() -> None:
    inner = mxt.NetChain({"a": mxt.GRU(2), "b": mxt.GRU(2)}).with_states("a")
    outer = mxt.NetChain({"inner": inner, "c": mxt.GRU(2)})
    assert tuple(outer.with_states("c").inputs) == ("Input", "c.State")
    assert tuple(outer.with_states("inner.a").inputs) == ("Input", "inner.a.State")


def test_with_states_twice_chooses_more() -> None:
    net = nested().with_states("middle.first").with_states("middle.second")
    assert set(net.inputs) == set(nested().with_states().inputs)
    with pytest.raises(mxt.NetError, match="not fed yet"):
        net.with_states()


def test_with_states_keeps_arrays_types_and_share() -> None:
    arrays = {"middle.first.linear.Biases": np.ones(3)}
    net = nested().with_arrays(arrays).with_states()
    assert tuple(net.arrays) == tuple(arrays)
    assert net.inputs["Input"] == VECTORS
    assert net.graph.owner_of("middle.second.linear.Weights") == "middle.first.linear.Weights"
