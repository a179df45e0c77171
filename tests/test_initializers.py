"""Start values depend on seed, path and shape alone, and are distributed as they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer import initializers
from mxtrainer.arrays import ArraySpec
from mxtrainer.plans.initializers import Initializer, fans, initial_value

HUGE = pytest.param(10**400, id="huge")

RANDOM: list[Initializer] = [
    initializers.Normal(0.5),
    initializers.Uniform(0.5),
    initializers.Xavier(),
    initializers.Kaiming(),
    initializers.Orthogonal(),
]
ALL: list[Initializer] = [*RANDOM, initializers.Zeros(), initializers.Ones(), initializers.Constant(3.0)]


def draw(
    initializer: Initializer,
    shape: tuple[int, ...] = (6, 4),
    seed: int = 0,
    path: str = "a.Weights",
    dtype: str = "float64",
) -> NDArray[Any]:
    return initial_value(ArraySpec(path, shape, dtype, initializer), seed)


@pytest.mark.parametrize("initializer", ALL, ids=repr)
def test_same_seed_path_and_shape_give_the_same_values_whatever_was_drawn_before(initializer: Initializer) -> None:
    first = draw(initializer)
    np.random.default_rng(0).normal(size=3)
    draw(initializers.Normal(), path="b.Weights")
    np.testing.assert_array_equal(draw(initializer), first)


@pytest.mark.parametrize("initializer", RANDOM, ids=repr)
def test_another_seed_or_path_gives_other_values(initializer: Initializer) -> None:
    values = [
        draw(initializer),
        draw(initializer, seed=1),
        draw(initializer, seed=-1),
        draw(initializer, path="b.Weights"),
    ]
    for place, one in enumerate(values):
        assert not any(np.array_equal(one, other) for other in values[place + 1 :])


def test_seed_and_path_are_told_apart() -> None:
    one, other = draw(RANDOM[0], seed=1, path="2\n3"), draw(RANDOM[0], seed=1, path="2\n4")
    assert not np.array_equal(one, other)


def test_values_do_not_depend_on_the_order_of_layers_in_a_net() -> None:
    def values(names: list[str]) -> dict[str, NDArray[Any]]:
        net = mxt.NetGraph(
            {name: mxt.Linear(3) for name in names}, [("Input", "a", "b", "Output")], {"Input": mxt.Vector(3)}
        )
        return {
            path: initial_value(spec, 7) for path, spec in mxt.compile_plan(net, {"Output": 0.0}).parameters.items()
        }

    one, other = values(["a", "b"]), values(["b", "a"])
    assert set(one) == set(other)
    for path, found in one.items():
        np.testing.assert_array_equal(found, other[path])


@pytest.mark.slow
def test_values_are_the_same_in_another_process() -> None:
    code = (
        "from mxtrainer.arrays import ArraySpec; from mxtrainer.plans.initializers import *; "
        "print(initial_value(ArraySpec('a.Weights', (6, 4), 'float64', Normal(0.5)), 0).tobytes().hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "3", "PYTHONPATH": str(Path(mxt.__file__).parents[1])}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert other.stdout.strip() == draw(initializers.Normal(0.5)).tobytes().hex()


def test_values_stay_what_they_were_in_earlier_versions() -> None:
    expected = [-0.633017, 0.022897, 0.055247]
    np.testing.assert_allclose(draw(initializers.Normal(0.5), (3,)), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("initializer", ALL, ids=repr)
def test_values_have_the_shape_and_the_dtype_that_were_asked_for(initializer: Initializer, dtype: str) -> None:
    found = draw(initializer, (6, 4), dtype=dtype)
    assert found.shape == (6, 4)
    assert found.dtype == np.dtype(dtype)


@pytest.mark.parametrize("initializer", ALL, ids=repr)
def test_values_in_float32_are_those_in_float64_rounded(initializer: Initializer) -> None:
    np.testing.assert_array_equal(draw(initializer, dtype="float32"), draw(initializer).astype(np.float32))


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 4)])
@pytest.mark.parametrize(
    "initializer", [initializer for initializer in ALL if initializer != initializers.Orthogonal()]
)
def test_any_shape_can_be_drawn(initializer: Initializer, shape: tuple[int, ...]) -> None:
    found = draw(initializer, shape)
    assert found.shape == shape
    assert np.isfinite(found).all()


# Distributions


def test_constants() -> None:
    assert (draw(initializers.Zeros()) == 0).all()
    assert (draw(initializers.Ones()) == 1).all()
    assert (draw(initializers.Constant(-2.5)) == -2.5).all()


def assert_spread(found: NDArray[Any], deviation: float) -> None:
    """Asserts mean 0 and this deviation, within five standard errors."""
    error = deviation / found.size**0.5
    assert abs(found.mean()) < 5 * error
    assert abs(found.std() - deviation) < 5 * error


def test_normal_has_its_deviation() -> None:
    assert_spread(draw(initializers.Normal(0.3), (200, 100)), 0.3)
    assert_spread(draw(initializers.Normal(), (200, 100)), 0.01)
    assert (draw(initializers.Normal(0)) == 0).all()


def assert_uniform(found: NDArray[Any], limit: float) -> None:
    assert_spread(found, limit / 3**0.5)
    assert 0.99 * limit < np.abs(found).max() <= limit


def test_uniform_stays_within_its_limit_and_reaches_it() -> None:
    assert_uniform(draw(initializers.Uniform(0.3), (200, 100)), 0.3)
    assert_uniform(draw(initializers.Uniform(), (200, 100)), 0.05)


@pytest.mark.parametrize(
    ("shape", "inputs", "outputs"), [((200, 100), 100, 200), ((30, 20, 3, 5), 300, 450), ((20000,), 1, 20000)]
)
def test_xavier_and_kaiming_scale_by_inputs_and_outputs(shape: tuple[int, ...], inputs: int, outputs: int) -> None:
    assert fans(shape) == (inputs, outputs)
    assert_uniform(draw(initializers.Xavier(), shape), (6 / (inputs + outputs)) ** 0.5)
    assert_uniform(draw(initializers.Xavier(gain=2), shape), 2 * (6 / (inputs + outputs)) ** 0.5)
    assert_spread(draw(initializers.Kaiming(), shape), (2 / inputs) ** 0.5)


def test_fans_of_a_number_are_one() -> None:
    assert fans(()) == (1, 1)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (4, 2, 3), (3, 3, 2)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape: tuple[int, ...]) -> None:
    found = draw(initializers.Orthogonal(), shape).reshape(shape[0], -1)
    product = found @ found.T if found.shape[0] <= found.shape[1] else found.T @ found
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_orthogonal_in_every_gate() -> None:
    for gate in draw(initializers.Orthogonal(gain=2), (12, 3)).reshape(4, 3, 3):
        np.testing.assert_allclose(gate @ gate.T, 4 * np.eye(3), atol=1e-12)


def test_orthogonal_needs_a_matrix() -> None:
    with pytest.raises(mxt.ArgumentError, match=r"Orthogonal: needs an array of two or more axes, got shape \(3,\)"):
        draw(initializers.Orthogonal(), (3,))


def test_forget_bias_fills_the_second_quarter() -> None:
    np.testing.assert_array_equal(draw(initializers.ForgetBias(2), (8,)), [0, 0, 2, 2, 0, 0, 0, 0])
    np.testing.assert_array_equal(draw(initializers.ForgetBias(), (4,)), [0, 1, 0, 0])


@pytest.mark.parametrize("shape", [(), (6,), (4, 4)])
def test_forget_bias_is_for_the_biases_of_an_lstm(shape: tuple[int, ...]) -> None:
    with pytest.raises(mxt.ArgumentError, match="ForgetBias: is for the biases of an LSTM"):
        draw(initializers.ForgetBias(), shape)


# Values


@pytest.mark.parametrize("found", [None, "0.1", True, float("nan"), float("inf"), HUGE, [0.1]])
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (initializers.Constant, "number"),
        (initializers.ForgetBias, "number"),
        (initializers.Normal, "deviation"),
        (initializers.Uniform, "limit"),
        (initializers.Xavier, "gain"),
        (initializers.Kaiming, "gain"),
        (initializers.Orthogonal, "gain"),
    ],
)
def test_field_that_is_no_number_is_refused(kind: Any, field: str, found: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=f"{kind.__name__}: {field} must be a finite number, got"):
        kind(found)


@pytest.mark.parametrize(
    "kind",
    [initializers.Normal, initializers.Uniform, initializers.Xavier, initializers.Kaiming, initializers.Orthogonal],
)
def test_negative_spread_is_refused(kind: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"must not be negative, got -0\.1"):
        kind(-0.1)


def test_number_that_is_equal_makes_the_same_value() -> None:
    for one, other in [(1, 1.0), (np.float32(0.5), 0.5), (np.int64(2), 2.0)]:
        assert repr(initializers.Constant(one)) == repr(initializers.Constant(other))  # type: ignore[arg-type]  # numpy's
        assert repr(initializers.Kaiming(one)) == repr(initializers.Kaiming(other))  # type: ignore[arg-type]  # as above


def test_initializer_without_a_draw_says_so() -> None:
    with pytest.raises(TypeError, match=r"Initializer does not define draw\(generator, shape\)"):
        draw(Initializer())
