"""Prepared calls of MXNet: the same bits as its public interface, errors told, and nothing kept from being freed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, values_of
from fault_cases import good_batch, plan_of

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors import capi


@pytest.fixture(params=["prepared", "public"])
def interface(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    found: str = request.param
    monkeypatch.setattr(capi, "available", lambda: found == "prepared")
    return found


def test_mxnet_has_the_entry_points() -> None:
    assert capi.available()


@pytest.mark.usefixtures("interface")
def test_a_prepared_operator_reads_and_writes_its_arrays_at_every_call() -> None:
    one, two, out = (mx.nd.array([number, number + 1.0]) for number in (1.0, 5.0, 0.0))
    add = capi.prepared("elemwise_add", [one, two], [out])
    for _ in range(3):
        add()
        np.testing.assert_array_equal(out.asnumpy(), one.asnumpy() + two.asnumpy())
        one[:] = one * 2


@pytest.mark.usefixtures("interface")
@pytest.mark.parametrize("number", [0.0, 1.5, -3.0, 4194303.0, 1e-30, 0.1])
def test_numbers_that_vary_arrive_to_the_bit(number: float) -> None:
    out, other = mx.nd.zeros((2,)), mx.nd.zeros((2,))
    fill = capi.prepared("_set_value", [], [out], ["src"])
    fill(7.0)
    fill(number)
    other[:] = number
    assert out.asnumpy().tobytes() == other.asnumpy().tobytes()


@pytest.mark.usefixtures("interface")
def test_an_operator_that_mxnet_refuses_is_an_error() -> None:
    left, right, out = mx.nd.zeros((2,)), mx.nd.zeros((3,)), mx.nd.zeros((2,))
    with pytest.raises(mx.MXNetError):
        capi.prepared("elemwise_add", [left, right], [out])()


def trained(optimizer: Any) -> Any:
    trainer = mxt.Trainer(plan_of("none"), optimizer, batch_size=4)
    for number in range(5):
        trainer.update(good_batch(number))
    return values_of(trainer.arrays), values_of(trainer.gradients), trainer.current_loss()


@pytest.mark.parametrize("optimizer", [mxt.Adam(0.01), mxt.SGD(0.1, momentum=0.9)], ids=repr)
def test_both_interfaces_train_to_the_same_bits(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = trained(optimizer)
    monkeypatch.setattr(capi, "available", lambda: False)
    public = trained(optimizer)
    for left, right in zip(prepared[:2], public[:2]):
        assert_same(left, right)
    assert prepared[2] == public[2]


@pytest.mark.usefixtures("interface")
def test_a_trainer_that_is_dropped_is_freed_at_once(linear_plan: mxt.Plan) -> None:
    gc.disable()
    try:
        trainer = mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)
        trainer.update(linear_batch())
        trainer.current_loss()
        bound = weakref.ref(trainer._last)
        del trainer
        assert bound() is None
    finally:
        gc.enable()
