"""The benchmark counts and translates rightly, as far as that can be seen without its rivals."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.source

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = ("tiny", "mid", "ptb", "mlp", "conv", "vowels", "demo")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def module(name: str) -> Any:
    return importlib.import_module(name)


def workload(name: str) -> Any:
    return module("workloads").WORKLOADS[name]


def products(name: str) -> set[tuple[int, int, int, int]]:
    return {(found.m, found.k, found.n, found.count) for found in workload(name).products()}


def test_products_of_a_linear_net_are_those_of_its_three_passes() -> None:
    rows, sizes = 128, [(784, 512), (512, 512), (512, 10)]
    forward_and_weights = 2 * sum(2 * rows * width * size for width, size in sizes)
    inputs = sum(2 * rows * width * size for width, size in sizes[1:])
    assert workload("mlp").gflop == pytest.approx((forward_and_weights + inputs) / 1e9)


def test_products_of_a_recurrent_net_go_step_by_step_over_its_state_alone() -> None:
    inputs, state, weights = (2048, 8, 512, 1), (32, 128, 512, 64), (512, 2048, 128, 1)
    back = (32, 512, 128, 64)
    assert {inputs, state, weights, back} <= products("mid")
    assert (2048, 512, 8, 1) not in products("mid")  # nobody needs the gradient of the data


def test_products_of_a_language_model_are_dominated_by_its_words() -> None:
    words = 3 * 2 * 700 * 200 * 10_000
    lstms = 2 * 3 * 2 * 700 * 800 * (200 + 200)
    assert workload("ptb").gflop == pytest.approx((words + lstms) / 1e9)


def test_products_of_a_convolution_are_those_of_its_unfolded_input() -> None:
    assert (64 * 28 * 28, 9, 16, 1) in products("conv")
    assert (64 * 14 * 14, 9 * 16, 32, 1) in products("conv")


def test_products_of_series_are_a_mean_over_their_buckets() -> None:
    series = workload("vowels")
    steps = [series.bucket(batch) for batch in series.batches()]
    first, state, last = 2 * 2 * 256 * 12, 3 * 2 * 256 * 64, 3 * 2 * 64 * 9
    assert series.gflop == pytest.approx(30 * (np.mean(steps) * (first + state) + last) / 1e9)


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_weights_are_the_same_each_time(name: str) -> None:
    chosen = workload(name)
    for one, other in zip(chosen.batches(), chosen.batches()):
        np.testing.assert_equal(one, other)
    np.testing.assert_equal(chosen.weights(), chosen.weights())
    assert len(chosen.batches()) == chosen.prepared
    assert all(len(batch["Input"]) == len(batch["Target"]) == chosen.rows for batch in chosen.batches())


def test_windows_of_the_demo_follow_one_another() -> None:
    first, second = workload("demo").batches()[:2]
    np.testing.assert_array_equal(first["Input"][:, 1:], first["Target"][:, :-1])
    np.testing.assert_array_equal(first["Target"][:, -1], second["Input"][:, 0])


def test_padded_series_weigh_their_true_steps_alone() -> None:
    series = workload("vowels")
    batch = series.batches()[0]
    data, weights = series.padded(batch)
    for row, one in enumerate(batch["Input"]):
        np.testing.assert_allclose(weights[row] @ data[row], one.mean(axis=0), atol=1e-5)
        assert not weights[row, len(one) :].any()


@pytest.mark.parametrize("name", ["tiny", "conv", "vowels"])
def test_our_net_has_the_arrays_that_the_workload_names(name: str) -> None:
    chosen = workload(name)
    weights = chosen.weights()
    runner = module("rivals.ours").build(chosen, weights)
    arrays = runner.arrays()
    assert {path: array.shape for path, array in arrays.items()} == chosen.shapes()
    for path, array in weights.items():
        np.testing.assert_array_equal(arrays[path], array)


def test_our_second_biases_stay_zero_where_a_rival_has_one() -> None:
    chosen = workload("tiny")
    runner = module("rivals.ours").build(chosen, chosen.weights(), one_bias=True)
    runner.step(chosen.batches()[0])
    arrays = runner.arrays()
    assert not arrays["lstm.StateBiases"].any()
    assert (arrays["lstm.InputBiases"] != chosen.weights()["lstm.InputBiases"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_mxnet_come_back_as_they_went(name: str) -> None:
    nets = module("rivals.mxnet_nets")
    weights = workload(name).weights()
    np.testing.assert_equal(nets.unpacked(workload(name), nets.packed(weights)), weights)


@pytest.mark.parametrize("name", ["tiny", "vowels"])
def test_bare_loop_of_mxnet_trains_as_we_do(name: str) -> None:
    chosen = workload(name)
    ours, theirs = (module(f"rivals.{rival}").build(chosen, chosen.weights()) for rival in ("ours", "executor_rival"))
    for batch in chosen.batches()[:3]:
        ours.step(batch)
        theirs.step(batch)
        assert ours.finish() == pytest.approx(theirs.finish(), rel=1e-4)
    for path, array in theirs.arrays().items():
        np.testing.assert_allclose(ours.arrays()[path], array, atol=1e-5)


def timed(*milliseconds: float) -> list[dict[str, float]]:
    return [{"step": 1e-3 * one, "call": 5e-4 * one, "cpu": 2e-3 * one, "others": 0.01} for one in milliseconds]


def result() -> dict[str, Any]:
    agreed = {"agrees": True, "losses_differ": 1e-7, "arrays_differ": 2e-6}
    rivals = {
        "ours": {**agreed, "queued": timed(1.0, 1.2, 1.1), "read": timed(2.0, 2.0, 2.0)},
        "torch": {**agreed, "queued": timed(4.0, 4.8, 4.4), "read": timed(4.0, 4.0, 4.0)},
        "jax": {**agreed, "agrees": False, "losses_differ": 0.5},
        "torch-compiled": {"absent": "no C++ compiler"},
    }
    floors = {"tiny": {"gflop": 1e-5, "floor": 5.5e-4, "peak": 60.0}}
    return {
        "rounds": 3, "minutes": 1.0, "versions": {"torch": "2.13"}, "machine": {"processor": "a"},
        "threads": {"2": {"workloads": {"tiny": rivals}, "floors": floors}},
    }  # fmt: skip


def test_report_has_medians_ratios_and_floors() -> None:
    page = module("report").write(result(), None)
    assert "| **mxtrainer** | **1.10** |" in page
    assert "| PyTorch, eager | 4.40 |" in page
    assert "| **best peer / mxtrainer** | **4.00** |" in page
    assert "| mxtrainer | 50% |" in page
    assert "| **mxtrainer** | **2.00** |" in page  # processors at work


def test_report_says_what_was_not_timed_and_why() -> None:
    page = module("report").write(result(), None)
    assert "| JAX, jit | differs |" in page
    assert "| PyTorch, compiled | not done |" in page
    assert "no C++ compiler" in page


def test_report_writes_page_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra bench")
    page = module("report").write(result(), tmp_path)
    assert (tmp_path / "results.md").read_text() == page
    assert "(results.svg)" in page
    assert "<svg" in (tmp_path / "results.svg").read_text()


def test_fewer_than_two_rounds_have_no_spread() -> None:
    report = module("report")
    assert math.isnan(report.spread({"queued": timed(1.0)}, "queued"))
    assert report.spread({"queued": timed(1.0, 2.0, 3.0)}, "queued") == pytest.approx(0.5)


def test_report_warns_of_a_busy_machine() -> None:
    found = result()
    assert "busy" not in module("report").write(found, None)
    for one in found["threads"]["2"]["workloads"]["tiny"]["ours"]["queued"]:
        one["others"] = 0.5
    for one in found["threads"]["2"]["workloads"]["tiny"]["torch"]["queued"]:
        one["others"] = 0.5
    assert "busy" in module("report").write(found, None)
