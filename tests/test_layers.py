"""Every layer against the oracle: values, gradients, evaluation, and what must not move."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_cases import (
    AUXILIARY,
    CASES,
    LAYERS,
    SIZES,
    Case,
    Example,
    Extents,
    error,
    example,
    forward_errors,
    gradient_errors,
    random_extents,
)
from numpy.typing import NDArray
from reference import ORACLES

import mxtrainer as mxt
from mxtrainer.plans import layers
from mxtrainer.plans.layers.base import Layer
from mxtrainer.plans.layers.losses import Loss
from mxtrainer.plans.lowering import lower, training_heads

FEW = settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
SINGLE = 1e-5  # of scale; benchmarks/exactness.py prints what is measured, at most 5e-6
DOUBLE = 1e-12
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@st.composite
def extents(draw: st.DrawFn) -> Extents:
    batch_size = draw(st.integers(1, 5))
    return Extents(
        batch_size,
        draw(st.integers(1, batch_size)),
        draw(st.integers(1, 5)),
        {letter: draw(st.integers(*limits)) for letter, limits in SIZES.items()},
        draw(st.integers(0, 2**31)),
    )


def assert_below(errors: dict[str, float], bound: float) -> None:
    assert {name: x for name, x in errors.items() if not x <= bound} == {}


def double_bound(case: Case) -> float:
    if case.oracle == "LayerNorm":
        return 1e-7  # MXNet takes epsilon as a float32: 0.1 is off by 1.5e-9 (1e-8 measured), 1e-5 by 2.5e-13
    return DOUBLE


def assert_trains_right(drawn: Example, executor: mxt.Executor, bound: float) -> None:
    """Run one forward and backward pass, and compare everything; auxiliary arrays start from the example's."""
    result = drawn.oracle()
    executor.forward(drawn.inputs)
    assert_below(forward_errors(drawn, executor, result), bound)
    drawn.backward(executor)
    assert_below(gradient_errors(drawn, executor, result), bound)


@every_case
@FEW
@given(extents=extents())
def test_values_and_gradients_are_the_oracles_in_float32(case: Case, extents: Extents) -> None:
    drawn = example(case, extents)
    assert_trains_right(drawn, drawn.executor(), SINGLE)


@pytest.mark.slow
@every_case
@FEW
@given(extents=extents())
def test_values_and_gradients_are_the_oracles_in_float64(case: Case, extents: Extents) -> None:
    drawn = example(case, extents, "float64")
    assert_trains_right(drawn, drawn.executor(), double_bound(case))


@pytest.mark.slow
@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_evaluation_is_the_oracles(case: Case, dtype: str) -> None:
    bound = SINGLE if dtype == "float32" else double_bound(case)
    drawn = example(case, random_extents(np.random.default_rng(1)), dtype)
    result = drawn.oracle(training=False)
    for executor in (drawn.executor(), drawn.executor(training=False)):
        executor.forward(drawn.inputs, training=False)
        found = {name: executor.outputs[name].asnumpy() for name in case.outputs}
        errors = {name: error(found[name], result.outputs[port], 1e-2) for name, port in case.outputs.items()}
        assert_below(errors, bound)


def test_the_table_has_every_layer_of_the_public_api() -> None:
    names = (*vars(layers).values(), *vars(mxt).values())
    public = {x for x in names if isinstance(x, type) and issubclass(x, Layer)} - {
        Layer,
        layers.ItemLayer,
        Loss,
        mxt.NetGraph,
        mxt.SymbolLayer,  # what is in these is MXNet's, and has it for a judge: test_from_symbol.py
        mxt.SymbolLoss,
    }
    assert {type(case.layer) for case in CASES} == public
    assert {case.oracle for case in CASES} == set(ORACLES)


