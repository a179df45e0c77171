"""Every optimizer, each way of treating arrays, and a small net whose training goes through all of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from conftest import values_of
from fault_cases import everything
from numpy.typing import NDArray
from reference_optimizers import Course

import mxtrainer as mxt
from mxtrainer.engine.optimizers import Optimizer

Batch = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
STEPS = 50
EVERY: dict[str, Optimizer] = {
    "SGD": mxt.SGD(0.1),
    "momentum": mxt.SGD(0.05, momentum=0.9),
    "Nesterov": mxt.SGD(0.05, momentum=0.8, nesterov=True),
    "SignSGD": mxt.SignSGD(0.003),
    "Signum": mxt.SignSGD(0.003, momentum=0.9),
    "Adam": mxt.Adam(0.01, beta1=0.8, beta2=0.99),
    "AdamW": mxt.AdamW(0.01),
    "LAMB": mxt.LAMB(0.02),
    "RMSProp": mxt.RMSProp(0.003, beta=0.9),
    "RMSProp, momentum": mxt.RMSProp(0.001, beta=0.9, momentum=0.8),
    "RMSProp, centred": mxt.RMSProp(0.002, beta=0.9, centred=True, epsilon=1e-4),
    "Adagrad": mxt.Adagrad(0.05),
}
# What an optimizer is told, and what that means array by array, as the oracle takes it
RULES = (
    ("lstm.*Biases", mxt.Rule(weight_decay=0.0, learning_rate_multiplier=0.5)),
    ("linear", mxt.Rule(learning_rate_multiplier=2.0, clip_gradient=0.02)),
    ("lstm.StateWeights", mxt.Rule(clip_weights=0.2, frozen=False)),
    ("other", mxt.Rule(frozen=True)),
)
BIASES = {"weight_decay": 0.0, "multiplier": 0.5}
OTHERWISE: dict[str, dict[str, Any]] = {
    "lstm.InputBiases": BIASES,
    "lstm.StateBiases": BIASES,
    "linear.Weights": {"multiplier": 2.0, "clip_gradient": 0.02},
    "linear.Biases": {"multiplier": 2.0, "clip_gradient": 0.02},
    "lstm.StateWeights": {"clip_weights": 0.2},
    "other.Weights": {"frozen": True},
    "other.Biases": {"frozen": True},
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"weight_decay": 0.0},
    "decay": {"weight_decay": 0.1},
    "clips": {"weight_decay": 0.0, "clip_norm": 0.2, "clip_gradient": 0.05, "clip_weights": 0.5},
    "rules": {"weight_decay": 0.05, "clip_norm": 0.3, "rules": RULES},
}


def treated(kind: str, way: str) -> Optimizer:
    """Return one of the optimizers with one of the ways."""
    return dataclasses.replace(EVERY[kind], **WAYS[way])


def small_plan(dtype: str = "float32") -> mxt.Plan:
    """Return a plan of a linear layer, an LSTM, and another linear layer, over sequences."""
    net = mxt.NetGraph(
        {"other": mxt.Linear(3), "lstm": mxt.LSTM(4), "linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "other", "lstm", "linear", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
    )
    return mxt.compile_plan(net, dtype=dtype)


def small_batch(number: int, rows: int = 3, steps: int = 4) -> Batch:
    """Return another batch for each number."""
    generator = np.random.default_rng(number)
    return {port: generator.normal(size=(rows, steps, 2)) for port in ("Input", "Target")}


def course_of(optimizer: Optimizer, arrays: Arrays, otherwise: Any = None) -> Course:
    """Return the oracle of an optimizer's course."""
    fields = {field.name: getattr(optimizer, field.name) for field in dataclasses.fields(optimizer)}
    rules = OTHERWISE if otherwise is None and optimizer.rules else otherwise
    return Course(type(optimizer).__name__, fields, arrays, rules)


def deviation(trainer: mxt.Trainer, course: Course) -> float:
    """Return how far a trainer is from its oracle, in units of the largest number of each array."""
    return max(
        float(np.abs(found - course.arrays[path]).max() / max(np.abs(course.arrays[path]).max(), 1e-3))
        for path, found in values_of(trainer.arrays).items()
    )


def moved(trainer: mxt.Trainer) -> list[bytes]:
    return [array.tobytes() for array in everything(trainer)]


def parts_of(batch: dict[str, Any], *rows: int) -> list[dict[str, Any]]:
    """Return a batch in parts of so many rows each."""
    ends = np.cumsum(rows)
    return [
        {port: value[end - count : end] for port, value in batch.items()} for count, end in zip(rows, ends.tolist())
    ]
