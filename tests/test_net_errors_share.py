"""Arrays that cannot be shared are a NetError."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from net_refusals import ITEM, refused

import mxtrainer as mxt


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