def test_a_sequence_of_other_items_runs_as_their_flattened_vectors() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2))
    given = {"flat": x.reshape(2, 3, 4), "array": x}
    found = []
    for value in given.values():
        net = mxt.NetChain([mxt.GRU(3)], inputs={"Input": mxt.Sequence("t", mxt.Array(value.shape[2:]))})
        executor = mxt.instantiate(mxt.compile_plan(net, {"Output": 1.0}), 2, {"t": 3}, training=False)
        executor.forward({"Input": value})
        found.append(executor.outputs["Output"].asnumpy())
    assert np.array_equal(found[0], found[1])


# Rows that are missing


@pytest.mark.slow
@every_case
def test_missing_rows_get_gradients_of_exactly_zero(case: Case) -> None:
    drawn = example(case, Extents(5, 2, 3, {letter: high for letter, (_, high) in SIZES.items()}, 3))
    executor = drawn.executor()
    executor.forward(drawn.inputs)
    drawn.backward(executor)
    for port in case.real_ports:
        assert not np.any(executor.gradients[port][2:])


@pytest.mark.parametrize("case", [case for case in LAYERS if case.oracle == "BatchNorm"], ids=str)
def test_what_a_fuller_batch_left_behind_does_not_reach_a_short_one(case: Case) -> None:
    sizes = {letter: high for letter, (_, high) in SIZES.items()}
    short, full = (example(case, Extents(4, rows, 3, sizes, 5)) for rows in (2, 4))
    executor = short.executor()
    executor.forward({port: 100.0 * x for port, x in full.inputs.items()})
    for name in AUXILIARY:
        executor.arrays[f"layer.{name}"] = short.arrays[name]
    assert_trains_right(short, executor, SINGLE)


# What must not move


def flat_arrays(executor: mxt.Executor) -> list[bytes]:
    store = executor.store
    return [
        b"" if flat.array is None else flat.array.asnumpy().tobytes() for flat in (store.parameters, store.auxiliary)
    ]


def run_calls(drawn: Example, executor: mxt.Executor, calls: tuple[str, ...]) -> None:
    """Queue passes: F forward, B forward and backward, E forward in evaluation; check what may not have moved."""
    for call in calls:
        before = flat_arrays(executor)
        executor.forward(drawn.inputs, training=call != "E")
        if call == "B":
            drawn.backward(executor)
        {name: handle.asnumpy() for name, handle in executor.outputs.items()}
        after = flat_arrays(executor)
        assert after[0] == before[0], calls
        assert after[1] == before[1] or (call != "E" and drawn.plan.auxiliary), calls


@pytest.mark.slow
@every_case
def test_passes_of_every_kind_and_order_leave_the_flat_arrays_bit_equal(case: Case) -> None:
    drawn = example(case, Extents(3, 2, 3, {letter: high for letter, (_, high) in SIZES.items()}, 7))
    executor = drawn.executor()
    for calls in permutations("FBE"):
        run_calls(drawn, executor, calls)
    for name in drawn.arrays:
        executor.arrays[f"layer.{name}"] = drawn.arrays[name]
    assert_trains_right(drawn, executor, SINGLE)


# Dropout


def dropout(probability: float, dtype: str = "float32", seed: int = 0, batch_size: int = 4) -> mxt.Executor:
    net = mxt.NetChain([mxt.Dropout(probability)], inputs={"Input": mxt.Vector(1000)})
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype=dtype)
    return mxt.instantiate(plan, batch_size, seed=seed, input_gradients=["Input"])


def output_of(executor: mxt.Executor, x: NDArray[Any], training: bool = True) -> NDArray[Any]:
    executor.forward({"Input": x}, training=training)
    return executor.outputs["Output"].asnumpy()


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_has_one_mask_for_values_and_gradients(probability: float, dtype: str) -> None:
    generator = np.random.default_rng(0)
    x, head = (generator.uniform(1.0, 2.0, (3, 1000)) for _ in range(2))
    executor = dropout(probability, dtype)
    mask = np.where(output_of(executor, x) == 0, 0.0, 1 / (1 - probability))
    executor.backward({"Output": head})
    result = ORACLES["Dropout"]({"Input": x}, {}, probability=probability, mask=mask)
    assert_below({"Output": error(executor.outputs["Output"].asnumpy(), result.outputs["Output"])}, 1e-6)
    expected = result.backward({"Output": head}).inputs["Input"]
    assert_below({"Input": error(executor.gradients["Input"][:3], expected)}, 1e-6)  # MXNet's 1 - p is a float32
    assert abs((mask == 0).mean() - probability) < 5 * (probability * (1 - probability) / mask.size) ** 0.5


