"""Every mistake in a net is a NetError or an ArgumentError that says where it is and what to do."""

from __future__ import annotations

import re
from typing import Any, Callable

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

ITEM, STEPS = mxt.Vector(3), mxt.Sequence("t", mxt.Vector(3))


def refused(build: Callable[[], object], *parts: str) -> str:
    """Returns the text of the NetError, which must have these parts in this order."""
    with pytest.raises(mxt.NetError) as raised:
        build()
    text, place = str(raised.value), 0
    for part in parts:
        assert part in text[place:], f"{part!r} is missing, or out of order, in: {text}"
        place = text.index(part, place) + len(part)
    return text


def graph(paths: Any, layers: Any = None, **options: Any) -> Callable[[], mxt.NetGraph]:
    return lambda: mxt.NetGraph({"linear": mxt.Linear(3)} if layers is None else layers, paths, **options)


def chain(*layers: Any, **options: Any) -> Callable[[], mxt.NetGraph]:
    return lambda: mxt.NetChain(list(layers), **options)


# Paths


@pytest.mark.parametrize("paths", [None, 5, "Input linear Output", {}, {"Input": "linear"}])
def test_paths_that_are_no_list_are_refused_with_an_example(paths: Any) -> None:
    refused(graph(paths), 'as in [("Input", "linear", "Output")]', f"got {paths!r}")


@pytest.mark.parametrize("paths", [("Input", "linear", "Output"), ["Input", "linear", "Output"], ["linear"]])
def test_one_path_without_its_list_is_refused_with_the_list_around_it(paths: Any) -> None:
    refused(graph(paths), f"write [{tuple(paths)!r}]")


@pytest.mark.parametrize("path", [None, 3, "linear", (), ("linear",), {"Input": "linear"}])
def test_path_that_is_no_tuple_of_names_is_refused(path: Any) -> None:
    refused(graph([("Input", "linear", "Output"), path]), f"path {path!r}: a path is a tuple of two or more names")


@pytest.mark.parametrize("name", [None, 3, "", b"linear"])
def test_name_that_is_no_text_is_refused(name: Any) -> None:
    refused(graph([(name, "linear", "Output")]), "path (", f"{name!r} is not the name of a layer or a port")
    refused(graph([("Input", "linear", name)]), f"{name!r} is not the name of a layer or a port")
    refused(graph([([name], "linear", "Output")]), f"{name!r} is not the name of a layer or a port")


def test_layer_in_a_path_is_refused_and_sent_to_the_layers() -> None:
    refused(
        graph([("Input", mxt.Linear(3), "Output")]), "Linear(3) is not the name", "layers go into the first argument"
    )


@pytest.mark.parametrize(
    "path", [("Input", ["linear"], "Output"), (["A", ["B"]], "linear"), ("Input", "linear", ("Output",))]
)
def test_list_elsewhere_than_first_is_refused(path: Any) -> None:
    refused(graph([path]), "is a list; one may only stand first, to feed several inputs in order")


def test_empty_list_is_refused() -> None:
    refused(graph([([], "linear"), ("linear", "Output")]), "the list at its beginning is empty")


def test_list_that_feeds_more_than_there_are_inputs_is_refused() -> None:
    refused(
        graph([(["A", "B"], "linear", "Output")]), 'layer "linear" (Linear(3)) has 1 input (Input)', "feeds it more"
    )
    layers = {"subtract": mxt.Threading("subtract")}
    refused(graph([(["A", "B", "C"], "subtract", "Output")], layers), "has 2 inputs (1, 2), but a list feeds it more")


def test_list_that_feeds_one_port_is_refused() -> None:
    refused(graph([(["A", "B"], "linear.Input", "Output")]), 'write "linear", not the one port "linear.Input"')


def test_list_that_goes_to_an_output_is_refused() -> None:
    refused(graph([(["A", "B"], "Output"), ("Input", "linear", "X")]), '"Output" is no layer', "not from A, B")


def test_port_of_the_net_in_the_middle_is_refused() -> None:
    refused(graph([("Input", "Hidden", "linear")]), 'no layer "Hidden"; a port of the net may stand only at an end')
    refused(graph([("Input", "linaer", "Output")]), 'no layer "linaer"; did you mean "linear"?')


def test_input_that_goes_straight_to_an_output_is_refused() -> None:
    refused(
        graph([("Input", "Output"), ("X", "linear", "Y")]),
        '"Output" is no layer',
        "must come from one layer, not from Input",
    )


