"""Nets read from ONNX files give what ONNX's own tests, onnxruntime and PyTorch say; other files are refused."""

from __future__ import annotations

import importlib
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_cases
import pytest
from exported_cases import NETS, data_of, engine_output, with_values
from numpy.typing import NDArray
from onnx.backend.test.case import node

import mxtrainer as mxt

DATA = Path(__file__).parent / "data"
TORCH = sorted(path.name for path in DATA.glob("*.onnx"))
SEQUENCE = "float[batch, t, 3] x"
VECTOR = "float[batch, 3] x"
IMAGE = "float[batch, 2, 6, 7] x"


def assert_same_as_onnxruntime(path: str, feeds: onnx_cases.Arrays, net: mxt.NetGraph, tolerance: float = 1e-5) -> None:
    given, found = onnx_cases.expected(path, feeds), onnx_cases.found(net, feeds)
    assert found.keys() == given.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, given[name].reshape(array.shape), tolerance, tolerance, err_msg=name)


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 3) -> onnx_cases.Arrays:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape).astype("float32") for name, shape in shapes.items()}


# What `to_onnx` writes


@pytest.mark.parametrize("kind", ["convolution", "embedding", "lstm", "rnn", "bidirectional", "mean"])
def test_what_to_onnx_writes_comes_back_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    net = with_values(NETS[kind])
    mxt.to_onnx(net, tmp_path / "net.onnx")
    again = mxt.from_onnx(tmp_path / "net.onnx")
    np.testing.assert_array_equal(engine_output(again, data_of(net)), engine_output(net, data_of(net)))


@pytest.mark.parametrize(
    ("kind", "text"), [("mlp", 'node "elementwise/.*constant'), ("gru", "repeats a constant of several numbers")]
)
def test_a_gelu_and_a_learned_state_are_written_as_what_is_not_read(kind: str, text: str, tmp_path: Path) -> None:
    mxt.to_onnx(with_values(NETS[kind]), tmp_path / "net.onnx")
    with pytest.raises(mxt.NetError, match=text):
        mxt.from_onnx(tmp_path / "net.onnx")


# ONNX's own tests of its recurrent operators


def recurrent_tests() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in ("gru", "lstm", "rnn"):  # each appends its cases to the list; collect_testcases makes all of ONNX's
            importlib.import_module(f"{node.__name__}.{kind}")
    beginnings = ("test_lstm", "test_gru", "test_rnn", "test_simple_rnn")
    return {case.name: case for case in node._NodeTestCases if case.name.startswith(beginnings)}


RECURRENT = recurrent_tests()
REFUSED = {"test_lstm_with_peepholes": "peepholes"}  # the feature that no layer has, as the error names it


