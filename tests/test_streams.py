"""State that belongs to streams: who goes on from where, what is kept and dropped, and how a user gets at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file
from state_cases import LAYERS, SIZE, assert_same_states, recurrent_plan, sequence, states_of, window

import mxtrainer as mxt

SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
POLICIES = [mxt.buckets.Exact(), mxt.buckets.Fixed([4, 12]), mxt.buckets.Multiple(5)]


def trainer_of(layer: Any = LAYERS[0], rows: int = 4, **options: Any) -> mxt.Trainer:
    return mxt.Trainer(recurrent_plan(layer), mxt.SGD(0.0), rows, **{"carry": True, **options})


class Walker:
    """Sequences that go through a trainer in windows."""

    def __init__(self, trainer: mxt.Trainer, lengths: list[int]) -> None:
        self.trainer = trainer
        self.sequences = [sequence(steps, number) for number, steps in enumerate(lengths)]
        self.at = [0] * len(lengths)
        self.given: list[list[NDArray[Any]]] = [[] for _ in lengths]
        self.loss = 0.0

    def step(self, chosen: list[tuple[int, int]]) -> None:
        """Update with the next window of some sequences, each ``(sequence, steps)``."""
        rows = [(number, min(steps, self.left(number))) for number, steps in chosen if self.left(number)]
        if not rows:
            return
        numbers, counts = [number for number, _ in rows], [steps for _, steps in rows]
        batch = window([self.sequences[number] for number in numbers], [self.at[number] for number in numbers], counts)
        self.trainer.update(batch, streams=[f"sequence {number}" for number in numbers])
        self.loss += self.trainer.current_loss("sum")["Loss"]
        for number, steps, found in zip(numbers, counts, self.trainer.outputs["Output"].ragged()):
            self.given[number].append(found)
            self.at[number] += steps

    def left(self, number: int) -> int:
        return len(self.sequences[number]["Input"]) - self.at[number]


@pytest.mark.slow
@SOME
@given(data=st.data())
def test_a_sequence_gives_the_same_however_it_is_cut_and_whoever_comes_with_it(data: Any) -> None:
    """The law: rows shuffled, dropped and added, short batches, windows of other lengths, and other buckets."""
    layer = data.draw(st.sampled_from(LAYERS))
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    trainer = trainer_of(layer, buckets=data.draw(st.sampled_from(POLICIES)))
    walker = Walker(trainer, lengths)
    while any(map(walker.left, range(len(lengths)))):
        alive = [number for number in range(len(lengths)) if walker.left(number)]
        chosen = data.draw(st.lists(st.sampled_from(alive), min_size=1, max_size=4, unique=True))
        walker.step([(number, data.draw(st.integers(1, 12))) for number in chosen])
    loss = 0.0
    for number, whole in enumerate(walker.sequences):
        alone = trainer_of(layer, 1)
        alone.update(window([whole], [0], [len(whole["Input"])]))
        loss += alone.current_loss("sum")["Loss"]
        np.testing.assert_allclose(np.concatenate(walker.given[number]), alone.outputs["Output"][0], atol=1e-5)
        for port, state in alone.state[0].items():
            np.testing.assert_allclose(trainer.state[f"sequence {number}"][port], state, atol=1e-5)
    assert walker.loss == pytest.approx(loss, rel=1e-4)


def test_one_sequence_among_31_others_in_shuffled_rows_and_other_windows_is_as_alone() -> None:
    generator = np.random.default_rng(1)
    trainer = trainer_of(rows=32, lengths={"t": 25})
    walker = Walker(trainer, [200, *generator.integers(50, 300, 31).tolist()])
    while walker.left(0):
        order = [0, *generator.permutation(np.arange(1, 32))[: generator.integers(0, 32)].tolist()]
        generator.shuffle(order)
        walker.step([(number, int(generator.integers(1, 26))) for number in order])
    alone = trainer_of(rows=1)
    alone.update(window(walker.sequences[:1], [0], [200]))
    np.testing.assert_allclose(np.concatenate(walker.given[0]), alone.outputs["Output"][0], atol=1e-5)
    for port, state in alone.state[0].items():
        np.testing.assert_allclose(trainer.state["sequence 0"][port], state, atol=1e-5)


@SOME
@given(
    layer=st.sampled_from(LAYERS),
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=5),
    size=st.integers(1, 6),
    overlap=st.integers(0, 5),
    bucketed=st.booleans(),
)
def test_windows_of_a_stream_give_what_whole_sequences_give(
    layer: Any, lengths: list[int], size: int, overlap: int, bucketed: bool
) -> None:
    sequences = [sequence(steps, number) for number, steps in enumerate(lengths)]
    options = {"lengths": {"t": size}} if bucketed else {}
    trainer, whole = trainer_of(layer, 2, **options), trainer_of(layer, len(lengths))
    total = steps = 0.0
    for batch in mxt.stream(sequences, window=size, rows=2, overlap=min(overlap, size - 1)):
        trainer.update(batch)
        losses = trainer.current_loss("sum")
        total, steps = total + losses["Loss"], steps + losses.steps["t"]
    expected = whole.evaluate(window(sequences, [0] * len(lengths), lengths)).losses
    assert steps == sum(lengths)
    assert total / steps == pytest.approx(expected["Loss"], rel=1e-4)


def test_every_row_is_the_stream_of_its_number_unless_it_is_told_otherwise() -> None:
    plain, named = trainer_of(), trainer_of()
    whole = [sequence(9, number) for number in range(3)]
    for begin, count in ((0, 4), (4, 5)):
        batch = window(whole, [begin] * 3, [count] * 3)
        plain.update(batch)
        named.update(batch, streams=[0, 1, 2])
    assert_same_states(states_of(plain), states_of(named))
    other = trainer_of()
    other.update(window(whole[::-1], [0] * 3, [4] * 3), streams=[2, 1, 0])
    other.update(window(whole, [4] * 3, [5] * 3))
    for row in range(3):
        np.testing.assert_allclose(other.state[row]["layer.State"], plain.state[row]["layer.State"], atol=1e-6)


# What a user may do with it


def test_states_can_be_listed_read_set_and_dropped() -> None:
    trainer = trainer_of()
    whole = [sequence(8, number) for number in range(2)]
    trainer.update(window(whole, [0, 0], [4, 4]), streams=["a", 7])
    assert list(trainer.state) == ["a", 7]
    assert (len(trainer.state), "a" in trainer.state, "b" in trainer.state) == (2, True, False)
    assert trainer.state.get("b") is None
    assert set(trainer.state["a"]) == {"layer.State", "layer.CellState"}
    np.testing.assert_array_equal(trainer.state["a"]["layer.State"], trainer.outputs["layer.State"][0])
    before = trainer.state["a"]
    trainer.state["a"] = {"layer.State": np.full(SIZE, 0.25)}
    np.testing.assert_array_equal(trainer.state["a"]["layer.State"], np.full(SIZE, 0.25))
    np.testing.assert_array_equal(trainer.state["a"]["layer.CellState"], before["layer.CellState"])
    trainer.state["copy"] = trainer.state[7]
    trainer.update(window([whole[1]] * 2, [4, 4], [4, 4]), streams=[7, "copy"])
    np.testing.assert_array_equal(trainer.state[7]["layer.State"], trainer.state["copy"]["layer.State"])
    del trainer.state["a"]
    assert list(trainer.state) == [7, "copy"]
    trainer.update(window(whole[:1], [0], [4]), streams=["a"])
    np.testing.assert_allclose(trainer.state["a"]["layer.State"], before["layer.State"], atol=1e-6)


def test_a_set_state_starts_a_stream_that_was_reset_and_a_copy_of_the_table_is_no_part_of_it() -> None:
    trainer = trainer_of()
    trainer.update(window([sequence(4)], [0], [4]))
    read = trainer.state[0]
    trainer.reset()
    assert not trainer.state[0]["layer.State"].any()
    trainer.state[0] = read
    read["layer.State"][:] = 9
    assert trainer.state[0]["layer.State"].max() < 1


@pytest.mark.parametrize("guard", [True, 2, False])
def test_a_table_that_a_user_has_made_grow_goes_on_to_be_written(guard: Any) -> None:
    trainer, other = trainer_of(rows=1, guard=guard), trainer_of(rows=1, guard=guard)
    whole = sequence(8)
    for each in (trainer, other):
        each.update(window([whole], [0], [4]), streams=["a"])
    for number in range(5):
        trainer.state[number] = trainer.state["a"]
    for each in (trainer, other):
        each.update(window([whole], [4], [4]), streams=["a"])
    assert_same_states({"a": trainer.state["a"]}, {"a": other.state["a"]})
    trainer.update(window([whole], [4], [4]), streams=[3])
    assert_same_states({"a": trainer.state[3]}, {"a": other.state["a"]})


def test_the_least_recently_used_streams_make_room_where_there_is_a_capacity() -> None:
    bytes_per_stream = 2 * SIZE * 4
    trainer = trainer_of(rows=2, state_capacity=3 * bytes_per_stream + 5)
    assert trainer.state.capacity == 3
    one = window([sequence(4, 1)], [0], [4])
    for stream in ("a", "b", "c", "a", "d"):
        trainer.update(one, streams=[stream])
    assert list(trainer.state) == ["c", "a", "d"]
    assert trainer.state.dropped == 1
    assert trainer.state.bytes <= (3 + 2) * bytes_per_stream
    trainer.update(window([sequence(4, 1)] * 2, [0] * 2, [4] * 2), streams=["c", "e"])
    assert set(trainer.state) == {"d", "c", "e"}
    trainer.update(one, streams=["a"])  # anew
    np.testing.assert_allclose(trainer.state["a"]["layer.State"], trainer.state["e"]["layer.State"], atol=1e-6)
    assert trainer.state.dropped == 3


def test_a_stream_that_was_dropped_by_a_step_that_failed_is_there_again() -> None:
    trainer = trainer_of(rows=1, state_capacity=2 * 2 * SIZE * 4)
    good = window([sequence(4, 1)], [0], [4])
    bad = {**good, "Target": [np.full((4, 2), np.nan)]}
    for stream in ("a", "b"):
        trainer.update(good, streams=[stream])
    before = states_of(trainer)
    trainer.update(bad, streams=["c"])
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    assert_same_states(states_of(trainer), before)
    assert trainer.state.dropped == 0


def test_states_are_saved_and_loaded_bit_for_bit(tmp_path: Path) -> None:
    trainer, other = trainer_of(), trainer_of()
    whole = [sequence(8, number) for number in range(3)]
    trainer.update(window(whole, [0] * 3, [4] * 3), streams=["a", 2, "c"])
    trainer.reset(streams=[2])
    trainer.state.save(tmp_path / "state.safetensors")
    other.update(window(whole, [0] * 3, [4] * 3))
    other.state.load(tmp_path / "state.safetensors")
    assert_same_states(states_of(other), states_of(trainer))
    for each in (trainer, other):
        each.update(window(whole, [4] * 3, [4] * 3), streams=["c", "a", 2])
    assert_same_states(states_of(other), states_of(trainer))


# Bad input


def test_states_that_do_not_fit_are_refused_and_nothing_changes() -> None:
    trainer = trainer_of()
    trainer.update(window([sequence(4)], [0], [4]), streams=["a"])
    before = states_of(trainer)

    def refuses(stream: Any, states: Any, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            trainer.state[stream] = states
        assert_same_states(states_of(trainer), before)

    refuses(
        "a",
        {"layer.State": np.zeros(4)},
        mxt.ArgumentError,
        r"stream 'a': \"layer.State\": expected \(3,\), found \(4,\)",
    )
    refuses("a", {"layer.State": "x"}, mxt.ArgumentError, "expected real numbers")
    refuses("a", {"layer.Stat": np.zeros(3)}, mxt.UnknownNameError, 'no carried port "layer.Stat"; did you mean')
    refuses("a", np.zeros(3), mxt.ArgumentError, "must map input ports to arrays")
    refuses(1.5, {}, mxt.ArgumentError, "a stream must be a string or an integer, got 1.5")
    with pytest.raises(mxt.UnknownNameError, match=r"no state of stream 'b'\. Known: 'a'"):
        trainer.state["b"]
    with pytest.raises(mxt.UnknownNameError, match="no state of stream 'b'"):
        del trainer.state["b"]
    with pytest.raises(mxt.ArgumentError, match="a stream must be"):
        trainer.state[[1]]  # type: ignore[index]


def test_a_capacity_that_holds_no_batch_is_refused() -> None:
    with pytest.raises(mxt.ArgumentError, match="room for 1 streams of 24 bytes, and a batch has up to 4: give 96"):
        trainer_of(state_capacity=47)
    for wrong in (0, -1, "2GB", 1.5):
        with pytest.raises(mxt.ArgumentError, match="state_capacity must be a positive integer"):
            trainer_of(state_capacity=wrong)


def test_more_streams_than_there_is_room_for_are_refused_where_buckets_have_batch_sizes() -> None:
    buckets = mxt.buckets.fit([4, 4, 8], max_buckets=2, bytes=10**6, plan=recurrent_plan())
    if not buckets.has_batch_sizes():
        pytest.skip("the policy has no batch sizes")
    trainer = trainer_of(rows=None, buckets=buckets, state_capacity=2 * 24)  # type: ignore[arg-type]
    with pytest.raises(mxt.BatchError, match="it has 3 streams, and state_capacity= has room for 2"):
        trainer.update(window([sequence(4)] * 3, [0] * 3, [4] * 3))
    assert (trainer.step, len(trainer.state)) == (0, 0)


def test_files_that_are_no_states_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    trainer = trainer_of()
    trainer.update(window([sequence(4)], [0], [4]), streams=["a"])
    before = states_of(trainer)
    good = tmp_path / "good.safetensors"
    trainer.state.save(good)
    arrays = {port: np.zeros((1, SIZE), np.float32) for port in before["a"]}
    about = {"format": "mxtrainer-state", "version": "1", "streams": '["a"]'}
    cases: list[tuple[str, Any, Any]] = [
        ("no file of carried state", arrays, {}),
        ("no file of carried state", arrays, {**about, "version": "2"}),
        ("its streams cannot be read", arrays, {**about, "streams": "["}),
        ("its streams cannot be read", arrays, {**about, "streams": "[1.5]"}),
        ("not one for each of 2 streams", arrays, {**about, "streams": '["a", "b"]'}),
        ("not one for each of 2 streams", arrays, {**about, "streams": '["a", "a"]'}),
        ("this trainer carries layer.CellState, layer.State", {"other": np.zeros((1, 3), np.float32)}, about),
        (r"expected \(3,\), found \(4,\)", {port: np.zeros((1, 4), np.float32) for port in arrays}, about),
    ]
    for text, tensors, metadata in cases:
        path = tmp_path / "bad.safetensors"
        save_file(tensors, path, metadata)
        with pytest.raises(mxt.FileFormatError, match=text):
            trainer.state.load(path)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:50])
    for name in ("cut.safetensors", "nothing.safetensors"):
        with pytest.raises(mxt.FileFormatError, match="cannot be read as a file of carried state"):
            trainer.state.load(tmp_path / name)
    with pytest.raises(mxt.ArgumentError, match="cannot be written"):
        trainer.state.save(tmp_path / "no folder" / "state.safetensors")
    assert_same_states(states_of(trainer), before)


@pytest.mark.parametrize(
    ("beside", "text"),
    [
        ({"carry_at": 0}, "carry_at must be a positive integer, got 0"),
        ({"carry_at": 1.5}, "carry_at must be a positive integer, got 1.5"),
        ({"loss_from": [1]}, "loss_from: expected one for each of 2 rows, found 1"),
        ({"loss_from": [0, 4]}, "loss_from: expected 0 to 3 for row 1, which has 4 steps, found 4"),
        ({"loss_from": [-1, 0]}, "loss_from: expected 0 to 3 for row 0"),
        ({"loss_from": [0.0, 1.0]}, "loss_from must be one integer a row"),
    ],
    ids=str,
)
def test_overlaps_that_cannot_be_are_refused(beside: Any, text: str) -> None:
    trainer = trainer_of()
    batch = mxt.Batch(window([sequence(4)] * 2, [0] * 2, [4] * 2), **beside)
    with pytest.raises(mxt.BatchError, match=text):
        trainer.update(batch)


def test_a_state_that_is_known_only_at_the_end_cannot_be_carried_from_windows_that_overlap() -> None:
    net = mxt.NetGraph(
        {
            "mean": mxt.Aggregate("mean"),
            "add": mxt.Threading("plus"),
            "linear": mxt.Linear(2),
            "loss": mxt.MeanSquaredLoss(),
        },
        [("Input", "mean"), (["mean", "StateIn"], "add", "StateOut"), ("add", "linear", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2)), "StateIn": mxt.Vector(2), "Target": mxt.Vector(2)},
    )
    plan = mxt.compile_plan(net, losses={"StateOut": 0.0})
    trainer = mxt.Trainer(plan, mxt.SGD(0.1), 1, carry={"StateIn": "StateOut"})
    batch = mxt.Batch({"Input": np.ones((1, 4, 2)), "Target": np.ones((1, 2))}, carry_at=2)
    with pytest.raises(mxt.Error, match=r'"StateIn" is carried from step 2.*known at the end.*overlap=0'):
        trainer.update(batch)
    assert (trainer.step, len(trainer.state)) == (0, 0)
