"""Steps that move some arrays alone, and steps and parts of steps in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import course_of, small_plan
from test_trainer_failures import ctrl_c  # noqa: F401 - a fixture

import mxtrainer as mxt

PLAN = small_plan()
PLAN64 = small_plan("float64")


# Some arrays


def gan_plan() -> mxt.Plan:
    """Return a plan of a generator, and of a discriminator that looks at what it makes, and at what is real."""
    net = mxt.NetGraph(
        {
            "generator": mxt.Linear(2),
            "discriminator": mxt.Linear(1),
            "again": mxt.Linear(1),
            "fake": mxt.MeanSquaredLoss(),
            "real": mxt.MeanSquaredLoss(),
            "fool": mxt.MeanSquaredLoss(),
        },
        [
            ("Noise", "generator", "discriminator"),
            ("Real", "again", "real", "RealLoss"),
            ("discriminator", "fake", "FakeLoss"),
            ("discriminator", "fool", "FoolLoss"),
            ("Zero", "fake.Target"),
            ("One", "real.Target"),
            ("One", "fool.Target"),
        ],
        inputs={"Noise": mxt.Vector(2), "Real": mxt.Vector(2), "Zero": mxt.Vector(1), "One": mxt.Vector(1)},
        share={"again": "discriminator"},
    )
    return mxt.compile_plan(net, dtype="float64")


@pytest.mark.parametrize("in_parts", [False, True])
def test_two_groups_in_turn_are_two_optimizers(in_parts: bool) -> None:
    optimizer = mxt.Adam(0.05, clip_norm=0.5, weight_decay=0.01)
    trainer = mxt.Trainer(gan_plan(), optimizer, batch_size=5)
    start = values_of(trainer.arrays)
    groups = {
        name: course_of(optimizer, {path: array for path, array in start.items() if path.startswith(f"{name}.")})
        for name in ("discriminator", "generator")
    }
    told = {"discriminator": {"RealLoss": 1.0, "FakeLoss": 0.5}, "generator": {"FoolLoss": 1.0}}
    generator = np.random.default_rng(0)
    for number in range(20):
        batch = {port: generator.normal(size=(5, 2)) for port in ("Noise", "Real")}
        batch |= {"Zero": np.zeros((5, 1)), "One": np.ones((5, 1))}
        name = ("discriminator", "generator", "discriminator")[number % 3]
        before = values_of(trainer.arrays)
        if in_parts:
            trainer.compute(batch, losses=told[name])
            trainer.apply(only=name)
        else:
            trainer.update(batch, only=name, losses=told[name])
        losses = trainer.current_loss()
        weighted = {port: told[name].get(port, 0.0) * found for port, found in losses.items()}
        assert losses.weighted == weighted
        groups[name].step(values_of(trainer.gradients))
        others = [path for path in start if not path.startswith(f"{name}.")]
        assert_same({path: values_of(trainer.arrays)[path] for path in others}, {path: before[path] for path in others})
    for course in groups.values():
        for path, expected in course.arrays.items():
            np.testing.assert_allclose(trainer.arrays[path][:], expected, rtol=1e-10, atol=1e-13)
    assert trainer.loss_weights == {"FakeLoss": 1.0, "RealLoss": 1.0, "FoolLoss": 1.0}


# Whatever the order


class Sequential:
    """What a trainer should come to, in plain numpy: one linear unit, its gradients by hand, an oracle of Adam."""

    def __init__(self, optimizer: Any, arrays: Any) -> None:
        self.course = course_of(optimizer, arrays)
        self.step = 0
        self.passes: list[Any] = []

    def gradients(self) -> dict[str, Any]:
        x, y = (np.concatenate([batch[port] for batch in self.passes]) for port in ("Input", "Target"))
        difference = x * self.course.arrays["linear.Weights"][0, 0] + self.course.arrays["linear.Biases"] - y
        return {
            "linear.Weights": np.array([[2 * (difference * x).mean()]]),
            "linear.Biases": np.array(2 * difference.mean()).reshape(self.course.arrays["linear.Biases"].shape),
        }

    def move(self, only: Any) -> None:
        self.course.step(self.gradients(), only)
        self.step += 1
        self.passes = []


actions = st.lists(
    st.tuples(
        st.sampled_from(["update", "compute", "accumulate", "discard"]),
        st.integers(1, 3),
        st.sampled_from([None, "linear.Weights"]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(actions=actions, depth=st.integers(1, 3), guard=st.sampled_from([True, 2, False]))
def test_any_sequence_of_parts_leaves_what_plain_steps_leave(actions: Any, depth: int, guard: Any) -> None:
    optimizer = mxt.Adam(0.1, weight_decay=0.1)
    trainer = mxt.Trainer(LINEAR64, optimizer, batch_size=4, depth=depth, guard=guard)
    oracle = Sequential(optimizer, values_of(trainer.arrays))
    drawn = np.random.default_rng(len(actions))
    for what, count, only, rows in actions:
        oracle.passes = [
            {port: drawn.normal(size=rows) for port in ("Input", "Target")}
            for _ in range(count if what in {"accumulate", "discard"} else 1)
        ]
        if what == "update":
            trainer.update(oracle.passes[0], only=only)
        elif what == "compute":
            trainer.compute(oracle.passes[0])
        else:
            for batch in oracle.passes:
                trainer.accumulate(batch)
        if what == "discard":
            trainer.discard()
            oracle.passes = []
            continue
        if what != "update":
            trainer.apply(only=only)
        oracle.move(None if only is None else {only})
    assert trainer.step == oracle.step
    for path, expected in oracle.course.arrays.items():
        np.testing.assert_allclose(trainer.arrays[path][:], expected, rtol=1e-9, atol=1e-12)


LINEAR64 = mxt.compile_plan(
    mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()}),
    dtype="float64",
)
