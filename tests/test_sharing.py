"""Arrays that several layers use: gradients add up, storage is counted once, states stay apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_cases import error
from numpy.typing import NDArray
from reference import ORACLES, Arrays, Gradients

import mxtrainer as mxt

GENERATOR = np.random.default_rng(3)
BOUNDS = {"float32": 1e-5, "float64": 1e-12}
RECURRENT = ("InputWeights", "StateWeights", "InputBiases", "StateBiases")
WIDTH, SIZE, STEPS, ROWS = 2, 3, 4, 2
every_dtype = pytest.mark.parametrize("dtype", BOUNDS)


def draw(*shape: int) -> NDArray[np.float64]:
    return GENERATOR.standard_normal(shape).astype(np.float32).astype(np.float64)


def lstm_arrays() -> Arrays:
    rows = 4 * SIZE
    return dict(zip(RECURRENT, (draw(rows, WIDTH), draw(rows, SIZE), draw(rows), draw(rows))))


def under(layer: str, arrays: Arrays) -> Arrays:
    return {f"{layer}.{name}": x for name, x in arrays.items()}


def assert_same(found: NDArray[Any], expected: NDArray[Any], dtype: str) -> None:
    assert error(found, expected) <= BOUNDS[dtype]


def two_lstms(share: dict[str, str]) -> mxt.NetGraph:
    """Return a net whose two LSTMs read sequences of their own, with all of their states as ports."""
    net = mxt.NetGraph(
        {"left": mxt.LSTM(SIZE), "right": mxt.LSTM(SIZE)},
        [("A", "left", "Left"), ("B", "right", "Right")],
        inputs=dict.fromkeys(("A", "B"), mxt.Sequence("t", mxt.Vector(WIDTH))),
        share=share,
    )
    return net.with_states()


def two_lstms_inputs() -> Arrays:
    states = {f"{side}.{state}": draw(ROWS, SIZE) for side in ("left", "right") for state in ("State", "CellState")}
    return {"A": draw(ROWS, STEPS, WIDTH), "B": draw(ROWS, STEPS, WIDTH), **states}


def lstm_oracle(side: str, inputs: Arrays, arrays: Arrays, head: NDArray[np.float64]) -> tuple[Arrays, Gradients]:
    own = {state: inputs[f"{side}.{state}"] for state in ("State", "CellState")}
    sequence = inputs["A" if side == "left" else "B"]
    result = ORACLES["LSTM"]({"Input": sequence, **own}, arrays, size=SIZE)
    return result.outputs, result.backward({"Output": head})


@every_dtype
@pytest.mark.parametrize(
    ("share", "packed"),
    [
        ({"right": "left"}, True),
        ({f"right.{name}": f"left.{name}" for name in RECURRENT}, True),
        ({"right.StateWeights": "left.StateWeights"}, False),
        ({"right.InputBiases": "left.InputBiases", "right.StateBiases": "left.StateBiases"}, False),
    ],
    ids=["the layer", "every array", "one array", "two arrays"],
)
def test_lstms_that_share_add_their_gradients(share: dict[str, str], packed: bool, dtype: str) -> None:
    plan = mxt.compile_plan(two_lstms(share), {"Left": 1.0, "Right": 1.0}, dtype=dtype)
    shared = [name for name in RECURRENT if "right" in share or f"right.{name}" in share]
    left = lstm_arrays()
    right = {name: left[name] if name in shared else x for name, x in lstm_arrays().items()}
    arrays = {**under("right", {name: x for name, x in right.items() if name not in shared}), **under("left", left)}
    assert {node.packs != () for node in plan.nodes.values()} == {packed}
    assert set(plan.parameters) == set(arrays)

    inputs, heads = two_lstms_inputs(), {"Left": draw(ROWS, STEPS, SIZE), "Right": draw(ROWS, STEPS, SIZE)}
    executor = mxt.instantiate(plan, ROWS, {"t": STEPS}, arrays=arrays, input_gradients=list(inputs))
    executor.forward(inputs)
    executor.backward(heads)
    by_left, by_right = (
        lstm_oracle(side, inputs, own, heads[side.capitalize()]) for side, own in (("left", left), ("right", right))
    )
    for side, (outputs, gradients) in {"left": by_left, "right": by_right}.items():
        assert_same(executor.outputs[side.capitalize()].asnumpy(), outputs["Output"], dtype)
        for state in ("State", "CellState"):  # states of their own, in and out
            assert_same(executor.outputs[f"{side}.{state}"].asnumpy(), outputs[state], dtype)
            assert_same(executor.gradients[f"{side}.{state}"][:], gradients.inputs[state], dtype)
    for name in RECURRENT:
        if name in shared:
            total = by_left[1].arrays[name] + by_right[1].arrays[name]
            assert_same(executor.gradients[f"left.{name}"][:], total, dtype)
        else:
            assert_same(executor.gradients[f"left.{name}"][:], by_left[1].arrays[name], dtype)
            assert_same(executor.gradients[f"right.{name}"][:], by_right[1].arrays[name], dtype)


@every_dtype
def test_a_layer_used_twice_in_a_row_adds_its_gradients(dtype: str) -> None:
    net = mxt.NetChain([mxt.Linear(3), mxt.Linear(3)], inputs={"Input": mxt.Vector(3)}, share={"linear_2": "linear"})
    plan = mxt.compile_plan(net, {"Output": 1.0}, dtype=dtype)
    assert tuple(plan.parameters) == ("linear.Weights", "linear.Biases")
    x, head, arrays = draw(2, 3), draw(2, 3), {"Weights": draw(3, 3), "Biases": draw(3)}
    executor = mxt.instantiate(plan, 2, arrays=under("linear", arrays), input_gradients=["Input"])
    executor.forward({"Input": x})
    executor.backward({"Output": head})
    first = ORACLES["Linear"]({"Input": x}, arrays, output=(3,))
    second = ORACLES["Linear"]({"Input": first.outputs["Output"]}, arrays, output=(3,))
    back = second.backward({"Output": head})
    front = first.backward({"Output": back.inputs["Input"]})
    assert_same(executor.outputs["Output"].asnumpy(), second.outputs["Output"], dtype)
    assert_same(executor.gradients["Input"][:], front.inputs["Input"], dtype)
    for name in arrays:
        assert_same(executor.gradients[f"linear.{name}"][:], front.arrays[name] + back.arrays[name], dtype)


@every_dtype
def test_an_output_layer_tied_to_the_embedding_adds_its_gradient_to_the_table(dtype: str) -> None:
    net = mxt.NetChain(
        [mxt.Embedding(3), mxt.Linear(5, biases=False), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(5))},
        share={"linear.Weights": "embedding.Weights"},
    )
    plan = mxt.compile_plan(net, dtype=dtype)
    assert {path: spec.shape for path, spec in plan.parameters.items()} == {"embedding.Weights": (5, 3)}
    table = {"Weights": draw(5, 3)}
    inputs = {"Input": np.array([[0, 1, 1], [4, 0, 2]]), "Target": np.array([[1, 1, 3], [0, 2, 2]])}
    executor = mxt.instantiate(plan, 2, {"t": 3}, arrays=under("embedding", table))
    executor.forward(inputs)
    executor.backward()
    found = ORACLES["Embedding"]({"Input": inputs["Input"]}, table, size=3, sequence=True)
    logits = ORACLES["Linear"]({"Input": found.outputs["Output"]}, table, output=(5,), biases=False, sequence=True)
    loss = ORACLES["CrossEntropyLoss"](
        {"Input": logits.outputs["Output"], "Target": inputs["Target"]}, {}, target="index", sequence=True
    )
    slope = logits.backward({"Output": loss.backward({"Loss": np.full(2, 0.5)}).inputs["Input"]})
    total = slope.arrays["Weights"] + found.backward({"Output": slope.inputs["Input"]}).arrays["Weights"]
    assert_same(executor.outputs["Loss"].asnumpy(), loss.outputs["Loss"], dtype)
    assert_same(executor.gradients["embedding.Weights"][:], total, dtype)


def test_shared_gradients_are_those_of_finite_differences() -> None:
    plan = mxt.compile_plan(two_lstms({"right": "left"}), {"Left": 1.0, "Right": 1.0}, dtype="float64")
    inputs, heads = two_lstms_inputs(), {"Left": draw(ROWS, STEPS, SIZE), "Right": draw(ROWS, STEPS, SIZE)}
    executor = mxt.instantiate(plan, ROWS, {"t": STEPS}, arrays=under("left", lstm_arrays()))

    def weighed() -> float:
        executor.forward(inputs)
        return float(sum((executor.outputs[name].asnumpy() * head).sum() for name, head in heads.items()))

    weighed()
    executor.backward(heads)
    for path in plan.parameters:
        slope, start = executor.gradients[path][:], executor.arrays[path][:]
        direction = draw(*start.shape)
        ends = []
        for sign in (1.0, -1.0):
            executor.arrays[path] = start + sign * 1e-5 * direction
            ends.append(weighed())
        executor.arrays[path] = start
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx((slope * direction).sum(), rel=1e-7)


def test_shared_parameters_are_counted_once() -> None:
    apart, together = (
        mxt.instantiate(mxt.compile_plan(two_lstms(share), {"Left": 1.0, "Right": 1.0}), ROWS, {"t": STEPS})
        for share in ({}, {"right": "left"})
    )
    size = 4 * SIZE * (WIDTH + SIZE + 2)
    for executor, count in ((apart, 2), (together, 1)):
        assert sum(spec.size for spec in executor.plan.parameters.values()) == count * size
        assert sum(executor.gradients[path][:].size for path in executor.plan.parameters) == count * size
    assert together.memory().bytes_parameters == 4 * size
    assert apart.memory().bytes_parameters >= 2 * 4 * size


@every_dtype
@pytest.mark.parametrize("rows", [4, 3])
def test_a_batch_norm_used_twice_moves_its_statistics_twice_in_plan_order(rows: int, dtype: str) -> None:
    net = mxt.NetGraph(
        {"first": mxt.BatchNorm(0.8), "second": mxt.BatchNorm(0.8)},
        [("A", "first", "First"), ("B", "second", "Second")],
        inputs={"A": mxt.Vector(2), "B": mxt.Vector(2)},
        share={"second": "first"},
    )
    plan = mxt.compile_plan(net, {"First": 1.0, "Second": 1.0}, dtype=dtype)
    assert tuple(plan.auxiliary) == ("first.MovingMean", "first.MovingVariance")
    trained = {"Scaling": draw(2), "Biases": draw(2)}
    arrays = {**trained, "MovingMean": draw(2), "MovingVariance": draw(2) ** 2}
    x = {"A": draw(rows, 2), "B": 3.0 + draw(rows, 2)}
    heads = {"First": draw(rows, 2), "Second": draw(rows, 2)}
    executor = mxt.instantiate(plan, 4, arrays=under("first", arrays), input_gradients=["A", "B"])
    executor.forward(x)
    executor.backward(heads)
    first = ORACLES["BatchNorm"]({"Input": x["A"]}, arrays, training=True, momentum=0.8)
    second = ORACLES["BatchNorm"]({"Input": x["B"]}, {**arrays, **first.outputs}, training=True, momentum=0.8)
    slopes = first.backward({"Output": heads["First"]}), second.backward({"Output": heads["Second"]})
    for name in ("MovingMean", "MovingVariance"):
        assert_same(executor.arrays[f"first.{name}"][:], second.outputs[name], dtype)
    for name in trained:
        assert_same(executor.gradients[f"first.{name}"][:], slopes[0].arrays[name] + slopes[1].arrays[name], dtype)
    for port, slope in zip(("A", "B"), slopes):
        assert_same(executor.gradients[port][:rows], slope.inputs["Input"], dtype)


def test_a_printed_net_and_plan_say_who_uses_whose_arrays() -> None:
    net = two_lstms({"right": "left"})
    losses = dict.fromkeys(net.outputs, 0.0)
    for text in (str(net), str(mxt.compile_plan(net, losses))):
        assert "right uses left" in text.splitlines()
