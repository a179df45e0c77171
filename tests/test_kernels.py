"""Kernels in graphs: the numbers that MXNet's operators give."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import assert_same
from numpy.typing import NDArray
from reference import ORACLES

import mxtrainer as mxt
from mxtrainer.plans import native
from mxtrainer.plans.lowering import lower, training_heads

Numbers = NDArray[Any]


def losses_of(logits: Numbers, targets: Numbers, heads: Numbers) -> tuple[Numbers, Numbers]:
    """Return what the engine gives: cross-entropies, and the gradient of the logits under these head gradients."""
    net = mxt.NetChain([mxt.CrossEntropyLoss("index")], inputs={"Input": mxt.Vector(logits.shape[1])})
    executor = mxt.instantiate(mxt.compile_plan(net), len(logits), input_gradients=["Input"])
    executor.forward({"Input": logits, "Target": targets})
    losses = executor.outputs["Loss"].asnumpy()
    executor.backward({"Loss": heads})
    return losses, executor.gradients["Input"][:]


@pytest.fixture(params=["kernel", "operators"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the kernel, and again as where numba does not load."""
    if request.param == "operators":
        monkeypatch.setattr(native, "cross_entropy", lambda: None)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0], ids="logits up to {}".format)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (4, 7), (2, 1024), (2, 1029), (40, 300)], ids=str)
def test_a_cross_entropy_is_exact_to_rounding(shape: tuple[int, int], scale: float) -> None:
    generator = np.random.default_rng(shape)
    logits = (scale * generator.standard_normal(shape)).astype(np.float32)
    targets = generator.integers(0, shape[1], shape[0])
    heads = generator.standard_normal(shape[0]).astype(np.float32)
    losses, gradient = losses_of(logits, targets, heads)
    inputs = {"Input": logits.astype(np.float64), "Target": targets}
    result = ORACLES["CrossEntropyLoss"](inputs, {}, target="index")
    np.testing.assert_allclose(losses, result.outputs["Loss"], rtol=3e-7, atol=3e-7)
    expected, _ = result.backward({"Loss": heads.astype(np.float64)})
    np.testing.assert_allclose(gradient, expected["Input"], rtol=0, atol=1e-6)


def operators(plan: mxt.Plan) -> list[str]:
    graph = lower(plan, {}, training_heads(plan), training=True, padded=False).symbol
    return [node["op"] for node in json.loads(graph.tojson())["nodes"]]


def plan_of(count: int, dtype: str = "float32") -> mxt.Plan:
    """Return a plan with so many cross-entropies of the same logits."""
    names = [f"loss{number}" for number in range(count)]
    net = mxt.NetGraph(
        {"logits": mxt.Linear(5), **{name: mxt.CrossEntropyLoss("index") for name in names}},
        [("Input", "logits"), *(("logits", name, f"Loss of {name}") for name in names)]
        + [(f"Target of {name}", f"{name}.Target") for name in names],
        inputs={"Input": mxt.Vector(3)},
    )
    return mxt.compile_plan(net, dtype=dtype)


def test_the_kernel_stands_in_graphs_of_float32_alone() -> None:
    assert "_NDArray" in operators(plan_of(1))
    assert "_NDArray" not in operators(plan_of(1, "float64"))


def test_logits_of_many_losses_have_the_gradients_of_all() -> None:
    """MXNet adds gradients in place from the eighth on, which it refuses to do with a kernel's."""
    x, found = np.arange(6.0).reshape(2, 3), []
    for count in (1, 2, 9):
        plan = plan_of(count)
        executor = mxt.instantiate(plan, 2)
        executor.forward({"Input": x, **{port: [1, 4] for port in plan.inputs if port != "Input"}})
        executor.backward()
        found.append(executor.gradients["logits.Weights"][:] / count)
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-5)


@pytest.mark.usefixtures("either")
def test_a_target_out_of_range_does_not_reach_other_memory() -> None:
    import mxnet as mx

    net = mxt.NetChain([mxt.CrossEntropyLoss("index")], inputs={"Input": mxt.Vector(3)})
    executor = mxt.instantiate(mxt.compile_plan(net), 2, input_gradients=["Input"])
    executor.forward({"Input": np.zeros((2, 3)), "Target": mx.nd.array([10**6, -(10**6)], dtype="int32")})
    executor.backward()
    with pytest.raises(mxt.StepError, match="Target"):
        executor.outputs["Loss"].asnumpy()


# A column joined to a matrix, which freezes states over padding


def lstm_after(width: int, count: int = 1) -> tuple[list[str], dict[str, Numbers]]:
    """Return the operators of LSTMs that share their arrays and whose cell states are read, and their gradients."""
    names = [f"lstm{number}" for number in range(count)]
    net = mxt.NetGraph(
        {name: mxt.LSTM(3) for name in names},
        [path for name in names for path in [("Input", name, f"Output {name}"), (f"{name}.CellState", f"Cell {name}")]],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(width))},
        share=dict.fromkeys(names[1:], names[0]),
    )
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 1.0))
    executor = mxt.instantiate(plan, 2, {"t": 5}, input_gradients=["Input"])
    x = np.random.default_rng(0).standard_normal((2, 5, width))
    executor.forward({"Input": x}, lengths={"t": [2, 5]})
    executor.backward()
    graph = lower(plan, {"t": 5}, training_heads(plan), training=True, padded=True).symbol
    operators = [node["op"] for node in json.loads(graph.tojson())["nodes"]]
    return operators, {name: array[:] for name, array in executor.gradients.items()}


@pytest.mark.parametrize("width", [1, 2, 9, 64])
def test_a_kernel_joins_columns_with_the_bits_of_operators(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_kernel = lstm_after(width)
    monkeypatch.setattr(native, "with_column", lambda _: None)
    without = lstm_after(width)
    assert [operators.count("_NDArray") for operators, _ in (with_kernel, without)] == [2, 0]
    assert_same(with_kernel[1], without[1])


def test_arrays_that_many_layers_share_have_the_gradients_of_all() -> None:
    (operators, one), (_, nine) = lstm_after(4), lstm_after(4, 9)
    assert "_NDArray" in operators
    np.testing.assert_allclose(nine["lstm0.InputWeights"], 9 * one["lstm0.InputWeights"], rtol=1e-4)
