"""The oracle's derivatives: every backward against central differences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from fold_cells import arrays_of_gates
from numpy.typing import NDArray
from reference import ORACLES, Arrays, Gradients, Result
from reference_pointwise import CURVES

WIDTH = 1e-5
TOLERANCE = 1e-6
GENERATOR = np.random.default_rng(7)
INDEX_PORTS = {"Embedding": {"Input"}, "CrossEntropyLoss": {"Target"}, "ErrorRate": {"Target"}}


class Case(NamedTuple):
    layer: str
    inputs: Arrays
    arrays: Arrays
    fields: dict[str, Any]


def draw(*shape: int) -> NDArray[np.float64]:
    return GENERATOR.standard_normal(shape)


def positive(*shape: int) -> NDArray[np.float64]:
    return GENERATOR.uniform(0.2, 0.9, shape)


def indices(count: int, *shape: int) -> NDArray[Any]:
    return GENERATOR.integers(0, count, shape)


def case(layer: str, inputs: Arrays, arrays: Arrays | None = None, **fields: Any) -> Case:
    return Case(layer, inputs, arrays or {}, fields)


def one(layer: str, x: NDArray[Any], arrays: Arrays | None = None, **fields: Any) -> Case:
    return case(layer, {"Input": x}, arrays, **fields)


def affine(rows: int, *columns: int) -> Arrays:
    return {"Weights": draw(rows, *columns), "Biases": draw(rows)}


def recurrent(gates: int, size: int, width: int, prefix: str = "") -> Arrays:
    rows = gates * size
    shapes = {
        "InputWeights": (rows, width),
        "StateWeights": (rows, size),
        "InputBiases": (rows,),
        "StateBiases": (rows,),
    }
    return {prefix + name: draw(*shape) for name, shape in shapes.items()}


def norm_arrays(*shape: int) -> Arrays:
    moving = {"MovingMean": draw(*shape), "MovingVariance": positive(*shape)}
    return {"Scaling": draw(*shape), "Biases": draw(*shape), **moving}


def loss(layer: str, x: NDArray[Any], wanted: NDArray[Any], **fields: Any) -> Case:
    return case(layer, {"Input": x, "Target": wanted}, **fields)


def attends(query: NDArray[np.float64], **fields: Any) -> Case:
    return case("Attention", {"Query": query, "Key": draw(2, 4, 3), "Value": draw(2, 4, 5)}, **fields)


STEPS: dict[str, Any] = {"sequence": True}
STATES = {"State": draw(2, 3), "CellState": draw(2, 3)}
POSITIVE_CURVES = {"log", "sqrt", "log1p", "reciprocal"}

LAYERS = [
    one("Linear", draw(3, 4), affine(5, 4), output=(5,)),
    one("Linear", draw(3), affine(1, 1), output=()),
    one("Linear", draw(2, 3, 2, 2), affine(6, 4), output=(2, 3), **STEPS),
    one("Linear", draw(3, 4), {"Weights": draw(2, 4)}, output=(2,), biases=False),
    one("Embedding", indices(4, 6), {"Weights": draw(4, 3)}, size=3),
    one("Embedding", indices(4, 2, 5), {"Weights": draw(4, 3)}, size=3, **STEPS),
    *(one("Elementwise", positive(3, 4) if f in POSITIVE_CURVES else draw(3, 4), function=f) for f in CURVES),
    one("Elementwise", draw(2, 3, 4), function="tanh", **STEPS),
    *(case("Threading", {"1": draw(3, 4), "2": draw(3, 4), "3": draw(3, 4)}, function=f) for f in ("plus", "times")),
    *(case("Threading", {"1": draw(3), "2": draw(3)}, function=f) for f in ("subtract", "maximum", "minimum")),
    case("Threading", {"1": draw(2, 3, 4), "2": positive(2, 3, 4)}, function="divide", **STEPS),
    case("Threading", {"1": positive(3, 4), "2": draw(3, 4)}, function="power"),
    *(one("Aggregate", draw(2, 3, 4), function=f) for f in ("sum", "mean", "max", "norm")),
    *(one("Aggregate", draw(2, 3, 4), function=f, axes=0) for f in ("sum", "mean", "max", "norm")),
    *(one("Aggregate", draw(2, 3, 4), function=f, **STEPS) for f in ("sum", "mean", "max", "norm")),
    *(one("Aggregate", draw(2, 3, 4, 2), function=f, axes=(-1,), **STEPS) for f in ("sum", "mean", "max", "norm")),
    case("Catenate", {"1": draw(3, 2), "2": draw(3, 4), "3": draw(3, 1)}),
    case("Catenate", {"1": draw(2, 3, 2, 4), "2": draw(2, 3, 2, 1)}, axis=-1, **STEPS),
    one("Reshape", draw(2, 3, 4), shape=(2, 6)),
    one("Reshape", draw(2, 3, 4), shape=(2, 2), **STEPS),
    one("Flatten", draw(2, 3, 4)),
    one("Flatten", draw(2, 3, 4, 2), **STEPS),
    one("Dropout", draw(3, 4), mask=2.0 * indices(2, 3, 4)),
    one("Dropout", draw(2, 3, 4), **STEPS),
    one("BatchNorm", draw(5, 3), norm_arrays(3), training=True),
    one("BatchNorm", draw(5), norm_arrays(1), training=True),
    one("BatchNorm", draw(3, 2, 2, 2), norm_arrays(2), training=True, momentum=0.8, epsilon=0.1),
    one("BatchNorm", draw(4, 3, 2), norm_arrays(2), training=True, rows=np.array([1, 1, 0, 1], bool), **STEPS),
    one("BatchNorm", draw(4, 3, 2), norm_arrays(2), training=False, **STEPS),
    one("LayerNorm", draw(3, 4), {"Scaling": draw(4), "Biases": draw(4)}),
    one("LayerNorm", draw(2, 3, 2, 2), {"Scaling": draw(2, 2), "Biases": draw(2, 2)}, **STEPS),
    one("Convolution", draw(2, 3, 7), affine(4, 3, 3), channels=4, kernel=3, stride=2, padding=1),
    one("Convolution", draw(2, 2, 5, 6), affine(3, 2, 3, 2), channels=3, kernel=(3, 2), dilation=(1, 2)),
    one("Convolution", draw(1, 2, 3, 3, 4), affine(2, 2, 2, 2, 2), channels=2, kernel=2, stride=(1, 1, 2), padding=1),
    one("Convolution", draw(2, 2, 2, 4, 4), affine(2, 2, 3, 3), channels=2, kernel=3, **STEPS),
    one("Convolution", draw(2, 5, 3), affine(4, 3, 3), channels=4, kernel=3, dilation=2, **STEPS),
    one("Convolution", draw(2, 5, 3), {"Weights": draw(4, 3, 2)}, channels=4, kernel=2, biases=False, **STEPS),
    *(one("Pooling", draw(2, 3, 7), kernel=3, function=f) for f in ("max", "mean")),
    *(one("Pooling", draw(2, 2, 5, 6), kernel=(3, 2), function=f, stride=2, padding=1) for f in ("max", "mean")),
    *(one("Pooling", draw(2, 2, 3, 4, 4), kernel=2, function=f, **STEPS) for f in ("max", "mean")),
    *(one("Pooling", draw(2, 5, 3), kernel=3, function=f, **STEPS) for f in ("max", "mean")),
    one("Softmax", draw(2, 3, 4)),
    one("Softmax", draw(2, 3, 4), **STEPS),
    one("SequenceLast", draw(2, 3, 4), **STEPS),
    one("SequenceReverse", draw(2, 3, 4), **STEPS),
    one("BasicRecurrent", draw(2, 4, 2), recurrent(1, 3, 2), size=3),
    case(
        "BasicRecurrent", {"Input": draw(2, 4, 2), "State": draw(2, 3)}, recurrent(1, 3, 2), size=3, activation="relu"
    ),
    one("LSTM", draw(2, 4, 2), recurrent(4, 3, 2), size=3),
    case("LSTM", {"Input": draw(2, 4, 2), **STATES}, recurrent(4, 3, 2), size=3, **STEPS),
    case("LSTM", {"Input": draw(2, 1, 2), "CellState": draw(2, 3)}, recurrent(4, 3, 2), size=3),
    one("GRU", draw(2, 4, 2), recurrent(3, 3, 2), size=3),
    case("GRU", {"Input": draw(2, 4, 2), "State": draw(2, 3)}, recurrent(3, 3, 2), size=3),
    *(
        one("Bidirectional", draw(2, 3, 2), {**recurrent(n, 3, 2, "forward."), **recurrent(n, 3, 2, "backward.")}, **f)
        for n, f in (
            (4, {"kind": "LSTM", "size": 3}),
            (3, {"kind": "GRU", "size": 3}),
            (1, {"kind": "BasicRecurrent", "size": 3, "activation": "relu"}),
        )
    ),
    one("Fold", draw(2, 4, 2), arrays_of_gates(recurrent(4, 3, 2), "ifgo"), kind="LSTM", gates="ifgo", size=3),
    one("Map", draw(2, 3, 2, 2), {f"linear.{name}": x for name, x in affine(3, 4).items()}, output=(3,)),
    attends(draw(2, 3, 3)),
    attends(draw(2, 3), scaled=False),
    attends(draw(2, 4, 3), causal=True),
    attends(draw(2, 6, 3), causal=True),
    one("GradientScale", draw(2, 3), scale=1.0),
    one("LearnedWeight", draw(4), {"LogVariance": draw(1)}),
]

LOSSES = [
    *(loss(name, draw(3, 4), draw(3, 4)) for name in ("MeanSquaredLoss", "MeanAbsoluteLoss")),
    *(loss(name, draw(3), draw(3)) for name in ("MeanSquaredLoss", "MeanAbsoluteLoss")),
    *(loss(name, draw(2, 3, 4), draw(2, 3, 4), **STEPS) for name in ("MeanSquaredLoss", "MeanAbsoluteLoss")),
    loss("MeanSquaredLoss", draw(2, 3, 4), draw(2, 3, 4), average="steps", **STEPS),
    loss("ContrastiveLoss", positive(6), positive(6)),
    loss("ContrastiveLoss", positive(2, 3), positive(2, 3), margin=1.0, average="steps", **STEPS),
    loss("ErrorRate", draw(5, 3), indices(3, 5)),
    loss("ErrorRate", draw(2, 5, 3), indices(3, 2, 5), **STEPS),
    *(
        loss("CrossEntropyLoss", make(3, 4), target, target=kind, input=form)
        for form, make in (("logits", draw), ("probabilities", positive))
        for kind, target in (("index", indices(4, 3)), ("probabilities", positive(3, 4)), ("binary", positive(3, 4)))
    ),
    *(
        loss("CrossEntropyLoss", draw(2, 3, 4), target, target=kind, average="steps", **STEPS)
        for kind, target in (("index", indices(4, 2, 3)), ("binary", positive(2, 3, 4)))
    ),
    loss("CrossEntropyLoss", draw(2, 3, 4), positive(2, 3, 4), target="probabilities", **STEPS),
    loss("CrossEntropyLoss", draw(3), positive(3), target="binary"),
]


def name_of(value: Case) -> str:
    words = [f"{key}={x}" for key, x in value.fields.items() if not isinstance(x, np.ndarray)]
    return " ".join([value.layer, *words])


def run(value: Case) -> Result:
    return ORACLES[value.layer](value.inputs, value.arrays, **value.fields)


def taught_ports(result: Result) -> list[str]:
    return [port for port in result.outputs if not port.startswith("Moving")]


def random_heads(result: Result) -> Arrays:
    return {port: draw(*result.outputs[port].shape) for port in taught_ports(result)}


def weighed(value: Case, heads: Arrays) -> float:
    outputs = run(value).outputs
    return float(sum((gradient * outputs[port]).sum() for port, gradient in heads.items()))


def differences(value: Case, heads: Arrays, array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return central differences of the weighed outputs by each element of one of the case's arrays."""
    slope = np.zeros(array.shape)
    for place in np.ndindex(array.shape):
        before = array[place]
        array[place] = before + WIDTH
        above = weighed(value, heads)
        array[place] = before - WIDTH
        slope[place] = (above - weighed(value, heads)) / (2 * WIDTH)
        array[place] = before
    return slope


