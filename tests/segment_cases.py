"""Nets that are run in segments, and what is compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from fold_cells import lstm_fold
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

WIDTH, SIZE = 2, 3
LAYERS: dict[str, Layer] = {
    "lstm": mxt.LSTM(SIZE),
    "gru": mxt.GRU(SIZE),
    "tanh": mxt.BasicRecurrent(SIZE),
    "relu": mxt.BasicRecurrent(SIZE, "relu"),
    "learned": mxt.LSTM(SIZE, initial="learned"),
    "fold": lstm_fold(SIZE),
}


def plan_of(layer: Layer, average: str = "examples", dtype: str = "float64", drop: float = 0.0) -> mxt.Plan:
    """Return two recurrent layers with a loss at each step, and another one of what is known at the end."""
    net = mxt.NetGraph(
        {
            "first": layer,
            "drop": mxt.Dropout(drop),
            "second": mxt.GRU(SIZE),
            "linear": mxt.Linear(WIDTH),
            "loss": mxt.MeanSquaredLoss(average=average),
            "last": mxt.SequenceLast(),
            "classes": mxt.Linear(4),
            "entropy": mxt.CrossEntropyLoss("index"),
        },
        [
            ("Input", "first", "drop", "second", "linear", "loss", "Loss"),
            ("second", "last", "classes", "entropy", "Class"),
            ("Label", "entropy.Target"),
            ("linear", "Output"),
        ],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))},
    )
    return mxt.compile_plan(net.with_states(), losses={"Output": 0.0, "Class": 0.5}, dtype=dtype)


def batch_of(plan: mxt.Plan, lengths: list[int], seed: int = 0) -> dict[str, Any]:
    """Return a batch whose examples have these lengths, without states."""
    generator = np.random.default_rng((seed, *lengths))
    found: dict[str, Any] = {}
    for port, spec in plan.inputs.items():
        if port in plan.states:
            continue
        if spec.count is not None:
            found[port] = generator.integers(0, spec.count, len(lengths))
        else:
            found[port] = [generator.normal(size=(steps, WIDTH)) for steps in lengths]
    return found


def worst(left: dict[str, NDArray[Any]], right: dict[str, NDArray[Any]]) -> float:
    """Return the largest difference of two sets of arrays, as a share of the largest number of each."""
    assert left.keys() == right.keys()
    return max(
        float(np.abs(found - right[name]).max() / max(np.abs(right[name]).max(), 1e-30)) for name, found in left.items()
    )