def run_own_test(case: Any, path: Path) -> None:
    model = case.model
    onnx.save(model, path)
    x, *others = case.data_sets[0][0]
    names = [port.name for port in model.graph.input]
    net = mxt.from_onnx(path, arrays=dict(zip(names[1:], others)))
    batch_first = any(attribute.name == "layout" and attribute.i for attribute in model.graph.node[0].attribute)
    found = onnx_cases.found(net, {"X": x if batch_first else x.swapaxes(0, 1)})
    assert tuple(found) == tuple(port.name for port in model.graph.output)
    for name, expected in zip(found, case.data_sets[0][1]):
        order = (2, 0, 1, 3) if name == "Y" else (1, 0, 2)
        ours = expected if batch_first else expected.transpose(order)
        np.testing.assert_allclose(found[name], ours.reshape(found[name].shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(RECURRENT.keys() - REFUSED.keys()))
def test_onnx_own_test_of_a_recurrent_operator_passes(name: str, tmp_path: Path) -> None:
    run_own_test(RECURRENT[name], tmp_path / "model.onnx")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_onnx_own_test_of_what_no_layer_has_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(mxt.NetError, match=REFUSED[name]):
        run_own_test(RECURRENT[name], tmp_path / "model.onnx")


def test_there_are_own_tests_of_every_recurrent_operator() -> None:
    kinds = Counter(case.model.graph.node[0].op_type for case in RECURRENT.values())
    assert kinds.keys() == {"GRU", "LSTM", "RNN"}
    assert min(kinds.values()) >= 4


# Each operator against onnxruntime

Shapes = dict[str, tuple[int, ...]]
FUNCTIONS = (
    "Abs", "Cos", "Erf", "Exp", "Gelu", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sin", "Softplus", "Softsign",
    "Tanh",
)  # fmt: skip
LAST_STEP = (
    "b = Constant <value_ints = [-1]> () e = Constant <value_ints = [9223372036854775807]> () "
    "a = Constant <value_ints = [1]> () s = Slice(x, b, e, a) y = Squeeze(s, a)"
)
REVERSED = (
    "b = Constant <value_ints = [-1]> () e = Constant <value_ints = [-9223372036854775807]> () "
    "a = Constant <value_ints = [1]> () y = Slice(x, b, e, a, b)"
)
BY_ROWS = (
    "s = Constant <value_ints = [-1, 3]> () a = Reshape(x, s) b = Gemm(a, w) n = Shape <end = 2> (x) "
    "four = Constant <value_ints = [4]> () t = Concat <axis = 0> (n, four) y = Reshape(b, t)"
)
TURNED = "a = Transpose <perm = [0, 2, 1]> (x) {} y = Transpose <perm = [0, 2, 1]> (c)"
ITEMS: list[tuple[int, str, str, Shapes]] = [
    *((20, VECTOR, f"y = {name}(x)", {}) for name in FUNCTIONS),
    (17, VECTOR, "a = Abs(x) y = Sqrt(a)", {}),
    (17, VECTOR, "a = Exp(x) y = Log(a)", {}),
    (7, VECTOR, "y = Gemm(x, w, b)", {"w": (3, 4), "b": (4,)}),
    (17, VECTOR, "y = Gemm <transB = 1, alpha = 2.0, beta = 0.5> (x, w, b)", {"w": (4, 3), "b": (1, 4)}),
    (17, VECTOR, "y = Gemm(x, w)", {"w": (3, 4)}),
    (17, VECTOR, "y = MatMul(x, w)", {"w": (3, 4)}),
    (17, VECTOR, "a = MatMul(x, w) y = Add(a, b)", {"w": (3, 4), "b": (4,)}),
    (17, VECTOR, "a = MatMul(x, w) c = Add(b, a) y = Sub(c, d)", {"w": (3, 4), "b": (1, 4), "d": (1,)}),
    (17, VECTOR, "a = MatMul(x, w) c = Mul(a, b) y = Sub(d, c)", {"w": (3, 4), "b": (4,), "d": ()}),
    (17, VECTOR, "a = MatMul(x, w) y = Div(a, b)", {"w": (3, 4), "b": (4,)}),
    (17, SEQUENCE, "a = MatMul(x, w) y = Add(a, b)", {"w": (3, 4), "b": (1, 1, 4)}),
    (17, VECTOR, "a = Tanh(x) y = Add(a, x)", {}),
    (17, VECTOR, "a = Tanh(x) y = Sub(a, x)", {}),
    (17, VECTOR, "a = Tanh(x) y = Mul(a, x)", {}),
    (17, VECTOR, "a = Exp(x) y = Div(x, a)", {}),
    (17, VECTOR, "a = Tanh(x) b = Exp(x) y = Max(a, x, b)", {}),
    (17, VECTOR, "a = Tanh(x) y = Min(a, x)", {}),
    (17, VECTOR, "a = Tanh(x) b = Exp(x) y = Sum(a, x, b)", {}),
    (17, VECTOR, "a = Exp(x) b = Sigmoid(x) y = Pow(a, b)", {}),
    (17, VECTOR, "two = Constant <value_float = 2.0> () y = Pow(x, two)", {}),
    (17, VECTOR, "one = Constant <value_float = 1.0> () y = Div(one, x)", {}),
    (17, VECTOR, "y = Softmax(x)", {}),
    (7, VECTOR, "y = Softmax(x)", {}),
    (17, SEQUENCE, "y = Softmax <axis = 2> (x)", {}),
    (7, VECTOR, "y = Dropout <ratio = 0.3> (x)", {}),
    (17, VECTOR, "y = Dropout(x)", {}),
    (17, VECTOR, "a = Tanh(x) y = Concat <axis = 1> (a, x, a)", {}),
    (17, SEQUENCE, "a = Tanh(x) y = Concat <axis = -1> (a, x)", {}),
    (17, IMAGE, "y = Flatten(x)", {}),
    (17, IMAGE, "s = Constant <value_ints = [0, 3, -1]> () y = Reshape(x, s)", {}),
    (17, IMAGE, "s = Constant <value_ints = [-1, 84]> () a = Reshape(x, s) y = Tanh(a)", {}),
    (17, IMAGE, "y = Conv(x, w, b)", {"w": (4, 2, 3, 2), "b": (4,)}),
    (17, IMAGE, "y = Conv <strides = [2, 1], pads = [1, 0, 1, 0], dilations = [2, 1]> (x, w)", {"w": (4, 2, 3, 2)}),
    (17, IMAGE, 'y = Conv <auto_pad = "SAME_UPPER"> (x, w)', {"w": (4, 2, 3, 5)}),
    (17, IMAGE, "a = Conv(x, w) y = Add(a, b)", {"w": (4, 2, 3, 2), "b": (4, 1, 1)}),
    (17, IMAGE, "a = Conv(x, w, c) y = Mul(a, b)", {"w": (4, 2, 3, 2), "b": (1, 4, 1, 1), "c": (4,)}),
    (17, IMAGE, "y = MaxPool <kernel_shape = [2, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", {}),
    (17, IMAGE, "y = AveragePool <kernel_shape = [2, 3]> (x)", {}),
    (17, IMAGE, "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)", {}),
    (17, IMAGE, "y = GlobalAveragePool(x)", {}),
    (17, IMAGE, "y = GlobalMaxPool(x)", {}),
    (17, SEQUENCE, TURNED.format("c = Conv <pads = [1, 1]> (a, w, b)"), {"w": (4, 3, 3), "b": (4,)}),
    (17, IMAGE, "y = BatchNormalization(x, s, b, m, v)", {"s": (2,), "b": (2,), "m": (2,), "v": (2,)}),
    (17, SEQUENCE, TURNED.format("c = BatchNormalization <epsilon = 0.1> (a, s, b, m, v)"),
     {"s": (3,), "b": (3,), "m": (3,), "v": (3,)}),
    (17, SEQUENCE, "y = LayerNormalization(x, s, b)", {"s": (3,), "b": (3,)}),
    (17, VECTOR, "y = LayerNormalization <epsilon = 0.1> (x, s)", {"s": (3,)}),
    (17, IMAGE, "y = LayerNormalization <axis = 1> (x, s, b)", {"s": (2, 6, 7), "b": (2, 6, 7)}),
    (17, IMAGE, "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", {}),
    (9, IMAGE, "a = ReduceMax <axes = [-2]> (x) y = Squeeze <axes = [2]> (a)", {}),
    (17, SEQUENCE, "y = ReduceMean <axes = [1], keepdims = 0> (x)", {}),
    (17, SEQUENCE, "y = ReduceL2 <axes = [1, 2], keepdims = 0> (x)", {}),
    (18, SEQUENCE, "a = Constant <value_ints = [1]> () y = ReduceMax(x, a)", {}),
    (17, SEQUENCE, "a = Constant <value_ints = [2]> () y = ReduceSum <keepdims = 0> (x, a)", {}),
    (17, SEQUENCE, "i = Constant <value_int = -1> () y = Gather <axis = 1> (x, i)", {}),
    (17, SEQUENCE, LAST_STEP, {}),
    (17, SEQUENCE, REVERSED, {}),
    (17, SEQUENCE, BY_ROWS, {"w": (3, 4)}),
    (9, SEQUENCE, "s = Slice <starts = [-1], ends = [2147483647], axes = [1]> (x) y = Squeeze <axes = [1]> (s)", {}),
    (17, VECTOR, "a = Constant <value_ints = [-1]> () b = Unsqueeze(x, a) y = Tanh(b)", {}),
    (17, "float[batch, 5, 2] x", "s = Constant <value_ints = [0, 10]> () a = Reshape(x, s) y = Gemm(a, w)",
     {"w": (10, 2)}),
    (17, VECTOR, "a = Cast <to = 11> (x) b = Cast <to = 1> (a) y = Tanh(b)", {}),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "inputs", "body", "constants"), ITEMS, ids=[case[2] for case in ITEMS])
