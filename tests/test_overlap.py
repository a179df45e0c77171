"""Windows that overlap: truncated back-propagation through time, in values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ORACLES
from state_cases import LAYERS, SIZE, recurrent_plan, sequence, window

import mxtrainer as mxt

STEPS = [14, 9, 5]


def oracle(layer: Any, x: NDArray[Any], states: dict[str, NDArray[Any]], arrays: dict[str, NDArray[Any]]) -> Any:
    """Return what an oracle says of one row."""
    told = {"size": SIZE, **({"activation": layer.activation} if hasattr(layer, "activation") else {})}
    own = {path[len("layer.") :]: array for path, array in arrays.items() if path.startswith("layer.")}
    return ORACLES[type(layer).__name__]({"Input": x[None].astype(np.float64), **states}, own, **told)


@pytest.mark.parametrize("average", ["examples", "steps"])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_each_window_has_the_loss_and_gradient_of_its_new_steps_from_the_state_where_it_begins(
    layer: Any, average: str
) -> None:
    """Row by row, each window is run by the oracle from the state at its first step, as the whole sequence has it."""
    trainer = mxt.Trainer(recurrent_plan(layer, average, "float64"), mxt.SGD(0.0), 3, carry=True)
    arrays = {path: array[:] for path, array in trainer.arrays.items()}
    sequences = [sequence(steps, number) for number, steps in enumerate(STEPS)]
    overlap, size = 2, 5
    for number, batch in enumerate(mxt.stream(sequences, window=size, rows=3, overlap=overlap)):
        trainer.update(batch)
        begin = number * (size - overlap)
        loss, gradients, counts = 0.0, dict.fromkeys(arrays, 0.0), 0
        rows = [whole for whole, steps in zip(sequences, STEPS) if not number or begin + overlap < steps]
        assert len(rows) == len(batch["Input"])
        skipped = [overlap if number else 0] * len(rows)
        counted = sum(len(row["Input"][begin : begin + size]) - skip for row, skip in zip(rows, skipped))
        for row, skip in zip(rows, skipped):
            before = oracle(layer, row["Input"][:begin], {}, arrays).outputs if begin else {}
            states = {port: before[port] for port in layer.states if begin}
            result = oracle(layer, row["Input"][begin : begin + size], states, arrays)
            output = result.outputs["Output"][0]
            error = output @ arrays["linear.Weights"].T + arrays["linear.Biases"] - row["Target"][begin : begin + size]
            error[:skip] = 0
            steps = len(error) - skip
            scale = 1 / (len(rows) * steps) if average == "examples" else 1 / counted
            loss += scale * float((error**2).mean(axis=1).sum())
            head = scale * error  # of the mean over two elements of a square
            gradients["linear.Weights"] = gradients["linear.Weights"] + head.T @ output
            for name, found in result.backward({"Output": (head @ arrays["linear.Weights"])[None]}).arrays.items():
                gradients[f"layer.{name}"] = gradients[f"layer.{name}"] + found
            counts += steps
        losses = trainer.current_loss()
        assert losses["Loss"] == pytest.approx(loss, rel=1e-9)
        assert losses.steps["t"] == counts
        for path in ("linear.Weights", "layer.InputWeights", "layer.StateWeights", "layer.StateBiases"):
            np.testing.assert_allclose(trainer.gradients[path][:], gradients[path], rtol=1e-7, atol=1e-12)
    assert number == 3


@pytest.mark.parametrize("overlap", [0, 3])
def test_a_window_that_covers_its_sequence_is_full_back_propagation_through_time(overlap: int) -> None:
    plan = recurrent_plan()
    streaming, whole = (mxt.Trainer(plan, mxt.Adam(0.01), 3, carry=carry) for carry in (True, False))
    sequences = [sequence(steps, number) for number, steps in enumerate(STEPS)]
    for _ in range(3):
        for batch in mxt.stream(sequences, window=max(STEPS), rows=3, overlap=overlap):
            streaming.update(batch)
        whole.update(window(sequences, [0] * 3, STEPS))
        assert streaming.current_loss()["Loss"] == pytest.approx(whole.current_loss()["Loss"], rel=1e-6)
    for path, array in whole.arrays.items():
        np.testing.assert_allclose(streaming.arrays[path][:], array[:], atol=1e-6)


def test_evaluation_of_windows_that_overlap_counts_every_step_once() -> None:
    trainer = mxt.Trainer(recurrent_plan(), mxt.SGD(0.0), 3, carry=True)
    sequences = [sequence(steps, number) for number, steps in enumerate(STEPS)]
    expected = trainer.evaluate(window(sequences, [0] * 3, STEPS)).losses
    found = trainer.evaluate(mxt.stream(sequences, window=4, rows=2, overlap=3)).losses
    assert found.steps["t"] == sum(STEPS)
    assert found["Loss"] == pytest.approx(expected["Loss"], rel=1e-5)
