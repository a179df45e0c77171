"""Buckets: executors made once, on the same arrays, with the same results whichever the bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of

import mxtrainer as mxt
from mxtrainer.executors.binding import bind


@pytest.fixture
def binds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The buckets of all graphs that are bound from here on."""
    found: list[str] = []

    def counted(*arguments: Any) -> Any:
        found.append(arguments[4])
        return bind(*arguments)

    monkeypatch.setattr("mxtrainer.executors.bound.bind", counted)
    return found


def batches(count: int = 12, longest: int = 9) -> list[dict[str, Any]]:
    """Return batches of different lengths and numbers of rows, of 11 characters."""
    generator = np.random.default_rng(5)
    made = []
    for _ in range(count):
        lengths = generator.integers(1, longest + 1, generator.integers(1, 5))
        tokens = [generator.integers(0, 11, length + 1) for length in lengths]
        made.append({"Input": [row[:-1] for row in tokens], "Target": [row[1:] for row in tokens]})
    return made


POLICIES = {
    "exact": {},
    "one bucket": {"lengths": {"t": 12}},
    "fixed": {"buckets": mxt.buckets.Fixed([3, 6, 12])},
    "geometric": {"buckets": mxt.buckets.Geometric(1.5, first=2)},
    "multiple": {"buckets": mxt.buckets.Multiple(4)},
}


def test_training_is_the_same_whatever_the_buckets(text_plan: mxt.Plan) -> None:
    losses: dict[str, list[float]] = {}
    arrays = {}
    for name, policy in POLICIES.items():
        trainer = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=4, **policy)  # type: ignore[arg-type]  # keywords
        losses[name] = []
        for batch in batches():
            trainer.update(batch)
            losses[name].append(trainer.current_loss()["Loss"])
        arrays[name] = values_of(trainer.arrays)
    for name in POLICIES:
        np.testing.assert_allclose(losses[name], losses["exact"], rtol=1e-5)
        for path, found in arrays[name].items():
            np.testing.assert_allclose(found, arrays["exact"][path], rtol=1e-4, atol=1e-6)


def test_a_batch_in_a_known_bucket_binds_nothing(text_plan: mxt.Plan, binds: list[str]) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=4, buckets=mxt.buckets.Fixed([3, 6, 12]))
    for batch in batches():
        trainer.update(batch)
    before = len(binds)
    assert before <= 2 * 3
    for batch in batches():
        trainer.update(batch)
    trainer.current_loss()
    assert len(binds) == before


def test_the_largest_bucket_is_bound_first(text_plan: mxt.Plan, binds: list[str]) -> None:
    bucketed = mxt.BucketedExecutor(text_plan, batch_size=4, buckets=mxt.buckets.Fixed([3, 12]))
    bucketed.executor({"t": 2}).forward({"Input": [[1, 2]], "Target": [[2, 3]]})
    assert binds == ["(batch_size=4, t=12)", "(batch_size=4, t=3)"]


def test_a_released_bucket_is_bound_again_to_the_same_bits(text_plan: mxt.Plan) -> None:
    runs = []
    for released in (False, True):
        trainer = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=4, buckets=mxt.buckets.Fixed([6, 12]))
        for batch in batches():
            trainer.update(batch)
            if released:
                for bucket in trainer.buckets.report().buckets:
                    trainer.buckets.release(bucket.lengths)
        runs.append(values_of(trainer.arrays))
    assert_same(*runs)


def test_evicted_buckets_are_bound_again_to_the_same_bits(text_plan: mxt.Plan) -> None:
    runs = []
    for kept in (None, 1):
        trainer = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=4, bytes_kept=kept)
        for batch in batches():
            trainer.update(batch)
        runs.append(values_of(trainer.arrays))
        evictions = sum(bucket.evictions for bucket in trainer.buckets.report().buckets)
        assert (evictions > 0) is (kept == 1)
    assert_same(*runs)


