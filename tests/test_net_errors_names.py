"""A layer or a port whose name cannot be, or is taken, is a NetError."""

from __future__ import annotations

from typing import Any

import pytest
from net_refusals import graph, refused

import mxtrainer as mxt


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
