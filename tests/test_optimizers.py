"""Every optimizer against its formula, from the gradients that the trainer reports, whatever else goes on."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from fault_cases import FAULTS, everything, good_batch, plan_of
from optimizer_cases import EVERY, STEPS, WAYS, course_of, deviation, small_batch, small_plan, treated

import mxtrainer as mxt
from mxtrainer.engine import formulas
from mxtrainer.engine.formulas import Formula
from mxtrainer.engine.optimizers import Optimizer
from mxtrainer.executors import kernels

PLANS = {dtype: small_plan(dtype) for dtype in ("float32", "float64")}
SOME = range(6)


def by_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_numba_loads", lambda: False)


def trained(optimizer: Optimizer, dtype: str = "float32", **options: Any) -> dict[str, Any]:
    """Return arrays and moments after some steps."""
    trainer = mxt.Trainer(PLANS[dtype], optimizer, batch_size=3, **options)
    for number in SOME:
        trainer.update(small_batch(number))
    trainer.current_loss()
    return {str(place): array for place, array in enumerate(everything(trainer))}


# Against the formulas


LIMITS = {"float32": 1e-5, "float64": 1e-12}
FEW = ("momentum", "Adam", "AdamW")  # each kernel takes its time to be compiled: the others with half of the ways


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "way", "dtype"),
    [
        (kind, way, dtype)
        for kind in EVERY
        for way in WAYS
        for dtype in LIMITS
        if kind in FEW or (dtype == "float64") == (way in {"clips", "rules"})
    ],
)
def test_an_optimizer_follows_its_formula(kind: str, way: str, dtype: str) -> None:
    optimizer = treated(kind, way)
    trainer = mxt.Trainer(PLANS[dtype], optimizer, batch_size=3)
    start = values_of(trainer.arrays)
    course = course_of(optimizer, start)
    for number in range(STEPS):
        trainer.update(small_batch(number % 7))
        course.step(values_of(trainer.gradients))
    assert deviation(trainer, course) <= LIMITS[dtype]
    moved = [path for path, array in values_of(trainer.arrays).items() if not np.array_equal(array, start[path])]
    assert moved == [path for path in start if way != "rules" or not path.startswith("other.")]


@pytest.mark.parametrize("kind", ["Adam", "LAMB", "RMSProp, centred"])
def test_only_some_arrays_move_and_each_counts_its_own_moves(kind: str) -> None:
    optimizer = treated(kind, "clips")
    trainer = mxt.Trainer(PLANS["float64"], optimizer, batch_size=3)
    course = course_of(optimizer, values_of(trainer.arrays))
    groups: dict[str | None, Any] = {None: None, "lstm": [path for path in trainer.arrays if path.startswith("lstm.")]}
    groups["*.Biases"] = [path for path in trainer.arrays if path.endswith(".Biases")]
    for number, only in enumerate(("lstm", "lstm", None, "*.Biases", None, "lstm", "*.Biases")):
        before = values_of(trainer.arrays)
        trainer.update(small_batch(number), only=only)
        course.step(values_of(trainer.gradients), only=groups[only])
        others = [path for path in before if groups[only] is not None and path not in groups[only]]
        after = values_of(trainer.arrays)
        assert_same({path: before[path] for path in others}, {path: after[path] for path in others})
    assert deviation(trainer, course) <= 1e-12


def test_a_schedule_gives_the_rate_of_each_step() -> None:
    trainer = mxt.Trainer(PLANS["float64"], mxt.Adam(mxt.schedules.cosine(0.1)), batch_size=3, total_steps=10)
    course = course_of(trainer.optimizer, values_of(trainer.arrays))
    for number in range(12):
        rate = 0.1 * np.cos(np.pi * min(number, 10) / 20) ** 2
        assert trainer.learning_rate == pytest.approx(rate, abs=1e-15)
        trainer.update(small_batch(number))
        course.step(values_of(trainer.gradients), rate=rate)
    trainer.learning_rate = 0.03
    trainer.update(small_batch(1))
    course.step(values_of(trainer.gradients), rate=0.03)
    assert deviation(trainer, course) <= 1e-12


def test_the_norm_is_that_of_the_arrays_that_move() -> None:
    optimizer = mxt.SGD(1.0, clip_norm=1e-3, rules=(("lstm", mxt.Rule(frozen=True)),))
    trainer = mxt.Trainer(PLANS["float64"], optimizer, batch_size=3)
    for only in (None, "other", ["linear.Biases", "other.Weights"]):
        before = values_of(trainer.arrays)
        trainer.update(small_batch(1), only=only)
        moves = [array - before[path] for path, array in values_of(trainer.arrays).items()]
        assert np.sqrt(sum((move**2).sum() for move in moves)) == pytest.approx(1e-3, rel=1e-9)


def test_a_gradient_of_zeros_moves_nothing_and_is_finite() -> None:
    for kind, optimizer in EVERY.items():
        trainer = mxt.Trainer(PLANS["float32"], optimizer, batch_size=1, seed=1)
        trainer.compute(small_batch(1, rows=1))
        for path in trainer.gradients:
            trainer.gradients[path] = 0.0
        before = values_of(trainer.arrays)
        trainer.apply()
        after = values_of(trainer.arrays)
        if optimizer.weight_decay:
            assert all(np.isfinite(array).all() for array in after.values()), kind
        else:
            assert_same(before, after)


# Kernels and operators


@pytest.mark.slow
@pytest.mark.parametrize(("way", "dtype"), [("decay", "float32"), ("clips", "float64"), ("rules", "float64")])
@pytest.mark.parametrize("kind", EVERY)
def test_kernels_and_operators_give_the_same_bits_but_for_what_norms_scale(
    kind: str, way: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = treated(kind, way)
    by_kernels = trained(optimizer, dtype)
    by_operators(monkeypatch)
    found = trained(optimizer, dtype)
    if kind != "LAMB" and optimizer.clip_norm is None:  # norms are sums in another order
        assert_same(found, by_kernels)
    for path, array in found.items():
        rounding = 1e-6 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(array, by_kernels[path], rtol=rounding, atol=0.1 * rounding)


@pytest.mark.parametrize(
    ("kind", "ways"),
    [*((kind, "kernels") for kind in EVERY), ("SGD", "operators"), ("Adam", "operators")],
)
def test_a_skipped_step_is_none(kind: str, ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ways == "operators":
        by_operators(monkeypatch)
    fault = next(fault for fault in FAULTS if fault.name == "NaN in a gradient")
    trainer, twin = (mxt.Trainer(plan_of(fault.way), EVERY[kind], batch_size=4, on_nan="skip") for _ in range(2))
    for number in range(4):
        if number % 2:
            before = everything(trainer)
            trainer.update(fault.spoil(good_batch(number)))
            assert [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in before]
        trainer.update(good_batch(number))
        twin.update(good_batch(number))
    assert [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in everything(twin)]
    assert trainer.step == twin.step + 2
    trainer.current_loss()
    assert trainer.stats().skipped == (2, 5)


@pytest.mark.parametrize("kind", EVERY)
def test_guard_and_depth_change_no_bit(kind: str) -> None:
    optimizer = treated(kind, "rules")
    expected = trained(optimizer, "float64")
    ways: list[dict[str, Any]] = [
        {"guard": False},
        {"guard": 3},
        {"on_nan": "ignore"},
        {"depth": 1},
        {"depth": 4},
        {"depth": 3},
    ]
    for options in ways:
        assert_same(trained(optimizer, "float64", **options), expected)


# A formula of one's own


def _half(real: Any, _: Any, rate: Any, _decay: Any, _count: Any) -> formulas.Numbers:
    return (real(rate * 0.5),)


def _double(real: Any, _: Any, rate: Any, _decay: Any, _count: Any) -> formulas.Numbers:
    return (real(rate * 2.0),)


SCALE = 3.0


def _by_a_global(real: Any, _: Any, rate: Any, _decay: Any, _count: Any) -> formulas.Numbers:
    return (real(rate * SCALE),)


def _copied(function: Any) -> Any:
    """Return the same code as another function, as a program that is run again has it."""
    return types.FunctionType(function.__code__, function.__globals__, function.__name__)


def _by_a_closure(factor: float) -> Any:
    def numbers(real: Any, _: Any, rate: Any, _decay: Any, _count: Any) -> formulas.Numbers:
        return (real(rate * factor),)

    return numbers


@dataclass(frozen=True, repr=False)
class Own(Optimizer):
    """Gradient descent at a rate of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()

    @property
    def formula(self) -> Formula:
        return formulas.DESCENT._replace(numbers=NUMBERS[-1])