def test_operators_give_what_onnxruntime_gives(
    opset: int, inputs: str, body: str, constants: Shapes, tmp_path: Path
) -> None:
    values = drawn(constants)
    if "v" in values:
        values["v"] = np.abs(values["v"])
    path = onnx_cases.write(tmp_path, f"({inputs}) => (float y) {{{body}}}", values, opset)
    extents = inputs.partition("[")[2].partition("]")[0].replace("batch", "2").replace("t", "4").split(",")
    feeds = drawn({"x": tuple(map(int, extents))}, seed=5)
    assert_same_as_onnxruntime(path, feeds, mxt.from_onnx(path))


def arrays_of(gates: int, directions: int, size: int = 4, features: int = 3) -> onnx_cases.Arrays:
    rows = gates * size
    return drawn({"W": (directions, rows, features), "R": (directions, rows, size), "B": (directions, 2 * rows)})


RUNS = [
    ("LSTM", 4, "hidden_size = 4"),
    ("GRU", 3, "hidden_size = 4"),
    ("GRU", 3, "hidden_size = 4, linear_before_reset = 1"),
    ("RNN", 1, "hidden_size = 4"),
    ("RNN", 1, 'hidden_size = 4, activations = ["Relu"]'),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("operator", "gates", "options"), RUNS)