def test_misspelt_layer_at_an_end_is_found_out() -> None:
    refused(graph([("Input", "linaer")]), '"linaer" is no layer; did you mean "linear"?')
    layers = {"linear": mxt.Linear(3), "loss": mxt.MeanSquaredLoss()}
    refused(
        graph([("linaer", "loss", "Loss")], layers), 'layer "linear" (Linear(3)) is not used', 'is it meant by "linaer"'
    )


def test_unknown_layer_before_a_dot_is_refused_with_the_nearest() -> None:
    refused(graph([("Input", "linaer.Input"), ("linear", "Output")]), 'no layer "linaer"; did you mean "linear"?')
    refused(graph([("linaer.Output", "linear", "Output")]), 'no layer "linaer"; did you mean "linear"?')


def test_unknown_input_of_a_layer_is_refused_with_the_nearest() -> None:
    refused(
        graph([("Input", "linear.Inptu"), ("linear", "Output")]),
        'layer "linear" has no input "Inptu"; did you mean "Input"?',
        "Its inputs: Input",
    )


def test_unknown_output_of_a_layer_is_refused_with_the_nearest() -> None:
    layers = {"lstm": mxt.LSTM(3)}
    refused(
        graph([("Input", "lstm"), ("lstm.Cellstate", "Output")], layers),
        'layer "lstm" has no output "Cellstate"; did you mean "CellState"?',
        "Its outputs: Output, State, CellState",
    )


@pytest.mark.parametrize("port", ["", "²", "9999999999", "0", "4.5", "-1"])
def test_number_that_is_no_input_of_a_joining_layer_is_refused(port: str) -> None:
    layers = {"add": mxt.Threading("plus")}
    refused(graph([("A", f"add.{port}"), ("add", "Output")], layers), f'layer "add" has no input "{port}"', "1, 2")


def test_port_that_is_fed_twice_is_refused_with_a_free_one_or_a_joining_layer() -> None:
    layers = {"linear": mxt.Linear(3), "add": mxt.Threading("plus")}
    refused(
        graph([("A", "add"), ("B", "add"), ("add", "linear", "Output")], layers),
        'layer "add": its input "1" is fed twice, by "A" and "B"',
        'as in "add.2"',
    )
    refused(
        graph([("A", "linear", "Output"), ("B", "linear")]),
        'layer "linear": its input "Input" is fed twice, by "A" and "B"',
        'join them first, by a layer such as Threading("plus")',
    )


def test_output_that_is_fed_twice_is_refused() -> None:
    layers = {"a": mxt.Linear(3), "b": mxt.Linear(3)}
    refused(
        graph([("Input", "a", "Output"), ("a", "b", "Output")], layers),
        'the output "Output" is fed twice, by "a.Output" and "b.Output"',
    )


def test_net_without_an_output_is_refused() -> None:
    refused(graph([("Input", "linear")]), "the net has no output", '("linear", "Output")')
    refused(graph([]), "the net has no output")


def test_layer_that_is_not_used_is_refused_with_both_fixes() -> None:
    layers = {"linear": mxt.Linear(3), "spare": mxt.LSTM(3)}
    refused(
        graph([("Input", "linear", "Output"), ("Input", "spare")], layers),
        'layer "spare" (LSTM(3)) is not used',
        '("spare", "Output"), or remove it',
    )


# Cycles


def test_cycle_is_refused_and_listed_in_order_from_its_first_layer() -> None:
    layers = {"add": mxt.Threading("plus"), "b": mxt.Linear(3), "c": mxt.Linear(3), "d": mxt.Linear(3)}
    refused(
        graph([(["Input", "c"], "add", "b", "c", "d", "Output")], layers),
        "the net has a cycle: add -> b -> c -> add.",
        "take it out as an output and feed it as an input of the next batch",
    )


def test_cycle_through_a_nested_net_names_the_paths_of_its_layers() -> None:
    inner = mxt.NetGraph({"add": mxt.Threading("plus"), "out": mxt.Linear(3)}, [(["A", "B"], "add", "out", "Output")])
    layers = {"before": mxt.Linear(3), "inner": inner}
    refused(
        graph([("inner", "before", "inner.A"), ("Input", "inner.B"), ("inner", "Output")], layers),
        "cycle: before -> inner.add -> inner.out -> before.",
    )


def test_layer_that_feeds_itself_is_a_cycle() -> None:
    refused(graph([("gru.State", "gru.State"), ("gru", "Output")], {"gru": mxt.GRU(3)}), "cycle: gru -> gru.")


# Names


@pytest.mark.parametrize("name", ["a.b", "", 3, None, "a\n", "a\0b", "\ud800"])
def test_layer_name_must_be_printable_and_without_a_dot(name: Any) -> None:
    refused(graph([("Input", "linear", "Output")], {name: mxt.Linear(3)}), "printable string without a dot", repr(name))


