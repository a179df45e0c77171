"""A batch that is staged, taken back, and staged again, while steps are on their way."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer._mxnet import mx

PLAN = mxt.compile_plan(
    mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
)
TWO_LOSSES = mxt.compile_plan(
    mxt.NetGraph(
        {"linear": mxt.Linear(), "left": mxt.MeanSquaredLoss(), "right": mxt.MeanAbsoluteLoss()},
        [("Input", "linear"), (["linear", "Target"], "left", "Left"), (["linear", "Target"], "right", "Right")],
        inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()},
    )
)
IDENTITY = {"linear.Weights": [[1.0]], "linear.Biases": [0.0]}


def batch(number: float) -> dict[str, Any]:
    return {"Input": np.full(4, number), "Target": np.zeros(4)}


def keep_busy() -> Any:
    """Give MXNet work for a while; return its result."""
    large = mx.nd.ones((2000, 2000))
    large.wait_to_read()
    return mx.nd.dot(large, large)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_step_keeps_its_batch_however_often_the_next_one_is_staged_anew(depth: int) -> None:
    with mxt.Trainer(PLAN, mxt.SGD(0.0), batch_size=4, depth=depth, arrays=IDENTITY) as trainer:
        for _ in range(4):
            trainer.update(batch(1))
        trainer.current_loss()
        busy = keep_busy()
        trainer.update(batch(2))
        for number in range(3, 9):
            trainer.stage(batch(number))
            assert trainer.unstage()["Input"].tolist() == [number] * 4
        trainer.stage(batch(9))
        trainer.update()
        assert [trainer.loss_at(step)["Loss"] for step in (5, 6)] == [4.0, 81.0]
        busy.wait_to_read()


def test_a_step_keeps_its_batch_where_the_next_one_changes_its_graph() -> None:
    with mxt.Trainer(TWO_LOSSES, mxt.SGD(0.0), batch_size=4, depth=1, arrays=IDENTITY) as trainer:
        for weights in ({"Left": 1.0}, {"Left": 1.0, "Right": 1.0}):  # binds both graphs
            trainer.update(batch(1), losses=weights)
        trainer.current_loss()
        busy = keep_busy()
        trainer.update(batch(2))
        trainer.stage(batch(3))
        trainer.update(losses={"Right": 1.0})
        assert [trainer.loss_at(step)["Left"] for step in (3, 4)] == [4.0, 9.0]
        busy.wait_to_read()


def test_an_error_has_the_batches_that_were_queued_and_not_those_that_were_taken_back() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.0), batch_size=4)
    trainer.update(batch(float("nan")))
    trainer.update(batch(3))
    for number in (7, 8, 9):
        trainer.stage(batch(number))
        trainer.unstage()
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    assert caught.value.batch is not None
    assert np.isnan(caught.value.batch["Input"]).all()
    assert [(step, found["Input"][0]) for step, found in caught.value.dropped] == [(2, 3.0)]


FED = mxt.compile_plan(
    mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(), "left": mxt.MeanSquaredLoss(),
         "right": mxt.MeanAbsoluteLoss()},
        [
            (["Input", "StateIn"], "add", "linear"),
            (["linear", "Target"], "left", "Left"),
            (["linear", "Target"], "right", "Right"),
            ("linear", "StateOut"),
        ],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    ),
    losses={"Left": 1.0, "Right": 1.0, "StateOut": 0.0},
)  # fmt: skip


def fed_by_a_step_that_fails() -> mxt.Trainer:
    """Return a trainer whose staged batch has an output of a step in it whose loss is not finite."""
    trainer = mxt.Trainer(FED, mxt.SGD(0.0), batch_size=4, arrays=IDENTITY)
    trainer.update({**batch(float("nan")), "StateIn": np.zeros(4)})
    trainer.stage({**batch(1), "StateIn": trainer.outputs["StateOut"]})
    return trainer


@pytest.mark.parametrize("call", [lambda t: t.unstage(), lambda t: t.update(losses={"Left": 1.0})])
def test_what_a_failed_step_fed_is_not_taken_back_but_raised(call: Any) -> None:
    trainer = fed_by_a_step_that_fails()
    with pytest.raises(mxt.StepError, match="step 1 gave") as caught:
        call(trainer)
    assert [(step, sorted(found)) for step, found in caught.value.dropped] == [(2, ["Input", "Target"])]


def test_a_staged_batch_stays_where_there_is_no_graph_for_it() -> None:
    with mxt.Trainer(PLAN, mxt.SGD(0.0), batch_size=4, arrays=IDENTITY) as trainer:
        trainer.stage(batch(3))
        with pytest.raises(mxt.ArgumentError):
            trainer.update(losses={"Loss": 0.0})
        trainer.update()
        assert trainer.current_loss()["Loss"] == 9.0


def test_to_recover_from_nothing_changes_nothing() -> None:
    with mxt.Trainer(PLAN, mxt.SGD(0.0), batch_size=4, arrays=IDENTITY) as trainer:
        trainer.compute(batch(3))
        trainer.recover()
        assert trainer.outputs["Loss"].asnumpy().tolist() == [9.0] * 4
        trainer.apply()


def test_what_was_discarded_is_not_among_what_was_dropped() -> None:
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.0), batch_size=4, guard=5, arrays=IDENTITY)
    trainer.update(batch(1))
    for _ in range(2):
        trainer.accumulate(batch(100))
    trainer.discard()
    for number in (2, 3, float("nan"), 5):
        trainer.update(batch(number))
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    dropped = [(step, float(found["Input"][0])) for step, found in caught.value.dropped]
    assert dropped[:3] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert 100.0 not in [number for _, number in dropped]


def test_a_guard_of_every_nth_step_goes_back_to_the_states_of_then_after_their_table_has_grown() -> None:
    net = mxt.NetChain([mxt.GRU(2), mxt.Linear(1), mxt.MeanSquaredLoss()],
                       inputs={"Input": mxt.Sequence("t", mxt.Vector(1))}).with_states()  # fmt: skip
    generator = np.random.default_rng(0)

    def step(trainer: mxt.Trainer, stream: str, factor: float = 1.0) -> None:
        shape = (1, 3, 1)
        drawn = {port: factor * generator.normal(size=shape) for port in ("Input", "Target")}
        trainer.compute(drawn, streams=[stream])
        trainer.apply()

    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.05), batch_size=1, carry=True, guard=2)
    for stream in "aabbaaaa":
        step(trainer, stream)
    trainer.current_loss()
    expected = {stream: trainer.state[stream]["gru.State"].tolist() for stream in "ab"}
    with contextlib.suppress(mxt.StepError):
        step(trainer, "a", float("nan"))
        step(trainer, "a")
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    assert {stream: trainer.state[stream]["gru.State"].tolist() for stream in "ab"} == expected