def assert_slopes(value: Case, heads: Arrays, slopes: Arrays, sources: Arrays) -> None:
    for name, slope in slopes.items():
        expected = differences(value, heads, sources[name])
        scale = max(float(np.abs(expected).max()), 1e-2)
        np.testing.assert_allclose(slope, expected, rtol=0, atol=TOLERANCE * scale, err_msg=name)


def copied(value: Case) -> Case:
    inputs = {port: x.copy() for port, x in value.inputs.items()}
    return value._replace(inputs=inputs, arrays={name: x.copy() for name, x in value.arrays.items()})


@pytest.mark.slow
@pytest.mark.parametrize("value", LAYERS + LOSSES, ids=name_of)
def test_backward_is_the_derivative(value: Case) -> None:
    value = copied(value)
    result = run(value)
    heads = random_heads(result)
    gradients = result.backward(heads)
    assert_slopes(value, heads, gradients.inputs, value.inputs)
    assert_slopes(value, heads, gradients.arrays, value.arrays)


def index_ports(value: Case) -> set[str]:
    is_index = value.layer != "CrossEntropyLoss" or value.fields["target"] == "index"
    return INDEX_PORTS.get(value.layer, set()) if is_index else set()


@pytest.mark.parametrize("value", LAYERS + LOSSES, ids=name_of)
def test_gradients_are_of_the_real_inputs_and_the_trained_arrays(value: Case) -> None:
    result = run(value)
    gradients = result.backward(random_heads(result))
    trained = {name for name in value.arrays if not name.startswith("Moving")}
    assert set(gradients.inputs) == set(value.inputs) - index_ports(value)
    assert set(gradients.arrays) == trained


@pytest.mark.parametrize("value", LAYERS + LOSSES, ids=name_of)
def test_missing_heads_count_as_zero(value: Case) -> None:
    result = run(value)
    heads = random_heads(result)
    alone = [result.backward({port: gradient}) for port, gradient in heads.items()]
    assert_sums_to(alone, result.backward(heads))
    nothing = result.backward({})
    assert not any(np.any(slope) for slope in (*nothing.inputs.values(), *nothing.arrays.values()))


def assert_sums_to(parts: list[Gradients], whole: Gradients) -> None:
    for port, slope in whole.inputs.items():
        np.testing.assert_allclose(sum(part.inputs[port] for part in parts), slope, rtol=0, atol=1e-12)
    for name, slope in whole.arrays.items():
        np.testing.assert_allclose(sum(part.arrays[name] for part in parts), slope, rtol=0, atol=1e-12)


def test_every_oracle_is_checked() -> None:
    assert {value.layer for value in LAYERS + LOSSES} == set(ORACLES)


def test_single_precision_is_widened_first() -> None:
    x = np.array([0.1], dtype=np.float32)
    y = ORACLES["Elementwise"]({"Input": x}, {}, function="exp").outputs["Output"]
    assert y[0] == np.exp(np.float64(x[0]))
