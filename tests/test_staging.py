"""How a batch gets to the device: privately, without waiting for the device, and never over one that is on its way."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.inputs import CheckedBatch
from mxtrainer.executors.staging import Staging


def _batch(number: float) -> CheckedBatch:
    return CheckedBatch(rows=2, host={"Input": np.full(2, number)})


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_slot_is_overwritten_only_when_its_copy_is_done(
    linear_plan: mxt.Plan, gate: threading.Event, slots: int
) -> None:
    staging = Staging({"Input": linear_plan.inputs["Input"]}, 2, {}, mx.cpu(), slots)
    seen = []
    staging.load(_batch(0))
    held = mx.nd.Custom(staging.arrays["Input"], op_type="mxtrainer_test_gate")  # reads the array once the gate opens
    free = slots if slots > 2 else 1
    for number in range(1, free + 1):
        staging.load(_batch(number))
        seen.append(staging.arrays["Input"].copy())
    assert not gate.is_set()  # none of these has waited
    threading.Timer(0.2, gate.set).start()
    staging.load(_batch(free + 1))
    assert gate.is_set()  # this one needed a slot whose copy waits for the gate
    seen.append(staging.arrays["Input"].copy())
    assert held.asnumpy().tolist() == [0, 0]
    assert [copy.asnumpy().tolist() for copy in seen] == [[number] * 2 for number in range(1, free + 2)]


def test_missing_rows_are_copies_of_the_last_one(linear_plan: mxt.Plan) -> None:
    staging = Staging({"Input": linear_plan.inputs["Input"]}, 4, {}, mx.cpu(), 2)
    staging.load(CheckedBatch(rows=2, host={"Input": np.array([1.0, 2.0])}))
    assert staging.arrays["Input"].asnumpy().tolist() == [1, 2, 2, 2]
    staging.load(CheckedBatch(rows=3, device={"Input": mx.nd.array([3.0, 4.0, 5.0])}))
    assert staging.arrays["Input"].asnumpy().tolist() == [3, 4, 5, 5]


def test_a_port_left_out_is_zero_again_after_it_was_given(linear_plan: mxt.Plan) -> None:
    staging = Staging({"Input": linear_plan.inputs["Input"]}, 2, {}, mx.cpu(), 2)
    for given in (np.ones(2), mx.nd.ones((2,))):
        kind = "host" if isinstance(given, np.ndarray) else "device"
        staging.load(CheckedBatch(rows=2, **{kind: {"Input": given}}))  # type: ignore[arg-type]  # either field
        assert staging.arrays["Input"].asnumpy().tolist() == [1, 1]
        for _ in range(2):
            staging.load(CheckedBatch(rows=2, left_out=("Input",)))
            assert staging.arrays["Input"].asnumpy().tolist() == [0, 0]
