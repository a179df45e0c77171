"""A mistake in a path is a NetError: its form, its lists, the layers and ports it names, and what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from net_refusals import graph, refused

import mxtrainer as mxt


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
