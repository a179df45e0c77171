"""Port types of a net that are no types, do not fit or do not follow are a NetError."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
from net_refusals import ITEM, STEPS, chain, graph, refused

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

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
