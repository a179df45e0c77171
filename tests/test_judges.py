"""The verdict on a pass, by a kernel and by MXNet's operators, is what the numbers say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxtrainer._mxnet import mx
from mxtrainer.executors.host_memory import zeros
from mxtrainer.executors.judges import HEAD, STAMPS, GraphJudge, KernelJudge, Seen, Watch
from mxtrainer.executors.kernels import Stage, queueing, usable

SIZES = (7, 1, 40)  # of the gradients
Case = dict[str, Any]

cases = st.fixed_dictionaries(
    {
        "on_nan": st.sampled_from(["raise", "skip", "ignore", None]),
        "clip_norm": st.sampled_from([None, 0.5, 1e30]),
        "moves": st.booleans(),
        "trained": st.booleans(),
        "before": st.sampled_from([0, 1, STAMPS - 1, STAMPS]),
        "passed": st.booleans(),
        "wrong": st.sampled_from([0, 0, 0, 2]),
        "sound": st.sampled_from([1, 1, 0]),
        "where": st.sampled_from([None, None, "gradient", "watched", "loss"]),
        "bad": st.sampled_from([math.nan, math.inf, -math.inf]),
        "seed": st.integers(0, 1000),
    }
)


def numbers_of(case: Case) -> dict[str, Any]:
    generator = np.random.default_rng(case["seed"])
    numbers: dict[str, Any] = {
        "gradients": generator.normal(size=sum(SIZES)),
        "watched": generator.normal(size=(3, 2)),
        "loss": generator.normal(size=4),
        "new": generator.normal(size=(2, 2)),
        "old": generator.normal(size=6),
    }
    bad = {"gradient": "gradients", "watched": "watched", "loss": "loss"}.get(case["where"])
    if bad is not None:
        numbers[bad].reshape(-1)[generator.integers(numbers[bad].size)] = case["bad"]
    return numbers


def expected_of(case: Case, numbers: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return the verdict by plain arithmetic."""
    gradients = numbers["gradients"].astype(dtype).astype("float64")
    measures = case["on_nan"] is not None or case["clip_norm"] is not None
    square = float(gradients @ gradients) if measures else 0.0
    finite = math.isfinite(square) and bool(np.isfinite(numbers["watched"]).all())
    finite = finite and not (case["trained"] and not np.isfinite(numbers["loss"]).all())
    if case["on_nan"] == "skip" and not case["moves"]:
        finite = finite and bool(case["sound"])
    sound = case["passed"] and not case["wrong"]
    go = sound if case["on_nan"] in {None, "ignore"} else sound and finite
    passed = sound if case["on_nan"] == "skip" else go
    scale = 1.0 if go or case["on_nan"] is None else math.nan
    if case["clip_norm"] is not None and math.isfinite(square):
        scale *= min(1.0, case["clip_norm"] / math.sqrt(square))
    before = case["before"] % STAMPS if case["passed"] else 17
    number = (case["before"] + 1) % STAMPS
    old = numbers["old"].astype(dtype)
    if go:
        old[1:5] = numbers["new"].reshape(-1)
    return {
        "packed": [number if passed else before, number, square, finite, case["wrong"], go],
        "measures": measures,
        "loss": numbers["loss"].astype(dtype),
        "scale": scale,
        "go": float(go),
        "skipped": float(passed and not go),
        "old": old,
    }


def judged(judge_class: Any, case: Case, numbers: dict[str, Any], dtype: str) -> dict[str, Any]:
    arrays = {name: mx.nd.array(found, dtype=dtype) for name, found in numbers.items()}
    ends = np.cumsum(SIZES)
    gradients = [arrays["gradients"][int(end) - size : int(end)] for end, size in zip(ends, SIZES)]
    before = case["before"] % STAMPS if case["passed"] else 17
    passed, wrong, sound = (mx.nd.array([found], dtype=dtype) for found in (before, case["wrong"], case["sound"]))
    seen = Seen(
        losses={"Loss": arrays["loss"]},
        trained=["Loss"] if case["trained"] else [],
        states=[arrays["watched"]],
        others=[mx.nd.ones((2, 2), dtype=dtype), mx.nd.ones((3,), dtype="int32")],
        gradients=gradients,
        flat=arrays["gradients"],
        auxiliary=[(arrays["new"], arrays["old"][1:5].reshape((2, 2)))],
        places=arrays["old"],
        passed=passed,
        wrong=wrong,
        sound=sound if case["on_nan"] == "skip" and not case["moves"] else None,
    )
    watch = Watch(case["on_nan"], ("a", "b", "c"), case["moves"], case["clip_norm"])
    judge = judge_class(seen, watch, 2)
    for slot in (1, 0):  # the second verdict does not lean on the first
        judge.expect(case["before"] + 1, slot)
        stages: list[Stage] = [*judge.stages(slot), *judge.moving]
        for call in queueing(stages):
            call()
    named = {name: getattr(judge, name).asnumpy() for name in ("packed", "scale", "go", "skipped")}
    return {**named, "old": arrays["old"].asnumpy()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("judge", [KernelJudge, GraphJudge])
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(case=cases)
def test_a_verdict_is_what_the_numbers_say(judge: Any, dtype: str, case: Case) -> None:
    if judge is KernelJudge and not usable(mx.cpu()):
        pytest.skip("there are no kernels")
    numbers = numbers_of(case)
    expected, found = expected_of(case, numbers, dtype), judged(judge, case, numbers, dtype)
    rounding = 1e-6 if dtype == "float32" else 1e-14
    head = found["packed"][:HEAD].astype("float64")
    np.testing.assert_array_equal(np.delete(head, 2), np.delete(np.array(expected["packed"], float), 2))
    if expected["measures"]:
        np.testing.assert_allclose(head[2], expected["packed"][2], rtol=rounding)
    np.testing.assert_array_equal(found["packed"][HEAD : HEAD + 4], expected["loss"])
    np.testing.assert_allclose(found["scale"], [expected["scale"]], rtol=rounding)
    np.testing.assert_array_equal(found["go"], [expected["go"]])
    np.testing.assert_array_equal(found["skipped"], [expected["skipped"]])
    np.testing.assert_array_equal(found["old"], expected["old"])


def test_a_norm_is_added_up_in_float64() -> None:
    """A million numbers whose squares a sum in float32 would lose."""
    if not usable(mx.cpu()):
        pytest.skip("there are no kernels")
    flat = mx.nd.array(np.r_[1e3, np.full(1_000_000, 1e-3)])
    passed, wrong = zeros((1,), mx.cpu(), "float32"), zeros((1,), mx.cpu(), "float32")
    seen = Seen({}, [], [], [], [flat], flat, [], None, passed, wrong, None)
    judge = KernelJudge(seen, Watch("raise", ("a",)), 1)
    judge.expect(1, 0)
    for call in queueing(judge.stages(0)):
        call()
    assert float(judge.packed.asnumpy()[2]) == pytest.approx(1e6 + 1.0, rel=6e-8)