@pytest.mark.parametrize("name", ["a\n", "a\0b", "\ud800"])
def test_port_name_must_be_printable(name: str) -> None:
    refused(graph([("Input", "linear", name)]), "a port of the net must have a printable name", repr(name))
    refused(graph([(name, "linear", "Output")]), "a port of the net must have a printable name", repr(name))


def test_port_that_has_the_name_of_a_layer_is_refused() -> None:
    text = '"Target" is the name of a layer and of a port of the net; rename one of them'
    refused(lambda: mxt.NetChain({"Target": mxt.Linear(3), "loss": mxt.MeanSquaredLoss()}), text)
    refused(lambda: mxt.NetChain({"Output": mxt.Linear(3)}), '"Output" is the name of a layer and of a port')


def test_two_that_bring_one_name_are_refused_with_both_fixes() -> None:
    layers = {"linear": mxt.Linear(3), "square": mxt.MeanSquaredLoss(), "absolute": mxt.MeanAbsoluteLoss()}
    paths: list[Any] = [("Input", "linear", "square", "Loss"), ("linear", "absolute", "Other")]
    refused(
        graph(paths, layers),
        '"square" and "absolute" both bring an input "Target"',
        'add the paths ("Target", "absolute.Target") and ("Target", "square.Target")',
        '("AbsoluteTarget", "absolute.Target")',
    )
    same = mxt.NetGraph(layers, [*paths, ("Target", "absolute.Target"), ("Target", "square.Target")])
    assert tuple(same.inputs) == ("Input", "Target")
    apart = mxt.NetGraph(layers, [*paths, ("AbsoluteTarget", "absolute.Target")])
    assert tuple(apart.inputs) == ("Input", "AbsoluteTarget", "Target")


def test_name_that_a_path_uses_and_a_layer_brings_is_refused_with_both_fixes() -> None:
    layers = {"linear": mxt.Linear(3), "square": mxt.MeanSquaredLoss(), "absolute": mxt.MeanAbsoluteLoss()}
    refused(
        graph(
            [("Target", "linear", "square", "Loss"), ("linear", "absolute", "Other"), ("T", "absolute.Target")], layers
        ),
        '"linear" and "square" both bring an input "Target"',
        'add the path ("Target", "square.Target");',
        '("SquareTarget", "square.Target")',
    )


# Layers


@pytest.mark.parametrize("layers", [None, [], {}, [mxt.Linear(3)], "linear"])
def test_layers_that_are_no_mapping_are_refused_with_an_example(layers: Any) -> None:
    refused(lambda: mxt.NetGraph(layers, [("Input", "linear", "Output")]), 'as in {"linear": Linear(3)}')


@pytest.mark.parametrize("layers", [None, [], (), "linear", 3, mxt.Linear(3)])
def test_layers_of_a_chain_that_are_no_list_are_refused_with_an_example(layers: Any) -> None:
    refused(lambda: mxt.NetChain(layers), "as in [Linear(3), MeanSquaredLoss()]")


def test_layer_class_in_place_of_a_layer_is_refused_with_its_call() -> None:
    refused(graph([("Input", "linear", "Output")], {"linear": mxt.Linear}), 'layer "linear"', "write Linear()")
    refused(chain(mxt.Linear(3), mxt.Linear), 'layer "linear_2"', "write Linear()")


@pytest.mark.parametrize("layer", ["Linear", 3, None, mxt.Vector(3), mxt.NetGraph, dict])
def test_what_is_no_layer_is_refused(layer: Any) -> None:
    refused(graph([("Input", "linear", "Output")], {"linear": layer}), 'layer "linear" must be a layer or a net, got')


def test_nets_that_are_nested_too_deeply_are_refused() -> None:
    net = mxt.NetChain([mxt.Linear(3)])
    for _ in range(99):
        net = mxt.NetChain({"n": net})
    refused(lambda: mxt.NetChain({"n": net}), 'layer "n": nets are nested more than 100 deep')


def test_layer_without_inputs_cannot_stand_in_a_chain() -> None:
    class Source(Layer):
        def input_ports(self, connected: int = 0) -> tuple[str, ...]:
            return ()

        def deduce(self, ports: Any) -> None:
            pass

    refused(chain(mxt.Linear(3), Source()), 'layer "source"', 'has no input that "linear" could feed')


# inputs=


@pytest.mark.parametrize("inputs", [None, 5, [], "Vector(3)", mxt.Vector(3)])
def test_inputs_that_are_no_mapping_are_refused_with_an_example(inputs: Any) -> None:
    refused(chain(mxt.Linear(3), inputs=inputs), 'as in {"Input": Vector(3)}', f"got {inputs!r}")


