"""A net comes back from its JSON text, and any other text is a FileFormatError."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from net_cases import NETS, seed_net

import mxtrainer as mxt


@pytest.mark.parametrize("net", NETS, ids=repr)
def test_net_comes_back_from_json(net: mxt.NetGraph) -> None:
    back = mxt.NetGraph.from_json(net.to_json())
    assert back == net
    assert back.to_json() == net.to_json()
    assert (tuple(back.inputs), tuple(back.outputs)) == (tuple(net.inputs), tuple(net.outputs))
    assert str(back) == str(net)


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


def test_description_that_nests_without_end_is_a_file_format_error() -> None:
    data: Any = json.loads(mxt.NetChain([mxt.Linear(2)]).to_json())["net"]
    for _ in range(120):
        data = {**data, "layers": {"linear": data}}
    text = json.dumps({"format": "mxtrainer-net", "version": 1, "net": data})
    with pytest.raises(mxt.FileFormatError):
        mxt.NetGraph.from_json(text)
