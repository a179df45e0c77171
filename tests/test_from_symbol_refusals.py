"""What of MXNet's graphs cannot be taken over is refused by name, before MXNet sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_from_symbol import CLASSES, STEPWISE, VECTOR, Arrays, dense, scored

import mxtrainer as mxt
from mxtrainer._mxnet import mx


def _read_statistics() -> Any:
    mean = mx.sym.var("mean")
    normed = mx.sym.BatchNorm(dense("a", mx.sym.var("data"), CLASSES), moving_mean=mean, name="norm")
    return mx.sym.broadcast_add(normed, mx.sym.expand_dims(mean, axis=0))


REFUSED: dict[str, tuple[Callable[[], Any], Arrays, type[Exception], str]] = {
    "a loop": (
        lambda: mx.sym.contrib.foreach(lambda x, s: (x + s, s), mx.sym.var("data"), mx.sym.var("s"))[0],
        {},
        mxt.FileFormatError,
        "graphs inside",
    ),
    "random numbers": (lambda: mx.sym.random.normal(shape=(2,)) + mx.sym.var("data"), {}, mxt.FileFormatError, "taken"),
    "an output layer inside": (lambda: mx.sym.tanh(scored()), {}, mxt.NetError, '"softmax".*can only end'),
    "a fixed batch size": (lambda: mx.sym.reshape(mx.sym.var("data"), shape=(2, -1)), {}, mxt.NetError, "makes"),
    "a batch that is repeated": (
        lambda: mx.sym.concat(*[mx.sym.var("data")] * 2, dim=0),
        {},
        mxt.NetError,
        "has 22 rows for 11 rows, and whose they are is not known",
    ),
    "steps before rows": (
        lambda: mx.sym.reshape(mx.sym.swapaxes(mx.sym.var("data"), dim1=0, dim2=1), shape=(-3, 0)),
        {"data": STEPWISE},
        mxt.NetError,
        r"whose they are is not known: what is read is a Reshape of \(batch, t, ...\)",
    ),
    "elements that are not there": (
        lambda: mx.sym.reshape(mx.sym.var("data"), shape=(0, 2), name="cut"),
        {},
        mxt.NetError,
        r'"cut" \(Reshape\) makes \(11, 2\) of \(11, 3\) for 11 rows',
    ),
    "no groups": (
        lambda: mx.sym.Convolution(mx.sym.var("data"), num_filter=1, kernel=(1,), num_group=0, name="conv"),
        {},
        mxt.FileFormatError,
        '"conv".*num_group must be at least 1, got 0',
    ),
    "a mean over all": (lambda: mx.sym.mean(mx.sym.var("data")), {}, mxt.NetError, "mean0_output"),
    "an input that is unknown": (scored, {"dada": VECTOR}, mxt.ArgumentError, 'did you mean "data"'),
    "an input that is no type": (scored, {"data": 3}, mxt.ArgumentError, "data.*must have a type"),
    "a label that does not fit": (
        scored,
        {"label": mxt.Vector(2)},
        mxt.NetError,
        "SoftmaxOutput wants 6 or 1",
    ),
    "lengths of something else than rows": (
        lambda: mx.sym.SequenceLast(mx.sym.var("data"), mx.sym.var("n"), use_sequence_length=True),
        {"n": mxt.Vector(3)},
        mxt.NetError,
        "sequencelast",
    ),
    "integers divided": (
        lambda: mx.sym.broadcast_div(*[mx.sym.var("n")] * 2),
        {"n": mxt.Index(3)},
        mxt.NetError,
        "divides integers",
    ),
    "moving statistics that are read": (
        _read_statistics,
        {},
        mxt.ArgumentError,
        "something else reads its moving statistics",
    ),
    "losses of all that is valid": (
        lambda: scored(normalization="valid", use_ignore=True),
        {},
        mxt.ArgumentError,
        "valid.*is not built",
    ),
    "an array as an input": (
        lambda: mx.sym.var("data") + mx.sym.var("other"),
        {},
        mxt.NetError,
        '"other".*inputs=',
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_taken_over_is_refused_by_name(kind: str) -> None:
    make, types, error, text = REFUSED[kind]
    symbol = make()
    inputs = {"data": VECTOR, **types}
    inputs = {name: port for name, port in inputs.items() if name in symbol.list_arguments() or name == "dada"}
    with pytest.raises(error, match=text):
        mxt.from_symbol(symbol, inputs)


@pytest.mark.parametrize(
    ("operator", "attributes", "text"),
    [
        ("_split_v2", {"indices": "()", "sections": "-1"}, "sections must be at least 0"),
        ("SliceChannel", {"num_outputs": "1000000"}, "more than 4096 outputs"),
        ("repeat", {"repeats": "0"}, "repeats must be at least 1"),
        ("Reshape", {"shape": "(0, -4, 0, -1)"}, "-4 must come before two extents"),
        ("Dropout", {"p": "0.5x"}, "p"),
        ("Activation", {"act_type": "relu\0"}, "a character that no text has"),
        ("Activation", {"act_type": "\ud800"}, "a character that no text has"),
        ("Activation", {"act_type": "r" * 2**17}, "too long"),
    ],
)
def test_parameters_that_crash_mxnet_are_refused_before_it_sees_them(
    operator: str, attributes: dict[str, str], text: str
) -> None:
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": operator, "name": "x", "attrs": attributes, "inputs": [[0, 0, 0]]},
    ]
    with pytest.raises(mxt.FileFormatError, match=f'"x" \\({operator}\\).*{text}'):
        mxt.SymbolLayer(json.dumps({"nodes": nodes, "heads": [[1, 0, 0]]}), ("data",))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"a_wait": np.zeros(1)}, 'no array "a_wait"; did you mean "a_weight"'),
        ({"a_weight": np.zeros((2, 2))}, r'"a_weight" has the shape \(2, 2\), and the net needs \(6, 3\)'),
        ([], "arrays must map"),
        ({"a_weight": [[1], [1, 2]]}, 'arrays: "a_weight" is ragged'),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(arrays: Any, text: str) -> None:
    with pytest.raises((mxt.ArgumentError, mxt.NetError), match=text):
        mxt.from_symbol(scored(), {"data": VECTOR}, arrays=arrays)


@pytest.mark.parametrize("symbol", [None, "fc", mx.nd.zeros(3)])
def test_what_is_no_symbol_is_refused(symbol: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="from_symbol takes a symbol"):
        mxt.from_symbol(symbol, {"data": VECTOR})


@pytest.mark.parametrize("inputs", [None, {}, ["data"]])
def test_inputs_that_are_no_types_are_refused(inputs: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="inputs must map"):
        mxt.from_symbol(scored(), inputs)


def test_the_name_of_an_output_layer_is_no_name_for_the_layer() -> None:
    with pytest.raises(mxt.ArgumentError, match='"softmax" is the name of an output layer'):
        mxt.from_symbol(scored(), {"data": VECTOR}, name="softmax")


def test_a_layout_that_is_unknown_is_refused() -> None:
    with pytest.raises(mxt.ArgumentError, match="layout must be one of NTC, TNC"):
        mxt.from_symbol(scored(), {"data": VECTOR}, layout="CTN")
