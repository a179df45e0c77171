"""The ready loop, for those who do not want to write one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..arguments import number_within, positive_int
from ..errors import ArgumentError, Error, StepError
from .checkpoints import Checkpoints
from .stop_signals import StopSignals
from .trainer import Trainer
from .training.history import history_of
from .training.keeper import Keeper
from .training.loop import Course, Loop
from .training.progress import Progress, is_shown
from .training.record import Listener, TrainRecord
from .training.result import TrainResult
from .training.rounds import Rounds
from .training.validation import Validation


def train(
    trainer: Trainer,
    batches: Iterable[Mapping[str, Any]],
    rounds: int | None = None,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    validation: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    validate_every: int | None = None,
    monitor: str | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
    loggers: Sequence[Listener] = (),
    each: Callable[[TrainRecord], Any] | None = None,
    every: int | None = None,
    resume: bool = True,
) -> TrainResult:
    """Train by a loop that validates, shows progress, stops in time, saves and logs; waits for all of it.

    It does ``trainer.update(batch)`` for each batch and takes losses when they have finished, so it does not hold the
    queue up, except for a validation or a record. At the end of each round it validates, makes a record for `loggers`
    and `each`, and saves, in this order.

    A trainer from `Trainer.load` goes on after `Trainer.position`, with the bits of a training that never stopped.

    Of several workers each runs the same loop over its own batches, with the same validation; worker 0 shows progress,
    logs and saves. What `each` returns must be the same in all.

    The first Ctrl-C ends the training after the step, or validation, that is going on: the result has the net as it is
    then, and `reason` "interrupted". A second one raises KeyboardInterrupt at once. With a `checkpoint`, SIGTERM leaves
    one behind, and ends the process. (Signals come to the main thread; in another one none is looked for.)

    An error passes on, with an attribute ``result``: a `TrainResult` of what there was until then, best net included.
    The trainer is whole, and saved where there is a `checkpoint`; where a step failed, `train` goes on after
    `Trainer.recover`.

    Args:
        trainer: The trainer; it stays open.
        batches: `Batches`, a `Stream`, or anything else that gives batches each time that it is iterated over. Or an
            iterator, which gives one round.
        rounds: How many rounds there are in all: of batches that have positions, those done before count. None: it goes
            on until something else ends it; one round of an iterator.
        steps: The step after which it ends, as the trainer counts them.
        seconds: After how many seconds it ends. One worker alone can have it: others would stop at another step.
        validation: What is held out: a batch of any number of rows, or batches that can be iterated over again. The net
            with the lowest loss is kept, as a copy in memory.
        validate_every: Validate every so many steps, in place of after each round.
        monitor: The output port whose validation loss decides; None: the weighted sum of the losses.
        patience: After how many validations in a row without a lower loss it ends; None: it does not.
        min_delta: By how much a loss must be lower to count for `patience`.
        progress: Whether to show a line with losses, speed and time left; needs the extra "progress". None: where tqdm
            is installed, and standard error is a terminal, or it is a notebook.
        checkpoint: A file that is written after each round, after each validation and at the end. Or a `Checkpoints`,
            whose folder gets the same, what it writes by its own `every` and `seconds`, and the best.
        loggers: Functions that are called with each record, such as those of `mxtrainer.loggers`. What has ``start`` is
            told before which step it starts, and what has ``close`` is closed.
        each: A function that is called with each record, last of all; if it returns True, training ends. Anything else
            goes on.
        every: Make a record every so many steps too. Records wait for their step, so that what `each` changes counts
            from the next step on, always the same one.
        resume: Whether to go on after the trainer's position. False: from the first round, as for other batches.

    Raises:
        ArgumentError: An argument is not usable, or does not go with another; a file cannot be written; or there is a
            round without batches.
        BatchError: A batch does not fit.
        UnknownNameError: There is no loss `monitor`.
        StepError: A step failed.
        MissingExtraError: tqdm is not installed, and `progress` is True.

    Example:
        >>> from mxtrainer import Batches, Linear, MeanSquaredLoss, NetChain, SGD, Scalar, compile_plan
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> batches = Batches({"Input": [1.0, 2.0, 3.0, 4.0], "Target": [2.0, 4.0, 6.0, 8.0]}, batch_size=2)
        >>> with Trainer(compile_plan(net), SGD(0.05), batch_size=2) as trainer:
        ...     result = train(trainer, batches, rounds=200, validation={"Input": [5.0], "Target": [10.0]})
        >>> result.net.arrays["linear.Weights"].round(2)
        array([[2.]], dtype=float32)
        >>> result.reason, result.steps
        ('rounds', 400)
    """
    if not isinstance(trainer, Trainer):
        raise ArgumentError(f"train takes a trainer, as mxt.Trainer(...) makes one, got {type(trainer).__name__}")
    if not isinstance(resume, bool):
        raise ArgumentError(f"resume must be True or False, got {resume!r}")
    if patience is None and min_delta:
        raise ArgumentError("min_delta= is for patience=: give patience=, too")
    if validation is None and (validate_every is not None or monitor is not None or patience is not None):
        raise ArgumentError("validate_every=, monitor= and patience= are for a validation: give validation=, too")
    if seconds is not None and trainer.workers > 1:
        raise ArgumentError(f"seconds= goes with one worker, and there are {trainer.workers}, which must stop alike")
    keeper = Keeper(checkpoint)
    course = Course(
        rounds=Rounds(batches, rounds, trainer.position if resume else None),
        steps=None if steps is None else positive_int(steps, "steps"),
        seconds=None if seconds is None else number_within(seconds, "seconds", above=0.0),
        every=None if every is None else positive_int(every, "every"),
        validation=None
        if validation is None
        else Validation(
            trainer.plan, validation, monitor=monitor, every=validate_every, patience=patience, min_delta=min_delta
        ),
        keeper=keeper,
        loggers=() if trainer.rank else _listeners(loggers),
        each=_listener(each, "each"),
    )
    _check_ends(course, patience)
    shown = is_shown(progress) and not trainer.rank
    _go_on(trainer, course)
    if course.validation is not None:
        course.validation.check(trainer)
    return _run(trainer, course, shown)


def _listener(function: Any, what: str) -> Any:
    if function is not None and not callable(function):
        raise ArgumentError(f"{what} must be a function that takes a record, got {function!r}")
    return function


def _listeners(loggers: object) -> tuple[Listener, ...]:
    if callable(loggers) or isinstance(loggers, str) or not isinstance(loggers, Iterable):
        raise ArgumentError(f"loggers must be a list, as in [mxt.loggers.CSV(path)], got {loggers!r}")
    found = tuple(loggers)
    for logger in found:
        if logger is None or isinstance(logger, type):
            raise ArgumentError(
                f"loggers must be functions that take a record, or mxt.loggers.CSV(path), got {logger!r}"
            )
        _listener(logger, "each of loggers")
    return found


def _check_ends(course: Course, patience: int | None) -> None:
    """Refuse a training that nothing would end; say where there is nothing to do.

    Raises:
        ArgumentError: Nothing would.
    """
    rounds = course.rounds
    if rounds.count is None and not any((course.steps, course.seconds, patience, course.each)):
        raise ArgumentError("nothing would end the training: give rounds=, steps=, seconds=, patience= or each=")
    if rounds.done:
        warnings.warn(
            f"train has nothing to do: the trainer has done {rounds.begin} rounds, and rounds={rounds.count}, which "
            f"counts all of them; give more, or, if these are other batches, resume=False",
            stacklevel=3,
        )


def _go_on(trainer: Trainer, course: Course) -> None:
    """Let validation go on from the best of the folder of checkpoints."""
    if course.validation is not None:
        best = course.keeper.best_before(trainer)
        if best is not None:
            course.validation.go_on_from(best, trainer.step, course.rounds.begin)


def _run(trainer: Trainer, course: Course, shown: bool) -> TrainResult:
    rate = trainer.learning_rate
    progress = _progress(trainer, course) if shown else None
    loop = Loop(trainer, course, progress)
    result = None
    try:
        with contextlib.ExitStack() as stack:
            if progress is not None:
                stack.callback(progress.close)
            for logger in course.loggers:
                if hasattr(logger, "close"):
                    stack.callback(logger.close)
                if hasattr(logger, "start"):
                    logger.start(trainer.step)
            reason = _steps(trainer, course, loop)
            loop.finish()
            result = _result(loop, course, reason, rate)
            course.keeper.finish(trainer)
    except BaseException as error:
        _take_in(trainer, course, loop, error)
        with contextlib.suppress(AttributeError):
            error.result = result or _result(loop, course, "error", rate)  # type: ignore[attr-defined]  # as documented
        raise
    return result


def _take_in(trainer: Trainer, course: Course, loop: Loop, error: BaseException) -> None:
    """Take in the losses of all steps that were good; where no step failed, save what they have left."""
    with contextlib.suppress(Error):
        if isinstance(error, Exception) and not isinstance(error, StepError):
            loop.finish()
            course.keeper.finish(trainer)
        else:
            loop.look()


def _progress(trainer: Trainer, course: Course) -> Progress:
    to_come = course.rounds.steps()
    ends = [None if to_come is None else trainer.step + to_come, course.steps]
    total = min((end for end in ends if end is not None), default=None)
    return Progress(trainer.step, course.rounds.begin + 1, total, course.rounds.count)


def _steps(trainer: Trainer, course: Course, loop: Loop) -> str:
    """Take the steps; return why they have ended. A signal takes effect between two of them.

    Raises:
        KeyboardInterrupt: By a second Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        return loop.run(None)
    held: list[int] = []

    def leave() -> None:
        course.keeper.finish(trainer)
        held.append(trainer.step)

    numbers = (signal.SIGINT, signal.SIGTERM) if course.keeper.saves else (signal.SIGINT,)
    try:
        with StopSignals(leave, *numbers) as signals:
            return loop.run(signals)
    except KeyboardInterrupt:
        if not held:
            raise
        return "interrupted"


def _result(loop: Loop, course: Course, reason: str, rate: float) -> TrainResult:
    best = None if course.validation is None else course.validation.best
    return TrainResult(
        net=None if reason == "error" else loop.trainer.net(),
        best_net=None if best is None else best.net,
        best_loss=None if best is None else best.loss,
        best_step=None if best is None else best.step,
        best_round=None if best is None else best.round,
        history=history_of(loop.columns, loop.ends, loop.validations, loop.round),
        reason=reason,
        seconds=loop.seconds,
        initial_learning_rate=rate,
        final_learning_rate=loop.trainer.learning_rate,
    )