def test_recurrent_operators_with_all_outputs_give_what_onnxruntime_gives(
    operator: str, gates: int, options: str, direction: str, tmp_path: Path
) -> None:
    kind = options.replace("Relu", 'Relu", "Relu') if direction == "bidirectional" else options
    states = ("h", "c") if operator == "LSTM" else ("h",)
    moved = "y = Transpose <perm = [2, 0, 1, 3]> (Y) " + " ".join(
        f"{name} = Transpose <perm = [1, 0, 2]> ({name.upper()}_n)" for name in states
    )
    body = (
        f"s = Transpose <perm = [1, 0, 2]> (x) "
        f'Y, {", ".join(f"{name.upper()}_n" for name in states)} = {operator} <{kind}, direction = "{direction}"> '
        f"(s, W, R, B) {moved}"
    )
    outputs = ", ".join(f"float {name}" for name in ("y", *states))
    values = arrays_of(gates, 2 if direction == "bidirectional" else 1)
    path = onnx_cases.write(tmp_path, f"({SEQUENCE}) => ({outputs}) {{{body}}}", values, 14)
    assert_same_as_onnxruntime(path, drawn({"x": (2, 5, 3)}), mxt.from_onnx(path))


@pytest.mark.parametrize(("operator", "gates", "options"), RUNS[:4])
def test_steps_of_both_directions_come_from_one_layer_where_that_is_all(
    operator: str, gates: int, options: str, tmp_path: Path
) -> None:
    body = (
        f's = Transpose <perm = [1, 0, 2]> (x) Y = {operator} <{options}, direction = "bidirectional"> (s, W, R, B) '
        f"t = Transpose <perm = [2, 0, 1, 3]> (Y) shape = Constant <value_ints = [0, 0, -1]> () y = Reshape(t, shape)"
    )
    path = onnx_cases.write(tmp_path, f"({SEQUENCE}) => (float y) {{{body}}}", arrays_of(gates, 2), 14)
    net = mxt.from_onnx(path)
    if "linear_before_reset" in options or operator != "GRU":
        assert [type(layer) for layer in net.layers.values()] == [mxt.Bidirectional]
    assert net.outputs["y"] == mxt.Sequence("t", mxt.Vector(8))
    assert_same_as_onnxruntime(path, drawn({"x": (2, 5, 3)}), net)


def test_initial_states_that_are_inputs_are_states_of_the_net(tmp_path: Path) -> None:
    text = (
        "(float[t, batch, 3] x, float[1, batch, 4] h, float[1, batch, 4] c) => (float h_n, float c_n) "
        "{Y, h_n, c_n = LSTM <hidden_size = 4> (x, W, R, B, , h, c)}"
    )
    path = onnx_cases.write(tmp_path, text, arrays_of(4, 1), 17)
    net = mxt.from_onnx(path)
    assert dict(net.inputs) == {"x": mxt.Sequence("t", mxt.Vector(3)), "h": mxt.Vector(4), "c": mxt.Vector(4)}
    assert dict(mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0)).states) == {"h": "h_n", "c": "c_n"}
    feeds = drawn({"x": (5, 2, 3), "h": (1, 2, 4), "c": (1, 2, 4)})
    given = onnx_cases.expected(path, feeds)
    found = onnx_cases.found(net, {"x": feeds["x"].swapaxes(0, 1), "h": feeds["h"][0], "c": feeds["c"][0]})
    for name in ("h_n", "c_n"):
        np.testing.assert_allclose(found[name], given[name][0], rtol=1e-5, atol=1e-5)


