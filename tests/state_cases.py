"""Nets with states, and sequences cut into windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

Sequence = dict[str, NDArray[Any]]
WIDTH, SIZE = 2, 3
ROWS = 3
LAYERS = (mxt.LSTM(SIZE), mxt.GRU(SIZE), mxt.BasicRecurrent(SIZE), mxt.BasicRecurrent(SIZE, "relu"))


def recurrent_plan(layer: Layer = LAYERS[0], average: str = "steps", dtype: str = "float32") -> mxt.Plan:
    """Return a plan of one recurrent layer with its states as ports, whose outputs can be read."""
    net = mxt.NetGraph(
        {"layer": layer, "linear": mxt.Linear(WIDTH), "loss": mxt.MeanSquaredLoss(average=average)},
        [("Input", "layer", "linear", "loss", "Loss"), ("linear", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))},
    )
    return mxt.compile_plan(net.with_states(), losses={"Output": 0.0}, dtype=dtype)


def sequence(steps: int, seed: int = 0) -> Sequence:
    generator = np.random.default_rng((seed, steps))
    return {port: generator.normal(size=(steps, WIDTH)).astype(np.float32) for port in ("Input", "Target")}


def window(sequences: list[Sequence], begins: list[int], steps: list[int]) -> dict[str, list[NDArray[Any]]]:
    """Return a batch of one window of each sequence."""
    parts = list(zip(sequences, begins, steps))
    return {port: [one[port][begin : begin + count] for one, begin, count in parts] for port in ("Input", "Target")}


def states_of(trainer: mxt.Trainer) -> dict[Any, dict[str, NDArray[Any]]]:
    """Return copies of all carried states by stream."""
    return {stream: trainer.state[stream] for stream in trainer.state}


def assert_same_states(left: dict[Any, dict[str, NDArray[Any]]], right: dict[Any, dict[str, NDArray[Any]]]) -> None:
    """Assert that two sets of states are equal, bit for bit."""
    assert list(left) == list(right)
    for stream, states in left.items():
        for port, state in states.items():
            assert state.tobytes() == right[stream][port].tobytes(), (stream, port)


def batches(*steps: int, rows: int = ROWS) -> list[dict[str, Any]]:
    """Return batches of so many steps each, which follow one another."""
    whole = [sequence(sum(steps), seed) for seed in range(rows)]
    begins = np.cumsum((0, *steps))
    return [window(whole, [begin] * rows, [count] * rows) for begin, count in zip(begins.tolist(), steps)]
