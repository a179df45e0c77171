"""Padding changes nothing: every layer over sequences of different lengths, against the oracle and against itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_cases import CASES, SIZES, Case, Example, Extents, Values, error, example
from numpy.typing import NDArray
from reference import ORACLES

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.layers.base import Layer, Node, Ports
from mxtrainer.values import register

FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
OVER_SEQUENCES = [case for case in CASES if any(port.sequence for port in case.ports.values())]
SINGLE = 1e-5  # of scale
every_case = pytest.mark.parametrize("case", OVER_SEQUENCES, ids=str)


@st.composite
def lengths_and_seed(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Return the lengths of the examples, how much longer the bucket is, and a seed."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    return lengths, draw(st.integers(1, 9)), draw(st.integers(0, 2**31))


class Ragged:
    """A row of the table with examples of different lengths."""

    def __init__(self, case: Case, lengths: list[int], seed: int) -> None:
        generator = np.random.default_rng(seed)
        sizes = {letter: int(generator.integers(low, high + 1)) for letter, (low, high) in SIZES.items()}
        self.case = case
        self.lengths = lengths
        self.drawn = example(case, Extents(len(lengths), len(lengths), max(lengths), sizes, seed))
        self.inputs = {port: self.cut(port, value) for port, value in self.drawn.inputs.items()}
        self.heads = {name: self.head(name, value) for name, value in self.drawn.heads.items()}

    def is_sequence(self, port: str) -> bool:
        ports = {**self.drawn.plan.inputs, **self.drawn.plan.outputs}
        return ports[port].length is not None

    def cut(self, port: str, value: NDArray[Any]) -> Any:
        """Return a list of the true steps of each example, for a sequence."""
        return [row[:n] for row, n in zip(value, self.lengths)] if self.is_sequence(port) else value

    def head(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        loss = self.drawn.plan.losses[name]
        if loss.is_loss:
            return np.full(value.shape, loss.weight / (len(self.lengths) if loss.length is None else sum(self.lengths)))
        if self.is_sequence(name):
            value = value * (np.arange(value.shape[1]) < np.array(self.lengths)[:, None]).reshape(
                *value.shape[:2], *(1 for _ in value.shape[2:])
            )
        return value

    def run(self, steps: int) -> dict[str, NDArray[Any]]:
        """Return outputs and gradients in a bucket of so many steps."""
        extents = replace(self.drawn.extents, steps=steps)
        drawn = Example(self.case, extents, self.drawn.plan, self.drawn.inputs, self.drawn.arrays, self.heads)
        executor = drawn.executor()
        executor.forward(self.inputs)
        found = {name: executor.outputs[name].asnumpy() for name in self.case.outputs}
        drawn.backward(executor)
        return {**found, **{f"gradient {name}": handle.asnumpy() for name, handle in executor.gradients.items()}}

    def oracle(self) -> dict[str, NDArray[Any]]:
        """Return what the oracle says of each example alone."""
        if self.case.oracle == "BatchNorm":
            return self.oracle_of_all_steps()
        found: dict[str, list[NDArray[Any]]] = {}
        for row in range(len(self.lengths)):
            inputs = {port: value[row][None] for port, value in self.inputs.items()}
            result = ORACLES[self.case.oracle](inputs, self.drawn.arrays, **self.case.fields)
            heads = {port: self.cut(name, self.heads[name])[row][None] for name, port in self.case.outputs.items()}
            gradients = result.backward(heads)
            for name, port in self.case.outputs.items():
                found.setdefault(name, []).append(self.padded(name, result.outputs[port]))
            for port in self.case.real_ports:
                found.setdefault(f"gradient {port}", []).append(self.padded(port, gradients.inputs[port]))
            for name, gradient in gradients.arrays.items():
                found.setdefault(f"gradient layer.{name}", []).append(gradient)
        whole = {name for name in found if not name.startswith("gradient layer.")}
        return {
            name: np.concatenate(parts) if name in whole else np.sum(parts, axis=0) for name, parts in found.items()
        }

    def oracle_of_all_steps(self) -> dict[str, NDArray[Any]]:
        """Return what the oracle of batch statistics says: all true steps are rows of one batch."""
        rows = np.concatenate(self.inputs["Input"])
        heads = np.concatenate(self.cut("Output", self.heads["Output"]))
        fields = {**self.case.fields, "sequence": False, "training": True}
        result = ORACLES["BatchNorm"]({"Input": rows}, self.drawn.arrays, **fields)
        gradients = result.backward({"Output": heads})
        places = np.cumsum(self.lengths)[:-1]
        split = {"Output": result.outputs["Output"], "gradient Input": gradients.inputs["Input"]}
        found = {
            name: np.concatenate([self.padded("Output", part[None]) for part in np.split(value, places)])
            for name, value in split.items()
        }
        return {**found, **{f"gradient layer.{name}": value for name, value in gradients.arrays.items()}}

    def padded(self, port: str, value: NDArray[Any]) -> NDArray[Any]:
        """Return one example with zeros up to the longest."""
        if not self.is_sequence(port):
            return value
        padded = np.zeros((1, max(self.lengths), *value.shape[2:]))
        padded[:, : value.shape[1]] = value
        return padded


@every_case
@FEW
@given(drawn=lengths_and_seed())
def test_every_example_is_as_if_it_were_alone(case: Case, drawn: tuple[list[int], int, int]) -> None:
    lengths, more, seed = drawn
    ragged = Ragged(case, lengths, seed)
    found, expected = ragged.run(max(lengths) + more), ragged.oracle()
    least = 0.1 * max(float(np.abs(head).max()) for head in ragged.heads.values())
    errors = {name: error(found[name], value, max(least, 1e-2)) for name, value in expected.items()}
    assert {name: x for name, x in errors.items() if not x <= SINGLE} == {}


@every_case
@FEW
@given(drawn=lengths_and_seed())
def test_a_larger_bucket_gives_the_same_bits(case: Case, drawn: tuple[list[int], int, int]) -> None:
    lengths, more, seed = drawn
    ragged = Ragged(case, [*lengths, 8], seed)  # 8: padding in either bucket
    small, large = ragged.run(9), ragged.run(9 + more)
    for name, value in small.items():
        if name.startswith("gradient layer."):
            assert error(large[name], value, 1e-2) <= 1e-6, name
        else:
            assert value.tobytes() == large[name].tobytes(), name


@every_case
def test_a_full_batch_is_the_same_with_masks_and_without(case: Case) -> None:
    ragged = Ragged(case, [5, 5, 5], 3)
    without, with_masks = ragged.run(5), ragged.run(6)
    for name, value in without.items():
        assert error(with_masks[name], value, 1e-2) <= SINGLE, name


@pytest.mark.parametrize("function", ["log", "sqrt", "reciprocal", "exp"])
def test_padding_reaches_no_singularity(function: str) -> None:
    net = mxt.NetChain(
        [mxt.Elementwise(function), mxt.Linear(2), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(3))},
    )
    executor = mxt.instantiate(mxt.compile_plan(net), 2, {"t": 40}, input_gradients=["Input"])
    executor.forward({"Input": [np.ones((3, 3)), np.ones((1, 3))], "Target": [np.ones((3, 2)), np.ones((1, 2))]})
    executor.backward()
    assert all(np.isfinite(handle.asnumpy()).all() for handle in executor.gradients.values())


def test_a_relu_state_does_not_grow_over_padding() -> None:
    net = mxt.NetGraph(
        {"rnn": mxt.BasicRecurrent(2, "relu"), "loss": mxt.MeanSquaredLoss()},
        [("Input", "rnn", "loss", "Loss"), ("rnn.State", "Last")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(1))},
    )
    plan = mxt.compile_plan(net, losses={"Last": 0.0})
    arrays = {"rnn.StateWeights": 10.0 * np.eye(2), "rnn.InputWeights": np.ones((2, 1))}
    for dtype in ("float32", "float64"):
        plan = mxt.compile_plan(net, losses={"Last": 0.0}, dtype=dtype)
        executor = mxt.instantiate(plan, 1, {"t": 500}, arrays=arrays)
        executor.forward({"Input": [np.ones((2, 1))], "Target": [np.zeros((2, 2))]})
        executor.backward()
        np.testing.assert_allclose(executor.outputs["Last"][:], [[11.0, 11.0]])
        assert np.isfinite(executor.gradients["rnn.StateWeights"][:]).all()


def test_what_stands_over_padding_is_never_read(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    tokens = rng.integers(0, 11, (3, 6))
    lengths = {"t": [6, 2, 4]}
    found: list[Values] = []
    for fill in (0, -1, 99):
        padded = tokens.copy()
        padded[1, 2:] = padded[2, 4:] = fill
        executor = mxt.instantiate(text_plan, 3, {"t": 8})
        executor.forward({"Input": padded, "Target": padded}, lengths=lengths)
        executor.backward()
        found.append(
            {
                **{n: h.asnumpy() for n, h in executor.outputs.items()},
                **{n: h[:] for n, h in executor.gradients.items()},
            }
        )
    for name, value in found[0].items():
        assert all(value.tobytes() == other[name].tobytes() for other in found[1:]), name


@register
@dataclass(frozen=True, repr=False)
class Turned(Layer):
    """A user's layer that mixes steps and does not know of padding."""

    def deduce(self, ports: Ports) -> None:
        if ports.inputs["Input"] is not None:
            ports.set_output("Output", ports.inputs["Input"])

    def lower(self, node: Node) -> dict[str, Any]:
        return {"Output": mx.sym.reverse(node.inputs["Input"], axis=1)}