def test_initial_states_of_one_constant_number_are_that_of_the_layer(tmp_path: Path) -> None:
    text = (
        f"({SEQUENCE}) => (float y) {{s = Transpose <perm = [1, 0, 2]> (x) Y, y = GRU <hidden_size = 4, "
        f"linear_before_reset = 1> (s, W, R, B, , h)}}"
    )
    values = {**arrays_of(3, 1), "h": np.full((1, 2, 4), 0.5, "float32")}
    path = onnx_cases.write(tmp_path, text, values, 17)
    net = mxt.from_onnx(path)
    assert net.layers["gru"] == mxt.GRU(4, initial=0.5)
    assert_same_as_onnxruntime(path, drawn({"x": (2, 5, 3)}), net)


def test_lengths_come_with_the_batch_in_place_of_sequence_lens(tmp_path: Path) -> None:
    text = (
        "(float[t, batch, 3] x, int32[batch] lens) => (float Y, float h_n) "
        "{Y, h_n = LSTM <hidden_size = 4> (x, W, R, B, lens)}"
    )
    path = onnx_cases.write(tmp_path, text, arrays_of(4, 1), 17)
    net = mxt.from_onnx(path)
    assert tuple(net.inputs) == ("x",)
    x = drawn({"x": (5, 2, 3)})["x"]
    given = onnx_cases.expected(path, {"x": x, "lens": np.array([5, 3], "int32")})
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    executor = mxt.instantiate(plan, 2, {"t": 5}, training=False, arrays=net)
    executor.forward({"x": x.swapaxes(0, 1)}, lengths={"t": [5, 3]})
    np.testing.assert_allclose(executor.outputs["h_n"].asnumpy(), given["h_n"][0], rtol=1e-5, atol=1e-5)


def test_integers_that_choose_rows_of_a_constant_are_an_index(tmp_path: Path) -> None:
    path = onnx_cases.write(
        tmp_path, "(int64[batch, t] x) => (float y) {a = Gather(table, x) y = Tanh(a)}", drawn({"table": (7, 3)}), 17
    )
    net = mxt.from_onnx(path)
    assert net.inputs["x"] == mxt.Sequence("t", mxt.Index(7))
    assert_same_as_onnxruntime(path, {"x": np.array([[0, 6, 2], [5, 5, 1]])}, net)


def test_given_types_say_what_the_file_leaves_open(tmp_path: Path) -> None:
    path = onnx_cases.write(
        tmp_path, "(float[batch, 4, 3] x) => (float y) {y = MatMul(x, w)}", drawn({"w": (3, 2)}), 17
    )
    with pytest.raises(mxt.NetError, match=r'node "y" \(MatMul\).*Sequence'):
        mxt.from_onnx(path)
    net = mxt.from_onnx(path, inputs={"x": mxt.Sequence("steps", mxt.Vector(3))})
    assert net.outputs["y"] == mxt.Sequence("steps", mxt.Vector(2))
    assert_same_as_onnxruntime(path, drawn({"x": (2, 4, 3)}), net)


def test_names_with_dots_are_ports_without_them_and_a_file_may_fix_its_batch(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[3, 2, 2] input_1) => (float[3, 4] y_1) {'
        "s = Constant <value_ints = [3, -1]> () y_1 = Reshape(input_1, s)}"
    )
    for entries in (model.graph.node[1].input, model.graph.node[1].output):
        entries[0] = entries[0].replace("_", ".")
    for port in (model.graph.input[0], model.graph.output[0]):
        port.name = port.name.replace("_", ".")
    onnx.save(model, tmp_path / "model.onnx")
    net = mxt.from_onnx(tmp_path / "model.onnx", inputs={"input.1": mxt.Array((2, 2))})
    assert (dict(net.inputs), dict(net.outputs)) == ({"input_1": mxt.Array((2, 2))}, {"y_1": mxt.Vector(4)})


def test_a_constant_comes_into_no_layer_that_something_else_reads(tmp_path: Path) -> None:
    body = (
        "a = MatMul(x, w) n = Constant <value_ints = [0]> () b = Unsqueeze(a, n) t = Concat <axis = 0> (b, b) "
        "i = Constant <value_int = 1> () c = Gather <axis = 0> (t, i) d = Gather <axis = 0> (t, i) e = Add(c, v) "
        "y = Mul(e, d)"
    )
    path = onnx_cases.write(tmp_path, f"({VECTOR}) => (float y) {{{body}}}", drawn({"w": (3, 2), "v": (2,)}), 17)
    with pytest.raises(mxt.NetError, match="nothing else reads"):
        mxt.from_onnx(path)


