"""The second batch of a form is checked as well as the first, whatever its arrays are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, values_of

import mxtrainer as mxt

KINDS = ("<i4", ">i4", "<i8", ">i8", "<u8", ">u8", "i1", "u1")
WRONG = (5, -1, 2**24, 2**56)


def holds(dtype: str, number: int) -> bool:
    limits = np.iinfo(np.dtype(dtype))
    return limits.min <= number <= limits.max


def class_plan() -> mxt.Plan:
    net = mxt.NetChain([mxt.Embedding(3), mxt.Linear(4), mxt.CrossEntropyLoss("index")], inputs={"Input": mxt.Index(5)})
    return mxt.compile_plan(net)


@pytest.fixture
def trainer() -> mxt.Trainer:
    trainer = mxt.Trainer(class_plan(), mxt.SGD(0.1), batch_size=4)
    trainer.update({"Input": np.arange(4), "Target": np.arange(4)})
    return trainer


@pytest.mark.parametrize(("dtype", "wrong"), [(kind, n) for kind in KINDS for n in WRONG if holds(kind, n)])
def test_indices_out_of_range_are_refused_at_every_step(trainer: mxt.Trainer, dtype: str, wrong: int) -> None:
    good, bad = np.arange(4).astype(dtype), np.full(4, wrong, dtype)
    before = values_of(trainer.arrays)
    for port in ("Input", "Target"):
        for _ in range(3):
            with pytest.raises(mxt.BatchError, match=rf'port "{port}".*expected indices from 0 to . *, found {wrong}'):
                trainer.update({"Input": good, "Target": good, port: bad})
    assert_same(values_of(trainer.arrays), before)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "f2", "i4", "?"])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "backwards", "read-only"])
def test_every_layout_gives_the_same_step(linear_plan: mxt.Plan, dtype: str, layout: str) -> None:
    trainer, plain = (mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4) for _ in range(2))
    for number in range(3):
        values = (np.arange(4) + number) % 3
        array: Any = values.astype(dtype, order="F" if layout == "F" else "C")
        if layout == "strided":
            array = np.repeat(array, 2)[::2]
        if layout == "backwards":
            array = array[::-1].copy()[::-1]
        array.flags.writeable = layout != "read-only"
        trainer.update({"Input": array, "Target": array})
        same = values.astype(bool if dtype == "?" else float).astype(float).tolist()
        plain.update({"Input": same, "Target": same})
        assert trainer.current_loss() == plain.current_loss()
    assert_same(values_of(trainer.arrays), values_of(plain.arrays))


def test_numbers_that_do_not_fit_are_found_at_every_step(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4, on_nan="skip")
    good = np.ones(4)
    trainer.update({"Input": good, "Target": good})
    with pytest.raises(mxt.BatchError, match=r'"Input".*too large for float32'):
        trainer.update({"Input": good * 1e39, "Target": good})
    trainer.update({"Input": good * np.nan, "Target": good})
    assert trainer.current_loss().step == 2
    assert dict(trainer.stats().nan_inputs) == {"Input": 4}


@pytest.mark.parametrize(
    "beside", [{"reset": np.array([True, False])}, {"streams": np.arange(2)}, {"lengths": {"t": np.array([3, 2])}}]
)
def test_arrays_of_numpy_may_stand_beside_a_batch(beside: dict[str, Any]) -> None:
    net = mxt.NetChain(
        [mxt.GRU(2), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Scalar())}
    )
    trainer = mxt.Trainer(mxt.compile_plan(net.with_states()), mxt.SGD(0.1), batch_size=2, carry=True)
    batch = {"Input": np.zeros((2, 3)), "Target": np.zeros((2, 3))}
    for _ in range(2):
        trainer.update(batch)
        trainer.update(batch, **beside)
    assert trainer.current_loss().step == 4