NUMBERS: list[Any] = []


@pytest.mark.slow
@pytest.mark.parametrize("ways", ["kernels", "operators"])
def test_no_formula_gets_the_code_of_another(ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ways == "operators":
        by_operators(monkeypatch)
    moves = {}
    for name, numbers, scale in (
        ("half", _half, 3.0),
        ("double", _double, 3.0),
        ("global 3", _by_a_global, 3.0),
        ("global 5", _copied(_by_a_global), 5.0),
        ("closure 7", _by_a_closure(7.0), 3.0),
        ("closure 9", _by_a_closure(9.0), 3.0),
    ):
        monkeypatch.setitem(globals(), "SCALE", scale)
        NUMBERS.append(numbers)
        trainer = mxt.Trainer(PLANS["float64"], Own(0.1), batch_size=3)
        before = trainer.arrays["linear.Biases"][:]
        trainer.update(small_batch(1))
        moves[name] = (trainer.arrays["linear.Biases"][:] - before) / trainer.gradients["linear.Biases"][:]
    found = {name: round(float(-10.0 * move[0]), 6) for name, move in moves.items()}
    expected = {"half": 0.5, "double": 2.0, "global 3": 3.0, "global 5": 5.0, "closure 7": 7.0, "closure 9": 9.0}
    assert found == expected