def test_doubles_stay_doubles(tmp_path: Path) -> None:
    weights = {"w": np.full((3, 2), 1 / 3)}
    path = onnx_cases.write(tmp_path, "(double[batch, 3] x) => (double y) {y = MatMul(x, w)}", weights, 17)
    assert mxt.from_onnx(path).arrays["matmul.Weights"].dtype == np.float64


# Files of PyTorch


@pytest.mark.parametrize("name", TORCH)
def test_a_file_of_pytorch_gives_what_pytorch_gave(name: str) -> None:
    with np.load(DATA / "torch_onnx.npz") as file:
        values = {key.partition("/")[2]: file[key] for key in file if key.startswith(f"{name}/")}
    net = mxt.from_onnx(DATA / name)
    for state in set(net.inputs) - {"x"}:
        values[state] = values[state][0]
    for port, array in onnx_cases.found(net, values).items():
        np.testing.assert_allclose(array, values[port].reshape(array.shape), rtol=1e-5, atol=1e-6)


def test_a_file_can_be_trained_and_carries_its_states() -> None:
    whole = mxt.from_onnx(DATA / "lstm_script.onnx")
    trained = mxt.NetGraph(
        {"net": whole, "loss": mxt.MeanSquaredLoss()},
        [("x", "net", "loss", "Loss")],
        inputs={"x": mxt.Sequence("t", mxt.Vector(3))},
    ).with_states()
    arrays = {f"net.{path}": found for path, found in whole.arrays.items()}
    plan = mxt.compile_plan(trained)
    batch = {"x": np.ones((2, 4, 3)), "Target": np.zeros((2, 4, 2))}
    with mxt.Trainer(plan, mxt.Adam(1e-2), batch_size=2, carry=True, arrays=arrays) as trainer:
        trainer.update(batch)
        first = trainer.current_loss()["Loss"]
        for _ in range(50):
            trainer.update(batch)
        assert trainer.current_loss()["Loss"] < 0.5 * first


# What is refused

REFUSALS: list[tuple[str, str, Shapes, str]] = [
    (VECTOR, "y = Elu(x)", {}, r'node "y" \(Elu\): this operator is not read; those that are: Abs, Add,'),
    (VECTOR, "y = Add(x, b)", {"b": (3,)}, r"combines a tensor with a constant; what is read"),
    (VECTOR, "a = MatMul(x, w) b = Tanh(a) c = Add(a, d) y = Add(b, c)", {"w": (3, 3), "d": (3,)},
     "a MatMul, Gemm or Conv that nothing else reads"),
    (VECTOR, "y = MatMul(x, x)", {}, "its matrix must be constant"),
    (VECTOR, "y = Gemm <transA = 1> (x, w)", {"w": (3, 4)}, r"\(Gemm\): transA is 1; what is read is 0"),
    (VECTOR, "y = Gelu <approximate = \"tanh\"> (x)", {}, "approximate is 'tanh'"),
    (IMAGE, "y = Conv <group = 2> (x, w)", {"w": (4, 1, 3, 3)}, "is in 2 groups"),
    (IMAGE, "y = Conv <pads = [1, 1, 0, 0]> (x, w)", {"w": (4, 2, 3, 3)}, "equal padding at both ends"),
    (IMAGE, "y = MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (x)", {}, "ceil_mode is 1"),
    (IMAGE, "y = Softmax <axis = 1> (x)", {}, "the last axis of the item"),
    (IMAGE, "y = ReduceMean <axes = [0]> (x)", {}, "reduces the batch"),
    (SEQUENCE, "s = Constant <value_ints = [-1, 1]> () y = Reshape(x, s)", {}, "leaves batch and time as they are"),
    (SEQUENCE, "s = Constant <value_ints = [-1, 3]> () a = Reshape(x, s) y = ReduceMax <axes = [0]> (a)", {},
     "reduces the batch"),
    (SEQUENCE, "y = Flatten(x)", {}, "leaves batch and time as they are"),
    (SEQUENCE, "a = Tanh(x) y = Concat <axis = 1> (a, x)", {}, "joins along the time"),
    (SEQUENCE, "a = Constant <value_ints = [1]> () b = Constant <value_ints = [2]> () y = Slice(x, a, b, a)", {},
     "what is read is the last step"),
    ("float[t, batch, 3] x", "a, y = LSTM <hidden_size = 4, clip = 1.0> (x, W, R, B)", {}, "has clip"),
    ("float[t, batch, 3] x", "a, y = LSTM <hidden_size = 4, input_forget = 1> (x, W, R, B)", {}, "input_forget is 1"),
    ("float[t, batch, 3] x", 'a, y = LSTM <hidden_size = 4, activations = ["Relu", "Tanh", "Tanh"]> (x, W, R, B)', {},
     "activations relu, tanh, tanh; what is read is sigmoid, tanh, tanh"),
    ("float[t, batch, 3] x", "a, y = LSTM <hidden_size = 4> (x, W, R, B, , h, c)", {"h": (1, 2, 4), "c": (1, 2, 4)},
     "constant of several numbers"),
    (VECTOR, "y = Identity(x)", {}, 'its output "y" is its input "x" itself'),
    ("float[batch, h, w] x", "y = Tanh(x)", {}, 'its input "x" has several axes without a fixed extent'),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "body", "constants", "text"), REFUSALS, ids=[case[1] for case in REFUSALS])