def test_a_layer_that_does_not_mask_padding_is_refused_where_there_is_some() -> None:
    net = mxt.NetChain([Turned()], inputs={"Input": mxt.Sequence("t", mxt.Scalar())})
    executor = mxt.instantiate(mxt.compile_plan(net, losses={"Output": 0.0}), 2, {"t": 3})
    executor.forward({"Input": [[1.0, 2.0, 3.0]]})
    assert executor.outputs["Output"][:].tolist() == [[3.0, 2.0, 1.0]]
    with pytest.raises(mxt.Error, match=r"turned.*masks_padding.*same length"):
        executor.forward({"Input": [[1.0, 2.0]]})


def test_losses_that_are_no_layers_count_true_steps_alone() -> None:
    net = mxt.NetChain([mxt.Linear(1)], inputs={"Input": mxt.Sequence("t", mxt.Vector(1))})
    plan = mxt.compile_plan(net, losses={"Output": 2.0})
    trainer = mxt.Trainer(plan, mxt.SGD(0.0), batch_size=3, arrays={"linear.Weights": [[1.0]]}, lengths={"t": 5})
    trainer.update({"Input": [[[1.0], [3.0]], [[5.0], [6.0], [7.0]]]})
    assert trainer.current_loss() == {"Output": 4.0}
    assert trainer.gradients["linear.Weights"][:] == 2.0 * (2.0 + 6.0) / 2
    assert trainer.gradients["linear.Biases"][:] == 2.0
