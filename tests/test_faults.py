"""A step that fails is named by whatever comes next, has moved nothing, and training goes on from before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of
from fault_cases import BAD_STEP, FAULTS, READERS, Faulty, Optimizer, everything, good_batch, plan_of

import mxtrainer as mxt
from mxtrainer.executors import kernels

OPTIMIZERS: list[Optimizer] = [mxt.Adam(0.01), mxt.SGD(0.1, momentum=0.9)]
MOVED_BY = [("kernels", OPTIMIZERS[0]), ("kernels", OPTIMIZERS[1]), ("operators", OPTIMIZERS[1])]
PLANS = {way: plan_of(way) for way in {fault.way for fault in FAULTS}}
moved_by_each = pytest.mark.parametrize(("moved_by", "optimizer"), MOVED_BY, indirect=["moved_by"], ids=str)


def trainer_of(fault: Faulty, optimizer: Optimizer, **options: Any) -> mxt.Trainer:
    return mxt.Trainer(PLANS[fault.way], optimizer, batch_size=4, depth=3, **options)


@pytest.fixture
def moved_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "operators":
        monkeypatch.setattr(kernels, "_numba_loads", lambda: False)


@pytest.mark.slow
@moved_by_each
@pytest.mark.usefixtures("moved_by")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_reader_is_told_and_nothing_has_moved(fault: Faulty, reader: str, optimizer: Optimizer) -> None:
    trainer, twin = trainer_of(fault, optimizer), trainer_of(fault, optimizer)
    for number in (1, 2):
        trainer.update(good_batch(number))
    before_losses, before = trainer.current_loss(), everything(trainer)
    trainer.update(fault.spoil(good_batch(BAD_STEP)))
    trainer.update(good_batch(4))
    with pytest.raises(mxt.StepError, match=rf"^step {BAD_STEP}\b") as caught:
        READERS[reader](trainer, good_batch(5))
    assert (caught.value.step, caught.value.node) == (BAD_STEP, fault.node)
    if reader == "close":
        assert [a.tobytes() for a in (trainer.store.parameters.array.asnumpy(),)] == [before[0].tobytes()]
        return
    for again in (READERS[reader], READERS["loss"], READERS["next update"]):
        with pytest.raises(mxt.StepError) as repeated:
            again(trainer, good_batch(5))
        assert repeated.value is caught.value
    trainer.recover()
    assert [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in before]
    assert (trainer.step, trainer.current_loss()) == (2, before_losses)
    for number in (1, 2, 3, 4):
        twin.update(good_batch(number))
    for number in (3, 4):
        assert trainer.update(good_batch(number)) == number
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))
    assert trainer.current_loss() == twin.current_loss()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_error_holds_private_copies_of_the_batch_and_of_those_behind_it(fault: Faulty) -> None:
    trainer = trainer_of(fault, mxt.Adam(0.01))
    batches = [good_batch(1), good_batch(2), fault.spoil(good_batch(3)), good_batch(4), good_batch(5)]
    wanted = [
        {port: np.array(value if isinstance(value, np.ndarray) else value.asnumpy()) for port, value in b.items()}
        for b in batches
    ]
    for batch in batches:
        trainer.update(batch)
        for value in batch.values():
            value[:] = 0  # they are the caller's again
    with pytest.raises(mxt.StepError) as caught:
        trainer.current_loss()
    error = caught.value
    assert [step for step, _ in error.dropped] == [4, 5]
    for found, expected in zip([error.batch, *(batch for _, batch in error.dropped)], wanted[2:]):
        assert found is not None
        assert found.keys() == expected.keys()
        for port, value in found.items():
            np.testing.assert_array_equal(value, expected[port].astype(value.dtype))
    assert error.bucket == {}


@pytest.mark.slow
@pytest.mark.usefixtures("moved_by")
@pytest.mark.parametrize("moved_by", ["kernels", "operators"], indirect=True)
def test_a_failure_moves_nothing_however_device_and_host_happen_to_interleave() -> None:
    """MXNet lets what is queued behind a failure run once someone has been told of it: a race that is lost rarely."""
    fault = next(fault for fault in FAULTS if fault.name == "callback, backward")
    for number in range(40):
        trainer = trainer_of(fault, mxt.SGD(0.1), guard=(True, 3)[number % 2])
        for step in (1, 2):
            trainer.update(good_batch(step))
        trainer.current_loss()
        before = everything(trainer) if number % 2 == 0 else None
        for step in (3, 4, 5):
            trainer.update(fault.spoil(good_batch(step)) if step == 3 else good_batch(step))
        with pytest.raises(mxt.StepError, match=r"step 3 .*fault"):
            trainer.arrays["linear.Weights"].asnumpy()
        trainer.recover()
        assert trainer.step == (2 if before is not None else 0)
        if before is not None:
            assert [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in before]


@pytest.mark.slow
@moved_by_each
@pytest.mark.usefixtures("moved_by")
@pytest.mark.parametrize("depth", [1, 3])
def test_a_trainer_beside_one_that_fails_goes_the_way_that_it_would_go_alone(depth: int, optimizer: Optimizer) -> None:
    """MXNet hands a failure on to whatever shares scratch memory with it, at any moment of a step."""
    plan, last = PLANS["cholesky"], 20
    alone = mxt.Trainer(plan, optimizer, batch_size=4)
    ways = [everything(alone)]
    for number in range(last):
        alone.update(good_batch(number))
        ways.append(everything(alone))
    for seed in range(3):
        failing, good = (mxt.Trainer(plan, optimizer, batch_size=4, depth=depth) for _ in range(2))
        generator, count = np.random.default_rng(seed), 0
        while good.step < last:
            trainer, batch = good, good_batch(good.step)
            if generator.random() < 0.5:
                count += 1
                trainer, batch = failing, FAULTS[0].spoil(good_batch()) if count % 3 == 1 else good_batch()
            try:
                trainer.update(batch)
            except mxt.StepError:
                trainer.recover()
                if trainer is good:
                    assert [a.tobytes() for a in everything(good)] == [a.tobytes() for a in ways[good.step]]
