"""The ready loop takes the steps of a loop by hand, ends when it should, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkpoint_cases as cases
import numpy as np
import pytest
from conftest import assert_same, drawn_batch, values_of
from train_cases import HELD_OUT, batches_of, losses_given

import mxtrainer as mxt


def other_trainer(plan: mxt.Plan, **options: Any) -> mxt.Trainer:
    return mxt.Trainer(plan, mxt.Adam(0.1), batch_size=4, **options)


# Steps


def test_it_takes_the_steps_of_a_loop_by_hand(trainer: mxt.Trainer, linear_plan: mxt.Plan) -> None:
    result = mxt.train(trainer, batches_of(), rounds=3, progress=False)
    losses = []
    with other_trainer(linear_plan) as by_hand:
        for number in range(3):
            for batch in batches_of().round(number):
                by_hand.update(batch)
                losses.append(by_hand.current_loss().total)
        assert_same(values_of(trainer.arrays), values_of(by_hand.arrays))
        assert result.net == by_hand.net()
    assert result.history.steps.total.tolist() == losses
    assert result.history.rounds.total == pytest.approx(np.reshape(losses, (3, 5)).mean(axis=1))
    assert (result.reason, result.steps, result.rounds, result.examples) == ("rounds", 15, 3, 60)


def test_what_is_iterated_over_again_is_a_round_each_time(trainer: mxt.Trainer) -> None:
    result = mxt.train(trainer, [drawn_batch(number) for number in range(3)], rounds=2)
    assert result.history.steps.round.tolist() == [1, 1, 1, 2, 2, 2]
    assert result.history.rounds.step.tolist() == [3, 6]


def test_an_iterator_gives_one_round(trainer: mxt.Trainer) -> None:
    result = mxt.train(trainer, (drawn_batch(number) for number in range(4)))
    assert (result.reason, result.steps, result.rounds) == ("batches", 4, 1)


def test_batches_may_depend_on_the_step_before(state_plan: mxt.Plan) -> None:
    """No batch is made ahead of where that would change it."""

    class Fed:
        def __iter__(self) -> Any:
            state: Any = [0.0]
            for number in range(4):
                yield {"Input": [float(number)], "StateIn": state, "Target": [1.0]}
                state = trainer.outputs["StateOut"]

    with mxt.Trainer(state_plan, mxt.SGD(0.1), 1) as trainer, mxt.Trainer(state_plan, mxt.SGD(0.1), 1) as by_hand:
        mxt.train(trainer, Fed(), rounds=1, every=2, each=lambda _: None)
        state: Any = [0.0]
        for number in range(4):
            by_hand.update({"Input": [float(number)], "StateIn": state, "Target": [1.0]})
            state = by_hand.outputs["StateOut"]
        assert_same(values_of(trainer.arrays), values_of(by_hand.arrays))


# The end


def test_it_ends_after_a_step(trainer: mxt.Trainer) -> None:
    result = mxt.train(trainer, batches_of(), rounds=9, steps=7)
    assert (result.reason, trainer.step, result.rounds) == ("steps", 7, 1)
    assert mxt.train(trainer, batches_of(), rounds=9, steps=7).steps == 0  # they are counted by the trainer


def test_an_iterator_is_not_one_batch_further_than_the_trainer(trainer: mxt.Trainer) -> None:
    batches = (drawn_batch(number) for number in range(5))
    mxt.train(trainer, batches, steps=2)
    assert len(list(batches)) == 3


def test_it_ends_after_a_time(trainer: mxt.Trainer) -> None:
    result = mxt.train(trainer, batches_of(), seconds=0.3)
    assert result.reason == "seconds"
    assert 0.3 <= result.seconds < 5.0
    assert result.steps > 5


@pytest.mark.parametrize(("answer", "steps"), [(True, 5), (np.bool_(1), 5), (1, 15), ("yes", 15), (None, 15)])
def test_only_true_ends_it(trainer: mxt.Trainer, answer: Any, steps: int) -> None:
    result = mxt.train(trainer, batches_of(), rounds=3, each=lambda _: answer)
    assert (result.reason, result.steps) == ("each" if steps == 5 else "rounds", steps)


@pytest.mark.parametrize(
    ("given", "min_delta", "rounds"),
    [
        ((5.0, 4.0, 4.5, 4.0, 3.0), 0.0, 4),  # as low is no lower
        ((5.0, 4.0, 4.5, 3.9, 4.0, 4.0), 0.0, 6),
        ((5.0, 4.8, 4.6, 4.0), 0.5, 3),  # slowly lower is not low enough
        ((5.0, 4.8, 4.4, 4.3, 4.2), 0.5, 5),  # as far as it is from the one that counted last
        ((float("nan"), float("nan"), 1.0), 0.0, 2),
    ],
)
def test_patience_counts_validations_that_are_not_lower(
    trainer: mxt.Trainer, monkeypatch: pytest.MonkeyPatch, given: tuple[float, ...], min_delta: float, rounds: int
) -> None:
    losses_given(monkeypatch, *given, *[9.0] * 9)
    result = mxt.train(trainer, batches_of(), validation=HELD_OUT, patience=2, min_delta=min_delta)
    assert (result.reason, result.rounds) == ("patience", rounds)
    low = [loss for loss in given[:rounds] if not np.isnan(loss)]
    assert result.best_loss == (min(low) if low else None)
    assert (result.best_net is None) == (not low)


# Validation


def test_the_best_net_is_that_of_the_lowest_validation(trainer: mxt.Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = []
    losses_given(monkeypatch, 3.0, 1.0, 2.0)
    result = mxt.train(trainer, batches_of(), rounds=3, validation=HELD_OUT, each=lambda _: nets.append(trainer.net()))
    assert (result.best_net, result.net) == (nets[1], nets[2])
    assert (result.best_loss, result.best_round, result.best_step) == (1.0, 2, 10)
    assert result.best_net != result.net


def test_validation_is_that_of_evaluate(trainer: mxt.Trainer) -> None:
    found = []
    result = mxt.train(
        trainer,
        batches_of(),
        2,
        validation=HELD_OUT,
        each=lambda _: found.append(trainer.evaluate(HELD_OUT, []).losses.total),
    )
    assert result.history.validation.total.tolist() == found
    assert result.history.validation.step.tolist() == [5, 10]


def test_shuffled_batches_are_validated_in_the_same_order_each_time(
    trainer: mxt.Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out, given = batches_of(), []
    evaluate = mxt.Trainer.evaluate

    def noting(trainer: mxt.Trainer, batches: Any, *more: Any) -> Any:
        if isinstance(batches, Mapping):  # the first of them, before the first step
            return evaluate(trainer, batches, *more)
        given.append(list(batches))
        return evaluate(trainer, given[-1], *more)

    monkeypatch.setattr(mxt.Trainer, "evaluate", noting)
    mxt.train(trainer, batches_of(), 2, validation=held_out)
    first, second = ([batch["Input"].tolist() for batch in batches] for batches in given)
    assert first == second
    assert held_out.next_round == 0


def test_validation_may_have_steps_of_its_own(trainer: mxt.Trainer) -> None:
    result = mxt.train(trainer, batches_of(), 3, validation=[HELD_OUT], validate_every=4)
    assert result.history.validation.step.tolist() == [4, 8, 12]
    assert result.history.validation.round.tolist() == [1, 2, 3]


def test_a_loss_can_be_named_that_decides(rng: np.random.Generator) -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "loss": mxt.CrossEntropyLoss("index"), "errors": mxt.ErrorRate()},
        [
            ("Input", "linear", "loss", "Loss"),
            ("Target", "loss.Target"),
            ("linear", "errors", "ErrorRate"),
            ("Target", "errors.Target"),
        ],
        inputs={"Input": mxt.Vector(2)},
    )
    batch = {"Input": rng.normal(size=(8, 2)), "Target": rng.integers(0, 2, 8)}
    with mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 8) as trainer:
        result = mxt.train(trainer, [batch], 5, validation=batch, monitor="ErrorRate")
        rates = result.history.validation.of("ErrorRate")
        assert result.best_loss == rates.min()
        assert result.best_round == rates.argmin() + 1  # the first of several
        with pytest.raises(mxt.UnknownNameError, match='"ErorRate"; did you mean "ErrorRate"'):
            mxt.train(trainer, [batch], 5, validation=batch, monitor="ErorRate")


# Records


def test_a_record_comes_at_each_round_and_every_so_many_steps_once(trainer: mxt.Trainer) -> None:
    records: list[mxt.TrainRecord] = []
    result = mxt.train(trainer, batches_of(), 2, validation=HELD_OUT, each=records.append, every=2)
    assert [record.step for record in records] == [2, 4, 5, 6, 8, 10]
    assert [record.round for record in records] == [1, 1, 1, 2, 2, 2]
    assert [record.examples for record in records] == [8, 16, 20, 24, 32, 40]
    assert [record.validation is None for record in records] == [True, True, False, True, True, False]
    totals = result.history.steps.total
    expected = [totals[begin:end].mean() for begin, end in ((0, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 10))]
    assert [record.loss for record in records] == pytest.approx(expected)
    assert all(record.examples_per_second > 0 for record in records)


def test_a_record_cannot_be_changed(trainer: mxt.Trainer) -> None:
    records: list[Any] = []
    mxt.train(trainer, batches_of(), 1, each=records.append)
    with pytest.raises(AttributeError):
        records[0].loss = 0.0
    with pytest.raises(TypeError):
        records[0].losses["Loss"] = 0.0


def test_what_each_changes_counts_from_the_next_step_on(trainer: mxt.Trainer, linear_plan: mxt.Plan) -> None:
    def lower(record: mxt.TrainRecord) -> None:
        trainer.learning_rate = 0.1 / (1 + record.step)

    result = mxt.train(trainer, batches_of(), 2, each=lower, every=3)
    with other_trainer(linear_plan) as by_hand:
        for number in range(2):
            for batch in batches_of().round(number):
                step = by_hand.update(batch)
                if step % 3 == 0 or step % 5 == 0:
                    by_hand.learning_rate = 0.1 / (1 + step)
        assert result.net == by_hand.net()
    assert (result.initial_learning_rate, result.final_learning_rate) == (0.1, 0.1 / 11)


def test_steps_that_were_skipped_are_not_in_means(linear_plan: mxt.Plan) -> None:
    records: list[mxt.TrainRecord] = []
    bad = {"Input": [np.nan] * 4, "Target": [0.0] * 4}
    with other_trainer(linear_plan, on_nan="skip") as trainer:
        result = mxt.train(trainer, [drawn_batch(1), bad, drawn_batch(2)], 1, each=records.append)
    assert np.isnan(result.history.steps.total).tolist() == [False, True, False]
    assert records[0].loss == pytest.approx(np.nanmean(result.history.steps.total))


def test_losses_of_long_trainings_are_all_kept(trainer: mxt.Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxtrainer.engine.training.loop.LOOK", 1e9)  # as if steps took no time
    result = mxt.train(trainer, [drawn_batch(number) for number in range(1500)], 1)
    assert result.history.steps.step.tolist() == list(range(1, 1501))


# Going on


@pytest.mark.parametrize("kind", ["buckets", "streams"])
@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_training_that_stopped_goes_on_to_the_same_bits(kind: str, stop: int, tmp_path: Path) -> None:
    cell = cases.Cell("Adam", kind, 0.3, stop)
    with cases.trainer_of(cell) as whole:
        expected = mxt.train(whole, cases.batches_of(cell), rounds=3)
        arrays = values_of(whole.arrays)
    with cases.trainer_of(cell) as first:
        mxt.train(first, cases.batches_of(cell), rounds=3, steps=stop, checkpoint=tmp_path / "run")
    with mxt.Trainer.load(tmp_path / "run") as second:
        result = mxt.train(second, cases.batches_of(cell), rounds=3)
        assert_same(values_of(second.arrays), arrays)
    assert (result.steps, result.reason) == (expected.steps - stop, "rounds")
    after = expected.history.steps.total[stop:]
    assert result.history.steps.total.tolist() == after.tolist()
    assert result.history.steps.round.tolist() == expected.history.steps.round[stop:].tolist()


def test_a_second_training_goes_on_and_rounds_count_from_the_first(trainer: mxt.Trainer) -> None:
    batches = batches_of()
    mxt.train(trainer, batches, rounds=2)
    result = mxt.train(trainer, batches, rounds=3)
    assert result.history.steps.step.tolist() == [11, 12, 13, 14, 15]
    assert result.history.rounds.round.tolist() == [3]
    assert batches.next_round == 3


def test_a_training_that_is_done_says_so(trainer: mxt.Trainer) -> None:
    mxt.train(trainer, batches_of(), rounds=2)
    with pytest.warns(UserWarning, match=r"nothing to do: the trainer has done 2 rounds.*resume=False"):
        result = mxt.train(trainer, batches_of(), rounds=2)
    assert (result.steps, result.reason) == (0, "rounds")
    assert "ended by rounds" in str(result)


def test_other_batches_start_at_their_first_round(trainer: mxt.Trainer) -> None:
    mxt.train(trainer, batches_of(), rounds=2)
    result = mxt.train(trainer, batches_of(8), rounds=2, resume=False)
    assert result.history.steps.step.tolist() == [11, 12, 13, 14]
    assert result.history.rounds.round.tolist() == [1, 2]


def test_patience_and_the_best_net_go_on_from_a_folder(
    linear_plan: mxt.Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_given(monkeypatch, 2.0, 1.0, 3.0, 4.0, 5.0)
    folder = mxt.Checkpoints(tmp_path / "run")
    with other_trainer(linear_plan) as trainer:
        first = mxt.train(trainer, batches_of(), rounds=3, validation=HELD_OUT, checkpoint=folder)
    newest = folder.newest()
    assert newest is not None
    assert folder.best_measure() == 1.0
    with mxt.Trainer.load(newest) as trainer:
        result = mxt.train(trainer, batches_of(), validation=HELD_OUT, checkpoint=folder, patience=3)
    assert (result.reason, result.rounds) == ("patience", 2)  # one of three had gone by
    assert (result.best_loss, result.best_round, result.best_step) == (1.0, 2, 10)
    assert result.best_net == first.best_net


# Checkpoints


def test_a_file_has_the_last_step(trainer: mxt.Trainer, tmp_path: Path) -> None:
    result = mxt.train(trainer, batches_of(), 2, checkpoint=tmp_path / "run")
    with mxt.Trainer.load(tmp_path / "run") as loaded:
        assert (loaded.step, loaded.position, loaded.net()) == (10, (1, 5), result.net)


def test_a_file_is_there_after_the_first_round(trainer: mxt.Trainer, tmp_path: Path) -> None:
    def fail(record: mxt.TrainRecord) -> None:
        if record.round == 2:
            raise SystemExit  # which no longer saves, as where the power fails

    with pytest.raises(SystemExit):
        mxt.train(trainer, batches_of(), 3, checkpoint=tmp_path / "run", each=fail)
    trainer.close()  # waits for the file
    with mxt.Trainer.load(tmp_path / "run") as loaded:
        assert loaded.step == 5


def test_a_folder_keeps_its_own_times_and_the_end(trainer: mxt.Trainer, tmp_path: Path) -> None:
    folder = mxt.Checkpoints(tmp_path / "run", every=4, keep=9)
    mxt.train(trainer, batches_of(), 2, steps=9, checkpoint=folder)
    assert [int(path.stem[5:]) for path in folder.paths()] == [4, 5, 8, 9]


# What is refused


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "nothing would end the training"),
        ({"rounds": 0}, "rounds must be a positive integer, got 0"),
        ({"rounds": 1.5}, "rounds must be a positive integer"),
        ({"steps": -1}, "steps must be a positive integer"),
        ({"seconds": 0}, "seconds must be above 0"),
        ({"rounds": 1, "every": True}, "every must be a positive integer"),
        ({"rounds": 1, "each": 3}, "each must be a function that takes a record, got 3"),
        ({"rounds": 1, "loggers": print}, r"loggers must be a list, as in \[mxt.loggers.CSV"),
        ({"rounds": 1, "loggers": [None]}, "loggers must be functions"),
        ({"rounds": 1, "loggers": [mxt.loggers.CSV]}, r"or mxt.loggers.CSV\(path\)"),
        ({"rounds": 1, "loggers": ["run.csv"]}, "got 'run.csv'"),
        ({"rounds": 1, "checkpoint": 3}, "checkpoint must be the path of a file, got 3"),
        ({"rounds": 1, "checkpoint": "."}, "must be a file in a folder that is there.*mxt.Checkpoints"),
        ({"rounds": 1, "checkpoint": "nowhere/run"}, "must be a file in a folder that is there"),
        ({"rounds": 1, "progress": "yes"}, "progress must be True, False, or None"),
        ({"rounds": 1, "resume": 1}, "resume must be True or False, got 1"),
        ({"rounds": 1, "patience": 3}, "are for a validation: give validation="),
        ({"rounds": 1, "monitor": "Loss"}, "are for a validation: give validation="),
        ({"rounds": 1, "validate_every": 2}, "are for a validation: give validation="),
        ({"rounds": 1, "validation": HELD_OUT, "patience": 0}, "patience must be a positive integer"),
        ({"rounds": 1, "validation": HELD_OUT, "validate_every": 0}, "validate_every must be a positive integer"),
        ({"rounds": 1, "validation": HELD_OUT, "patience": 2, "min_delta": -1.0}, "min_delta must be at least 0"),
        ({"rounds": 1, "validation": HELD_OUT, "min_delta": 0.1}, "min_delta= is for patience="),
        ({"rounds": 1, "validation": 5}, "validation must be a batch, or batches to iterate over, got int"),
        ({"rounds": 1, "validation": iter([HELD_OUT])}, "validation is an iterator, which is used up"),
    ],
)
def test_arguments_that_are_not_usable_are_named(trainer: mxt.Trainer, options: dict[str, Any], error: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=error):
        mxt.train(trainer, batches_of(), **options)
    assert trainer.step == 0


@pytest.mark.parametrize(
    ("batches", "error"),
    [
        (drawn_batch(1), r"batches is one batch; give a list of batches, as in \[batch\]"),
        (7, "batches must be something to iterate over.*got int"),
        (iter([drawn_batch(1)]), "rounds=2, but batches is an iterator"),
        ([], "batches gave none in round 1"),
    ],
)
def test_what_is_no_round_of_batches_is_refused(trainer: mxt.Trainer, batches: Any, error: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=error):
        mxt.train(trainer, batches, rounds=2)


def test_what_is_no_trainer_is_refused(linear_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"train takes a trainer.*got Plan"):
        mxt.train(linear_plan, batches_of(), 1)  # type: ignore[arg-type]


def test_a_batch_that_does_not_fit_is_named(trainer: mxt.Trainer) -> None:
    with pytest.raises(mxt.BatchError, match=r'"Target".*is missing'):
        mxt.train(trainer, [{"Input": [1.0]}], 1)