def test_unknown_input_is_refused_with_the_nearest() -> None:
    refused(
        chain(mxt.Linear(3), inputs={"Inptu": ITEM}), 'no input "Inptu"; did you mean "Input"?', "Its inputs: Input"
    )
    refused(chain(mxt.LSTM(3), inputs={"State": ITEM}), 'no input "State"', "Its inputs: Input")
    refused(chain(mxt.Linear(3), inputs={3: ITEM}), 'no input "3"')


@pytest.mark.parametrize("port", [None, 3, "Vector(3)", (3,), np.float32, mxt.Linear(3)])
def test_type_that_is_none_is_refused_with_the_types(port: Any) -> None:
    refused(
        chain(mxt.Linear(3), inputs={"Input": port}), 'inputs: "Input" must have a type such as Scalar(), Vector(3)'
    )


def test_type_that_was_not_called_is_refused_with_the_call() -> None:
    refused(chain(mxt.Linear(3), inputs={"Input": mxt.Vector}), "call it, as in Vector(...)")
    refused(chain(mxt.Linear(3), inputs={"Input": mxt.Index}), "call it, as in Index(...)")


# Types that do not fit


@pytest.mark.parametrize(
    ("layer", "given", "text"),
    [
        (mxt.Linear(3), mxt.Index(5), "needs real numbers (an Embedding makes them)"),
        (mxt.Embedding(3), ITEM, "gets Vector(3), but this layer needs an Index there"),
        (mxt.Elementwise("tanh"), mxt.Index(5), "needs real numbers"),
        (mxt.Softmax(), mxt.Scalar(), "gets Scalar(), but this layer needs a Vector or an Array there"),
        (mxt.Reshape((2, 2)), ITEM, "Vector(3) has 3 elements, Array((2, 2)) has 4"),
        (mxt.Flatten(), mxt.Index(5), "needs real numbers"),
        (mxt.Convolution(2, 3), ITEM, "gets Vector(3), but this layer needs an Array((channels, ...))"),
        (mxt.Convolution(2, 3), STEPS, "the length must stay"),
        (mxt.Convolution(2, 5), mxt.Array((1, 4, 4)), "the window is larger than the space of Array((1, 4, 4))"),
        (mxt.Convolution(2, (3, 3)), mxt.Array((1, 9)), "kernel (3, 3) has 2 entries, but there are 1 axes"),
        (mxt.Pooling(2), mxt.Scalar(), "needs an Array((channels, ...))"),
        (mxt.Pooling(2), STEPS, "the length must stay"),
        (mxt.LSTM(3), ITEM, 'gets Vector(3), but this layer needs a Sequence("t", ...) there'),
        (mxt.GRU(3), mxt.Sequence("t", mxt.Index(3)), "needs real numbers"),
        (mxt.BasicRecurrent(3), mxt.Scalar(), "needs a Sequence"),
        (mxt.Bidirectional(mxt.GRU(3)), ITEM, "needs a Sequence"),
        (mxt.Bidirectional(mxt.GRU(3)), mxt.Sequence("t", mxt.Index(3)), "needs real numbers"),
        (mxt.SequenceLast(), ITEM, "needs a Sequence"),
        (mxt.Aggregate("sum"), mxt.Index(3), "needs real numbers"),
        (mxt.Aggregate("sum", axes=(1,)), ITEM, "axis 1 does not exist in Vector(3), which has 1 axes"),
        (mxt.CrossEntropyLoss("index"), mxt.Scalar(), "gets Scalar(), but this layer needs a Vector there"),
        (mxt.CrossEntropyLoss("probabilities"), mxt.Scalar(), "needs a Vector there"),
        (mxt.MeanSquaredLoss(), mxt.Index(3), "needs real numbers"),
        (mxt.ContrastiveLoss(), ITEM, "gets Vector(3), but this layer needs a Scalar there"),
        (mxt.ErrorRate(), mxt.Array((2, 2)), "needs a Vector there"),
    ],
    ids=repr,
)
def test_layer_refuses_the_type_that_it_cannot_take(layer: Layer, given: Any, text: str) -> None:
    name = type(layer).__name__.lower()
    refused(chain(layer, inputs={"Input": given}), f'layer "{name}" ({layer!r}): ', text)