def test_a_report_counts_hits_rows_and_padding(text_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=2, buckets=mxt.buckets.Fixed([4, 8]))
    for lengths in ([4, 1], [4, 4], [5, 2], [3]):
        rows = [np.arange(length) for length in lengths]
        trainer.update({"Input": rows, "Target": rows})
    report = trainer.buckets.report()
    small, large = report.buckets
    assert (small.lengths, small.hits, small.rows) == ({"t": 4}, 3, 5)
    assert (large.lengths, large.hits, large.rows) == ({"t": 8}, 1, 2)
    assert small.padding == 1 - (5 + 8 + 3) / 24
    assert large.padding == 1 - 7 / 16
    assert report.padding == 1 - 23 / 40
    assert small.binds == 2
    assert 0 < large.bytes_operators < small.bytes_operators  # one graph of 8 steps, two of 4
    assert "padding 42.5%" in str(report)


def test_buckets_can_have_batch_sizes_of_their_own(text_plan: mxt.Plan) -> None:
    policy = mxt.buckets.Tokens(12, mxt.buckets.Fixed([3, 6, 12]))
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=None, buckets=policy)
    rows = [np.arange(2)] * 4
    trainer.update({"Input": rows, "Target": rows})
    assert trainer.evaluate({"Input": rows * 3, "Target": rows * 3}).losses.examples == 12
    with pytest.raises(mxt.BatchError, match="4 rows, more than the batch size of 2"):
        trainer.update({"Input": [*rows[1:], np.arange(5)], "Target": [*rows[1:], np.arange(5)]})
    with pytest.raises(mxt.ArgumentError, match="batch sizes of their own"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, buckets=policy)


def test_an_example_beyond_the_last_bucket_is_named_and_changes_nothing(text_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=2, buckets=mxt.buckets.Fixed([3, 6]))
    before = values_of(trainer.arrays)
    rows = [np.arange(2), np.arange(7)]
    with pytest.raises(mxt.BatchError, match=r"example 1: 7 steps.*more than the 6"):
        trainer.update({"Input": rows, "Target": rows})
    assert trainer.step == 0
    assert_same(values_of(trainer.arrays), before)


def test_a_state_of_one_bucket_is_fed_into_another(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    first, second = ([rng.integers(0, 11, n) for n in lengths] for lengths in ([3, 2], [7, 5]))
    runs = []
    ways: list[Callable[[Any], Any]] = [
        lambda handle: handle,
        lambda handle: handle.asnumpy(),
        lambda handle: handle.copy(),
    ]
    for read in ways:
        trainer = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=4, buckets=mxt.buckets.Fixed([4, 8]))
        trainer.update({"Input": first, "Target": first})
        states = {name: read(trainer.outputs[name]) for name in text_plan.states}
        trainer.update({"Input": second, "Target": second, **states})
        runs.append(values_of(trainer.arrays))
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_handles_show_true_steps_and_zeros_over_padding(rng: np.random.Generator) -> None:
    net = mxt.NetChain([mxt.Linear(2)], inputs={"Input": mxt.Sequence("t", mxt.Vector(3))})
    trainer = mxt.Trainer(
        mxt.compile_plan(net, losses={"Output": 1.0}), mxt.SGD(0.1), batch_size=4, buckets=mxt.buckets.Fixed([8]),
        arrays={"linear.Biases": [1.0, 2.0]}, input_gradients=["Input"],
    )  # fmt: skip
    rows = [rng.normal(size=(steps, 3)) for steps in (2, 5, 1)]
    weights = trainer.arrays["linear.Weights"][:]
    trainer.update({"Input": rows})
    output = trainer.outputs["Output"]
    assert output.shape == (3, 5, 2)
    assert output.lengths["t"].tolist() == [2, 5, 1]
    whole, copied = output.asnumpy(), output.copy().asnumpy()
    assert whole.tobytes() == copied.tobytes()
    assert not whole[0, 2:].any()
    for row, found in zip(rows, output.ragged()):
        np.testing.assert_allclose(found, row @ weights.T + [1.0, 2.0], rtol=1e-5, atol=1e-6)
    gradient = trainer.gradients["Input"]
    assert gradient.shape == (3, 5, 3)
    assert not gradient[:][2, 1:].any()
    trainer.update({"Input": rows[:1]})
    with pytest.raises(mxt.StaleHandleError):
        output.ragged()


