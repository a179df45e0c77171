"""Bad input of every entry point that takes a batch: one clear message, and nothing has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, text_batch, values_of

import mxtrainer as mxt
from mxtrainer._mxnet import mx

TOKENS = np.zeros((3, 5), int)
GOOD: dict[str, Any] = {"Input": TOKENS, "Target": TOKENS}

BAD_BATCHES: dict[str, tuple[Any, list[str]]] = {
    "no mapping": ([TOKENS], ["a batch must map input ports", "got list"]),
    "empty": (
        {},
        ["port \"Input\" Sequence('t', Index(11)) is missing", 'port "Target"', "the inputs are Input, Target"],
    ),
    "missing": ({"Input": TOKENS}, ["port \"Target\" Sequence('t', Index(11)) is missing"]),
    "misspelt": (
        {"Input": TOKENS, "Traget": TOKENS},
        ['no input "Traget"; did you mean "Target"?', '"Target"', "missing"],
    ),
    "unknown": ({**GOOD, "Zebra": TOKENS}, ['there is no input "Zebra"']),
    "rank too low": ({**GOOD, "Input": TOKENS[0]}, ['port "Input"', "expected (batch, t), found (5,)", "batch axis"]),
    "rank too high": ({**GOOD, "Input": TOKENS[..., None]}, ["found (3, 5, 1)", "array[..., 0]"]),
    "item of another size": (
        {**GOOD, "lstm.State": np.zeros((3, 9))},
        ['port "lstm.State" Vector(8): expected (batch, 8), found (3, 9)'],
    ),
    "floats for indices": ({**GOOD, "Input": TOKENS * 1.0}, ['port "Input"', "expected integers, found float64"]),
    "bools for indices": ({**GOOD, "Input": TOKENS > 0}, ["expected integers, found bool"]),
    "index too large": (
        {**GOOD, "Target": np.where(np.eye(3, 5) > 0, 11, 0)},
        ['port "Target"', "indices from 0 to 10, found 11 in example 0, step 0"],
    ),
    "negative index": ({**GOOD, "Input": TOKENS - 1}, ["indices from 0 to 10, found -1 in example 0, step 0"]),
    "text": ({**GOOD, "lstm.State": np.full((3, 8), "x")}, ['port "lstm.State"', "expected real numbers, found <U1"]),
    "complex": ({**GOOD, "lstm.State": np.zeros((3, 8), complex)}, ["expected real numbers, found complex128"]),
    "objects": ({**GOOD, "lstm.State": np.full((3, 8), None)}, ["expected real numbers, found objects"]),
    "ragged": ({**GOOD, "Input": [[1, 2, 3], [1, 2], [1]]}, ['3 in "Input" and 5 in "Target" for example 0']),
    "a scalar": ({**GOOD, "Input": 3}, ["expected (batch, t), found ()"]),
    "none": ({**GOOD, "lstm.State": None}, ['port "lstm.State"', "found ()"]),
    "rows differ": ({**GOOD, "Target": TOKENS[:2]}, ['same number of rows, found 3 in "Input", 2 in "Target"']),
    "lengths differ": (
        {**GOOD, "Target": TOKENS[:, :4]},
        ['ports that share the length "t"', '5 in "Input" and 4 in "Target" for example 0'],
    ),
    "no rows": ({"Input": TOKENS[:0], "Target": TOKENS[:0]}, ["it has no rows"]),
    "too many rows": (
        {"Input": np.zeros((4, 5), int), "Target": np.zeros((4, 5), int)},
        ["it has 4 rows, more than the batch size of 3"],
    ),
    "no steps": ({"Input": TOKENS[:, :0], "Target": TOKENS[:, :0]}, ["no steps"]),
    "an NDArray of another rank": ({**GOOD, "lstm.State": mx.nd.zeros((8,))}, ["expected (batch, 8), found (8,)"]),
    "an NDArray of another size": ({**GOOD, "lstm.State": mx.nd.zeros((3, 7))}, ["found (3, 7)"]),
    "an NDArray for indices": (
        {**GOOD, "Input": mx.nd.zeros((3, 5))},
        ["expected integers, found float32"],
    ),
    "a masked array": (
        {**GOOD, "lstm.State": np.ma.masked_all((3, 8))},  # type: ignore[no-untyped-call]  # numpy's
        ["masked array, whose mask would be lost"],
    ),
    "a number beyond float32": ({**GOOD, "lstm.State": np.full((3, 8), 1e300)}, ["holds 1e+300, which is too large"]),
    "numbers beyond int64": ({**GOOD, "lstm.State": [[10**400] * 8] * 3}, ["objects, the first of them of type int"]),
    "several at once": (
        {"Inptu": TOKENS, "Target": TOKENS + 11, "lstm.State": np.zeros((3, 8, 1))},
        ['"Inptu"; did you mean "Input"', '"Input" Sequence', "found 11 in example 0", "found (3, 8, 1)"],
    ),
}


@pytest.fixture(params=BAD_BATCHES, ids=lambda name: name.replace(" ", "-"))
def bad(request: pytest.FixtureRequest) -> tuple[Any, list[str]]:
    return BAD_BATCHES[request.param]


def test_a_bad_batch_is_named_and_changes_nothing(text_plan: mxt.Plan, bad: tuple[Any, list[str]]) -> None:
    batch, parts = bad
    trainer = mxt.Trainer(text_plan, mxt.Adam(0.1), batch_size=3, lengths={"t": 5})
    twin = mxt.Trainer(text_plan, mxt.Adam(0.1), batch_size=3, lengths={"t": 5})
    trainer.update(GOOD)
    twin.update(GOOD)
    before = values_of(trainer.arrays), values_of(trainer.gradients), trainer.current_loss(), trainer.stats().last
    handle = trainer.outputs["lstm.State"]
    with pytest.raises(mxt.BatchError) as caught:
        trainer.update(batch)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert_same(values_of(trainer.arrays), before[0])
    assert_same(values_of(trainer.gradients), before[1])
    assert (trainer.step, trainer.current_loss(), trainer.stats().last) == (1, before[2], before[3])
    handle.asnumpy()
    trainer.update({**GOOD, "lstm.State": handle})
    twin.update({**GOOD, "lstm.State": twin.outputs["lstm.State"]})
    assert_same(values_of(trainer.arrays), values_of(twin.arrays))  # the optimizer's state is as before, too


def test_an_executor_refuses_the_same_batches(text_plan: mxt.Plan, bad: tuple[Any, list[str]]) -> None:
    batch, parts = bad
    executor = mxt.instantiate(text_plan, 3, {"t": 5})
    for training in (True, False):
        with pytest.raises(mxt.BatchError) as caught:
            executor.forward(batch, training=training)
        assert all(part in str(caught.value) for part in parts)


def test_a_batch_is_refused_as_a_value_error(text_plan: mxt.Plan) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3).update({})


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (3, "evaluate takes a batch or an iterable"),
        ([3], "a batch must map"),
        ({"Input": TOKENS}, 'port "Target"'),
        ([GOOD, {"Input": TOKENS + 11, "Target": TOKENS}], "found 11"),
    ],
)
def test_evaluate_refuses_what_is_no_batch(text_plan: mxt.Plan, batch: Any, text: str) -> None:
    with pytest.raises(mxt.BatchError, match=text):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3).evaluate(batch)


@pytest.mark.parametrize("outputs", ["lstm", 3])
def test_evaluate_wants_a_list_of_outputs(text_plan: mxt.Plan, outputs: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="list of names"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3).evaluate(GOOD, outputs=outputs)


@pytest.mark.parametrize("name", ["lsmt", "lstm.Stat", "x.y.z", ""])
def test_evaluate_names_unknown_outputs(text_plan: mxt.Plan, name: str) -> None:
    with pytest.raises(mxt.UnknownNameError, match="lstm"):
        mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=3).evaluate(GOOD, outputs=[name])


def test_a_port_with_a_dtype_of_its_own_is_transferred_in_it_and_cast_on_the_device() -> None:
    net = mxt.NetChain([mxt.Linear(1)], inputs={"Input": mxt.Vector(3, dtype="uint8")})
    executor = mxt.instantiate(mxt.compile_plan(net, losses={"Output": 0.0}), 2)
    weights = executor.arrays["linear.Weights"][:]
    pixels = np.array([[1, 2, 255], [0, 7, 3]], np.uint8)
    executor.forward({"Input": pixels})
    np.testing.assert_allclose(executor.outputs["Output"].asnumpy(), pixels.astype(float) @ weights.T, rtol=1e-6)
    executor.forward({"Input": pixels.astype(np.int64)})
    whole = pixels.astype(int)
    for wrong, text in ((pixels / 2, "integers of uint8"), (whole + 1, "from 0 to 255"), (whole - 1, "from 0 to 255")):
        with pytest.raises(mxt.BatchError, match=text):
            executor.forward({"Input": wrong})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64", "bool"])
def test_real_ports_take_real_integer_and_bool_arrays(linear_plan: mxt.Plan, dtype: str) -> None:
    executor = mxt.instantiate(linear_plan, 2, arrays={"linear.Weights": [[2.0]]})
    executor.forward({"Input": np.array([1, 0], dtype), "Target": [0, 0]})
    np.testing.assert_array_equal(executor.outputs["Loss"].asnumpy(), [4.0, 0.0])


def test_infinite_inputs_are_taken_as_they_are(linear_plan: mxt.Plan) -> None:
    executor = mxt.instantiate(linear_plan, 1, arrays={"linear.Weights": [[2.0]]})
    executor.forward({"Input": [np.inf], "Target": [0.0]})
    assert np.isinf(executor.outputs["Loss"].asnumpy())


def test_ndarrays_of_another_dtype_are_cast(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    batch = text_batch(rng)
    states = {"lstm.State": rng.normal(size=(3, 8)), "lstm.CellState": rng.normal(size=(3, 8))}
    losses: list[Any] = []
    for given in (
        {**batch, **states},
        {port: mx.nd.array(found, dtype=found.dtype) for port, found in {**batch, **states}.items()},
    ):
        executor = mxt.instantiate(text_plan, 4, {"t": 5})
        executor.forward(given)
        losses.append(executor.outputs["Loss"].asnumpy())
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_indices_in_an_ndarray_are_checked_in_the_queue(text_plan: mxt.Plan, dtype: str) -> None:
    tokens = np.array([[1, 2, 11], [-1, 3, 10]])
    batch = {"Input": mx.nd.array(tokens, dtype=dtype), "Target": tokens % 11}
    message = (
        r'port "Input": expected indices from 0 to 10 in its NDArray, '
        r"found 2 out of this range, the first in example 0, step 2"
    )
    executor = mxt.instantiate(text_plan, 2, {"t": 3})
    executor.forward(batch)
    with pytest.raises(mxt.StepError, match=rf"pass 1: {message}"):
        executor.outputs["Loss"].asnumpy()
    executor.forward({**batch, "Input": mx.nd.array(tokens % 11, dtype=dtype)})
    assert executor.outputs["Loss"].asnumpy().shape == (2,)
    trainer = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=2)
    assert trainer.update(batch) == 1
    for call in (trainer.current_loss, lambda: trainer.update(batch)):
        with pytest.raises(mxt.StepError, match=rf"step 1: {message}") as caught:
            call()
        assert caught.value.step == 1
    fresh = mxt.Trainer(text_plan, mxt.SGD(0.1), batch_size=2)
    with pytest.raises(mxt.Error, match=message):
        fresh.evaluate(batch)
    assert fresh.evaluate({"Input": tokens % 11, "Target": tokens % 11}).losses["Loss"] > 0


def test_memory_order_and_strides_do_not_matter(text_plan: mxt.Plan, rng: np.random.Generator) -> None:
    batch = text_batch(rng)
    executor = mxt.instantiate(text_plan, 3, {"t": 5})
    losses = []
    for arrange in (
        np.ascontiguousarray,
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        np.ndarray.tolist,
    ):
        executor.forward({port: arrange(array) for port, array in batch.items()})
        losses.append(executor.outputs["Loss"].asnumpy().tobytes())
    assert len(set(losses)) == 1


# Arguments of trainers and executors


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"plan": "net"}, mxt.ArgumentError, "takes a plan"),
        ({"optimizer": "adam"}, mxt.ArgumentError, "takes an optimizer"),
        ({"optimizer": mxt.Adam}, mxt.ArgumentError, r"write Adam\(\)"),
        ({"input_gradients": "Input"}, mxt.ArgumentError, "list of names"),
        ({"batch_size": 0}, mxt.ArgumentError, "batch_size must be a positive integer, got 0"),
        ({"batch_size": 2.5}, mxt.ArgumentError, "batch_size"),
        ({"batch_size": True}, mxt.ArgumentError, "batch_size"),
        ({"lengths": {"s": 4}}, mxt.ArgumentError, 'no length "s".*known: t'),
        ({"lengths": {}}, mxt.ArgumentError, 'number of steps of "t" is missing'),
        ({"lengths": {"t": 0}}, mxt.ArgumentError, "positive integer"),
        ({"lengths": 5}, mxt.ArgumentError, "lengths must map"),
        ({"device": "tpu"}, mxt.ArgumentError, "device must be"),
        ({"device": 0}, mxt.ArgumentError, "device must be"),
        ({"device": "gpu"}, mxt.ArgumentError, "no GPU support.*mxnet-cu"),
        ({"seed": -1}, mxt.ArgumentError, "seed must be"),
        ({"seed": 1.5}, mxt.ArgumentError, "seed must be"),
        ({"depth": 0}, mxt.ArgumentError, "depth"),
        ({"arrays": {"lstm.Weights": 1}}, mxt.NetError, 'no array "lstm.Weights".*did you mean'),
        ({"arrays": {"linear.Biases": np.zeros(3)}}, mxt.NetError, r'"linear.Biases": expected \(11,\).*found \(3,\)'),
        ({"arrays": {"linear.Biases": ["x"] * 11}}, mxt.NetError, '"linear.Biases"'),
        ({"arrays": 5}, mxt.ArgumentError, "arrays="),
        ({"input_gradients": ["Input"], "lengths": {"t": 5}}, mxt.ArgumentError, "indices, which have no gradient"),
        ({"input_gradients": ["Inptu"], "lengths": {"t": 5}}, mxt.UnknownNameError, 'did you mean "Input"'),
    ],
)
def test_a_trainers_arguments_are_checked(
    text_plan: mxt.Plan, arguments: dict[str, Any], kind: type[Exception], text: str
) -> None:
    given = {"plan": text_plan, "optimizer": mxt.SGD(0.1), "batch_size": 3, **arguments}
    with pytest.raises(kind, match=text):
        mxt.Trainer(**given)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"plan": "net"}, "takes a plan"),
        ({"batch_size": -3}, "batch_size"),
        ({"lengths": None}, '"t" is missing'),
        ({"device": "gpu:1"}, "no GPU support"),
        ({"arrays": {}, "store": "own"}, "give none of them"),
        ({"seed": 5, "store": "own"}, "give none of them"),
        ({"store": "other"}, "of the same plan"),
        ({"store": "x"}, "takes the store of"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"seed": 1.5}, "seed must be a non-negative integer"),
        ({"lengths": []}, "must map length names"),
        ({"training": "yes"}, "training must be True or False"),
        ({"arrays": {"linear.Biases": np.full(11, 1e300)}}, "linear.Biases.*too large for float32"),
        ({"arrays": {"linear.Biases": [[1.0], [2.0, 3.0]]}}, "linear.Biases.*ragged"),
    ],
)
def test_instantiates_arguments_are_checked(
    text_plan: mxt.Plan, linear_plan: mxt.Plan, arguments: dict[str, Any], text: str
) -> None:
    given: dict[str, Any] = {"plan": text_plan, "batch_size": 3, "lengths": {"t": 5}, **arguments}
    stores = {"own": mxt.instantiate(text_plan, 1, {"t": 1}).store, "other": mxt.instantiate(linear_plan, 1).store}
    if "store" in given:
        given["store"] = stores.get(given["store"], given["store"])
    kind = mxt.NetError if "linear.Biases" in arguments.get("arrays", ()) else mxt.ArgumentError
    with pytest.raises(kind, match=text):
        mxt.instantiate(**given)


def test_a_seed_of_numpy_is_a_seed_and_none_draws_one(linear_plan: mxt.Plan) -> None:
    first, same = (mxt.instantiate(linear_plan, 1, seed=seed) for seed in [3, np.int64(3)])  # type: ignore[arg-type]
    assert_same(values_of(first.arrays), values_of(same.arrays))
    assert mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=1, seed=np.int64(3)).seed == 3  # type: ignore[arg-type]
    assert (
        mxt.instantiate(linear_plan, 1, seed=None).store.seed != mxt.instantiate(linear_plan, 1, seed=None).store.seed
    )


def test_a_plan_with_nothing_to_train_is_refused_by_a_trainer(linear_plan: mxt.Plan) -> None:
    nothing = mxt.compile_plan(linear_plan.net, losses={"Loss": 0.0})
    with pytest.raises(mxt.NetError, match="all outputs have weight 0"):
        mxt.Trainer(nothing, mxt.SGD(0.1), batch_size=1)
    bare = mxt.NetChain([mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar()})
    with pytest.raises(mxt.NetError, match="no parameters"):
        mxt.Trainer(mxt.compile_plan(bare), mxt.SGD(0.1), batch_size=1)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mxt.Adam(-1.0), "learning_rate"),
        (lambda: mxt.Adam(float("nan")), "learning_rate"),
        (lambda: mxt.Adam("fast"), "learning_rate"),  # type: ignore[arg-type]  # a user's mistake
        (lambda: mxt.Adam(beta1=1.0), "beta1"),
        (lambda: mxt.Adam(beta2=-0.1), "beta2"),
        (lambda: mxt.Adam(epsilon=0.0), "epsilon"),
        (lambda: mxt.SGD(float("inf")), "learning_rate"),
        (lambda: mxt.SGD(0.1, momentum=1.0), "momentum"),
        (lambda: mxt.SGD(0.1, momentum=None), "momentum"),  # type: ignore[arg-type]  # a user's mistake
    ],
)
def test_an_optimizers_numbers_are_checked(make: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        make()


@pytest.mark.parametrize(
    "optimizer", [mxt.Adam(1e-37, beta2=1 - 1e-12, epsilon=1e-30), mxt.Adam(1e-300), mxt.SGD(1e-40, momentum=0.5)]
)
def test_numbers_that_float32_does_not_have_are_no_trouble(linear_plan: mxt.Plan, optimizer: Any) -> None:
    trainer = mxt.Trainer(linear_plan, optimizer, batch_size=4)
    before = values_of(trainer.arrays)
    trainer.update(linear_batch())
    trainer.update({port: np.zeros(4) for port in ("Input", "Target")})
    for path, found in values_of(trainer.arrays).items():
        np.testing.assert_allclose(found, before[path], rtol=0, atol=1e-36)


def test_reductions_are_checked(linear_plan: mxt.Plan) -> None:
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    trainer.update(linear_batch())
    with pytest.raises(mxt.ArgumentError, match='"mean" or "sum"'):
        trainer.current_loss(reduction="max")
    with pytest.raises(mxt.UnknownNameError, match=r'no loss "Lose".*did you mean "Loss"'):
        trainer.current_loss()["Lose"]