@pytest.mark.parametrize(
    ("layer", "target", "text"),
    [
        (mxt.MeanSquaredLoss(), mxt.Vector(4), 'port "Target" gets Vector(4), but this layer needs Vector(3) there'),
        (
            mxt.MeanSquaredLoss(),
            STEPS,
            "port \"Target\" gets Sequence('t', Vector(3)), but this layer needs Vector(3) there",
        ),
        (
            mxt.CrossEntropyLoss("index"),
            mxt.Index(4),
            'port "Target" gets Index(4), but this layer needs Index(3) there',
        ),
        (mxt.CrossEntropyLoss("index"), ITEM, 'port "Target" gets Vector(3), but this layer needs Index(3) there'),
        (
            mxt.CrossEntropyLoss("binary"),
            mxt.Index(3),
            'port "Target" gets Index(3), but this layer needs Vector(3) there',
        ),
    ],
)
def test_loss_refuses_a_target_unlike_its_input(layer: Layer, target: Any, text: str) -> None:
    refused(chain(mxt.Linear(3), layer, inputs={"Input": ITEM, "Target": target}), 'layer "', text)


def test_loss_refuses_a_target_of_another_length() -> None:
    inputs = {"Input": STEPS, "Target": mxt.Sequence("s", ITEM)}
    refused(chain(mxt.LSTM(3), mxt.MeanSquaredLoss(), inputs=inputs), "Sequence('s', Vector(3))", "needs Sequence('t'")
    refused(chain(mxt.LSTM(3), mxt.MeanSquaredLoss(), inputs={"Input": STEPS, "Target": ITEM}), "needs Sequence('t'")


def test_two_layers_that_want_different_types_of_one_port_are_refused() -> None:
    layers = {"gru": mxt.GRU(3), "other": mxt.GRU(4)}
    refused(
        graph([("X", "gru", "A"), ("X", "other", "B"), ("Start", "gru.State"), ("Start", "other.State")], layers),
        'layer "other" (GRU(4)): port "State" gets Vector(3), but this layer needs Vector(4) there',
    )


def test_joining_layers_refuse_types_that_do_not_join() -> None:
    inputs = {"A": ITEM, "B": mxt.Vector(4)}
    refused(graph([(["A", "B"], "add", "C")], {"add": mxt.Threading("plus")}, inputs=inputs), 'port "2" gets Vector(4)')
    inputs = {"A": ITEM, "B": mxt.Array((2, 2))}
    refused(
        graph([(["A", "B"], "join", "C")], {"join": mxt.Catenate()}, inputs=inputs), "cannot be joined along axis 0"
    )


def test_attention_refuses_keys_that_do_not_fit() -> None:
    layers = {"attention": mxt.Attention()}
    inputs = {"Query": mxt.Vector(4), "Key": STEPS, "Value": STEPS}
    refused(graph([("attention", "C")], layers, inputs=inputs), '"Query" and "Key" need vectors of one size')
    inputs = {"Query": ITEM, "Key": ITEM, "Value": ITEM}
    refused(graph([("attention", "C")], layers, inputs=inputs), "need sequences of one length")
    inputs = {"Query": ITEM, "Key": STEPS, "Value": STEPS}
    refused(
        graph([("attention", "C")], {"attention": mxt.Attention(causal=True)}, inputs=inputs), "of the keys' length"
    )


def test_softmax_before_a_loss_of_logits_is_refused_with_both_fixes() -> None:
    refused(
        chain(mxt.Linear(3), mxt.Softmax(), mxt.CrossEntropyLoss("index")),
        'layer "crossentropyloss"',
        "takes logits",
        'CrossEntropyLoss("index", input="probabilities")',
    )
    mxt.NetChain([mxt.Linear(3), mxt.Softmax(), mxt.CrossEntropyLoss("index", input="probabilities")])


def test_softmax_at_the_end_of_a_nested_net_is_found() -> None:
    inner = mxt.NetChain([mxt.Linear(3), mxt.Softmax()])
    refused(chain(inner, mxt.CrossEntropyLoss("index")), "takes logits")


# Types that are missing


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (chain(mxt.Linear(3)), ('layer "linear" (Linear(3))', 'input "Input" is not determined', "inputs={...}")),
        (
            chain(mxt.Linear(), inputs={"Input": ITEM}),
            ('layer "linear"', 'output "Output"', "give its size, as in Linear(10)"),
        ),
        (chain(mxt.Embedding(3)), ('layer "embedding"', "Index(256)")),
        (chain(mxt.LSTM(3)), ('layer "lstm"', 'input "Input"', "inputs={...}")),
        (chain(mxt.Convolution(3, 3)), ('layer "convolution"', "Array((channels, height, width))")),
        (chain(mxt.SequenceLast()), ('layer "sequencelast"', 'Sequence("t", Vector(3))')),
        (chain(mxt.MeanSquaredLoss()), ('layer "meansquaredloss"', "its Input or Target in inputs={...}")),
        (chain(mxt.NetChain([mxt.Linear(3)])), ('layer "netgraph.linear"', 'input "Input"')),
    ],
)
def test_plan_of_a_net_whose_types_do_not_follow_is_refused(
    build: Callable[[], mxt.NetGraph], parts: tuple[str, ...]
) -> None:
    net = build()
    refused(lambda: mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0)), *parts)


