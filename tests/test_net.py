"""What the description of a net promises: paths, names, types, derived nets, and being a value."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer.plans.graph import Source

TOKENS = mxt.Sequence("t", mxt.Index(11))
VECTORS = mxt.Sequence("t", mxt.Vector(3))


def seed_net() -> mxt.NetGraph:
    """The net of the Q&A that this project starts from."""
    return mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(), "mae": mxt.MeanAbsoluteLoss()},
        [(["Input", "StateIn"], "add", "linear", "mae", "Loss"), ("linear", "StateOut")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    )


def language_model() -> mxt.NetGraph:
    return mxt.NetChain(
        [mxt.Embedding(4), mxt.LSTM(5), mxt.Linear(11), mxt.CrossEntropyLoss("index")], inputs={"Input": TOKENS}
    )


def translator() -> mxt.NetGraph:
    """An encoder whose last state starts a decoder."""
    return mxt.NetGraph(
        {"encoder": mxt.GRU(4), "decoder": mxt.GRU(4), "linear": mxt.Linear(2)},
        [
            ("Source", "encoder"),
            ("encoder.State", "decoder.State"),
            ("Input", "decoder", "linear", "Output"),
        ],
        inputs={"Source": mxt.Sequence("s", mxt.Vector(2)), "Input": mxt.Sequence("t", mxt.Vector(2))},
    )


def feeds(net: mxt.NetGraph) -> dict[str, str]:
    return {f"{name}.{port}": str(source) for (name, port), source in net.feeds.items()}


# Paths


def test_path_of_bare_names_joins_first_outputs_to_first_inputs() -> None:
    net = mxt.NetGraph({"a": mxt.LSTM(2), "b": mxt.LSTM(2)}, [("Input", "a", "b", "Output")])
    assert feeds(net) == {"a.Input": "Input", "b.Input": "a.Output"}
    assert dict(net.output_sources) == {"Output": Source("b", "Output")}


def test_list_at_the_beginning_feeds_inputs_in_order() -> None:
    net = mxt.NetGraph(
        {"add": mxt.Threading("plus"), "a": mxt.Linear(2)}, [(["x", "a", "y"], "add", "sum"), ("z", "a")]
    )
    assert feeds(net) == {"add.1": "x", "add.2": "a.Output", "add.3": "y", "a.Input": "z"}
    assert tuple(net.inputs) == ("x", "y", "z")


def test_list_feeds_the_states_of_a_recurrent_layer_after_its_input() -> None:
    net = mxt.NetGraph({"lstm": mxt.LSTM(2)}, [(["Input", "h", "c"], "lstm", "Output")])
    assert feeds(net) == {"lstm.Input": "Input", "lstm.State": "h", "lstm.CellState": "c"}


def test_list_of_one_name_is_that_name() -> None:
    layers = {"linear": mxt.Linear(2)}
    assert mxt.NetGraph(layers, [(["Input"], "linear", "Output")]) == mxt.NetGraph(
        layers, [("Input", "linear", "Output")]
    )


def test_paths_may_be_lists_tuples_or_an_iterator_of_them() -> None:
    layers = {"linear": mxt.Linear(2)}
    nets = [
        mxt.NetGraph(layers, [("Input", "linear", "Output")]),
        mxt.NetGraph(layers, (("Input", "linear", "Output"),)),
        mxt.NetGraph(layers, [["Input", "linear", "Output"]]),  # type: ignore[list-item]  # a list does as well
        mxt.NetGraph(layers, iter([("Input", "linear", "Output")])),
    ]
    assert all(net == nets[0] for net in nets)


def test_layer_port_is_an_input_as_a_target_and_an_output_as_a_source() -> None:
    net = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru", "Output"), ("Start", "gru.State"), ("gru.State", "End")])
    assert feeds(net) == {"gru.Input": "Input", "gru.State": "Start"}
    assert net.output_sources["End"] == Source("gru", "State")


def test_layer_port_in_the_middle_is_both_input_and_output() -> None:
    net = mxt.NetGraph(
        {"gru": mxt.GRU(2), "linear": mxt.Linear(2)},
        [("Start", "gru.State", "linear", "Output"), ("Input", "gru")],
        inputs={"Input": VECTORS},
    )
    assert feeds(net)["gru.State"] == "Start"
    assert feeds(net)["linear.Input"] == "gru.State"


def test_numbered_port_decides_how_many_inputs_a_joining_layer_has() -> None:
    net = mxt.NetGraph({"add": mxt.Threading("plus")}, [("a", "add.3"), ("b", "add.1"), ("c", "add.2"), ("add", "Sum")])
    assert net.layer_inputs["add"] == ("1", "2", "3")
    assert tuple(net.inputs) == ("a", "b", "c")


def test_one_output_may_go_to_many_places() -> None:
    net = mxt.NetGraph(
        {"a": mxt.Linear(2), "b": mxt.Linear(2)}, [("Input", "a", "One"), ("a", "Two"), ("a", "b", "Three")]
    )
    assert dict(net.output_sources) == {
        "One": Source("a", "Output"),
        "Two": Source("a", "Output"),
        "Three": Source("b", "Output"),
    }


def test_one_port_of_the_net_may_feed_many_layers() -> None:
    net = mxt.NetGraph({"a": mxt.Linear(2), "b": mxt.Linear(2)}, [("Input", "a", "A"), ("Input", "b", "B")])
    assert tuple(net.inputs) == ("Input",)


def test_ports_stand_in_the_order_of_their_first_use_in_paths() -> None:
    net = mxt.NetGraph(
        {"loss": mxt.MeanSquaredLoss(), "b": mxt.Linear(2), "a": mxt.Linear(2)},
        [("z", "a", "y"), ("x", "b", "w"), ("a", "loss", "v")],
    )
    assert tuple(net.inputs) == ("z", "x", "Target")
    assert tuple(net.outputs) == ("y", "w", "v")


def test_layers_keep_the_order_in_which_they_are_written() -> None:
    net = mxt.NetGraph({"b": mxt.Linear(2), "a": mxt.Linear(2)}, [("Input", "a", "b", "Output")])
    assert tuple(net.layers) == ("b", "a")
    assert net.graph.order == ("a", "b")


def test_layers_that_wait_for_the_same_run_in_the_order_in_which_they_are_written() -> None:
    layers = {"last": mxt.Threading("plus"), "b": mxt.Linear(2), "c": mxt.Linear(2), "a": mxt.Linear(2)}
    net = mxt.NetGraph(
        {**layers, "first": mxt.Linear(2)},
        [("Input", "first", "a"), ("first", "c"), ("first", "b"), (["a", "b", "c"], "last", "Output")],
    )
    assert net.graph.order == ("first", "b", "c", "a", "last")


def test_order_of_paths_does_not_matter_but_for_the_order_of_ports() -> None:
    layers = {"gru": mxt.GRU(2), "linear": mxt.Linear(2)}
    paths: list[tuple[str | list[str], ...]] = [("Input", "gru", "linear", "Output"), ("Start", "gru.State")]
    split: list[tuple[str | list[str], ...]] = [
        ("Input", "gru"),
        ("Start", "gru.State"),
        ("linear", "Output"),
        ("gru", "linear"),
    ]
    one, other = mxt.NetGraph(layers, paths), mxt.NetGraph(layers, split)
    assert one == other
    assert one.to_json() == other.to_json()


# Inputs that no path feeds


def test_unconnected_input_becomes_an_input_of_the_net_under_its_own_name() -> None:
    assert tuple(seed_net().inputs) == ("Input", "StateIn", "Target")
    net = mxt.NetGraph({"attention": mxt.Attention()}, [("attention", "Output")])
    assert tuple(net.inputs) == ("Query", "Key", "Value")


def test_unconnected_state_is_no_input() -> None:
    assert tuple(language_model().inputs) == ("Input", "Target")


def test_unconnected_state_of_a_nested_net_is_no_input() -> None:
    inner = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru", "Output"), ("Start", "gru.State")])
    assert inner.states == ("Start",)
    outer = mxt.NetGraph({"inner": inner}, [("Input", "inner", "Output")])
    assert tuple(outer.inputs) == ("Input",)
    assert dict(outer.graph.nodes["inner.gru"].feeds) == {"Input": Source(None, "Input")}


def test_input_that_feeds_a_state_and_more_is_no_state() -> None:
    inner = mxt.NetGraph(
        {"gru": mxt.GRU(2), "linear": mxt.Linear(2)},
        [("Input", "gru", "Output"), ("Start", "gru.State"), ("Start", "linear", "More")],
    )
    assert inner.states == ()
    outer = mxt.NetGraph({"inner": inner}, [("Input", "inner", "Output")])
    assert tuple(outer.inputs) == ("Input", "Start")


def test_state_that_a_path_feeds_is_an_ordinary_input() -> None:
    assert feeds(translator())["decoder.State"] == "encoder.State"


# NetChain


def test_chain_names_layers_by_class_and_numbers_from_the_second_on() -> None:
    net = mxt.NetChain([mxt.LSTM(2), mxt.BatchNorm(), mxt.LSTM(2), mxt.LSTM(2), mxt.MeanSquaredLoss()])
    assert tuple(net.layers) == ("lstm", "batchnorm", "lstm_2", "lstm_3", "meansquaredloss")


def test_chain_takes_names_from_a_mapping() -> None:
    net = mxt.NetChain({"first": mxt.Linear(2), "second": mxt.Linear(3)})
    assert feeds(net) == {"first.Input": "Input", "second.Input": "first.Output"}


def test_chain_gives_the_port_of_its_last_layer() -> None:
    assert tuple(language_model().outputs) == ("Loss",)
    assert tuple(mxt.NetChain([mxt.Linear(2)]).outputs) == ("Output",)
    assert tuple(mxt.NetChain([mxt.Linear(2), mxt.ErrorRate()]).outputs) == ("ErrorRate",)
    assert tuple(mxt.NetChain([mxt.LSTM(2)]).outputs) == ("Output",)


def test_chain_of_a_generator_of_layers_is_that_of_the_list() -> None:
    assert mxt.NetChain(mxt.Linear(size) for size in (2, 3)) == mxt.NetChain([mxt.Linear(2), mxt.Linear(3)])


def test_chain_brings_the_other_inputs_of_its_layers() -> None:
    net = mxt.NetChain([mxt.Linear(2), mxt.Threading("plus"), mxt.Linear(1)])
    assert feeds(net)["threading.1"] == "linear.Output"
    assert tuple(net.inputs) == ("Input", "2")


def test_chain_passes_share_on() -> None:
    net = mxt.NetChain({"a": mxt.Linear(3), "b": mxt.Linear(3)}, share={"b": "a"})
    assert dict(net.share) == {"b": "a"}


# Nested nets


def nested() -> mxt.NetGraph:
    inner = mxt.NetChain({"gru": mxt.GRU(3), "linear": mxt.Linear(3)})
    middle = mxt.NetChain({"first": inner, "second": inner}, share={"second.linear": "first.linear"})
    return mxt.NetChain(
        {"middle": middle, "last": mxt.SequenceLast(), "loss": mxt.MeanSquaredLoss()}, {"Input": VECTORS}
    )


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


# Types


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


# Being a value


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


NETS = [seed_net(), language_model(), translator(), nested(), nested().with_states(), mxt.NetChain([mxt.Linear(3)])]


@pytest.mark.parametrize("net", NETS, ids=repr)
def test_net_comes_back_from_json(net: mxt.NetGraph) -> None:
    back = mxt.NetGraph.from_json(net.to_json())
    assert back == net
    assert back.to_json() == net.to_json()
    assert (tuple(back.inputs), tuple(back.outputs)) == (tuple(net.inputs), tuple(net.outputs))
    assert str(back) == str(net)


@pytest.mark.parametrize("net", NETS, ids=repr)
def test_net_can_be_pickled_and_copied(net: mxt.NetGraph) -> None:
    net = net.with_arrays({"a": np.arange(3)})
    for back in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), copy.copy(net)):  # noqa: S301 - our own bytes
        assert back == net
        assert back.arrays["a"].flags.writeable is False


def test_json_does_not_hold_arrays() -> None:
    net = mxt.NetChain([mxt.Linear(3)])
    assert net.with_arrays({"linear.Biases": np.zeros(3)}).to_json() == net.to_json()


def test_json_is_ascii_whatever_the_names() -> None:
    net = mxt.NetChain({'schicht "ä" \\ 層': mxt.Linear(3)}, {"Input": mxt.Sequence("длина", mxt.Scalar())})
    assert net.to_json().isascii()
    assert mxt.NetGraph.from_json(net.to_json()) == net


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "mxtrainer-plan"}, "expected format \"mxtrainer-net\", found 'mxtrainer-plan'"),
        ({"version": 2}, "reads version 1, found 2; a newer mxtrainer wrote it"),
        ({"version": 0}, "reads version 1, found 0$"),
        ({"version": None}, "found None$"),
        ({"net": None}, "this is no net"),
        ({"net": {}}, "this is no net"),
        ({"net": []}, "this is no net"),
    ],
)
def test_json_of_something_else_is_a_file_format_error(change: dict[str, Any], text: str) -> None:
    data = {**json.loads(seed_net().to_json()), **change}
    with pytest.raises(mxt.FileFormatError, match=text):
        mxt.NetGraph.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("path", "found", "text"),
    [
        (("layers", "linear"), {"type": "Linaer"}, 'unknown type "Linaer"; did you mean "Linear"'),
        (("layers", "linear"), {"type": "Linear", "size": -1}, 'a "Linear" cannot be read'),
        (("layers", "linear"), {"type": "Linear", "sizes": 1}, 'a "Linear" cannot be read'),
        (("layers", "linear"), {"type": "Vector"}, 'unknown type "Vector"'),
        (("layers", "linear"), {"type": "Index", "count": 3}, "must be a layer or a net"),
        (("layers", "linear"), 3, "must be a layer or a net"),
        (("ports", "linear"), ["Foo"], "has no inputs"),
        (("ports", "linear"), None, "no net"),
        (("feeds",), [[["linear", "Foo"], [None, "Input"]]], 'has no input "Foo"'),
        (("feeds",), [[["foo", "Input"], [None, "Input"]]], "no net"),
        (("feeds",), [[["linear", "Input"], ["mae", "Foo"]]], 'has no output "Foo"'),
        (("feeds",), 3, "no net"),
        (("outputs",), {"Output": [None, "Input"]}, "must come from a layer"),
        (("outputs",), {}, "no output"),
        (("order",), ["Input", "StateIn", "Target", "More"], "its layers use"),
        (("order",), ["Input", "Input", "StateIn", "Target"], "its layers use"),
        (("order",), ["Input"], "its layers use"),
        (("order",), ["Input", "StateIn", "More"], "its layers use"),
        (("inputs", "Input"), {"type": "Linear"}, "must have a type"),
        (("share",), {"linear": "foo"}, "no layer or array"),
        (("share",), [], "share must map"),
    ],
)
def test_json_of_a_net_that_cannot_be_is_a_file_format_error(path: tuple[str, ...], found: Any, text: str) -> None:
    data = json.loads(seed_net().to_json())
    place = data["net"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = found
    with pytest.raises(mxt.FileFormatError, match=text):
        mxt.NetGraph.from_json(json.dumps(data))
