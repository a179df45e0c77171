"""What is no layer is a NetError, and a wrong field of a layer an ArgumentError."""

from __future__ import annotations

import re
from typing import Any, Callable

import numpy as np
import pytest
from net_refusals import ITEM, chain, graph, refused

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

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


# Fields of layers


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
