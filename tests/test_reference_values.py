"""The oracle's values, and those of the optimizers, against numbers by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ORACLES, Arrays, adam, sgd
from reference_pointwise import CURVES

GENERATOR = np.random.default_rng(7)


def draw(*shape: int) -> NDArray[np.float64]:
    return GENERATOR.standard_normal(shape)


def positive(*shape: int) -> NDArray[np.float64]:
    return GENERATOR.uniform(0.2, 0.9, shape)


def output(layer: str, inputs: dict[str, Any], arrays: dict[str, Any] | None = None, **fields: Any) -> NDArray[Any]:
    """Return the output of an oracle for nested lists of floats (and of integers, for indices)."""
    given = {port: np.array(x) for port, x in inputs.items()}
    trained = {name: np.array(x, dtype=np.float64) for name, x in (arrays or {}).items()}
    return next(iter(ORACLES[layer](given, trained, **fields).outputs.values()))


def slopes_of(layer: str, inputs: dict[str, Any], **fields: Any) -> Arrays:
    """Return the input gradients for heads of one."""
    result = ORACLES[layer]({port: np.array(x) for port, x in inputs.items()}, {}, **fields)
    return result.backward({port: np.ones(y.shape) for port, y in result.outputs.items()}).inputs


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


BY_HAND = {
    "tanh": math.tanh(0.3),
    "sigmoid": logistic(0.3),
    "relu": 0.3,
    "gelu": 0.3 * 0.6179114221889526,  # the normal distribution's share below 0.3
    "selu": 0.3 * 1.0507009873554805,
    "softplus": math.log(1 + math.exp(0.3)),
    "softsign": 0.3 / 1.3,
    "swish": 0.3 * logistic(0.3),
    "exp": math.exp(0.3),
    "expm1": math.exp(0.3) - 1,
    "log": math.log(0.3),
    "log1p": math.log(1.3),
    "sqrt": math.sqrt(0.3),
    "square": 0.09,
    "abs": 0.3,
    "negative": -0.3,
    "reciprocal": 1 / 0.3,
    "sin": math.sin(0.3),
    "cos": math.cos(0.3),
    "erf": math.erf(0.3),
}


@pytest.mark.parametrize("function", CURVES)
def test_elementwise_value(function: str) -> None:
    assert output("Elementwise", {"Input": [0.3]}, function=function)[0] == pytest.approx(BY_HAND[function], rel=1e-12)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("relu", 0.0),
        ("selu", 1.0507009873554805 * 1.6732632423543772 * math.expm1(-2.0)),
        ("abs", 2.0),
        ("softsign", -2 / 3),
    ],
)
def test_elementwise_value_below_zero(function: str, expected: float) -> None:
    assert output("Elementwise", {"Input": [-2.0]}, function=function)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("function", ["sigmoid", "softplus", "swish", "selu", "tanh", "softsign"])
def test_elementwise_is_finite_far_out(function: str) -> None:
    x = np.array([-1e3, 1e3])
    assert np.isfinite(output("Elementwise", {"Input": x}, function=function)).all()
    assert np.isfinite(slopes_of("Elementwise", {"Input": x}, function=function)["Input"]).all()


@pytest.mark.parametrize("function", ["relu", "abs"])
def test_elementwise_gradient_at_the_kink_is_zero(function: str) -> None:
    assert slopes_of("Elementwise", {"Input": [0.0]}, function=function)["Input"][0] == 0


@pytest.mark.parametrize(
    ("function", "expected"),
    [("subtract", 5.0), ("divide", 3.5), ("maximum", 7.0), ("minimum", 2.0), ("power", 49.0), ("plus", 9.0)],
)
def test_threading_value(function: str, expected: float) -> None:
    assert output("Threading", {"2": [2.0], "1": [7.0]}, function=function).tolist() == [expected]


def test_threading_takes_ports_in_the_order_of_their_numbers() -> None:
    ports = {str(i): np.full((1, 1), float(i)) for i in (10, 2, 1)}
    assert output("Catenate", ports).tolist() == [[1, 2, 10]]


def test_linear_value() -> None:
    arrays = {"Weights": [[1, 2], [3, 4]], "Biases": [10, 20]}
    assert output("Linear", {"Input": [[5.0, 6.0]]}, arrays, output=(2,)).tolist() == [[27, 59]]


def test_embedding_adds_the_gradients_of_a_row_met_twice() -> None:
    result = ORACLES["Embedding"]({"Input": np.array([1, 1])}, {"Weights": np.zeros((2, 1))}, size=1)
    assert result.backward({"Output": np.array([[2.0], [3.0]])}).arrays["Weights"].tolist() == [[0], [5]]


@pytest.mark.parametrize(
    ("function", "by_steps", "by_items"),
    [
        ("sum", [3, 4], [7, 0]),
        ("mean", [1.5, 2], [3.5, 0]),
        ("max", [3, 4], [4, 0]),
        ("norm", [3, 4], [5, 0]),
    ],
)
def test_aggregate_value(function: str, by_steps: list[float], by_items: list[float]) -> None:
    x = [[[3.0, 4.0], [0.0, 0.0]]]
    assert output("Aggregate", {"Input": x}, function=function, sequence=True).tolist() == [by_steps]
    assert output("Aggregate", {"Input": x}, function=function, sequence=True, axes=0).tolist() == [by_items]


def test_aggregate_norm_of_the_zero_vector_has_no_gradient() -> None:
    assert slopes_of("Aggregate", {"Input": [[0.0, 0.0]]}, function="norm")["Input"].tolist() == [[0, 0]]


def test_reshape_keeps_the_order_of_c() -> None:
    assert output("Reshape", {"Input": [[1.0, 2.0, 3.0, 4.0]]}, shape=(2, 2)).tolist() == [[[1, 2], [3, 4]]]


def test_dropout_multiplies_by_the_mask_or_keeps_all() -> None:
    x = {"Input": np.array([[1.0, 2.0]])}
    assert output("Dropout", x, mask=np.array([[0.0, 2.0]])).tolist() == [[0, 4]]
    assert output("Dropout", x).tolist() == [[1, 2]]


def test_batch_norm_takes_statistics_of_the_true_rows() -> None:
    arrays = {"Scaling": [2], "Biases": [1], "MovingMean": [10], "MovingVariance": [20]}
    x = {"Input": np.array([[1.0], [3.0], [6.0]])}
    fields = {"training": True, "rows": np.array([True, True, False]), "epsilon": 0.0}
    given = {name: np.array(numbers, dtype=np.float64) for name, numbers in arrays.items()}
    outputs = ORACLES["BatchNorm"](x, given, **fields).outputs
    assert outputs["Output"].tolist() == [[-1], [3], [9]]
    np.testing.assert_allclose(outputs["MovingMean"], [0.9 * 10 + 0.1 * 2])
    np.testing.assert_allclose(outputs["MovingVariance"], [0.9 * 20 + 0.1 * 1])


def test_batch_norm_evaluates_by_the_moving_statistics() -> None:
    arrays = {"Scaling": [2], "Biases": [1], "MovingMean": [10], "MovingVariance": [4]}
    assert output("BatchNorm", {"Input": [14.0]}, arrays, training=False, epsilon=0.0).tolist() == [5]


def test_layer_norm_value() -> None:
    arrays = {"Scaling": [[1, 2]], "Biases": [[0, 5]]}
    assert output("LayerNorm", {"Input": [[[1.0, 3.0]]]}, arrays, epsilon=0.0).tolist() == [[[-1, 7]]]


def test_convolution_does_not_flip_the_kernel() -> None:
    arrays = {"Weights": [[[1, 10, 100]]], "Biases": [0.5]}
    x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    assert output("Convolution", {"Input": x}, arrays, channels=1, kernel=3).tolist() == [[[321.5, 432.5]]]
    strided = output("Convolution", {"Input": x}, arrays, channels=1, kernel=3, stride=2, padding=1)
    assert strided.tolist() == [[[210.5, 432.5]]]


def test_convolution_along_the_steps_keeps_the_length() -> None:
    arrays = {"Weights": [[[1, 10, 100]]], "Biases": [0]}
    x = {"Input": np.array([[[1.0], [2.0], [3.0]]])}
    y = output("Convolution", x, arrays, channels=1, kernel=3, sequence=True)
    assert y.tolist() == [[[210], [321], [32]]]


def test_an_even_kernel_along_the_steps_reaches_further_ahead() -> None:
    arrays = {"Weights": [[[1, 10]]]}
    y = output("Convolution", {"Input": [[[1.0], [2.0]]]}, arrays, channels=1, kernel=2, biases=False, sequence=True)
    assert y.tolist() == [[[21], [2]]]


@pytest.mark.parametrize("field", ["stride", "padding"])
def test_convolution_along_the_steps_refuses_what_changes_the_length(field: str) -> None:
    arrays = {"Weights": [[[1, 1, 1]]], "Biases": [0]}
    with pytest.raises(ValueError, match="length"):
        output("Convolution", {"Input": [[[1.0]]]}, arrays, channels=1, kernel=3, sequence=True, **{field: 2})


@pytest.mark.parametrize(("function", "expected"), [("max", [-1, -2, -4]), ("mean", [-1, -2.5, -4.5])])
def test_pooling_counts_only_the_input_and_rounds_down(function: str, expected: list[float]) -> None:
    x = {"Input": [[[-1.0, -2.0, -3.0, -4.0, -5.0]]]}
    assert output("Pooling", x, kernel=2, function=function, padding=1, stride=2).tolist() == [[expected]]


def test_pooling_steps_by_its_kernel() -> None:
    x = {"Input": np.array([[[1.0, 2.0, 3.0, 4.0, 9.0]]])}
    assert output("Pooling", x, kernel=2).tolist() == [[[2, 4]]]


def test_pooling_along_the_steps_keeps_the_length() -> None:
    x = {"Input": np.array([[[1.0], [5.0], [3.0]]])}
    assert output("Pooling", x, kernel=3, function="mean", sequence=True).tolist() == [[[3], [3], [4]]]


def test_softmax_is_stable() -> None:
    np.testing.assert_allclose(output("Softmax", {"Input": [[1e3, 1e3, -1e3]]}), [[0.5, 0.5, 0]])


def test_sequence_last_value() -> None:
    assert output("SequenceLast", {"Input": [[[1.0], [2.0]]]}, sequence=True).tolist() == [[2]]


def gates(numbers: list[float]) -> dict[str, Any]:
    """Return arrays of size 1 and width 1 where every gate gets x * number + 2 * number from the state + biases."""
    column = [[number] for number in numbers]
    return {
        "InputWeights": column,
        "StateWeights": [[2 * number] for number in numbers],
        "InputBiases": [0.1] * len(numbers),
        "StateBiases": [0.2] * len(numbers),
    }


def test_basic_recurrent_value() -> None:
    ports = {"Input": np.array([[[0.5], [0.7]]]), "State": np.array([[0.3]])}
    first = math.tanh(0.4 * 0.5 + 0.8 * 0.3 + 0.3)
    y = output("BasicRecurrent", ports, gates([0.4]), size=1)
    np.testing.assert_allclose(y.ravel(), [first, math.tanh(0.4 * 0.7 + 0.8 * first + 0.3)], rtol=1e-12)


def test_lstm_value() -> None:
    ports = {"Input": np.array([[[0.5]]]), "State": np.array([[0.3]]), "CellState": np.array([[-0.6]])}
    i, f, g, o = (number * (0.5 + 2 * 0.3) + 0.3 for number in (0.1, 0.2, 0.3, 0.4))
    c = logistic(f) * -0.6 + logistic(i) * math.tanh(g)
    arrays = {name: np.array(x) for name, x in gates([0.1, 0.2, 0.3, 0.4]).items()}
    outputs = ORACLES["LSTM"](ports, arrays, size=1).outputs
    h = logistic(o) * math.tanh(c)
    found = [outputs[port].item() for port in ("CellState", "State", "Output")]
    assert found == pytest.approx([c, h, h], rel=1e-12)


def test_gru_value() -> None:
    ports = {"Input": np.array([[[0.5]]]), "State": np.array([[0.3]])}
    r, z = (logistic(number * (0.5 + 2 * 0.3) + 0.3) for number in (0.1, 0.2))
    n = math.tanh(0.3 * 0.5 + 0.1 + r * (0.6 * 0.3 + 0.2))
    y = output("GRU", ports, gates([0.1, 0.2, 0.3]), size=1)
    assert y.item() == pytest.approx((1 - z) * n + z * 0.3, rel=1e-12)


def basic_arrays() -> Arrays:
    matrices = {"InputWeights": draw(3, 2), "StateWeights": draw(3, 3)}
    return {**matrices, "InputBiases": draw(3), "StateBiases": draw(3)}


def test_bidirectional_joins_forward_and_backward() -> None:
    x = draw(2, 3, 2)
    ahead, behind = basic_arrays(), basic_arrays()
    both = {**{f"forward.{k}": v for k, v in ahead.items()}, **{f"backward.{k}": v for k, v in behind.items()}}
    y = output("Bidirectional", {"Input": x}, both, kind="BasicRecurrent", size=3)
    np.testing.assert_array_equal(y[..., :3], output("BasicRecurrent", {"Input": x}, ahead, size=3))
    np.testing.assert_array_equal(y[:, ::-1, 3:], output("BasicRecurrent", {"Input": x[:, ::-1]}, behind, size=3))


def test_attention_value() -> None:
    ports = {"Query": [[1.0, 0.0, 0.0, 0.0]], "Key": [[[2.0, 0, 0, 0], [0.0, 0, 0, 0]]], "Value": [[[1.0], [0.0]]]}
    assert output("Attention", ports).item() == pytest.approx(logistic(1.0))
    assert output("Attention", ports, scaled=False).item() == pytest.approx(logistic(2.0))


def test_causal_attention_does_not_look_ahead() -> None:
    key, value = draw(1, 3, 2), draw(1, 3, 2)
    y = output("Attention", {"Query": draw(1, 3, 2), "Key": key, "Value": value}, causal=True)
    np.testing.assert_allclose(y[0, 0], value[0, 0])


def test_causal_attention_needs_a_sequence_as_query() -> None:
    with pytest.raises(ValueError, match="Sequence"):
        output("Attention", {"Query": draw(2, 3), "Key": draw(2, 4, 3), "Value": draw(2, 4, 5)}, causal=True)


def test_gradient_scale_scales_the_gradient_alone() -> None:
    assert output("GradientScale", {"Input": [2.0]}, scale=-3.0).tolist() == [2]
    assert slopes_of("GradientScale", {"Input": [2.0]}, scale=-3.0)["Input"].tolist() == [-3]


@pytest.mark.parametrize(("average", "squared", "absolute"), [("examples", 5, 1.5), ("steps", 10, 3)])
def test_regression_loss_value(average: str, squared: float, absolute: float) -> None:
    ports = {"Input": [[[1.0, 3.0], [0.0, 4.0]]], "Target": [[[1.0, 3.0], [-2.0, 0.0]]]}
    assert output("MeanSquaredLoss", ports, sequence=True, average=average).tolist() == [squared]
    assert output("MeanAbsoluteLoss", ports, sequence=True, average=average).tolist() == [absolute]


def test_absolute_loss_has_no_gradient_at_zero() -> None:
    assert slopes_of("MeanAbsoluteLoss", {"Input": [1.0], "Target": [1.0]})["Input"].tolist() == [0]


@pytest.mark.parametrize(
    ("target", "given", "probability"),
    [("index", 1, 0.75), ("probabilities", [0.0, 1.0], 0.75), ("binary", [0.0, 1.0], 0.75)],
)
def test_cross_entropy_value(target: str, given: Any, probability: float) -> None:
    ports = {"Input": [[0.25, 0.75]], "Target": [given]}
    value = output("CrossEntropyLoss", ports, target=target, input="probabilities")
    assert value.tolist() == pytest.approx([-math.log(probability)])


@pytest.mark.parametrize("target", ["probabilities", "binary"])
def test_cross_entropy_of_logits_is_that_of_their_probabilities(target: str) -> None:
    x, given = draw(3, 4), positive(3, 4)
    squash: dict[str, tuple[str, dict[str, Any]]] = {
        "probabilities": ("Softmax", {}),
        "binary": ("Elementwise", {"function": "sigmoid"}),
    }
    layer, fields = squash[target]
    ports = {"Input": output(layer, {"Input": x}, **fields), "Target": given}
    np.testing.assert_allclose(
        output("CrossEntropyLoss", {"Input": x, "Target": given}, target=target),
        output("CrossEntropyLoss", ports, target=target, input="probabilities"),
    )


@pytest.mark.parametrize("target", ["probabilities", "binary"])
@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_cross_entropy_drops_terms_of_weight_zero_exactly(target: str, form: str) -> None:
    x = [[0.0, 1.0]] if form == "probabilities" else [[-np.inf, 1e4]]
    ports = {"Input": x, "Target": [[0.0, 1.0]]}
    assert output("CrossEntropyLoss", ports, target=target, input=form).tolist() == [0]
    assert np.isfinite(slopes_of("CrossEntropyLoss", ports, target=target, input=form)["Input"]).all()


def test_losses_refuse_an_average_they_do_not_have() -> None:
    with pytest.raises(ValueError, match="average"):
        output("MeanSquaredLoss", {"Input": [1.0], "Target": [1.0]}, average="batch")


@pytest.mark.parametrize(("target", "expected"), [(1.0, 0.04), (0.0, 0.09), (0.5, 0.065)])
def test_contrastive_loss_value(target: float, expected: float) -> None:
    assert output("ContrastiveLoss", {"Input": [0.2], "Target": [target]})[0] == pytest.approx(expected)


def test_error_rate_value() -> None:
    ports = {"Input": [[[1.0, 2.0], [3.0, 2.0]]], "Target": [[1, 1]]}
    assert output("ErrorRate", ports, sequence=True).tolist() == [0.5]


def test_adam_takes_the_steps_of_the_paper() -> None:
    w, state = adam(np.array([1.0]), np.array([2.0]), {}, 1, 0.1, 0.9, 0.99, 0.5)
    # m = 0.2 and v = 0.04, corrected 2 and 4.
    np.testing.assert_allclose([w[0], state["m"][0], state["v"][0]], [1 - 0.1 * 2 / 2.5, 0.2, 0.04], rtol=1e-12)
    w, state = adam(w, np.array([-1.0]), state, 2, 0.1, 0.9, 0.99, 0.5)
    # m = 0.18 - 0.1 = 0.08, corrected by 0.19; v = 0.0396 + 0.01 = 0.0496, corrected by 0.0199.
    change = 0.1 * (0.08 / 0.19) / (math.sqrt(0.0496 / 0.0199) + 0.5)
    np.testing.assert_allclose([w[0], state["m"][0], state["v"][0]], [0.92 - change, 0.08, 0.0496], rtol=1e-12)


def test_sgd_keeps_its_momentum() -> None:
    w, state = sgd(np.array([1.0]), np.array([2.0]), {}, 0.1, 0.5)
    np.testing.assert_allclose([w[0], state["m"][0]], [0.8, -0.2], rtol=1e-12)
    w, state = sgd(w, np.array([1.0]), state, 0.1, 0.5)
    np.testing.assert_allclose([w[0], state["m"][0]], [0.6, -0.2], rtol=1e-12)


def test_optimizers_leave_their_arguments_alone() -> None:
    w, g, state = draw(2), draw(2), {"m": draw(2), "v": positive(2)}
    before = [x.copy() for x in (w, g, *state.values())]
    adam(w, g, state, 3, 0.1, 0.9, 0.999, 1e-8)
    sgd(w, g, state, 0.1, 0.9)
    assert all(np.array_equal(x, y) for x, y in zip(before, (w, g, *state.values())))
