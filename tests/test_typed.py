"""What a type checker says of a user's program is what it gets: `make types` reads this file, and the tests run it.

`make release-check` has mypy and pyright read it once more, against the package as it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import numpy as np
import pytest
from numpy.typing import NDArray

import mxtrainer as mxt

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: Any, kind: Any) -> None:
        assert isinstance(value, get_origin(kind) or kind), f"expected {kind}, found {type(value)}"


def data() -> dict[str, list[NDArray[Any]]]:
    signals = [np.linspace(0, 1, steps) for steps in (4, 6, 5, 7)]
    return {"Input": signals, "Target": signals}


@pytest.fixture
def net() -> mxt.NetGraph:
    ports = {"Input": mxt.Sequence("t", mxt.Scalar()), "Target": mxt.Sequence("t", mxt.Scalar())}
    return mxt.NetChain([mxt.LSTM(2), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs=ports).with_states()


@pytest.fixture
def trainer(net: mxt.NetGraph) -> Iterator[mxt.Trainer]:
    with mxt.Trainer(mxt.compile_plan(net), mxt.Adam(1e-2), batch_size=2, carry=True) as made:
        made.update({"Input": data()["Input"][:2], "Target": data()["Target"][:2]})
        yield made


def test_nets_and_plans_have_their_types(net: mxt.NetGraph) -> None:
    assert_type(net, mxt.NetGraph)
    assert_type(net.to_json(), str)
    assert_type(mxt.NetGraph.from_json(net.to_json()), mxt.NetGraph)
    plan = mxt.compile_plan(net, {"Loss": 1.0})
    assert_type(plan, mxt.Plan)
    assert_type(plan.content_hash, str)
    assert_type(plan.states["lstm.State"], str)
    assert_type(plan.memory(4, {"t": 7}), mxt.MemoryReport)
    assert_type(plan.explain(4, {"t": 7}), mxt.Explanation)
    assert_type(plan.max_batch("1GB", {"t": 7}), int)


def test_steps_and_losses_have_their_types(trainer: mxt.Trainer) -> None:
    for batch in mxt.Batches(data(), 2, seed=0):
        assert_type(batch, mxt.Batch)
        assert_type(trainer.update(batch), int)
    losses = trainer.current_loss()
    assert_type(losses, mxt.Losses)
    assert_type(losses["Loss"], float)
    assert_type(losses.total, float)
    assert_type(losses.examples, int)
    assert_type(trainer.losses(), list[tuple[int, mxt.Losses]])
    assert_type(trainer.loss_at(1), mxt.Losses)
    assert_type(trainer.stats(), mxt.Stats)
    assert_type(trainer.step, int)
    assert_type(trainer.learning_rate, float)
    assert_type(trainer.memory(), mxt.MemoryReport)


def test_a_step_in_parts_has_its_types(trainer: mxt.Trainer) -> None:
    batch = mxt.Batches(data(), 2, seed=0).batch((0, 1))
    assert_type(trainer.compute(batch), int)
    assert_type(trainer.apply(), int)
    assert_type(trainer.accumulate(batch), int)
    trainer.discard()


def test_arrays_and_outputs_have_their_types(trainer: mxt.Trainer) -> None:
    assert_type(trainer.arrays["linear.Weights"][:], NDArray[Any])
    assert_type(trainer.arrays["linear.Weights"].asnumpy(), NDArray[Any])
    assert_type(trainer.gradients["linear.Weights"][:], NDArray[Any])
    assert_type(trainer.outputs["Loss"].asnumpy(), NDArray[Any])
    assert_type(trainer.outputs["Loss"][:], NDArray[Any])
    trainer.arrays["linear.Biases"] = 0.0  # what a checker must not refuse
    trainer.arrays["linear.Weights"] = [[1.0, 2.0]]
    trainer.arrays["linear.Weights"][:] = np.ones((1, 2))


def test_evaluations_and_nets_that_are_used_have_their_types(trainer: mxt.Trainer) -> None:
    found = trainer.evaluate({"Input": data()["Input"]}, outputs=["linear"])
    assert_type(found, mxt.Evaluation)
    assert_type(found.outputs["linear"], NDArray[Any])
    assert_type(found.ragged("linear"), list[NDArray[Any]])
    net = trainer.net()
    assert_type(net, mxt.NetGraph)
    assert_type(net.arrays["linear.Weights"], NDArray[Any])
    assert_type(mxt.NetState(net, outputs=["linear"])([1.0, 2.0]), dict[str, NDArray[Any]])


def test_files_have_their_types(trainer: mxt.Trainer, tmp_path: Path) -> None:
    trainer.save(tmp_path / "checkpoint.safetensors")
    assert_type(mxt.Trainer.load(tmp_path / "checkpoint.safetensors"), mxt.Trainer)
    mxt.to_safetensors(trainer.net(), tmp_path / "net.safetensors")
    assert_type(mxt.from_safetensors(tmp_path / "net.safetensors"), mxt.NetGraph)


def test_errors_are_caught_by_their_types(trainer: mxt.Trainer) -> None:
    with pytest.raises(ValueError, match="there is no input") as caught:
        trainer.update({"Imput": [1.0]})
    error = caught.value
    assert isinstance(error, mxt.BatchError)
    assert isinstance(error, mxt.ArgumentError)
    assert isinstance(error, mxt.Error)
