"""The steps in flight: waited for in order, and taken back where one failed."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from typing import Any, NoReturn

from .._mxnet import mx
from ..errors import Error, StepError
from ..executors.batch import Batch
from ..executors.bucketed import Buckets
from ..executors.guard import Chain, Guard, Verdict
from ..executors.handles import Clock
from ..executors.host_memory import bytes_of
from ..executors.indices import check_indices
from ..executors.inputs import Limits, check_batch
from ..executors.judges import Watch
from ..executors.passes import Passes
from ..executors.replay import Culprit, replay
from ..executors.snapshot import Snapshot
from .accumulation import Accumulation
from .distributed import Exchange
from .interrupts import Uninterrupted
from .losses import LossSums
from .moves import Moves
from .stats import KEPT, Recorder, Stats
from .steps import Past, Staged, Step, port_not_finite, private_copy
from .streams import Streams
from .waiting import wait

COLLATERAL = "its batch, run once more, went well: MXNet hands failures on to what runs beside them"
NORM = "no layer did, but the square of the norm of its gradient"


class Flight:
    """The steps in flight of one trainer: what they are, how they are waited for, and what becomes of one that fails.

    Args:
        buckets: The executors.
        moves: The optimizer's moves.
        clock: Counts the steps.
        depth: How many passes may be unfinished.
        clip_norm: The largest norm of the gradient; None: any.
        every: Every so many steps one is guarded; 0: none.
        on_nan: What a guarded step comes to whose numbers are not finite; see `Guard`.
        streams: The streams whose state is carried, if any is.
        exchange: What is exchanged with other workers, if there are any.

    Attributes:
        pending: The unfinished steps, the oldest first.
        losses: The losses of finished steps by number, the last 1,024 of them.
        done: The last step that is known to have ended.
        failure: The step that failed, until `recover`.
        recorder: What is counted.
        staged: The batch of the next step, where it has been loaded.
        tick: The number of the last of all that was queued: steps, and passes and moves alone.
        opened: The last pass of a step that has not moved yet.
    """

    def __init__(
        self,
        buckets: Buckets,
        moves: Moves,
        clock: Clock,
        depth: int,
        *,
        clip_norm: float | None,
        every: int,
        on_nan: str,
        streams: Streams | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        """Start with no steps."""
        self._buckets = buckets
        self._store = buckets.store
        self._moves = moves
        self._clock = clock
        self._depth = depth
        self._clip_norm = clip_norm
        self._every = every
        self._on_nan = on_nan
        self._streams = streams
        self._exchange = exchange
        if streams is not None:
            streams.before_growth, streams.after_growth = self.collect, self._follow_states
        self._chain = Chain(self._store.context, self._store.plan.dtype)
        self._guards: weakref.WeakKeyDictionary[Passes, dict[tuple[object, ...], Guard]] = weakref.WeakKeyDictionary()
        self._move_guards: dict[Watch, Guard] = {}
        self._snapshot = Snapshot(self._moved) if every > 1 else None
        self._good, self._good_tick = 0, 0  # the last step, and what of it, whose arrays can be gone back to
        self._since: list[Past] = []  # the passes after it that have finished
        self._given_up: set[int] = set()  # the numbers of passes whose step was given up
        self._accumulation = Accumulation(self._store.gradients.array)
        self.tick = 0
        self.opened: Step | None = None
        self._going: Step | None = None  # the last of all that was queued, or is being queued
        self.pending: deque[Step] = deque()
        self.losses: dict[int, LossSums] = {}
        self.done = 0
        self.failure: StepError | None = None
        self.recorder = Recorder()
        self.staged: Staged | None = None
        self._staged_batch: Batch | None = None
        self._blocked = 0.0
        if exchange is not None:
            exchange.at_end(self.collect)

    def _guarded(self, number: int) -> bool:
        return self._every > 0 and number % self._every == 0

    def _follow_states(self) -> None:
        """Take over the arrays of a state table that has grown."""
        self._guards.clear()  # which write to the old ones, and take snapshots of them
        self._move_guards.clear()
        if self._snapshot is not None:
            self._snapshot.follow()

    def _moved(self) -> list[Any]:
        return [*self._moves.moved, self._store.auxiliary.array, *self._states()]

    def _states(self) -> list[Any]:
        return [] if self._streams is None else list(self._streams.table.arrays.values())

    def bytes_beside(self) -> dict[str, int]:
        """Return what the optimizer, carried states and a snapshot take, by the parts of a `MemoryReport`."""
        return {
            "bytes_optimizer": bytes_of(self._moves.states),
            "bytes_states": bytes_of(self._states()),
            "bytes_accumulated": bytes_of(self._accumulation.arrays),
            "bytes_snapshot": 0 if self._snapshot is None else bytes_of(self._moved()),
        }

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
        """Count the steps whose end cannot be seen yet; does not wait. They end in order."""
        for ended, step in enumerate(self.pending):
            if not step.has_finished():
                return len(self.pending) - ended
        return 0

    def _retire(self) -> None:
        """Wait for the oldest unfinished step; an interrupted wait leaves it unfinished."""
        step = self.pending[0]
        try:
            if step.guard.can_be_seen:
                wait(step.is_judged)
            verdict = step.guard.verdict(step.slot, step.tick)
        except mx.MXNetError as error:
            self._fail(step, "failed on the device", error)
        if not verdict.known or (verdict.finite and not verdict.wrong and not verdict.passed):
            self._fail(step, "failed on the device")
        if verdict.wrong:
            self._fail_by_index(step, verdict)
        if not verdict.passed:
            what = "losses, gradients or states" if self._streams is not None else "losses or gradients"
            self._fail_elsewhere(step, f"gave {what} that are not finite", verdict)
            self._fail(step, f"gave {what} that are not finite", nothing=NORM, ran=True)
        if step.moves and self._guarded(step.number):
            self.recorder.gradient_norm = verdict.norm
            if self._on_nan == "skip" and not verdict.finite:
                self.recorder.skip(step.number)
        self._settle(step)
        if step.has_pass:
            self._note_losses(step, verdict)
        if step.moves:
            self.done = step.number
        self.pending.popleft()
        self.recorder.finished(step.number, step.queued)

    def _fail_elsewhere(self, step: Step, what: str, verdict: Verdict) -> None:
        """Raise the error of a step that has failed in other workers; does nothing where it has failed in this one."""
        if self._exchange is None or not verdict.workers or self._exchange.rank in verdict.workers:
            return
        with Uninterrupted():
            batch, dropped = self._take_back(step, ran=True)
            ranks = " and ".join(map(str, verdict.workers))
            error = StepError(f"{step} {what} on worker {ranks}, which says more", step.number)
            self._raise(error, step, batch, dropped)

    def _settle(self, step: Step) -> None:
        """Note that a step has gone well, and what can be gone back to."""
        if self._every <= 1 or (step.moves and self._guarded(step.number)):
            self._good_tick, self._since = step.tick, []
            self._given_up = {tick for tick in self._given_up if tick > step.tick}
            self._good = step.number if step.moves else step.number - 1
            if self._streams is not None:
                self._streams.settle(step.tick)
        elif step.has_pass:
            batch = private_copy(step.loaded, step.origin, step.number + 1, step.places)
            past = Past(step.number, step.part, batch, step.bucket, step.places, step.weights, step.tick)
            self._since.append(past)

    def _note_losses(self, step: Step, verdict: Verdict) -> None:
        if not step.part:
            self.losses[step.number] = LossSums(self._store.plan, step.weights)
            self.losses.pop(step.number - KEPT, None)
        self.losses[step.number].add(verdict.losses, step.loaded.batch)

    # Failures

    def _fail(
        self,
        step: Step,
        what: str,
        cause: BaseException | None = None,
        *,
        nothing: str = COLLATERAL,
        ran: bool = False,
    ) -> NoReturn:
        """Raise the error of a step.

        Args:
            step: The step.
            what: What it did.
            cause: What MXNet said.
            nothing: What it means if its batch, run once more, goes well.
            ran: Whether all of it has run.
        """
        with Uninterrupted():  # a Ctrl-C is raised once the failure is known to all later calls
            batch, dropped = self._take_back(step, ran)
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
            error = StepError(f"{step} {what}{where}", step.number, cause)
            if culprit is not None:
                error.node, error.port = culprit.node, culprit.port
            error.port = came or error.port
            self._raise(error, step, batch, dropped)

    def _fail_by_index(self, step: Step, verdict: Verdict) -> NoReturn:
        self._fail_elsewhere(step, "failed", verdict)
        with Uninterrupted():
            batch, dropped = self._take_back(step, ran=True)
            try:
                check_indices(step.loaded.index_checks, "step", step.number)
            except StepError as error:
                self._raise(error, step, batch, dropped)
            # of several workers one that has given up counts as wrong
            self._raise(StepError(f"{step} failed, as one before it did", step.number), step, batch, dropped)

    def _take_back(self, step: Step, ran: bool) -> tuple[Batch, tuple[tuple[int, Batch], ...]]:
        """Empty the queue; return private copies of the batch that failed, and of those behind it by step."""
        number = step.number
        if self._exchange is not None:
            self._exchange.give_up(number, self._depth, ran)
        batches = [
            (
                found.number,  # what it was fed itself came out of earlier passes, maybe of this very step
                private_copy(found.loaded, found.origin, number + (found is step), found.places),
            )
            for found in self.pending
            if found is step or (found.has_pass and found.tick not in self._given_up)
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
        since = ((past.number, past.batch) for past in self._since if past.tick not in self._given_up)
        return batches[0][1], (*since, *batches[1:])

    def _raise(self, error: StepError, step: Step, batch: Batch, dropped: tuple[tuple[int, Batch], ...]) -> NoReturn:
        error.batch, error.dropped = batch, dropped
        error.bucket = dict(step.bucket.lengths)
        self.failure = error
        raise error from error.cause

    def _fail_on_the_way(self, step: Step, error: BaseException) -> NoReturn:
        """Raise the error of a step that has failed before all of it was queued, or of one before it."""
        self.collect()
        self.pending.append(step)
        self._fail(step, "failed on the device", error)

    def _cut_short(self, step: Step, error: BaseException) -> None:
        if self._exchange is not None:
            self._exchange.give_up(step.number, self._depth, ran=False)
        text = f"step {step.number} was cut short while it was being queued, by {type(error).__name__}"
        self.failure = StepError(f"{text}: {error}" if str(error) else text, step.number, error)
        self.failure.bucket = dict(step.bucket.lengths)
        self.failure.batch = private_copy(step.loaded, step.origin, step.number + 1)

    def _culprit(self, step: Step, batch: Batch) -> Culprit | None:
        """Run the batch once more; None where all goes well, or is not possible.

        Where arrays have gone back further than the step, the batches since then are run too, the first one first.
        """
        now = Past(step.number, step.part, batch, step.bucket, step.places, step.weights, step.tick)
        for past in (*self._since, now):
            with contextlib.suppress(Error):
                ports = {**self._states_of(past), **past.batch}
                whole = Batch(ports, past.batch.lengths, loss_from=past.batch.loss_from)
                checked = check_batch(whole, Limits.of(self._store.plan, None))
                place, worker = (past.number, past.part), self._clock.worker
                culprit = replay(past.bucket, self._store, checked, place, past.weights, worker)
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
        arrays = [*self._chain.arrays, *self._moves.moved]
        arrays += self._accumulation.arrays
        arrays += [] if self._exchange is None else self._exchange.arrays
        for array in (*arrays, self._store.gradients.array, self._store.auxiliary.array, *self._states()):
            if array is not None:
                with contextlib.suppress(mx.MXNetError):
                    array.wait_to_read()
        self._guards.clear()
        self._move_guards.clear()
        self._buckets.forget()

    def _give_up_passes(self, number: int) -> None:
        """Note that the passes of a step are not to be taken again, if one of them or what comes next fails."""
        self._given_up.update(past.tick for past in self._since if past.number == number)
        self._given_up.update(step.tick for step in self.pending if step.number == number)

    def _close_step(self) -> None:
        self.opened = None
        if self._on_nan == "skip":
            self._chain.forget()
        self._accumulation.clear()
        self._clock.part = 0

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
        if self._exchange is not None and self._exchange.broken:
            raise Error(
                "an operator failed before its gradients went to the other workers, which wait for them: let the "
                "script end, and go on from a checkpoint"
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
        self._since, self._given_up = [], set()
        self.losses = {step: sums for step, sums in self.losses.items() if step <= self._good}
        self.done = self._good
        if self._streams is not None:
            self._streams.undo(self._good_tick)
        self._clock.turn_back(self._good)
        self._chain.restart(self._good_tick)
        self.tick = self._good_tick
        self._close_step()
        staged, self._staged_batch = self._staged_batch, None
        return staged

    def begin_after(self, step: int) -> None:
        """Let a step be the last that has been taken, whose arrays are those that are there now."""
        self.done = self._good = step
        self._clock.turn_back(step)
        if self._exchange is not None:
            self._exchange.begin_after(step)
        if self._snapshot is not None:
            self._snapshot.take()

    @property
    def guards_some(self) -> bool:
        """Whether some steps are guarded against numbers that are not finite, and others are not."""
        return self._every > 1 and self._on_nan == "raise"

    @property
    def good(self) -> int:
        """The last step that is never taken back."""
        return self._good

    @property
    def passed(self) -> Any:
        """``(1,)``: the number of the last pass that has passed, modulo `STAMPS`."""
        return self._chain.passed

    @property
    def exchanges(self) -> bool:
        """Whether gradients are added up over workers."""
        return self._exchange is not None and self._exchange.flags is not None

    @property
    def rank(self) -> int:
        """The number of this worker."""
        return 0 if self._exchange is None else self._exchange.rank

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return 1 if self._exchange is None else self._exchange.workers

    def stats(self) -> Stats:
        """Return what has been counted."""
        self.look()
        return self.recorder.stats(self.unfinished())

    def close(self) -> None:
        """Let go of everything."""
        self.pending.clear()
        self.staged = self.opened = self._going = None
        self._guards.clear()
        self._move_guards.clear()
        if self._exchange is not None:
            self._exchange.close()
        self._moves.close()