# share=


def shared(share: Any) -> Callable[[], mxt.Plan]:
    layers = {"a": mxt.Linear(3), "b": mxt.Linear(3), "c": mxt.Linear(4), "norm": mxt.BatchNorm(), "d": mxt.Flatten()}
    return lambda: mxt.compile_plan(mxt.NetChain(layers, {"Input": ITEM}, share), {"Output": 0.0})


@pytest.mark.parametrize("share", [None, 5, [], "b", [("b", "a")]])
def test_share_that_is_no_mapping_is_refused_with_an_example(share: Any) -> None:
    refused(shared(share), 'as in {"right": "left"}', f"got {share!r}")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        ({"bb": "a"}, 'share: there is no layer or array "bb"'),
        ({"b": "aa"}, 'share: there is no layer or array "aa"'),
        ({"norn.Biases": "a.Biases"}, 'there is no layer or array "norn.Biases"; did you mean "norm"?'),
        ({"norn": "a"}, 'there is no layer or array "norn"; did you mean "norm"?'),
        ({"b": None}, 'there is no layer or array "None"'),
        ({3: "a"}, 'there is no layer or array "3"'),
        ({"a": "a"}, '"a" cannot use its own arrays'),
        ({"a": "a.Weights"}, '"a" cannot use its own arrays, "a.Weights"'),
        ({"b": "a", "c": "b"}, '"c" is to use "b", but "b" uses "a" itself; write {"c": "a"}'),
        (
            {"b": "a", "c.Weights": "b.Weights"},
            '"c.Weights" is to use "b.Weights", but "b" uses "a" itself; write {"c.Weights": "a.Weights"}',
        ),
        ({"b": "a", "a": "b"}, "one of them must own the arrays"),
        ({"b": "a", "a.Weights": "b.Weights"}, "one of them must own the arrays"),
        ({"b": "a", "b.Weights": "c.Weights"}, '"b.Weights" is shared already, as a part of "b"'),
        ({"b.Weights": "a.Wieghts"}, 'to use "a.Wieghts", but there is no such array; did you mean "a.Weights"?'),
        ({"b.Wieghts": "a.Weights"}, 'no layer or array "b.Wieghts" with arrays; did you mean "b.Weights"?'),
        ({"b.Weights": "a.Biases"}, '"b.Weights" (3, 3) is to use "a.Biases" (3,): the shapes must be the same'),
        ({"c": "a"}, '"c.Weights" (4, 3) is to use "a.Weights" (3, 3): the shapes must be the same'),
        ({"norm.Biases": "c.Biases", "norm.MovingMean": "norm.Scaling"}, "one is trained and the other moved"),
        ({"b": "norm"}, '"b.Weights" is to use "norm.Weights", but there is no such array'),
        ({"d": "a"}, 'no layer or array "d" with arrays'),
        ({"b": "d"}, 'to use "d.Weights", but there is no such array'),
    ],
)
def test_share_that_cannot_be_is_refused(share: Any, text: str) -> None:
    refused(shared(share), text)


def test_moving_statistics_cannot_be_shared_with_what_is_trained() -> None:
    refused(shared({"norm.MovingMean": "c.Biases"}), 'share: "norm.MovingMean"', "one is trained and the other moved")


@pytest.mark.parametrize("share", [{"inner.a": "inner.b"}, {"inner.a.Weights": "inner.b.Weights"}])
def test_share_in_a_circle_between_nets_in_one_another_is_refused(share: dict[str, str]) -> None:
    inner = mxt.NetChain({"a": mxt.Linear(3), "b": mxt.Linear(3)}, share={"b": "a"})
    refused(lambda: mxt.NetChain({"inner": inner}, share=share), "uses it in turn; one of them must own the arrays")


# Derived nets


def part(outputs: Any, inputs: Any = {}) -> Callable[[], mxt.NetGraph]:  # noqa: B006 - is not written to
    net = mxt.NetChain([mxt.LSTM(4), mxt.Linear(3), mxt.MeanSquaredLoss()], inputs={"Input": STEPS})
    return lambda: net.take(outputs, inputs)


@pytest.mark.parametrize("outputs", [None, {}, [], "linear", ["linear"], {"Output": None}, {"Output": 3}])
def test_take_refuses_outputs_that_are_no_mapping_of_names(outputs: Any) -> None:
    refused(part(outputs), 'take: outputs must map new ports to layers, as in {"Output": "linear"}')