def test_what_no_layer_does_is_refused_with_the_node_and_what_is_read(
    inputs: str, body: str, constants: Shapes, text: str, tmp_path: Path
) -> None:
    values = {**(arrays_of(4, 1) if "LSTM" in body else {}), **drawn(constants)}
    opset = 20 if "Gelu" in body else 17
    path = onnx_cases.write(tmp_path, f"({inputs}) => (float y) {{{body}}}", values, opset)
    with pytest.raises(mxt.NetError, match=text) as raised:
        mxt.from_onnx(path)
    assert path in str(raised.value)


@pytest.mark.parametrize(
    ("operator", "constant"),
    [("Add", np.zeros(5)), ("Mul", np.ones((1, 5))), ("Mul", -np.ones(5)), ("Pow", np.full(5, 2.0))],
)
def test_constants_that_would_repeat_a_tensor_are_refused(
    operator: str, constant: NDArray[Any], tmp_path: Path
) -> None:
    text = f"(float[batch, 1] x) => (float y) {{y = {operator}(x, c)}}"
    path = onnx_cases.write(tmp_path, text, {"c": constant.astype("float32")}, 17)
    with pytest.raises(mxt.NetError, match="to fit a constant of shape"):
        mxt.from_onnx(path)


def linear_model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 3] x) => (float[n, 2] y) {y = MatMul(x, w)}'
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 2), "float32"), "w"))
    return model


def refused(model: onnx.ModelProto, folder: Path, error: type[mxt.Error], text: str) -> None:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(error, match=text):
        mxt.from_onnx(folder / "model.onnx")


def test_tensors_in_other_files_are_refused(tmp_path: Path) -> None:
    model = linear_model()
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    refused(model, tmp_path, mxt.NetError, '"w" lies in another file')


def test_functions_and_operators_of_others_are_refused(tmp_path: Path) -> None:
    model = linear_model()
    model.functions.add(name="F", domain="mine")
    refused(model, tmp_path, mxt.NetError, "functions of its own")
    model = linear_model()
    model.graph.node[0].domain = "com.microsoft"
    refused(model, tmp_path, mxt.NetError, 'domain "com.microsoft"')


def test_graphs_in_nodes_are_refused(tmp_path: Path) -> None:
    model = linear_model()
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body))
    refused(model, tmp_path, mxt.NetError, r"\(If\): has a graph of its own")


@pytest.mark.parametrize("dims", [(3, 3), (-1, 2), (2**40, 2**40), (3,)])
def test_tensors_of_another_size_than_their_bytes_are_refused(dims: tuple[int, ...], tmp_path: Path) -> None:
    model = linear_model()
    model.graph.initializer[0].dims[:] = dims
    refused(model, tmp_path, mxt.FileFormatError, '"w"')


DOUBLING = " ".join(f"a{number + 1} = Concat <axis = 0> (a{number}, a{number})" for number in range(60))
COUNTED = (
    "a = Constant <value_int = 0> () b = Constant <value_int = 1000000000> () c = Constant <value_int = 1> () "
    "r = Range(a, b, c)"
)
LARGE = "n = Constant <value_ints = [3, 100000000]> ()"


