"""Mistakes in take, with_states and with_arrays are a NetError or an ArgumentError."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from net_refusals import STEPS, refused

import mxtrainer as mxt


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
