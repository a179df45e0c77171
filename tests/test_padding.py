"""Padding changes nothing: every layer over sequences of different lengths, against the oracle and against itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_cases import Case, Values, error
from ragged_cases import OVER_SEQUENCES, Ragged

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.layers.base import Layer, Node, Ports
from mxtrainer.values import register

FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
SINGLE = 1e-5  # of scale
# One matrix product over the steps of all examples: a row's last bit depends on how many there are.
MULTIPLIES_ALL_STEPS = ("Linear", "Convolution", "Fold", "Map")
every_case = pytest.mark.parametrize("case", OVER_SEQUENCES, ids=str)


@st.composite
def lengths_and_seed(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Return the lengths of the examples, how much longer the bucket is, and a seed."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    return lengths, draw(st.integers(1, 9)), draw(st.integers(0, 2**31))


@pytest.mark.slow
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


@pytest.mark.slow
@every_case
@FEW
@given(drawn=lengths_and_seed())
def test_a_larger_bucket_gives_the_same_bits(case: Case, drawn: tuple[list[int], int, int]) -> None:
    lengths, more, seed = drawn
    ragged = Ragged(case, [*lengths, 8], seed)  # 8: padding in either bucket
    small, large = ragged.run(9), ragged.run(9 + more)
    for name, value in small.items():
        if name.startswith("gradient layer.") or case.oracle in MULTIPLIES_ALL_STEPS:
            assert error(large[name], value, 1e-2) <= 1e-6, name
        else:
            assert value.tobytes() == large[name].tobytes(), name


@pytest.mark.slow
@every_case
def test_a_full_batch_is_the_same_with_masks_and_without(case: Case) -> None:
    ragged = Ragged(case, [5, 5, 5], 3)
    without, with_masks = ragged.run(5), ragged.run(6)
    for name, value in without.items():
        assert error(with_masks[name], value, 1e-2) <= SINGLE, name


@pytest.mark.slow
@every_case
def test_evaluation_of_a_padded_batch_is_that_of_each_example_alone(case: Case) -> None:
    ragged = Ragged(case, [4, 1, 7], 5)
    whole = ragged.evaluate(range(3), 9)
    for row, steps in enumerate(ragged.lengths):
        for name, value in ragged.evaluate([row], steps).items():
            part = whole[name][row][:steps] if ragged.is_sequence(name) else whole[name][row]
            assert error(part, value[0], 1e-2) <= SINGLE, name


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