def test_an_evaluation_of_ragged_rows_is_that_of_each_alone(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3, buckets=mxt.buckets.Fixed([4, 9]))
    rows = [rng.integers(0, 11, steps) for steps in (1, 9, 3, 4, 7, 2, 5)]
    found = trainer.evaluate({"Input": rows, "Target": rows}, outputs=["lstm", "lstm.State", "Loss"])
    assert found.outputs["lstm"].shape == (7, 9, 8)
    for number, row in enumerate(rows):
        alone = trainer.evaluate({"Input": [row], "Target": [row]}, outputs=["lstm", "lstm.State", "Loss"])
        np.testing.assert_allclose(found.ragged("lstm")[number], alone.ragged("lstm")[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            found.outputs["lstm.State"][number], alone.outputs["lstm.State"][0], rtol=1e-5, atol=1e-6
        )
    with pytest.raises(mxt.ArgumentError, match="no sequence"):
        found.ragged("lstm.State")


TOKENS = np.arange(12).reshape(3, 4) % 11


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ({"t": [4, 2]}, "one for each of 3 rows, found 2"),
        ({"t": [4, 5, 1]}, "example 1 is to have 5 steps.*its array has 4"),
        ({"t": [4, 0, 1]}, "example 1 has length 0"),
        ({"t": [4, -2, 1]}, "example 1 has length -2"),
        ({"t": [4.0, 2.0, 1.0]}, "expected integers, found float64"),
        ({"s": [4, 2, 1]}, 'there is no length "s"'),
        ({"t": 4}, "one length a row"),
        ([4, 2, 1], "must map length names"),
    ],
)
def test_wrong_lengths_are_named_and_change_nothing(text_plan: mxt.Plan, lengths: Any, text: str) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    with pytest.raises(mxt.BatchError, match=text):
        trainer.update({"Input": TOKENS, "Target": TOKENS}, lengths=lengths)
    assert trainer.step == 0


def test_ports_that_share_a_length_must_agree_example_by_example(text_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    rows = [np.arange(3), np.arange(2)]
    with pytest.raises(mxt.BatchError, match=r'2 in "Input" and 3 in "Target" for example 1'):
        trainer.update({"Input": rows, "Target": [np.arange(3), np.arange(3)]})
    with pytest.raises(mxt.BatchError, match="example 0 is an empty sequence"):
        trainer.update({"Input": [[], [1]], "Target": [[], [1]]})
    with pytest.raises(mxt.BatchError, match="give one of them"):
        trainer.update(
            mxt.Batch({"Input": TOKENS, "Target": TOKENS}, lengths={"t": [1, 2, 3]}), lengths={"t": [1, 2, 3]}
        )


def test_a_closed_bucketed_executor_is_an_error(text_plan: mxt.Plan) -> None:
    bucketed = mxt.BucketedExecutor(text_plan, batch_size=2, buckets=mxt.buckets.Fixed([4]))
    executor = bucketed.executor({"t": 3})
    executor.forward({"Input": [[1, 2]], "Target": [[2, 3]]})
    with pytest.raises(mxt.UnknownNameError, match="has no bucket"):
        bucketed.release({"t": 5})
    bucketed.close()
    for call in (
        lambda: executor.forward({"Input": [[1]], "Target": [[2]]}),
        lambda: bucketed.executor({"t": 3}),
    ):
        with pytest.raises(mxt.Error, match="this executor is closed"):
            call()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"plan": "net"}, "takes a plan"),
        ({"batch_size": None}, "batch_size must be a positive integer"),
        ({"buckets": [8, 16]}, r"must be a policy such as mxt.buckets.Fixed\(\[8, 16, 32\]\)"),
        ({"buckets": mxt.buckets.Fixed({"s": [8]})}, 'no length "s"'),
        ({"bytes_kept": 0}, "bytes_kept must be a positive integer"),
        ({"input_gradients": ["Input"]}, "holds indices"),
    ],
)
def test_arguments_are_checked(text_plan: mxt.Plan, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.BucketedExecutor(**{"plan": text_plan, "batch_size": 2, **arguments})


def test_one_bucket_and_several_exclude_each_other(text_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.ArgumentError, match="give one of them"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=2, lengths={"t": 4}, buckets=mxt.buckets.Exact())
