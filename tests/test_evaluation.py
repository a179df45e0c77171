"""What an evaluation promises: test mode, any number of rows, any layer's output, and nothing moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, drawn_batch, text_batch, values_of
from extra_layers import Cholesky
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer._mxnet import mx


@pytest.fixture(scope="module")
def norm_plan() -> mxt.Plan:
    net = mxt.NetChain(
        [mxt.Linear(4), mxt.BatchNorm(), mxt.Dropout(0.5), mxt.Linear(2), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Vector(3)},
    )
    return mxt.compile_plan(net)


def _batch(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {"Input": rng.normal(size=(rows, 3)), "Target": rng.normal(size=(rows, 2))}


def test_evaluation_moves_nothing(norm_plan: mxt.Plan) -> None:
    trainers = [mxt.Trainer(norm_plan, mxt.Adam(0.1), batch_size=4) for _ in range(2)]
    for number in range(4):
        for trainer in trainers:
            trainer.update(_batch(4, number))
        before = values_of(trainers[0].arrays), values_of(trainers[0].gradients)
        handle = trainers[0].outputs["Loss"]
        trainers[0].evaluate(_batch(9))
        assert_same(values_of(trainers[0].arrays), before[0])
        assert_same(values_of(trainers[0].gradients), before[1])
        handle.asnumpy()
    assert_same(values_of(trainers[0].arrays), values_of(trainers[1].arrays))
    assert trainers[0].step == 4


def test_evaluation_uses_moving_statistics_and_no_dropout(norm_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(norm_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(_batch(4))
    arrays = values_of(trainer.arrays)
    x = _batch(3, 1)["Input"]
    hidden = x @ arrays["linear.Weights"].T + arrays["linear.Biases"]
    normed = (hidden - arrays["batchnorm.MovingMean"]) / np.sqrt(arrays["batchnorm.MovingVariance"] + 1e-3)
    scaled = normed * arrays["batchnorm.Scaling"] + arrays["batchnorm.Biases"]
    expected = scaled @ arrays["linear_2.Weights"].T + arrays["linear_2.Biases"]
    found = trainer.evaluate({"Input": x}, outputs=["linear_2"]).outputs["linear_2"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_any_number_of_rows_gives_the_mean_over_all(norm_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(norm_plan, mxt.SGD(0.1), batch_size=4)
    batch = _batch(11)
    whole = trainer.evaluate(batch)
    single = [trainer.evaluate({port: array[row : row + 1] for port, array in batch.items()}) for row in range(11)]
    assert whole.losses["Loss"] == pytest.approx(np.mean([one.losses["Loss"] for one in single]), rel=1e-6)
    assert whole.losses.examples == 11
    np.testing.assert_allclose(
        whole.outputs["Loss"], np.concatenate([one.outputs["Loss"] for one in single]), rtol=1e-6
    )


def test_an_iterable_of_batches_is_taken_together(norm_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(norm_plan, mxt.SGD(0.1), batch_size=4)
    batch = _batch(10)
    parts = ({port: array[begin : begin + 3] for port, array in batch.items()} for begin in (0, 3, 6, 9))
    together = trainer.evaluate(parts, outputs=["linear_2"])
    assert together.losses["Loss"] == pytest.approx(trainer.evaluate(batch).losses["Loss"], rel=1e-6)
    assert together.outputs["linear_2"].shape == (10, 2)
    for alone in (trainer.evaluate([batch]), trainer.evaluate(batch, outputs=[])):
        assert not alone.outputs
        assert alone.losses == trainer.evaluate(batch).losses


def test_outputs_name_any_layers_port_and_need_only_their_inputs(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=2)
    batch = text_batch(rng)
    names = ["lstm", "lstm.Output", "lstm.State", "linear", "embedding.Output"]
    found = trainer.evaluate({"Input": batch["Input"]}, outputs=names)
    assert list(found.outputs) == names
    np.testing.assert_array_equal(found.outputs["lstm"], found.outputs["lstm.Output"])
    np.testing.assert_array_equal(found.outputs["lstm"][:, -1], found.outputs["lstm.State"])
    assert found.outputs["linear"].shape == (3, 5, 11)
    assert not found.losses
    with pytest.raises(mxt.BatchError, match="without any batch"):
        trainer.evaluate([])
    assert trainer.evaluate(batch, outputs=["Loss", "linear"]).losses["Loss"] > 0
    with pytest.raises(mxt.UnknownNameError, match='has no output "Loss"'):
        _ = found.outputs["Loss"]


def test_a_port_of_the_plan_wins_over_a_layer_of_that_name(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    batch = text_batch(rng)
    found = trainer.evaluate(batch)
    assert set(found.outputs) == {"Loss", "lstm.State", "lstm.CellState"}
    trainer.update(batch)
    assert trainer.current_loss()["Loss"] == pytest.approx(found.losses["Loss"], rel=1e-6)


def test_batches_of_other_lengths_and_shapes_of_outputs(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    batches = [text_batch(rng, steps=4), text_batch(rng, steps=6)]
    assert trainer.evaluate(batches).losses.steps == {"t": 30}
    assert trainer.evaluate(batches, outputs=["lstm.State"]).outputs["lstm.State"].shape == (6, 8)
    found = trainer.evaluate(batches, outputs=["lstm"])
    assert found.outputs["lstm"].shape == (6, 6, 8)
    assert not found.outputs["lstm"][:3, 4:].any()
    alone = trainer.evaluate(batches[0], outputs=["lstm"]).outputs["lstm"]
    for row, steps in zip(alone, found.ragged("lstm")):
        np.testing.assert_array_equal(row, steps)


def test_a_nested_layers_output_is_named_by_its_path() -> None:
    inner = mxt.NetChain([mxt.Linear(2), mxt.Elementwise("tanh")])
    net = mxt.NetChain(
        {"encoder": inner, "out": mxt.Linear(1), "loss": mxt.MeanSquaredLoss()}, inputs={"Input": mxt.Vector(3)}
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=2)
    found = trainer.evaluate(
        {"Input": np.ones((2, 3))}, outputs=["encoder.linear", "encoder.elementwise.Output"]
    ).outputs
    np.testing.assert_allclose(np.tanh(found["encoder.linear"]), found["encoder.elementwise.Output"], rtol=1e-5)
    whole = trainer.evaluate({"Input": np.ones((2, 3))}, outputs=["encoder", "encoder.Output"]).outputs
    for name in whole:
        np.testing.assert_array_equal(whole[name], found["encoder.elementwise.Output"])
    with pytest.raises(mxt.UnknownNameError, match=r'"encodre".*did you mean "encoder"'):
        trainer.evaluate({"Input": np.ones((2, 3))}, outputs=["encodre"])
    with pytest.raises(mxt.UnknownNameError, match=r'"encoder\.State"'):
        trainer.evaluate({"Input": np.ones((2, 3))}, outputs=["encoder.State"])


def test_only_the_losses_that_are_asked_for_are_given() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(1), "square": mxt.MeanSquaredLoss(), "absolute": mxt.MeanAbsoluteLoss()},
        [
            ("Input", "linear", "square", "Square"),
            ("Target", "square.Target"),
            ("linear", "absolute", "Absolute"),
            ("Target", "absolute.Target"),
        ],
        inputs={"Input": mxt.Vector(3), "Target": mxt.Vector(1)},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=2)
    batch = {"Input": np.ones((2, 3)), "Target": np.zeros((2, 1))}
    every = trainer.evaluate(batch).losses
    assert dict(trainer.evaluate(batch, outputs=["Absolute"]).losses) == {"Absolute": every["Absolute"]}
    assert trainer.evaluate(batch, outputs=[]).losses == every


def test_a_length_that_the_outputs_do_not_need_may_be_left_out() -> None:
    net = mxt.NetGraph(
        {"encoder": mxt.LSTM(4), "decoder": mxt.LSTM(4), "linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "encoder"), ("encoder.State", "decoder.State"), ("Start", "decoder", "linear", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("s", mxt.Vector(2)), "Start": mxt.Sequence("t", mxt.Vector(2))},
    )
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=2)
    batch = {"Input": np.ones((2, 3, 2)), "Start": np.ones((2, 5, 2)), "Target": np.ones((2, 5, 2))}
    alone = trainer.evaluate({"Input": batch["Input"]}, outputs=["encoder.State"]).outputs["encoder.State"]
    np.testing.assert_array_equal(alone, trainer.evaluate(batch, outputs=["encoder.State"]).outputs["encoder.State"])
    assert trainer.evaluate(batch).losses.steps == {"s": 6, "t": 10}


def test_a_port_that_travels_in_integers_has_no_gradient() -> None:
    net = mxt.NetChain([mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(3, dtype="uint8")})
    plan = mxt.compile_plan(net)
    batch = {"Input": np.array([[1, 2, 3]]), "Target": [[1.0]]}
    report = mxt.check_gradients(plan, batch)
    assert report.exact
    assert "Input" not in [row["array"] for row in report.rows]
    with pytest.raises(mxt.ArgumentError, match="travels as uint8"):
        mxt.instantiate(plan, 1, input_gradients=["Input"])


def test_a_trainers_handles_can_be_evaluated(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3)
    batch = text_batch(rng)
    trainer.update(batch)
    handle = trainer.outputs["lstm.State"]
    by_handle = trainer.evaluate({**batch, "lstm.State": handle}).losses
    assert by_handle == trainer.evaluate({**batch, "lstm.State": handle.asnumpy()}).losses
    assert by_handle != trainer.evaluate(batch).losses


def test_an_evaluation_that_fails_on_the_device_is_an_error_and_the_next_one_is_right() -> None:
    net = mxt.NetChain([Cholesky(), mxt.Linear(1), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Array((2, 2))})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
    good, bad = ({"Input": sign * np.eye(2)[None], "Target": [[1.0]]} for sign in (1, -1))
    expected = trainer.evaluate(good).losses
    for _ in range(2):
        with pytest.raises(mxt.Error, match="evaluation failed on the device"):
            trainer.evaluate(bad)
    assert trainer.evaluate(good).losses == expected
    trainer.update(good)
    assert trainer.current_loss() == expected


def test_check_gradients_finds_what_is_wrong_and_what_is_right(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    report = mxt.check_gradients(text_plan, text_batch(rng), samples=5)
    assert report.exact
    assert [row["array"] for row in report.rows] == list(text_plan.parameters)
    assert "everything agrees" in str(report)
    reversing = mxt.NetChain(
        [mxt.Linear(2), mxt.GradientScale(-1.0), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(3)}
    )
    wrong = mxt.check_gradients(
        mxt.compile_plan(reversing), {"Input": rng.normal(size=(2, 3)), "Target": np.zeros((2, 2))}
    )
    assert not wrong.exact
    assert "DIFFERS" in str(wrong)
    tokens = {port: mx.nd.array(found, dtype="int32") for port, found in text_batch(rng).items()}
    assert mxt.check_gradients(text_plan, tokens, samples=2).exact
    bare = mxt.compile_plan(mxt.NetChain([mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar()}))
    assert mxt.check_gradients(bare, {"Input": mx.nd.array([1.0]), "Target": [3.0]}).exact
    for arguments, text in (({"samples": 0}, "samples"), ({"tolerance": "x"}, "tolerance")):
        with pytest.raises(mxt.ArgumentError, match=text):
            mxt.check_gradients(text_plan, text_batch(rng), **arguments)
    with pytest.raises(mxt.ArgumentError, match="takes a plan"):
        mxt.check_gradients(text_plan.net, {})  # type: ignore[arg-type]  # a mistake
    with pytest.raises(mxt.BatchError, match="missing"):
        mxt.check_gradients(text_plan, {})


def test_a_batch_of_an_iterable_that_does_not_fit_is_named_by_its_number(trainer: mxt.Trainer) -> None:
    good = drawn_batch(0)
    with pytest.raises(
        mxt.BatchError, match=r'batch 1 \(the first is 0\): the batch does not fit:\n.*no input "Inputs"'
    ):
        trainer.evaluate([good, {"Inputs": [1.0], "Target": [1.0]}])
