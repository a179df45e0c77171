"""The steps in flight: queued, waited for in order, and taken back where one failed."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from typing import Any, NoReturn

from .._mxnet import mx
from ..errors import Error, StepError
from ..executors.batch import Batch
from ..executors.bound import Bound
from ..executors.bucketed import Buckets
from ..executors.guard import Chain, Guard
from ..executors.handles import Clock
from ..executors.indices import check_indices
from ..executors.inputs import Limits, check_batch
from ..executors.replay import Culprit, replay
from ..executors.snapshot import Snapshot
from .interrupts import Uninterrupted
from .losses import LossSums
from .moves import Moves
from .stats import KEPT, Recorder, Stats
from .steps import Past, Ready, Staged, Step, port_not_finite, private_copy
from .streams import Streams
from .waiting import wait

COLLATERAL = "its batch, run once more, went well: MXNet hands failures on to what runs beside them"
NORM = "no layer did, but the square of the norm of its gradient"


class Pipeline:
    """The steps in flight of one trainer.

    Args:
        buckets: The executors.
        moves: The optimizer's moves.
        clock: Counts the steps.
        depth: How many steps may be unfinished.
        every: Every so many steps one is guarded; 0: none.
        on_nan: What a guarded step comes to whose numbers are not finite; see `Guard`.
        streams: The streams whose state is carried, if any is.

    Attributes:
        pending: The unfinished steps, the oldest first.
        losses: The losses of finished steps by number, the last 1,024 of them.
        failure: The step that failed, until `recover`.
        recorder: What is counted.
        staged: The batch of the next step, where it has been loaded.
    """

    def __init__(
        self,
        buckets: Buckets,
        moves: Moves,
        clock: Clock,
        depth: int,
        *,
        every: int,
        on_nan: str,
        streams: Streams | None = None,
    ) -> None:
        """Start with no steps."""
        self._buckets = buckets
        self._store = buckets.store
        self._moves = moves
        self._clock = clock
        self._depth = depth
        self._every = every
        self._on_nan = on_nan
        self._streams = streams
        if streams is not None:
            streams.before_growth, streams.after_growth = self.collect, self._follow_states
        self._chain = Chain(self._store.context, self._store.plan.dtype)
        self._guards: weakref.WeakKeyDictionary[Bound, dict[bool, Guard]] = weakref.WeakKeyDictionary()
        self._snapshot = Snapshot(self._moved) if every > 1 else None
        self._good = 0  # the last step whose arrays can be gone back to
        self._since: list[Past] = []  # the steps after it that have finished
        self.pending: deque[Step] = deque()
        self.losses: dict[int, LossSums] = {}
        self.failure: StepError | None = None
        self.recorder = Recorder()
        self.staged: Staged | None = None
        self._staged_batch: Batch | None = None
        self._blocked = 0.0

    # Queueing

    def make_room(self) -> None:
        """Wait until fewer than `depth` steps are unfinished.

        Raises:
            StepError: A step failed.
        """
        begin = time.perf_counter()
        while len(self.pending) >= self._depth:
            self._retire()
        self._blocked = self.recorder.span("wait for a free place", begin, self._clock.now + 1)

    def stage(self, ready: Ready) -> None:
        """Load the batch of the next step; does not wait."""
        self.staged = self._load(ready)

    def _load(self, ready: Ready) -> Staged:
        begin = time.perf_counter()
        loaded = ready.bound.load(ready.batch)
        return Staged(ready, loaded, ready.seconds + self.recorder.span("copy", begin, self._clock.now + 1))

    def queue_staged(self) -> int:
        """Queue the step of the batch that is staged; return its number. Does not wait."""
        assert self.staged is not None  # the trainer has looked
        before = self._clock.now
        try:
            return self._queue_or_fail(self.staged)
        finally:
            if self._clock.now != before:
                self.staged = None

    def queue(self, ready: Ready) -> int:
        """Load a batch and queue its step; return its number. Does not wait."""
        return self._queue_or_fail(self._load(ready))

    def _queue_or_fail(self, staged: Staged) -> int:
        before = self._clock.now
        try:
            return self._queue(staged)
        except BaseException as error:
            if self._clock.now != before:  # else nothing of the training has moved
                self._cut_short(staged, before + 1, error)
            elif self._streams is not None:
                self._streams.undo(before)
            raise

    def _queue(self, staged: Staged) -> int:
        begin = time.perf_counter()
        number, bound, loaded = self._clock.now + 1, staged.ready.bound, staged.loaded
        guarded = self._every > 0 and number % self._every == 0
        places = None
        if self._streams is not None:
            places = self._streams.places_for(loaded.batch, bound.bucket.batch_size, number)
        guard = self._guard(bound, guarded)
        self._chain.expect(number, [check.count for check in loaded.index_checks])
        if places is not None:
            bound.feed(loaded, places)
        staged.ready.executor.queue(bound, loaded)  # the clock moves: this is now the step
        bound.backward()
        guard.judge()
        self._moves.queue(number, guard if guarded else None)
        if not guarded:
            bound.move()
        slot = number % self._depth
        guard.finish(slot)
        self._store.touch()
        times = self._blocked, staged.seconds_staging, self.recorder.span("queue", begin, number)
        self.recorder.queued(number, loaded.batch, bound.bucket, self.unfinished(), times)
        self.pending.append(Step(number, loaded, staged.ready.origin, bound.bucket, guard, slot, begin, places))
        return number

    def _follow_states(self) -> None:
        """Take over the arrays of a state table that has grown."""
        self._guards.clear()  # which write to the old ones
        if self._snapshot is not None:
            self._snapshot.follow()

    def _moved(self) -> list[Any]:
        return [*self._moves.moved, self._store.auxiliary.array, *self._states()]

    def _states(self) -> list[Any]:
        return [] if self._streams is None else list(self._streams.table.arrays.values())

    def _guard(self, bound: Bound, guarded: bool) -> Guard:
        guards = self._guards.setdefault(bound, {})
        if guarded not in guards:
            held = (self._on_nan, self._depth, self._moves.token, self._snapshot) if guarded else (None, self._depth)
            guards[guarded] = Guard(bound, self._chain, *held)
        return guards[guarded]

    # Waiting

    def collect(self, upto: int | None = None) -> None:
        """Wait for all steps, or for those up to a number.

        Raises:
            StepError: One failed.
        """
        begin = time.perf_counter()
        while self.pending and (upto is None or self.pending[0].number <= upto):
            self._retire()
        self.recorder.blocked += self.recorder.span("wait", begin, self._clock.now)

    def look(self) -> None:
        """Take in the steps that have finished; does not wait for others.

        Raises:
            StepError: One failed.
        """
        while self.pending and self.pending[0].has_finished():
            self._retire()

    def unfinished(self) -> int:
        """Count the steps whose end cannot be seen yet; does not wait."""
        return sum(not step.has_finished() for step in self.pending)

    def _retire(self) -> None:
        """Wait for the oldest unfinished step; an interrupted wait leaves it unfinished."""
        step = self.pending[0]
        try:
            if step.guard.can_be_seen:
                wait(step.is_judged)
            verdict = step.guard.verdict(step.slot, step.number)
        except mx.MXNetError as error:
            self._fail(step, "failed on the device", error)
        if not verdict.known or (verdict.finite and not verdict.wrong and not verdict.passed):
            self._fail(step, "failed on the device")
        if verdict.wrong:
            self._fail_by_index(step)
        if not verdict.passed:
            what = "losses, gradients or states" if self._streams is not None else "losses or gradients"
            self._fail(step, f"gave {what} that are not finite", nothing=NORM)
        if self._every and step.number % self._every == 0:
            self.recorder.gradient_norm = verdict.norm
        if step.number % max(1, self._every) == 0:
            self._good, self._since = step.number, []
            if self._streams is not None:
                self._streams.settle(step.number)
            if self._on_nan == "skip" and not verdict.finite:
                self.recorder.skip(step.number)
        else:
            batch = private_copy(step.loaded, step.origin, step.number, step.places)
            self._since.append(Past(step.number, batch, step.bucket, step.places))
        sums = LossSums(self._store.plan)
        sums.add(verdict.losses, step.loaded.batch)
        self.losses[step.number] = sums
        self.losses.pop(step.number - KEPT, None)
        self.pending.popleft()
        self.recorder.finished(step.number, step.queued)

    # Failures

    def _fail(self, step: Step, what: str, cause: BaseException | None = None, nothing: str = COLLATERAL) -> NoReturn:
        """Raise the error of a step; `nothing` is what it means if its batch, run once more, goes well."""
        with Uninterrupted():  # a Ctrl-C is raised once the failure is known to all later calls
            batch, dropped = self._take_back(step)
            culprit = self._culprit(step, batch)
            if culprit is not None and cause is None:
                cause = culprit.cause
            came = port_not_finite(batch) if cause is None else None
            where = "" if culprit is None else f", in {culprit}"
            if cause is not None:
                where += f": {str(cause).strip().splitlines()[-1]}"
            elif came is not None:
                where += f'; input port "{came}" of its batch is not finite'
            elif culprit is None:
                where += f"; {nothing}"
            error = StepError(f"step {step.number} {what}{where}", step.number, cause)
            if culprit is not None:
                error.node, error.port = culprit.node, culprit.port
            error.port = came or error.port
            self._raise(error, step, batch, dropped)

    def _fail_by_index(self, step: Step) -> NoReturn:
        with Uninterrupted():
            batch, dropped = self._take_back(step)
            try:
                check_indices(step.loaded.index_checks, "step", step.number)
            except StepError as error:
                self._raise(error, step, batch, dropped)
        raise AssertionError("a count of wrong indices was not 0, and then was")

    def _take_back(self, step: Step) -> tuple[Batch, tuple[tuple[int, Batch], ...]]:
        """Empty the queue; return private copies of the batch that failed, and of those behind it by step."""
        number = step.number
        batches = [
            (found.number, private_copy(found.loaded, found.origin, number, found.places)) for found in self.pending
        ]
        if self.staged is not None:
            staged = private_copy(self.staged.loaded, self.staged.ready.origin, number)
            if all(fed < number for fed in self.staged.ready.origin.fed.values()):
                self._staged_batch = staged
            else:  # a part of it is an output of what failed
                batches.append((self._clock.now + 1, staged))
            self.staged = None
        self.pending.clear()
        self._drain()
        if self._snapshot is not None:
            self._snapshot.restore()
        return batches[0][1], (*((past.number, past.batch) for past in self._since), *batches[1:])

    def _raise(self, error: StepError, step: Step, batch: Batch, dropped: tuple[tuple[int, Batch], ...]) -> NoReturn:
        error.batch, error.dropped = batch, dropped
        error.bucket = dict(step.bucket.lengths)
        self.failure = error
        raise error from error.cause

    def _cut_short(self, staged: Staged, number: int, error: BaseException) -> None:
        text = f"step {number} was cut short while it was being queued, by {type(error).__name__}"
        self.failure = StepError(f"{text}: {error}" if str(error) else text, number, error)
        self.failure.bucket = dict(staged.ready.bound.bucket.lengths)
        self.failure.batch = private_copy(staged.loaded, staged.ready.origin, number)

    def _culprit(self, step: Step, batch: Batch) -> Culprit | None:
        """Run the batch once more, and the optimizer; None where all goes well, or is not possible.

        Where arrays have gone back further than the step, the batches since then are run too, the first one first.
        """
        for past in (*self._since, Past(step.number, batch, step.bucket, step.places)):
            with contextlib.suppress(Error):
                ports = {**self._states_of(past), **past.batch}
                whole = Batch(ports, past.batch.lengths, loss_from=past.batch.loss_from)
                checked = check_batch(whole, Limits.of(self._store.plan, None))
                culprit = replay(past.bucket, self._store, checked, past.number) or self._moves.trial(past.number)
                if culprit is not None:
                    return culprit
        return None

    def _states_of(self, past: Past) -> dict[str, Any]:
        """Return the carried states that a step began at."""
        if self._streams is None or past.places is None:
            return {}
        return self._streams.table.read(past.places.begins[: past.places.rows])

    def _drain(self) -> None:
        """Wait for everything that is queued, and let go of the graphs: errors of MXNet stick to their arrays."""
        arrays = [self._chain.passed, self._chain.due, self._chain.wrong, *self._moves.written]
        for array in (*arrays, self._store.gradients.array, self._store.auxiliary.array, *self._states()):
            if array is not None:
                with contextlib.suppress(mx.MXNetError):
                    array.wait_to_read()
        self._guards.clear()
        self._buckets.forget()

    def recover(self) -> Batch | None:
        """Go back to before the step that failed; return the batch that was staged, which is to be loaded again."""
        failure = self.failure
        if failure is None:
            return None
        if not self._every:
            raise Error(
                "guard=False keeps nothing to go back to: the arrays may be half-changed. Make a new trainer, with "
                "arrays that you have kept"
            )
        self.failure = None
        try:
            self.collect()  # a step that was cut short has others before it
        except StepError as earlier:
            if failure.batch is not None:
                earlier.dropped += ((failure.step, failure.batch),)
            raise
        self._drain()
        if self._snapshot is not None:
            self._snapshot.restore()
        self._since = []
        self.losses = {step: sums for step, sums in self.losses.items() if step <= self._good}
        if self._streams is not None:
            self._streams.undo(self._good)
        self._clock.turn_back(self._good)
        self._chain.restart(self._good)
        staged, self._staged_batch = self._staged_batch, None
        return staged

    def unstage(self) -> Batch:
        """Take the staged batch back; return a private copy of it."""
        assert self.staged is not None  # the trainer has looked
        batch = private_copy(self.staged.loaded, self.staged.ready.origin, self._clock.now + 1)
        self.staged = None
        return batch

    def stats(self) -> Stats:
        """Return what has been counted."""
        self.look()
        return self.recorder.stats(self.unfinished())

    def close(self) -> None:
        """Let go of everything."""
        self.pending.clear()
        self.staged = None
        self._guards.clear()
        self._moves.close()
