"""Training in one call, and the trainer and numbered batches that it is made of."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt

Data = dict[str, Any]


@pytest.fixture(scope="module")
def net() -> mxt.NetGraph:
    inputs = {"Input": mxt.Scalar(), "Target": mxt.Scalar()}
    return mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs=inputs)


@pytest.fixture(scope="module")
def sequence_net() -> mxt.NetGraph:
    inputs = {"Input": mxt.Sequence("t", mxt.Scalar())}
    return mxt.NetChain([mxt.GRU(3), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs=inputs)


@pytest.fixture(scope="module")
def data() -> Data:
    x = np.arange(10.0)
    return {"Input": x, "Target": 2 * x}


@pytest.fixture(scope="module")
def walks() -> Data:
    generator = np.random.default_rng(2)
    steps = [generator.normal(size=length) for length in (3, 1, 4, 1, 5, 9, 2, 6)]
    return {"Input": steps, "Target": [np.cumsum(one) for one in steps]}


def batches_of(net: mxt.NetGraph, data: Any, **options: Any) -> tuple[Any, int]:
    """Return the generator and the number of batches."""
    gen, n = mxt.net_train(net, data, returns="generator", **options)
    assert isinstance(n, int)
    return gen, n


def inputs_of(gen: Any, numbers: Any) -> list[list[float]]:
    return [gen(number)["Input"].tolist() for number in numbers]


# The training


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_net_is_that_of_a_loop_by_hand_bit_for_bit(net: mxt.NetGraph, data: Data, shuffle: bool) -> None:
    options: Data = {"shuffle": shuffle, "seed": 4}
    found = mxt.net_train(net, data, batch_size=4, rounds=3, optimizer=mxt.Adam(0.1), **options)
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.Adam(0.1), batch_size=4, seed=4)
    batches = mxt.Batches(data, batch_size=4, **options)
    for _ in range(3):
        for batch in batches:
            trainer.update(batch)
    assert trainer.step == 9
    assert found == trainer.net()
    assert found != mxt.Trainer(mxt.compile_plan(net), mxt.Adam(), batch_size=4, seed=4).net()


def test_sequences_and_their_buckets_are_trained_as_by_hand(sequence_net: mxt.NetGraph, walks: Data) -> None:
    policy = mxt.buckets.Fixed([4, 9])
    found = mxt.net_train(sequence_net, walks, batch_size=3, rounds=2, buckets=policy)
    plan = mxt.compile_plan(sequence_net)
    with mxt.Trainer(plan, mxt.Adam(), batch_size=3, buckets=policy) as trainer:
        for number in range(2):
            for batch in mxt.Batches(walks, batch_size=3, buckets=policy, plan=plan).round(number):
                trainer.update(batch)
        assert found == trainer.net()


def test_buckets_may_have_batch_sizes_of_their_own(sequence_net: mxt.NetGraph, walks: Data) -> None:
    policy = mxt.buckets.fit(
        {"t": [len(one) for one in walks["Input"]]}, 2, bytes="16KB", plan=mxt.compile_plan(sequence_net)
    )
    assert mxt.net_train(sequence_net, walks, batch_size=None, rounds=1, buckets=policy).arrays


def test_the_trainer_and_its_batches_give_the_same_net(net: mxt.NetGraph, data: Data) -> None:
    options: Data = {"batch_size": 4, "rounds": 2, "optimizer": mxt.SGD(0.01)}
    trainer, (gen, n) = mxt.net_train(net, data, returns=("trainer", "generator"), **options)
    assert (trainer.step, n) == (0, 6)
    for i in range(1, n + 1):
        assert trainer.update(gen(i)) == i
    assert trainer.net() == mxt.net_train(net, data, **options)


def test_returns_names_what_comes_back_and_in_which_order(net: mxt.NetGraph, data: Data) -> None:
    run = functools.partial(mxt.net_train, net, data, batch_size=5, rounds=2)
    assert isinstance(run(), mxt.NetGraph)
    assert isinstance(run(returns=["net"])[0], mxt.NetGraph)
    assert run(returns="trainer").step == 0  # nothing is trained unless the net is asked for
    (gen, n), trained, trainer = run(returns=("generator", "net", "trainer"))
    assert (trainer.step, n) == (4, 4)
    assert trainer.net() == trained
    trainer.update(gen(1))  # it is still open


def test_a_plan_is_taken_as_it_is(net: mxt.NetGraph, data: Data) -> None:
    plan = mxt.compile_plan(net, losses={"Loss": 2.0})
    found = mxt.net_train(plan, data, optimizer=mxt.SGD(0.001))
    assert found == mxt.net_train(net, data, {"Loss": 2.0}, optimizer=mxt.SGD(0.001))
    assert found != mxt.net_train(net, data, optimizer=mxt.SGD(0.001))


def test_a_net_with_arrays_is_trained_further(net: mxt.NetGraph, data: Data) -> None:
    run = functools.partial(mxt.net_train, optimizer=mxt.SGD(0.001), shuffle=False)
    once = run(net, data, rounds=1, seed=1)
    assert run(once, data, rounds=2, seed=7) == run(net, data, rounds=3, seed=1)
    assert run(once, data, rounds=1, seed=1, arrays={}) == once


def test_more_options_go_to_the_trainer(net: mxt.NetGraph, data: Data) -> None:
    trainer = mxt.net_train(net, data, returns="trainer", guard=False, depth=1, input_gradients=["Input"], seed=None)
    trainer.update(data)
    assert trainer.gradients["Input"][:].shape == (10,)
    with pytest.raises(TypeError, match="dept"):
        mxt.net_train(net, data, dept=1)


def test_a_step_that_fails_is_raised(net: mxt.NetGraph) -> None:
    with pytest.raises(mxt.StepError, match="step 1"):
        mxt.net_train(net, {"Input": [np.nan], "Target": [1.0]})


# The batches by number


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_number_gives_the_same_batch_whenever_it_is_asked_for(
    sequence_net: mxt.NetGraph, walks: Data, rng: np.random.Generator, shuffle: bool
) -> None:
    gen, n = batches_of(sequence_net, walks, batch_size=3, rounds=4, shuffle=shuffle)
    batches = mxt.Batches(walks, batch_size=3, shuffle=shuffle)
    expected = [batch for number in range(4) for batch in batches.round(number)]
    assert len(expected) == n == 12
    for number in rng.integers(1, n + 1, 60):
        found, other = gen(number), expected[number - 1]
        assert found.position == other.position
        for port, rows in other.items():
            assert [row.tobytes() for row in found[port]] == [row.tobytes() for row in rows]


def test_the_order_is_drawn_anew_each_round_or_not_at_all(net: mxt.NetGraph, data: Data) -> None:
    rounds = {}
    for shuffle, seed in ((True, 0), (True, 1), (False, 0)):
        gen, n = batches_of(net, data, batch_size=5, rounds=3, shuffle=shuffle, seed=seed)
        found = [np.concatenate(inputs_of(gen, (i, i + 1))).tolist() for i in range(1, n, 2)]
        assert all(sorted(one) == data["Input"].tolist() for one in found)
        rounds[shuffle, seed] = found
    assert rounds[False, 0] == [data["Input"].tolist()] * 3
    assert len({tuple(one) for seed in (0, 1) for one in rounds[True, seed]}) == 6


def test_a_round_is_cut_once_for_batches_in_order(
    net: mxt.NetGraph, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    gen, n = batches_of(net, data, batch_size=2, rounds=3)
    cut: list[int] = []
    rows = mxt.Batches._rows

    def counted(batches: mxt.Batches, number: int) -> Any:
        cut.append(number)
        return rows(batches, number)

    monkeypatch.setattr(mxt.Batches, "_rows", counted)
    inputs_of(gen, range(1, n + 1))
    assert cut == [1, 2]  # that of round 0 gave the number of batches


@pytest.mark.parametrize("number", [0, 7, -1, 1.0, None, True, "1"])
def test_what_is_no_number_of_a_batch_is_refused(net: mxt.NetGraph, data: Data, number: Any) -> None:
    gen, n = batches_of(net, data, batch_size=4, rounds=2)
    assert (n, repr(gen)) == (6, "<gen(1) to gen(6)>")
    with pytest.raises(mxt.ArgumentError, match="gen takes the number of a batch, 1 to 6"):
        gen(number)


# Functions


def test_a_function_is_called_with_round_batch_and_batch_size(net: mxt.NetGraph) -> None:
    def make(**given: Any) -> Data:
        assert list(given) == ["round", "batch", "batch_size"]
        return {"Input": list(given.values()), "Target": [0.0] * 3}

    gen, n = batches_of(net, make, batch_size=4, rounds=2, round_length=9)
    expected = [(r, b) for r in (1, 2) for b in (1, 2, 3)]
    assert n == len(expected)
    for i, (done, place) in enumerate(expected, 1):
        batch = gen(i)
        assert batch["Input"] == [done, place, 4]
        assert batch.position == (done - 1, place)


class Maker:
    """A function with a state of its own, which takes only the round."""

    def __call__(self, *, round: int, scale: float = 2.0) -> Data:  # noqa: A002 - the name that it is called by
        return {"Input": [round], "Target": [scale * round]}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: {"Input": [1.0], "Target": [2.0]}, [1.0]),
        (lambda batch_size: {"Input": [batch_size], "Target": [2.0]}, [8]),
        (lambda batch_size=3, *_, other=1: {"Input": [batch_size, other], "Target": [0, 0]}, [8, 1]),
        (functools.partial(lambda kind, batch: {"Input": [kind], "Target": [batch]}, "first"), ["first"]),
        (Maker(), [2]),
    ],
)
def test_a_function_gets_what_it_takes(net: mxt.NetGraph, make: Any, expected: list[Any]) -> None:
    gen, n = batches_of(net, make, batch_size=8, rounds=2)
    assert n == 2  # without round_length a round is one batch
    assert gen(2)["Input"] == expected


def test_shuffled_examples_do_not_go_on_from_one_another(sequence_net: mxt.NetGraph) -> None:
    data = {"Input": np.ones((4, 5)), "Target": np.zeros((4, 5))}
    with pytest.raises(mxt.ArgumentError, match="shuffled examples do not: give shuffle=False"):
        mxt.net_train(sequence_net, data, batch_size=2, carry=True)


def test_a_function_may_return_a_batch_of_its_own(sequence_net: mxt.NetGraph) -> None:
    padded = {"Input": np.ones((2, 5)), "Target": np.zeros((2, 5))}
    own = mxt.Batch(padded, {"t": [5, 2]})
    trained, (gen, _) = mxt.net_train(sequence_net, lambda: own, batch_size=2, returns=("net", "generator"))
    assert trained.arrays
    assert (gen(3).lengths, gen(3).position, own.position) == ({"t": [5, 2]}, (2, 1), None)
    placed = mxt.Batch(padded, streams=["a", "b"], position=(7, 7))
    found = batches_of(sequence_net, lambda: placed)[0](1)
    assert (found.position, found.streams) == ((7, 7), ["a", "b"])


def test_a_function_may_make_sequences_of_any_lengths(sequence_net: mxt.NetGraph) -> None:
    def make(round: int, batch: int, batch_size: int) -> Data:  # noqa: A002 - the name that it is called by
        generator = np.random.default_rng([round, batch])
        steps = [generator.normal(size=length) for length in generator.integers(1, 9, batch_size)]
        return {"Input": steps, "Target": steps}

    policy = mxt.buckets.Fixed([4, 8])
    found, trainer = mxt.net_train(
        sequence_net, make, batch_size=3, rounds=2, round_length=6, buckets=policy, returns=("net", "trainer")
    )
    with mxt.Trainer(mxt.compile_plan(sequence_net), mxt.Adam(), batch_size=3, buckets=policy) as other:
        for done, place in ((1, 1), (1, 2), (2, 1), (2, 2)):
            other.update(make(done, place, 3))
        assert found == other.net()
    assert trainer.step == 4


# Bad input


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"net": "net"}, mxt.NetError, "takes a net"),
        ({"net": mxt.Linear()}, mxt.NetError, "takes a net"),
        ({"losses": {"Lss": 1.0}}, mxt.Error, "Lss"),
        ({"data": 3}, mxt.ArgumentError, "data must be columns by input port.*or a function.*got int"),
        ({"data": [1.0]}, mxt.ArgumentError, "write the loop: for batch in batches"),
        ({"data": {}}, mxt.ArgumentError, "data must map input ports to columns"),
        ({"data": {"Inptu": [1.0]}}, mxt.UnknownNameError, 'did you mean "Input"'),
        ({"data": {"Input": [1.0]}}, mxt.BatchError, 'port "Target"'),
        ({"data": {"Input": [1.0], "Target": [1.0, 2.0]}}, mxt.ArgumentError, "same number of examples"),
        (
            {"data": lambda rounds: {"Input": rounds}},
            mxt.ArgumentError,
            'requires "rounds"; did you mean "round".*called by name',
        ),
        ({"data": lambda x, /: {"Input": x}}, mxt.ArgumentError, 'requires "x"'),
        ({"data": lambda batch, /: {"Input": batch}}, mxt.ArgumentError, 'requires "batch"'),
        ({"data": lambda: [1.0]}, mxt.ArgumentError, r"for round 1, batch 1 it returned \[1.0\]"),
        ({"data": lambda: {"Input": [1.0]}}, mxt.BatchError, 'port "Target"'),
        ({"data": dict, "batch_size": None, "round_length": 3}, mxt.ArgumentError, "round_length= needs batch_size="),
        ({"data": dict, "round_length": 0}, mxt.ArgumentError, "round_length must be a positive integer, got 0"),
        ({"data": dict, "batch_size": 0}, mxt.ArgumentError, "batch_size must be a positive integer, got 0"),
        ({"round_length": 5}, mxt.ArgumentError, "round_length= is for a function"),
        ({"batch_size": 0}, mxt.ArgumentError, "batch_size must be a positive integer, got 0"),
        ({"batch_size": None}, mxt.ArgumentError, "give batch_size="),
        ({"rounds": 0}, mxt.ArgumentError, "rounds must be a positive integer, got 0"),
        ({"rounds": 1.5}, mxt.ArgumentError, "rounds must be"),
        ({"optimizer": mxt.Adam}, mxt.ArgumentError, r"write Adam\(\)"),
        ({"shuffle": "each"}, mxt.ArgumentError, "shuffle must be True or False"),
        ({"seed": -1}, mxt.ArgumentError, "seed must be"),
        ({"buckets": [8]}, mxt.ArgumentError, "buckets must be a policy"),
        ({"device": "tpu"}, mxt.ArgumentError, "device must be"),
        ({"returns": "nets"}, mxt.ArgumentError, "returns must be one of net, trainer, generator.*got 'nets'"),
        ({"returns": ()}, mxt.ArgumentError, "returns must be"),
        ({"returns": ("net", 3)}, mxt.ArgumentError, "returns must be"),
        ({"returns": None}, mxt.ArgumentError, "returns must be"),
    ],
)
def test_arguments_are_checked(
    net: mxt.NetGraph, data: Data, arguments: Data, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        mxt.net_train(**{"net": net, "data": data, **arguments})


def test_a_plan_has_its_own_losses(net: mxt.NetGraph, data: Data) -> None:
    with pytest.raises(mxt.ArgumentError, match="losses= is for a net; a plan has been compiled with"):
        mxt.net_train(mxt.compile_plan(net), data, {"Loss": 1.0})
