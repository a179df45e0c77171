"""Queues steps: whole ones, their passes, and their moves."""

from __future__ import annotations

import time

from .._mxnet import mx
from ..executors.batch import Batch
from ..executors.checked import CheckedBatch
from ..executors.guard import Guard
from ..executors.judges import Watch
from ..executors.passes import Passes
from ..executors.snapshot import Snapshot
from .flight import Flight
from .steps import Order, Ready, Staged, Step, private_copy


class Pipeline(Flight):
    """Queues the steps of one trainer."""

    def make_room(self) -> None:
        """Wait until fewer than `depth` steps are unfinished.

        Raises:
            StepError: A step failed.
        """
        begin = time.perf_counter()
        while len(self.pending) >= self._depth:
            self._retire()
        self._blocked = self.recorder.span("wait for a free place", begin, self._clock.now + 1)

    def check_streams(self, batch: CheckedBatch) -> None:
        """Check that the streams of a batch fit, where states are carried.

        Raises:
            BatchError: There are too many.
        """
        if self._streams is not None:
            self._streams.check(batch)

    @property
    def accumulates(self) -> bool:
        """Whether the step that has been begun adds up gradients."""
        return self._accumulation.units > 0

    def stage(self, ready: Ready) -> None:
        """Load the batch of the next step; does not wait."""
        self.staged = self._load(ready)

    def _load(self, ready: Ready) -> Staged:
        begin = time.perf_counter()
        loaded = ready.passes.load(ready.batch)
        return Staged(ready, loaded, ready.seconds + self.recorder.span("copy", begin, self._clock.now + 1))

    def queue_staged(self, order: Order) -> int:
        """Queue the step of the batch that is staged; return its number. Does not wait."""
        assert self.staged is not None  # the trainer has looked
        before = self.tick
        staged = self.staged._replace(ready=self.staged.ready._replace(order=order))
        staged.ready.passes.set_threads()  # which someone else's batch may have changed since
        try:
            return self._queue(staged, moves=True)
        finally:
            if self.tick != before:
                self.staged = None

    def queue(self, ready: Ready) -> int:
        """Load a batch and queue its step; return its number. Does not wait."""
        return self._queue(self._load(ready), moves=True)

    def compute(self, ready: Ready) -> int:
        """Load a batch and queue the passes of its step, without the move; return the step's number."""
        return self._queue(self._load(ready), moves=False)

    def accumulate(self, ready: Ready, units: int) -> int:
        """Load a batch and queue its passes, whose gradients count so many units beside those of the step so far."""
        return self._queue(self._load(ready), moves=False, units=units)

    def apply(self, order: Order) -> int:
        """Queue the move that ends the step which has been begun; return its number. Does not wait."""
        opened = self.opened
        assert opened is not None  # the trainer has looked
        tick, guard = self.tick + 1, self._move_guard(opened.number, order)
        step = opened._replace(
            tick=tick, moves=True, has_pass=False, guard=guard, slot=tick % self._depth, queued=time.perf_counter()
        )
        before = self.tick
        try:
            self._chain.count([])
            self.tick, self._going = tick, step
            self._expect(step, self._accumulation.units)
            guard.queue(tick, order.rate, step.slot)
            self._store.touch()
            self.pending.append(step)
            self._close_step()
        except BaseException as error:
            self._give_up(before, error)
            raise
        return opened.number

    def discard(self) -> None:
        """Give up the step that has been begun; its number is given back."""
        assert self.opened is not None  # the trainer has looked
        self._give_up_passes(self.opened.number)
        self._clock.turn_back(self.opened.number - 1)
        self._close_step()

    def _queue(self, staged: Staged, moves: bool, units: int = 0) -> int:
        """Queue the passes of a batch, and its move; gradients are added up where they count units."""
        passes, loaded, order = staged.ready.passes, staged.loaded, staged.ready.order
        before = self.tick
        try:
            step = self._step(staged, moves)
            self._chain.count([check.count for check in loaded.index_checks])
            if step.places is not None:
                passes.feed(loaded, step.places)
            if step.part:
                self._clock.turn_back(step.number - 1)
            self._clock.part, self.tick, self._going = step.part, step.tick, step
            staged.ready.queue(passes, loaded)  # this is now the step
            passes.backward_mean(order.weights, float(units or 1))
            if units:
                self._accumulation.add(units)
            self._expect(step)
            step.guard.queue(step.tick, order.rate, step.slot)
            self._note_queued(step, staged.seconds_staging)
        except BaseException as error:
            self._give_up(before, error)
            raise
        return step.number

    def _step(self, staged: Staged, moves: bool) -> Step:
        """Return the step that a batch is, or the pass of the step that has been begun."""
        ready, tick = staged.ready, self.tick + 1
        part = 0 if self.opened is None else self.opened.part + 1
        number = self._clock.now + (part == 0)
        places = None
        if self._streams is not None:  # before the guard, which is another one where their table grows
            places = self._streams.places_for(staged.loaded.batch, ready.passes.bucket.batch_size, tick)
        return Step(
            number=number,
            tick=tick,
            part=part,
            moves=moves,
            has_pass=True,
            loaded=staged.loaded,
            origin=ready.origin,
            bucket=ready.passes.bucket,
            guard=self._guard(ready.passes, ready.order, self._guarded(number), moves),
            slot=tick % self._depth,
            queued=time.perf_counter(),
            places=places,
            weights=ready.order.weights,
            units=ready.units,
        )

    def _expect(self, step: Step, units: int = 0) -> None:
        """Tell the other workers, if there are any, of a step that moves."""
        if self._exchange is not None and step.moves:
            self._exchange.expect(step.number, units or step.units, step.tick)

    def _note_queued(self, step: Step, seconds_staging: float) -> None:
        self._store.touch()
        times = self._blocked, seconds_staging, self.recorder.span("queue", step.queued, step.number)
        self.recorder.queued(step.number, step.loaded.batch, step.bucket, self.unfinished(), times, step.part == 0)
        self.pending.append(step)
        if step.moves:
            self._clock.part = 0
        else:
            self.opened = step

    def _give_up(self, before: int, error: BaseException) -> None:
        """Note a step as failed that could not be queued whole, if something of the training has moved by then.

        Raises:
            StepError: MXNet has told of a failure: one in segments waits for what it has queued itself.
        """
        if self.tick != before and self._going is not None:
            if isinstance(error, mx.MXNetError):
                self._fail_on_the_way(self._going, error)
            self._cut_short(self._going, error)
        elif self._streams is not None:
            self._streams.undo(before)

    def copy_of_staged(self) -> Batch:
        """Return a private copy of the staged batch."""
        assert self.staged is not None  # the trainer has looked
        return private_copy(self.staged.loaded, self.staged.ready.origin, self._clock.now + 1)

    def unstage(self) -> Staged:
        """Take the staged batch back: the slots behind its own may be those of steps that have yet to run."""
        staged, self.staged = self.staged, None
        assert staged is not None  # the trainer has looked
        staged.ready.passes.take_back(staged.loaded)
        return staged

    def _watch(self, guarded: bool, order: Order, moves: bool) -> Watch:
        return Watch(self._on_nan if guarded else None, order.paths, moves, self._clip_norm if moves else None)

    def _move_guard(self, number: int, order: Order) -> Guard:
        watch = self._watch(self._guarded(number), order, moves=True)
        guard = self._move_guards.get(watch)
        if guard is None:
            snapshot = self._snapshot if watch.on_nan is not None else None
            guard = self._move_guards[watch] = self._new_guard(None, watch, snapshot)
        return guard

    def _guard(self, passes: Passes, order: Order, guarded: bool, moves: bool) -> Guard:
        guards = self._guards.get(passes)
        if guards is None:
            guards = self._guards[passes] = {}
        key = order.paths, guarded, moves
        guard = guards.get(key)
        if guard is None:
            snapshot = self._snapshot if guarded and moves else None
            guard = guards[key] = self._new_guard(passes, self._watch(guarded, order, moves), snapshot)
        return guard

    def _new_guard(self, passes: Passes | None, watch: Watch, snapshot: Snapshot | None) -> Guard:
        return Guard(
            self._store,
            passes,
            self._chain,
            watch,
            self._moves.move,
            slots=self._depth,
            snapshot=snapshot,
            exchange=self._exchange if watch.moves else None,
        )