@pytest.mark.parametrize(
    "body",
    [
        f"{LARGE} z = ConstantOfShape(n) y = MatMul(x, z)",
        f"{LARGE} one = Constant <value_float = 1.0> () a = Expand(one, n) y = MatMul(x, a)",
        f"a0 = Identity(w) {DOUBLING} y = MatMul(x, a60)",
        f"{COUNTED} y = Add(x, r)",
    ],
)
def test_a_small_file_that_makes_a_large_array_is_refused_before_it_is_made(body: str, tmp_path: Path) -> None:
    path = onnx_cases.write(tmp_path, f"(float[n, 3] x) => (float[n, m] y) {{{body}}}", drawn({"w": (3, 2)}), 17)
    with pytest.raises(mxt.FileFormatError, match="far more numbers than the file has"):
        mxt.from_onnx(path)


def test_operators_of_an_unknown_version_are_refused(tmp_path: Path) -> None:
    for version in (6, 23):
        model = linear_model()
        model.opset_import[0].version = version
        refused(model, tmp_path, mxt.NetError, f"are of version {version}, and those of 7 to 22 are read")


@pytest.mark.parametrize("seed", range(2))
def test_damaged_files_give_errors_of_this_package_alone(seed: int, tmp_path: Path) -> None:
    generator = random.Random(seed)  # noqa: S311 - not for secrets
    whole = (DATA / ("gru_script.onnx", "image_script.onnx")[seed]).read_bytes()
    path = tmp_path / "model.onnx"
    refusals = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(generator.choice((1, 2, 8))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        if generator.random() < 0.2:
            del damaged[generator.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            mxt.from_onnx(path)
        except mxt.Error:
            refusals += 1
    assert refusals > 100


# Bad arguments


@pytest.mark.parametrize("path", [None, 3, "", b"file"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="path must be the path of a file"):
        mxt.from_onnx(path)


def test_a_file_with_an_operator_that_is_none_is_a_file_format_error(tmp_path: Path) -> None:
    model = linear_model()
    model.graph.node[0].op_type = "Cumulate"
    refused(model, tmp_path, mxt.FileFormatError, "cannot be read as an ONNX model.*Cumulate")


def test_a_file_that_is_not_there_or_is_none_is_a_file_format_error(tmp_path: Path) -> None:
    with pytest.raises(mxt.FileFormatError, match=r"nowhere\.onnx' cannot be read as an ONNX model"):
        mxt.from_onnx(tmp_path / "nowhere.onnx")
    with pytest.raises(mxt.FileFormatError, match="cannot be read as an ONNX model"):
        mxt.from_onnx(tmp_path)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(mxt.FileFormatError, match="cannot be read as an ONNX model"):
        mxt.from_onnx(tmp_path / "text.onnx")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"inputs": {"X": mxt.Vector(3)}}, mxt.UnknownNameError, 'the file has no input "X"; did you mean "x"'),
        ({"arrays": {"w": np.ones(3)}}, mxt.UnknownNameError, 'arrays: the file has no input "w"'),
        ({"inputs": [("x", mxt.Vector(3))]}, mxt.ArgumentError, "inputs must map inputs to types"),
        ({"inputs": {"x": 3}}, mxt.ArgumentError, 'inputs: "x" must have a type'),
        ({"inputs": {"x": mxt.Vector(4)}}, mxt.ArgumentError, r'"x" is of shape .*, which is no Vector\(4\)'),
        ({"inputs": {"x": mxt.Vector(3)}}, mxt.ArgumentError, "which is no Vector"),
        ({"arrays": 3}, mxt.ArgumentError, "arrays must map inputs to arrays, got int"),
        ({"arrays": {"x": "text"}}, mxt.ArgumentError, 'arrays: "x" holds'),
        ({"arrays": {"x": [[1.0], [1.0, 2.0]]}}, mxt.ArgumentError, 'arrays: "x" is ragged'),
        ({"inputs": {"x": mxt.Vector(3)}, "arrays": {"x": 1.0}}, mxt.ArgumentError, "in inputs= and in arrays="),
        ({"inputs": {"x": mxt.Sequence("t", mxt.Vector(5))}}, mxt.ArgumentError, "which is no Sequence"),
    ],
)
def test_arguments_that_do_not_fit_the_file_are_refused(
    arguments: dict[str, Any], error: type[mxt.Error], text: str
) -> None:
    with pytest.raises(error, match=text):
        mxt.from_onnx(DATA / "lstm_script.onnx", **arguments)
