"""What an executor promises: passes, gradients, shared arrays, memory."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of
from extra_layers import Cholesky

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.binding import bind
from mxtrainer.plans.lowering import lower, training_heads


def test_forward_and_backward_give_losses_and_gradients(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4, arrays={"linear.Weights": [[2.0]]})
    executor.forward(linear_batch())
    executor.backward()
    x, y = linear_batch().values()
    np.testing.assert_allclose(executor.outputs["Loss"].asnumpy(), (2 * x - y) ** 2, rtol=1e-5)
    assert executor.gradients["linear.Weights"][:] == pytest.approx(np.mean(2 * (2 * x - y) * x), rel=1e-5)


def test_a_net_without_arrays_can_be_run_backwards_too() -> None:
    net = mxt.NetChain([mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar()})
    for wanted in ([], ["Input"]):
        executor = mxt.instantiate(mxt.compile_plan(net), 2, input_gradients=wanted)
        executor.forward({"Input": [1.0, 2.0], "Target": [0.0, 0.0]})
        executor.backward()
        np.testing.assert_array_equal(executor.outputs["Loss"].asnumpy(), [1.0, 4.0])
        assert {port: handle.asnumpy().tolist() for port, handle in executor.gradients.items()} == {
            port: [1.0, 2.0] for port in wanted
        }


def test_gradients_are_overwritten_and_not_added(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4)
    found = []
    for _ in range(2):
        executor.forward(linear_batch())
        executor.backward()
        found.append(values_of(executor.gradients))
    assert_same(*found)


def test_head_gradients_of_ones_own_replace_those_of_the_mean() -> None:
    plan = mxt.compile_plan(
        mxt.NetGraph(
            {"linear": mxt.Linear(), "loss": mxt.MeanSquaredLoss()},
            [("Input", "linear", "loss", "Loss"), ("linear", "Output")],
            inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()},
        ),
        losses={"Output": 1.0},
    )
    executor = mxt.instantiate(plan, 4)
    executor.forward({"Input": [1.0, 2.0], "Target": [0.0, 0.0]})
    executor.backward({"Output": [1.0, 10.0]})
    assert executor.gradients["linear.Weights"][:] == 21.0
    assert executor.gradients["linear.Biases"][:] == 11.0
    executor.forward({"Input": [1.0, 2.0], "Target": [0.0, 0.0]})
    executor.backward({"Output": mx.nd.array([1.0, 10.0])})
    assert executor.gradients["linear.Weights"][:] == 21.0
    executor.forward({"Input": [1.0, 2.0], "Target": [0.0, 0.0]})
    with pytest.raises(mxt.ArgumentError, match="by output port"):
        executor.backward([1.0, 10.0])  # type: ignore[arg-type]  # a mistake
    for gradient in ([1.0], [[1.0, 2.0]], ["x", "y"]):
        with pytest.raises(mxt.BatchError, match=r'head gradient of "Output": expected'):
            executor.backward({"Output": gradient})
    with pytest.raises(mxt.UnknownNameError, match=r'"Outptu".*did you mean "Output"'):
        executor.backward({"Outptu": [1.0, 1.0]})


def test_a_port_of_weight_0_takes_no_head_gradient(state_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(state_plan, 1)
    executor.forward({"Input": [1.0], "StateIn": [1.0], "Target": [1.0]})
    with pytest.raises(mxt.UnknownNameError, match="weight that is not 0"):
        executor.backward({"StateOut": [1.0]})


def test_backward_needs_a_forward_pass_in_training_mode(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4)
    with pytest.raises(mxt.Error, match="forward"):
        executor.backward()
    with pytest.raises(mxt.Error, match="forward"):
        _ = executor.outputs
    executor.forward(linear_batch(), training=False)
    with pytest.raises(mxt.Error, match="training mode"):
        executor.backward()


def test_an_executor_without_training_has_no_gradients(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4, training=False)
    executor.forward(linear_batch())
    for call in (
        executor.backward,
        lambda: executor.gradients,
        lambda: executor.forward(linear_batch(), training=True),
    ):
        with pytest.raises(mxt.Error, match="training"):
            call()


def test_test_mode_runs_without_dropout_on_the_same_arrays() -> None:
    net = mxt.NetChain([mxt.Dropout(0.5), mxt.Linear(1)], inputs={"Input": mxt.Vector(64)})
    executor = mxt.instantiate(mxt.compile_plan(net, losses={"Output": 1.0}), 1)
    x = np.ones((1, 64))
    executor.arrays["linear.Weights"] = np.ones((1, 64))
    executor.forward({"Input": x})
    assert executor.outputs["Output"].asnumpy() != 64.0
    executor.forward({"Input": x}, training=False)
    assert executor.outputs["Output"].asnumpy() == 64.0
    executor.arrays["linear.Weights"] = np.full((1, 64), 2.0)
    executor.forward({"Input": x}, training=False)
    assert executor.outputs["Output"].asnumpy() == 128.0


def test_a_shared_store_shares_the_ndarrays(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.5), batch_size=3)
    other = mxt.instantiate(text_plan, 1, {"t": 2}, store=trainer.store, training=False)
    batch = text_batch(rng, rows=1, steps=2)
    trainer.update(text_batch(rng))
    other.forward(batch)
    assert other.outputs["Loss"].asnumpy() == pytest.approx(trainer.evaluate(batch).losses["Loss"])
    another = mxt.compile_plan(text_plan.net, losses={"Loss": 2.0})
    with pytest.raises(mxt.ArgumentError, match="store="):
        mxt.instantiate(another, 1, {"t": 2}, store=trainer.store)


def test_arrays_given_are_copied(text_plan: mxt.Plan) -> None:
    one = mxt.instantiate(text_plan, 1, {"t": 1})
    two = mxt.instantiate(text_plan, 1, {"t": 1}, arrays=one.arrays)
    two.arrays["linear.Biases"] = np.ones(11)
    assert not one.arrays["linear.Biases"][:].any()


def test_outputs_of_an_earlier_pass_are_stale(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4)
    executor.forward(linear_batch())
    handle = executor.outputs["Loss"]
    assert handle[0] == executor.outputs["Loss"][:][0]
    executor.forward(linear_batch())
    with pytest.raises(mxt.StaleHandleError, match="pass 1 was overwritten by pass 2"):
        handle.asnumpy()
    with pytest.raises(mxt.UnknownNameError, match="Loss"):
        _ = executor.outputs["Los"]


def test_many_passes_in_a_row_each_see_their_own_batch(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 1, arrays={"linear.Weights": [[1.0]]})
    copies = []
    buffer = np.zeros(1)
    for number in range(50):
        buffer[:] = number
        executor.forward({"Input": buffer, "Target": [0.0]})
        copies.append(executor.outputs["Loss"].copy())
    assert [float(copy.asnumpy()[0]) for copy in copies] == [number**2 for number in range(50)]


def test_a_pass_that_fails_on_the_device_is_told_by_every_read() -> None:
    net = mxt.NetChain(
        [mxt.Linear((2, 2)), Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(1)}
    )
    executor = mxt.instantiate(mxt.compile_plan(net), 1, arrays={"linear.Biases": [-1.0, 0.0, 0.0, -1.0]})
    executor.forward({"Input": [[0.0]], "Target": [[0.0]]})
    executor.backward()
    for _ in range(2):
        for read in (
            executor.outputs["Loss"].asnumpy,
            lambda: executor.gradients["linear.Weights"][:],
            lambda: executor.arrays["linear.Weights"][:],
        ):
            with pytest.raises(mxt.StepError, match="pass 1 failed on the device"):
                read()


def test_memory_is_reported_by_part(text_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(text_plan, 3, {"t": 5})
    report = executor.memory()
    elements = sum(spec.size for spec in text_plan.parameters.values())
    assert 4 * elements <= report.bytes_parameters <= 4 * (elements + 16 * len(text_plan.parameters))
    assert report.bytes_gradients == report.bytes_parameters
    assert report.bytes_total == sum(value for name, value in vars(report).items() if name.startswith("bytes_"))
    assert "(batch_size=3, t=5)" in str(report)
    assert mxt.instantiate(text_plan, 3, {"t": 5}, training=False).memory().bytes_gradients == 0


def test_parameters_and_gradients_are_views_of_one_flat_array_each(
    text_plan: mxt.Plan, rng: np.random.Generator
) -> None:
    executor = mxt.instantiate(text_plan, 3, {"t": 5})
    executor.forward(text_batch(rng))
    executor.backward()
    flats = (executor.store.parameters, executor.store.gradients)
    for flat, named in zip(flats, (executor.arrays, executor.gradients)):
        values = flat.array.asnumpy()
        for path, begin in flat.offsets.items():
            found = named[path].asnumpy().reshape(-1)
            np.testing.assert_array_equal(values[begin : begin + found.size], found)
        values = np.delete(
            values, np.concatenate([np.arange(b, b + flat.specs[p].size) for p, b in flat.offsets.items()])
        )
        assert not values.any()


def test_more_elements_than_mxnet_can_hold_are_refused_before_anything_is_allocated(linear_plan: mxt.Plan) -> None:
    net = mxt.NetChain([mxt.Linear(2**16), mxt.Linear(2**16)], inputs={"Input": mxt.Vector(4)})
    plan = mxt.compile_plan(net, losses={"Output": 0.0})
    with pytest.raises(mxt.NetError, match=r'4,295,\d+,\d+ elements.*2,147,483,647.*"linear_2.Weights"'):
        mxt.instantiate(plan, 3, training=False)
    with pytest.raises(mxt.ArgumentError, match=r'input "Input": \(3000000000,\).*smaller batch size'):
        mxt.instantiate(linear_plan, 3_000_000_000)


def test_a_graph_that_mxnet_refuses_is_an_error_with_the_bucket(text_plan: mxt.Plan) -> None:
    lowered = lower(text_plan, {"t": 2}, training_heads(text_plan), training=True, padded=False)
    arguments = {name: mx.nd.zeros((1,)) for name in lowered.symbol.list_arguments()}
    with pytest.raises(mxt.Error, match=r"bucket \(t=2\): MXNet refuses the graph"):
        bind(lowered, arguments, {}, mx.cpu(), "(t=2)")


def test_a_second_backward_pass_is_refused(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 4)
    for _ in range(2):
        executor.forward(linear_batch())
        executor.backward()
        found = values_of(executor.gradients)
        with pytest.raises(mxt.Error, match="a forward pass of its own"):
            executor.backward()
        assert_same(values_of(executor.gradients), found)
