"""What happens when a step fails, is interrupted, or the trainer is closed."""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import OnMove, assert_same, linear_batch, values_of
from extra_layers import Cholesky, Gate

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.bound import Bound


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_step_that_fails_on_the_device_is_named_by_every_later_call() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    good = {"Input": np.eye(2)[None], "Target": [[1.0]]}
    trainer.update(good)
    arrays, gradients = trainer.arrays, trainer.gradients
    trainer.update({**good, "Input": -np.eye(2)[None]})
    output = trainer.outputs["Loss"]
    for call in (
        output.asnumpy,
        output.asnumpy,
        lambda: arrays["linear.Weights"][:],
        lambda: gradients["linear.Weights"][:],
        trainer.current_loss,
        trainer.current_loss,
        lambda: trainer.update(good),
        lambda: trainer.evaluate(good),
        lambda: trainer.outputs,
        trainer.net,
        lambda: trainer.arrays,
        lambda: trainer.gradients,
        trainer.close,
    ):
        with pytest.raises(mxt.StepError, match="step 2") as caught:
            call()
        assert caught.value.step == 2
        assert isinstance(caught.value.cause, mx.MXNetError)


def test_a_step_that_is_cut_short_while_it_is_queued_is_not_passed_over(linear_plan: mxt.Plan, on_move: OnMove) -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            raise MemoryError

    on_move(interrupt)
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    with pytest.raises(MemoryError):
        trainer.update(linear_batch())
    for call in (trainer.current_loss, trainer.net, lambda: trainer.update(linear_batch())):
        with pytest.raises(mxt.StepError, match=r"step 2 was cut short.*MemoryError"):
            call()


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_a_step_is_queued_comes_after_it(linear_plan: mxt.Plan, on_move: OnMove) -> None:
    on_move(lambda number: signal.raise_signal(signal.SIGINT) if number == 2 else None)
    trainer, twin = (mxt.Trainer(linear_plan, mxt.SGD(0.01), batch_size=4) for _ in range(2))
    trainer.update(linear_batch())
    with pytest.raises(KeyboardInterrupt):
        trainer.update(linear_batch())
    assert trainer.step == 2
    assert trainer.current_loss().step == 2
    assert trainer.update(linear_batch()) == 3
    for _ in range(3):
        twin.update(linear_batch())
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))


@pytest.mark.usefixtures("ctrl_c")
def test_a_step_that_fails_while_ctrl_c_is_held_back_is_not_forgotten(linear_plan: mxt.Plan, on_move: OnMove) -> None:
    def both(_: int) -> None:
        signal.raise_signal(signal.SIGINT)
        raise MemoryError

    on_move(both)
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        trainer.update(linear_batch())
    with pytest.raises(mxt.StepError, match="step 1 was cut short"):
        trainer.current_loss()


def test_a_second_thread_is_refused_while_the_first_is_inside(linear_plan: mxt.Plan, on_move: OnMove) -> None:
    told: list[str] = []

    def intrude() -> None:
        reading = (trainer.current_loss, arrays["linear.Weights"].asnumpy, trainer.net, trainer.stats)
        for call in (*reading, lambda: trainer.update(linear_batch()), lambda: trainer.evaluate({})):
            with pytest.raises(mxt.Error, match="another thread is inside") as caught:
                call()
            told.append(str(caught.value))

    def let_in(_: int) -> None:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    on_move(let_in)
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    arrays = trainer.arrays
    trainer.update(linear_batch())
    assert len(told) == 6
    assert trainer.current_loss().step == 1


