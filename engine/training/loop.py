"""The loop itself: updates, and between them what is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ArgumentError
from ...mappings import FrozenMapping
from ..stop_signals import StopSignals
from .columns import Columns, Mean
from .history import Mark
from .keeper import Keeper
from .progress import Progress
from .record import Listener, TrainRecord
from .rounds import Marked, Rounds
from .validation import Validation

if TYPE_CHECKING:
    from ..trainer import Trainer

LOOK = 0.1  # seconds between looks at what has finished
LOOK_STEPS = 64  # the same in steps: what is taken in is forgotten before Python's collector has looked at it
SHOWN = 100  # the loss that is shown is that of so many steps


@dataclass(frozen=True)
class Course:
    """What is to be done, and when.

    Attributes:
        rounds: Where batches come from.
        steps: The step after which it ends; None: any.
        seconds: The time after which it ends; None: any.
        every: Every how many steps there is a record, beside those of rounds; None: only those.
        validation: Evaluates; None: nothing does.
        keeper: Writes checkpoints.
        loggers: Called with each record.
        each: Called with each record, after them; ends the training by True.
    """

    rounds: Rounds
    steps: int | None
    seconds: float | None
    every: int | None
    validation: Validation | None
    keeper: Keeper
    loggers: Sequence[Listener]
    each: Callable[[TrainRecord], Any] | None


class Loop:
    """Takes the steps of a training.

    Args:
        trainer: The trainer.
        course: What is to be done.
        progress: Shows it; None: nothing does.

    Attributes:
        trainer: As given.
        columns: The losses so far.
        ends: The rounds that have ended.
        validations: The validations so far.
        round: The round, the first is 1.
    """

    def __init__(self, trainer: Trainer, course: Course, progress: Progress | None) -> None:
        """Take no step yet."""
        self.trainer = trainer
        self._course = course
        self._progress = progress
        trainer.losses()  # those of steps before are not wanted
        self.columns = Columns(trainer.step, trainer.plan.loss_ports)
        self.ends: list[Mark] = []
        self.validations: list[Mark] = []
        self.round = course.rounds.begin + 1
        self._first = trainer.step
        self.begin = self._look_at = time.perf_counter()
        self._due_at = 0  # the next step with something to do
        self._examples = 0
        self._recorded = 0, self.begin  # entries of columns at the last record, and when it was
        self._recorded_at = self._validated_at = self._ended_at = trainer.step

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return time.perf_counter() - self.begin

    def run(self, signals: StopSignals | None) -> str:
        """Take the steps; return why they have ended.

        Raises:
            KeyboardInterrupt: By a signal that was held back until the step had been taken.
        """
        if self._course.steps is not None and self.trainer.step >= self._course.steps:
            return "steps"
        for number, batches in self._course.rounds:
            self.round = number + 1
            before = self.trainer.step
            reason = self._take(batches, signals)
            if self.trainer.step == before:
                raise ArgumentError(f"batches gave none in round {self.round}: is it an iterator that is used up?")
            if reason is None and self._ended_at != self.trainer.step:
                reason = self._attend(self.trainer.step, ended=True)
            if reason is not None:
                return reason
        return "rounds"

    def _take(self, batches: Marked, signals: StopSignals | None) -> str | None:
        """Take the steps of a round; return why the training ends in it, or None."""
        update, clock = self.trainer.update, time.perf_counter
        keeper = self._course.keeper if self._course.keeper.saves else None
        for batch, last in batches:
            step = update(batch)
            if last or step >= self._due_at or clock() >= self._look_at:
                reason = self._attend(step, last)
                if reason is not None:
                    return reason
            if keeper is not None:
                keeper.step(self.trainer)
            if signals is not None:
                signals.deliver()
        return None

    def _attend(self, step: int, ended: bool) -> str | None:
        """Do what is due after a step; return why the training ends, or None."""
        course = self._course
        self.look()
        reason = self._report(step, ended) if ended or self._is_due(step) else None
        if ended:
            self._ended_at = step
            self.ends.append(Mark(step, self.round, self.trainer.learning_rate, self.seconds))
        if reason is None and course.steps is not None and step >= course.steps:
            reason = "steps"
        if reason is None and course.seconds is not None and self.seconds >= course.seconds:
            reason = "seconds"
        if reason is None and ended and self.round == course.rounds.count:
            reason = "batches" if course.rounds.once else "rounds"
        if reason is None and (ended or self._validated_at == step):
            course.keeper.save(self.trainer)
        self._plan_ahead(step)
        return reason

    def _is_due(self, step: int) -> bool:
        course = self._course
        return (course.every is not None and step % course.every == 0) or (
            course.validation is not None and course.validation.is_due(step, ended=False)
        )

    def _plan_ahead(self, step: int) -> None:
        """Note when there is something to do next: by step, and by time."""
        course = self._course
        intervals = [course.every, None if course.validation is None else course.validation.every]
        due = [step + LOOK_STEPS, *(step - step % every + every for every in intervals if every is not None)]
        self._due_at = min(due if course.steps is None else [*due, course.steps])
        now = time.perf_counter()
        self._look_at = now + LOOK
        if course.seconds is not None and now < self.begin + course.seconds:
            self._look_at = min(self._look_at, self.begin + course.seconds)

    def look(self) -> None:
        """Take in what has finished, and show it; does not wait."""
        known = len(self.columns.step)
        self.columns.take(self.trainer.losses())
        self._examples += sum(self.columns.examples[known:])
        if self._progress is not None and self.columns.step:
            newest = self.columns.total[-SHOWN:]
            loss = sum(newest) / len(newest)
            self._progress.show(self.columns.step[-1], self.round, loss, self._examples, time.perf_counter())

    def finish(self) -> None:
        """Wait for the last step, and take its losses in.

        Raises:
            StepError: A step failed.
        """
        if self.trainer.step > self._first:
            self.trainer.current_loss()
        self.look()

    # Records

    def _report(self, step: int, ended: bool) -> str | None:
        """Validate, and tell loggers and `each`, as far as that is due and not done; return why training ends."""
        validation, found = self._course.validation, None
        if validation is not None and self._validated_at != step and validation.is_due(step, ended):
            found = self._validate(validation, step)
        stop = False
        if found is not None or self._recorded_at != step:
            stop = self._tell(step, found)
        if stop:
            return "each"
        return "patience" if found is not None and validation is not None and validation.is_hopeless else None

    def _validate(self, validation: Validation, step: int) -> tuple[Any, float, bool]:
        if self._progress is not None:
            self._progress.validating()
        losses, loss, better = validation.run(self.trainer, self.round)
        self._validated_at = step
        self._course.keeper.note(step, loss)
        mean = Mean(losses.total, {port: losses[port] for port in self.columns.losses})
        self.validations.append(Mark(step, self.round, self.trainer.learning_rate, self.seconds, mean))
        if self._progress is not None:
            self._progress.validated(loss, loss if validation.best is None else validation.best.loss)
        self.look()
        return losses, loss, better

    def _tell(self, step: int, found: tuple[Any, float, bool] | None) -> bool:
        """Make a record and hand it out; return whether training is to end."""
        self._recorded_at = step
        if not self._course.loggers and self._course.each is None:
            return False
        self.finish()
        record = self._record(step, found)
        for logger in self._course.loggers:
            logger(record)
        answer = None if self._course.each is None else self._course.each(record)
        return isinstance(answer, (bool, np.bool_)) and bool(answer)

    def _record(self, step: int, found: tuple[Any, float, bool] | None) -> TrainRecord:
        begin, since = self._recorded
        now = time.perf_counter()
        mean = self.columns.mean(begin)
        examples = sum(self.columns.examples[begin:])
        self._recorded = len(self.columns.step), now
        losses, loss, better = (None, None, False) if found is None else found
        return TrainRecord(
            step=step,
            round=self.round,
            loss=mean.total,
            losses=FrozenMapping(mean.losses, "loss", "the training"),
            validation=losses,
            validation_loss=loss,
            best=better,
            learning_rate=self.trainer.learning_rate,
            examples=self._examples,
            examples_per_second=examples / (now - since),
            seconds=now - self.begin,
        )
