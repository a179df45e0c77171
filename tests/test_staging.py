"""How a batch gets to the device: privately, without waiting for the device, and never over one that is on its way."""

from __future__ import annotations

import threading

import numpy as np
from extra_layers import Gate

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.checked import CheckedBatch
from mxtrainer.executors.staging import InputBuffers, Staging, Want


def _batch(number: float) -> CheckedBatch:
    return CheckedBatch(rows=2, host={"Input": np.full(2, number)})


def test_an_executor_overwrites_a_slot_only_when_its_copy_is_done(gate: threading.Event) -> None:
    net = mxt.NetChain([Gate()], inputs={"Input": mxt.Scalar()})
    executor = mxt.instantiate(mxt.compile_plan(net, losses={"Output": 0.0}), 1)
    threading.Timer(0.2, gate.set).start()
    seen = []
    for number in range(6):
        executor.forward({"Input": [float(number)]})
        seen.append(executor.outputs["Output"].copy())
    assert [float(copy.asnumpy()[0]) for copy in seen] == [0, 1, 2, 3, 4, 5]


def test_missing_rows_are_copies_of_the_last_one() -> None:
    staging = Staging({"Input": Want((4,), "float32")}, (), InputBuffers(mx.cpu(), 2))
    staging.load(CheckedBatch(rows=2, host={"Input": np.array([1.0, 2.0])}))
    assert staging.arrays["Input"].asnumpy().tolist() == [1, 2, 2, 2]
    staging.load(CheckedBatch(rows=3, device={"Input": mx.nd.array([3.0, 4.0, 5.0])}))
    assert staging.arrays["Input"].asnumpy().tolist() == [3, 4, 5, 5]


def test_a_port_left_out_is_zero_again_after_it_was_given() -> None:
    staging = Staging({"Input": Want((2,), "float32")}, (), InputBuffers(mx.cpu(), 2))
    for given in (np.ones(2), mx.nd.ones((2,))):
        kind = "host" if isinstance(given, np.ndarray) else "device"
        staging.load(CheckedBatch(rows=2, **{kind: {"Input": given}}))  # type: ignore[arg-type]  # either field
        assert staging.arrays["Input"].asnumpy().tolist() == [1, 1]
        for _ in range(2):
            staging.load(CheckedBatch(rows=2, left_out=("Input",)))
            assert staging.arrays["Input"].asnumpy().tolist() == [0, 0]