def test_an_interrupted_wait_loses_no_step(linear_plan: mxt.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    read = mx.nd.NDArray.wait_to_read

    def interrupted(self: Any) -> None:
        read(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(mx.nd.NDArray, "wait_to_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.current_loss()
    monkeypatch.undo()
    assert trainer.current_loss().step == 1
    assert trainer.update(linear_batch()) == 2


def test_a_failure_that_another_reader_was_told_of_is_still_a_step_error() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    live = trainer.store.parameters.array
    trainer.update({"Input": -np.eye(2)[None], "Target": [[1.0]]})
    with pytest.raises(mx.MXNetError):
        live.asnumpy()
    for _ in range(2):
        with pytest.raises(mxt.StepError, match="step 1"):
            trainer.current_loss()


def test_a_batch_of_other_rows_does_not_make_update_wait(gate: threading.Event) -> None:
    net = mxt.NetChain(
        [Gate(), mxt.BatchNorm(), mxt.Linear(), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=4, depth=3)
    for rows in (4, 3, 1):
        trainer.update({port: array[:rows] for port, array in linear_batch().items()})
    assert not gate.is_set()


def test_a_closed_trainer_refuses_every_call(linear_plan: mxt.Plan) -> None:
    with mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4) as trainer:
        trainer.update(linear_batch())
        arrays, output = trainer.arrays, trainer.outputs["Loss"]
    trainer.close()
    for call in (
        lambda: trainer.update(linear_batch()),
        lambda: trainer.evaluate(linear_batch()),
        lambda: trainer.outputs,
        lambda: trainer.arrays,
        lambda: trainer.gradients,
        lambda: arrays["linear.Weights"][:],
        lambda: arrays.__setitem__("linear.Weights", [[1.0]]),
        output.asnumpy,
        trainer.current_loss,
        trainer.net,
        trainer.stats,
        trainer.__enter__,
    ):
        with pytest.raises(mxt.Error, match="closed"):
            call()


def test_a_closed_trainer_lets_go_of_its_executors(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    trainer.evaluate(linear_batch())
    bound = [weakref.ref(found) for found in gc.get_objects() if type(found) is Bound and found.store is trainer.store]
    assert len(bound) == 2
    gc.disable()
    try:
        trainer.close()
        assert [found() for found in bound] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["plan", "optimizer", "batch_size", "device", "seed", "store", "step"])
def test_what_a_trainer_was_made_with_cannot_be_assigned(linear_plan: mxt.Plan, name: str) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    with pytest.raises(AttributeError):
        setattr(trainer, name, getattr(trainer, name))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_owns_arrays_is_neither_copied_nor_pickled(linear_plan: mxt.Plan, copied: Any) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    for owner in (trainer, mxt.instantiate(linear_plan, 1), trainer.store):
        with pytest.raises(mxt.Error, match="cannot be copied or pickled"):
            copied(owner)


@pytest.mark.parametrize("ports", [["Inptu"], ["lstm.State", "Nothing"]])
def test_gradients_of_unknown_inputs_are_refused_at_once(text_plan: mxt.Plan, ports: list[str]) -> None:
    with pytest.raises(mxt.UnknownNameError, match="input"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=4, input_gradients=ports)


def test_there_are_no_gradients_before_the_first_step(linear_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.Error, match="no gradients"):
        _ = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4).gradients


def test_leaving_the_context_keeps_an_exception_that_is_on_its_way() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Target": mxt.Vector(1)})
    plan = mxt.compile_plan(net)
    bad = {"Input": -np.eye(2)[None], "Target": [[1.0]]}
    with pytest.raises(ZeroDivisionError), mxt.Trainer(plan, mxt.SGD(0.1), batch_size=1) as trainer:
        _ = trainer.update(bad) / 0
    with pytest.raises(mxt.StepError), mxt.Trainer(plan, mxt.SGD(0.1), batch_size=1) as trainer:
        trainer.update(bad)


def test_a_trainer_shows_what_it_is(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    text = repr(trainer)
    assert all(part in text for part in ("SGD(0.1)", "batch_size=4", "cpu(0)", "step=1", linear_plan.content_hash[:12]))
    assert str(trainer.stats()).startswith("1 steps, 4 examples, ")