def test_dropout_in_evaluation_is_the_identity() -> None:
    x = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    assert np.array_equal(output_of(dropout(0.5), x, training=False), x)


def test_dropout_depends_on_seed_and_pass_alone() -> None:
    x = np.ones((4, 1000))
    first, again, other = dropout(0.5, seed=1), dropout(0.5, seed=1), dropout(0.5, seed=2)
    passes = [output_of(first, x) for _ in range(3)]
    output_of(other, x)  # draws in between
    assert all(np.array_equal(found, output_of(again, x)) for found in passes)
    assert not np.array_equal(passes[0], passes[1])
    assert not np.array_equal(passes[0], output_of(dropout(0.5, seed=2), x))


# Where a slope is infinite, or not unique


def gradients_at(layer: Layer, **inputs: Any) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return the output and the input gradients of a layer without arrays, at given numbers."""
    values = {port: np.asarray(x) for port, x in inputs.items()}
    count = values["Input"].shape[-1] if "Input" in values else 0
    types = {port: mxt.Index(count) if x.dtype.kind == "i" else mxt.Array(x.shape[1:]) for port, x in values.items()}
    name = layer.output_ports()[0]
    net = mxt.NetGraph({"layer": layer}, [*((p, f"layer.{p}") for p in values), ("layer", name)], inputs=types)
    real = [port for port, x in values.items() if x.dtype.kind == "f"]
    rows = len(next(iter(values.values())))
    executor = mxt.instantiate(mxt.compile_plan(net, {name: 1.0}), rows, input_gradients=real)
    executor.forward(values)
    output = executor.outputs[name].asnumpy()
    executor.backward({name: np.ones(output.shape)})
    return output, {port: executor.gradients[port][:] for port in real}


@pytest.mark.parametrize("function", ["relu", "abs"])
def test_the_slope_at_a_kink_is_zero(function: str) -> None:
    assert not np.any(gradients_at(mxt.Elementwise(function), Input=[0.0, -0.0])[1]["Input"])


def test_relu_of_an_image_keeps_what_is_no_number_and_has_no_negative_zero_below_zero() -> None:
    x = np.array([np.nan, np.inf, 3.0, 200.0, 0.0, -1.0, -200.0, -np.inf])
    output, found = gradients_at(mxt.Elementwise("relu"), Input=x.reshape(1, 2, 2, 2))
    np.testing.assert_array_equal(output.ravel(), [np.nan, np.inf, 3, 200, 0, 0, 0, 0])
    assert not np.signbit(output.ravel()[5:]).any()
    np.testing.assert_array_equal(found["Input"].ravel()[1:], [1, 1, 1, 0, 0, 0, 0])


def test_the_absolute_loss_has_slope_zero_where_it_is_zero() -> None:
    _, found = gradients_at(mxt.MeanAbsoluteLoss(), Input=[1.0], Target=[1.0])
    assert not np.any(found["Input"])


def test_elements_tied_for_a_maximum_share_its_gradient() -> None:
    output, found = gradients_at(mxt.Aggregate("max"), Input=[[2.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 1.0, 2.0]])
    assert output.tolist() == [2, 0, 3]
    np.testing.assert_allclose(found["Input"], [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]], rtol=1e-7)


def test_a_maximum_may_be_infinite() -> None:
    output, found = gradients_at(mxt.Aggregate("max"), Input=[[-np.inf, -np.inf], [np.inf, 1.0], [1.0, -np.inf]])
    assert output.tolist() == [-np.inf, np.inf, 1]
    assert np.isfinite(found["Input"]).all()


@pytest.mark.parametrize("function", ["maximum", "minimum"])
def test_of_two_equal_inputs_the_first_gets_the_gradient(function: str) -> None:
    _, found = gradients_at(mxt.Threading(function), **{"1": [1.0], "2": [1.0]})
    assert (found["1"][0], found["2"][0]) == (1, 0)


def test_a_pooled_tie_gives_the_gradient_to_the_first() -> None:
    _, found = gradients_at(mxt.Pooling(2), Input=np.zeros((1, 1, 2, 2)))
    assert found["Input"].ravel().tolist() == [1, 0, 0, 0]


def test_powers_of_zero_have_finite_gradients() -> None:
    output, found = gradients_at(mxt.Threading("power"), **{"1": [0.0, 0.0, 0.0], "2": [2.0, 1.0, 0.0]})
    assert output.tolist() == [0, 0, 1]
    assert found["1"].tolist() == [0, 1, 0]
    assert found["2"].tolist() == [0, 0, 0]


def test_the_norm_of_the_zero_vector_has_gradient_zero() -> None:
    output, found = gradients_at(mxt.Aggregate("norm"), Input=[[0.0, 0.0], [3.0, 4.0]])
    assert output.tolist() == [0, 5]
    np.testing.assert_allclose(found["Input"], [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)


def test_a_product_with_zero_has_the_other_factor_as_gradient() -> None:
    _, found = gradients_at(mxt.Threading("times"), **{"1": [0.0], "2": [3.0]})
    assert (found["1"][0], found["2"][0]) == (3, 0)


@pytest.mark.parametrize("form", ["index", "probabilities"])
def test_logits_far_apart_give_exact_losses(form: str) -> None:
    logits = [[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0], [0.0, 0.0, 0.0]]
    target: Any = [1, 1, 1] if form == "index" else [[0.0, 1.0, 0.0]] * 3
    output, found = gradients_at(mxt.CrossEntropyLoss(form), Input=logits, Target=target)
    np.testing.assert_allclose(output, [2000, 0, np.log(3)], rtol=2e-7)
    np.testing.assert_allclose(found["Input"][:2], [[1, -1, 0], [0, 0, 0]])


@pytest.mark.parametrize("form", ["index", "probabilities"])
def test_a_loss_of_nan_is_nan(form: str) -> None:
    target: Any = [1] if form == "index" else [[0.0, 1.0]]
    output, found = gradients_at(mxt.CrossEntropyLoss(form), Input=[[1.0, np.nan]], Target=target)
    assert np.isnan(output).all()
    assert np.isnan(found["Input"]).any()


def test_a_logit_of_minus_infinity_is_a_class_that_cannot_be() -> None:
    output, found = gradients_at(mxt.CrossEntropyLoss("index"), Input=[[0.0, 0.0, -np.inf]], Target=[1])
    np.testing.assert_allclose(output, [np.log(2.0)], rtol=1e-6)
    np.testing.assert_allclose(found["Input"], [[0.5, -0.5, 0.0]], rtol=1e-6)


def test_a_sure_prediction_has_a_loss_of_no_less_than_zero() -> None:
    output, found = gradients_at(mxt.CrossEntropyLoss("index"), Input=[[20.0, 0.0], [9.0, 0.0]], Target=[0, 0])
    np.testing.assert_allclose(output, [0, np.log1p(np.exp(-9.0))], rtol=1e-3)
    assert (output >= 0).all()
    assert (found["Input"][:, 0] <= 0).all()


def test_probabilities_of_zero_elsewhere_do_not_poison_the_gradient() -> None:
    _, found = gradients_at(
        mxt.CrossEntropyLoss("index", input="probabilities"), Input=[[0.0, 1.0], [1.0, 0.0]], Target=[1, 0]
    )
    assert found["Input"].tolist() == [[0, -1], [-1, 0]]


@pytest.mark.parametrize("form", ["probabilities", "binary"])
def test_a_target_of_zero_kills_an_infinite_logarithm(form: str) -> None:
    layer = mxt.CrossEntropyLoss(form, input="probabilities")
    output, found = gradients_at(layer, Input=[[0.0, 1.0]], Target=[[0.0, 1.0]])
    assert output.tolist() == [0]
    assert np.isfinite(found["Input"]).all()
    assert np.isfinite(found["Target"]).all()


def test_binary_losses_of_sure_logits_keep_their_digits() -> None:
    output, found = gradients_at(mxt.CrossEntropyLoss("binary"), Input=[30.0, -30.0, 200.0], Target=[1.0, 1.0, 0.0])
    np.testing.assert_allclose(output, [np.exp(-30.0), 30, 200], rtol=1e-6)
    np.testing.assert_allclose(found["Input"], [-np.exp(-30.0), -1, 1], rtol=1e-6)


def test_batch_norm_keeps_its_digits_where_the_mean_is_large() -> None:
    x = 1000.0 + np.arange(8.0)
    net = mxt.NetChain([mxt.BatchNorm()], inputs={"Input": mxt.Scalar()})
    executor = mxt.instantiate(mxt.compile_plan(net, {"Output": 1.0}), 8)
    executor.forward({"Input": x})
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-3)
    np.testing.assert_allclose(executor.outputs["Output"].asnumpy(), expected, rtol=0, atol=1e-6)


# Ports that are kept alive without being trained


def test_an_infinite_slope_under_a_weight_of_zero_contributes_exactly_zero() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2, biases=False), "root": mxt.Elementwise("sqrt"), "loss": mxt.MeanSquaredLoss()},
        [("Input", "linear", "loss", "Loss"), ("linear", "root", "Root")],
        inputs={"Input": mxt.Vector(2)},
    )
    weights, x, target = np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[1.0, 2.0]]), np.array([[1.0, 1.0]])
    found = {}
    for kept in (net, net.take({"Loss": "loss"})):
        plan = mxt.compile_plan(kept, {"Root": 0.0} if "Root" in kept.outputs else {})
        executor = mxt.instantiate(plan, 1, arrays={"linear.Weights": weights}, input_gradients=["Input"])
        executor.forward({"Input": x, "Target": target})
        if "Root" in kept.outputs:
            assert executor.outputs["Root"].asnumpy().tolist() == [[0, np.float32(5.0**0.5)]]
        executor.backward()
        found[kept] = [executor.gradients[name][:].tolist() for name in ("linear.Weights", "Input")]
    with_port, without = found.values()
    assert with_port == without


@pytest.mark.slow
@every_case
def test_a_layer_whose_ports_all_weigh_zero_has_gradients_of_zero(case: Case) -> None:
    drawn = example(case, Extents(3, 2, 3, {letter: high for letter, (_, high) in SIZES.items()}, 11))
    plan = mxt.compile_plan(case.net(drawn.extents), dict.fromkeys(case.outputs, 0.0))
    executor = mxt.instantiate(
        plan,
        3,
        {"t": 3} if plan.lengths else {},
        arrays={f"layer.{name}": x for name, x in drawn.arrays.items()},
        input_gradients=case.real_ports,
    )
    executor.forward(drawn.inputs)
    result = drawn.oracle()
    assert_below(forward_errors(drawn, executor, result), SINGLE)
    executor.backward()
    for name, handle in executor.gradients.items():
        assert not np.any(handle.asnumpy()), name


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.slow
@every_case
def test_no_graph_joins_columns_by_the_operator_whose_backward_pass_leaks(case: Case, padded: bool) -> None:
    plan = case.plan(Extents(2, 2, 3, {letter: low for letter, (low, _) in SIZES.items()}, 0))
    lengths = dict.fromkeys(plan.lengths, 3)
    graph = lower(plan, lengths, training_heads(plan), training=True, padded=padded and bool(lengths)).symbol
    joins = [node["attrs"] for node in json.loads(graph.tojson())["nodes"] if node["op"] == "Concat"]
    assert all(attributes["dim"] == "0" for attributes in joins)