@pytest.mark.parametrize("inputs", [None, [], "linear", {"Start": None}])
def test_take_refuses_inputs_that_are_no_mapping_of_names(inputs: Any) -> None:
    refused(part({"Output": "linear"}, inputs), "take: inputs must map new ports to layers")


@pytest.mark.parametrize(
    ("outputs", "inputs", "text"),
    [
        ({"Output": "linaer"}, {}, 'take: "Output": there is no layer "linaer"; did you mean "linear"?'),
        ({"Output": "linaer.Output"}, {}, 'take: "Output": there is no layer "linaer"; did you mean "linear"?'),
        ({"Output": "linear.Foo"}, {}, 'layer "linear" has no output "Foo". Its outputs: Output'),
        ({"Output": "Input"}, {}, 'there is no layer "Input"'),
        ({"Output": "linear"}, {"x": "lstn.State"}, 'there is no layer "lstn"; did you mean "lstm"?'),
        ({"Output": "linear"}, {"x": "lstm.Stat"}, 'has no input "Stat"; did you mean "State"?'),
        ({"Output": "lstm"}, {"x": "linear"}, '"x" is to feed "linear.Input", which these outputs do not need'),
        ({"Output": "linear"}, {"x": "lstm", "y": "lstm.Input"}, "two new ports are to feed one port of a layer"),
        ({"Output": "linear"}, {"Input": "lstm.State"}, 'has an input "Input" already'),
        ({"lstm": "linear"}, {}, '"lstm" is the name of a layer and of a port of the net'),
        ({"Output": "linear"}, {"linear": "lstm"}, '"linear" is the name of a layer and of a port of the net'),
        ({"a.b": "linear"}, {}, "without a dot, got 'a.b'"),
        ({"Output": "linear"}, {"a.b": "lstm"}, "without a dot, got 'a.b'"),
        ({"": "linear"}, {}, "without a dot, got ''"),
        ({3: "linear"}, {}, "without a dot, got 3"),
    ],
)
def test_take_refuses_what_cannot_be(outputs: Any, inputs: Any, text: str) -> None:
    refused(part(outputs, inputs), text)


def test_with_states_without_a_state_is_refused() -> None:
    net = mxt.NetChain([mxt.LSTM(4)], inputs={"Input": STEPS})
    refused(lambda: net.with_states("lstn"), 'with_states("lstn"): the net has no recurrent state there')
    refused(lambda: net.with_states(3), "takes a pattern")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("arrays", [None, 3, [1], "x"])
def test_with_arrays_refuses_what_is_no_mapping(arrays: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="takes a mapping from array names to arrays"):
        mxt.NetChain([mxt.Linear(3)]).with_arrays(arrays)


@pytest.mark.parametrize("found", ["x", None, [[1], [1, 2]], object(), {"a": 1}])
def test_with_arrays_refuses_what_is_no_array_of_numbers(found: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"'linear.Biases' must be the name of an array of numbers"):
        mxt.NetChain([mxt.Linear(3)]).with_arrays({"linear.Biases": found})
    with pytest.raises(mxt.ArgumentError, match="3 must be the name of an array of numbers"):
        mxt.NetChain([mxt.Linear(3)]).with_arrays({3: [1.0]})  # type: ignore[dict-item]  # the mistake


# Fields of layers and types


BAD_INTEGERS = [0, -1, 2.5, "3", None, True, float("nan")]
BAD_NUMBERS = ["0.1", None, True, float("nan"), float("inf"), 10**400]


def bad(layer: Callable[..., object], field: str, values: list[Any], **others: Any) -> list[Any]:
    """Rows of a layer, a field, a wrong value, and the fields that it needs besides."""
    return [
        pytest.param(layer, field, value, others, id=f"{layer.__name__}-{field}-{value!r}"[:60]) for value in values
    ]


