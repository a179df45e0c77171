"""How paths and chains join layers, and which inputs a net gets that no path feeds."""

from __future__ import annotations

from net_cases import VECTORS, language_model, seed_net, translator

import mxtrainer as mxt
from mxtrainer.plans.graph import Source


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