@pytest.mark.parametrize(
    ("layer", "field", "found", "others"),
    [
        *bad(mxt.Linear, "size", [0, -1, 2.5, "3", True, (3, 0), [None]]),
        *bad(mxt.Linear, "biases", [1, None, "yes"], size=3),
        *bad(mxt.Linear, "initializers", [3, None, {"Weights": 0.1}, {"Weights": mxt.initializers.Normal}], size=3),
        *bad(mxt.Embedding, "size", BAD_INTEGERS),
        *bad(mxt.Elementwise, "function", ["tahn", "", None, 3, ["tanh"], np.tanh]),
        *bad(mxt.Threading, "function", ["pluss", "+", None, 3]),
        *bad(mxt.GradientScale, "scale", BAD_NUMBERS),
        *bad(mxt.Dropout, "probability", [*BAD_NUMBERS, -0.1, 1, 1.5, 1e-9, 1 - 1e-9]),
        *bad(mxt.Reshape, "shape", [0, (2, -1), None, "23", (2.0, 3)]),
        *bad(mxt.Catenate, "axis", [None, 0.5, "0", True, (0,)]),
        *bad(mxt.Convolution, "channels", BAD_INTEGERS, kernel=3),
        *bad(mxt.Convolution, "kernel", [*BAD_INTEGERS, (3, 0)], channels=2),
        *bad(mxt.Convolution, "stride", [0, None, (1, 0)], channels=2, kernel=3),
        *bad(mxt.Convolution, "padding", [-1, None, (1, -1), "same"], channels=2, kernel=3),
        *bad(mxt.Convolution, "dilation", [0, None], channels=2, kernel=3),
        *bad(mxt.Convolution, "biases", [1, None], channels=2, kernel=3),
        *bad(mxt.Pooling, "kernel", [*BAD_INTEGERS[:4], None]),
        *bad(mxt.Pooling, "function", ["avg", None, 3], kernel=2),
        *bad(mxt.Pooling, "stride", [0, -1, "2"], kernel=2),
        *bad(mxt.Pooling, "padding", [-1, 2, (0, 2), None], kernel=2),
        *bad(mxt.BatchNorm, "momentum", [*BAD_NUMBERS, -0.1, 1.1]),
        *bad(mxt.BatchNorm, "epsilon", [*BAD_NUMBERS, 0, -1]),
        *bad(mxt.LayerNorm, "epsilon", [*BAD_NUMBERS, 0, -1]),
        *bad(mxt.BasicRecurrent, "size", BAD_INTEGERS),
        *bad(mxt.BasicRecurrent, "activation", ["sigmoid", None], size=3),
        *bad(mxt.LSTM, "size", BAD_INTEGERS),
        *bad(mxt.LSTM, "initializers", ["Zeros", {"InputBiases": 1.0}], size=3),
        *bad(mxt.GRU, "size", BAD_INTEGERS),
        *bad(mxt.Aggregate, "function", ["avg", None, 3]),
        *bad(mxt.Aggregate, "axes", [(), 0.5, "0", (True,)], function="sum"),
        *bad(mxt.Attention, "scaled", [1, None, "yes"]),
        *bad(mxt.Attention, "causal", [1, None, "yes"]),
        *bad(mxt.MeanSquaredLoss, "average", ["step", None, 3]),
        *bad(mxt.MeanAbsoluteLoss, "average", ["step", None, 3]),
        *bad(mxt.CrossEntropyLoss, "target", ["indices", None, 3]),
        *bad(mxt.CrossEntropyLoss, "input", ["logit", None, 3], target="index"),
        *bad(mxt.CrossEntropyLoss, "average", ["step", None, 3], target="index"),
        *bad(mxt.ContrastiveLoss, "margin", [*BAD_NUMBERS, 0, -1]),
        *bad(mxt.ContrastiveLoss, "average", ["step", None]),
        *bad(mxt.ErrorRate, "average", ["step", None]),
    ],
)
def test_layer_refuses_a_wrong_field_and_names_both(layer: Any, field: str, found: Any, others: dict[str, Any]) -> None:
    with pytest.raises(mxt.ArgumentError) as raised:
        layer(**{field: found}, **others)
    text = str(raised.value)
    assert text.startswith(f"{layer.__name__}: {field}")
    assert str(found) in text or repr(found) in text


@pytest.mark.parametrize("layer", [mxt.Linear(3), mxt.LSTM, None, "LSTM", mxt.Bidirectional(mxt.LSTM(3))])
def test_bidirectional_takes_a_recurrent_layer_only(layer: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="Bidirectional: takes a BasicRecurrent, LSTM or GRU"):
        mxt.Bidirectional(layer)


def test_choice_that_is_misspelt_is_refused_with_the_nearest() -> None:
    with pytest.raises(mxt.ArgumentError, match=re.escape("must be one of") + '.*did you mean "tanh"'):
        mxt.Elementwise("tahn")


def test_initializer_of_an_array_that_is_not_there_is_refused_with_the_nearest() -> None:
    net = mxt.NetChain([mxt.Linear(3, initializers={"Weigths": mxt.initializers.Zeros()})], inputs={"Input": ITEM})
    refused(
        lambda: mxt.compile_plan(net, {"Output": 0.0}),
        'layer "linear"',
        'no array of it: "Weigths"; did you mean "Weights"?',
        "Its arrays: Weights, Biases",
    )
