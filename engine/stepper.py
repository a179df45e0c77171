"""How a trainer takes steps: whole ones, or passes and moves one by one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ArgumentError, Error
from ..executors.batch import Batch
from ..executors.bucketed import Buckets
from ..executors.handles import Clock, OutputHandle
from ..executors.inputs import NOTHING_BESIDE, Beside, Limits, check_batch
from ..executors.segmented import Segmented
from ..executors.store import ParameterStore
from .interrupts import Uninterrupted
from .loss_weights import LossWeights
from .pipeline import Pipeline
from .recipe import Recipe
from .results import Results
from .rules import RuleTable
from .schedules import Rate
from .steps import NOWHERE, Order, Origin, Ready


class Stepper(Results):
    """The part of a trainer that takes steps.

    Args:
        store: The arrays.
        clock: Counts the steps.
        steps: The steps in flight.
        buckets: The executors.
        limits: What a batch must fit.
        recipe: What steps are told.
    """

    def __init__(
        self, store: ParameterStore, clock: Clock, steps: Pipeline, buckets: Buckets, limits: Limits, recipe: Recipe
    ) -> None:
        """Start before the first step."""
        super().__init__(store, clock, steps)
        self._bucketed = buckets
        self._limits = limits
        self._recipe = recipe
        self._positions: deque[tuple[int, tuple[int, ...]]] = deque()  # by step, of those that may be taken back
        self._position: tuple[int, ...] | None = None  # before all of these

    @property
    def position(self) -> tuple[int, ...] | None:
        """The position of the last batch that a step took, of those that have one; None: there was none.

        `Batches.after` and `Stream.after` go on from it, also where batches are staged, or made ahead by `prefetch`.
        """
        return self._positions[-1][1] if self._positions else self._position

    def _forget_positions(self, after: int) -> None:
        while self._positions and self._positions[-1][0] > after:
            self._positions.pop()

    # What steps are told

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; set, to a number, a schedule or a function, it counts from then on.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(lambda step, total: 0.1 / step), batch_size=2)
            >>> trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
            1
            >>> trainer.learning_rate
            0.05
            >>> trainer.learning_rate = 0.01
        """
        return self._recipe.rate(self._next_step())

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        """Put another schedule in place of the one that there is.

        Raises:
            ArgumentError: It is none, or needs to know how many steps there will be.
        """
        self._recipe.set_rate(rate)

    @property
    def rules(self) -> RuleTable:
        """What the optimizer does with each array, by path; prints as a table."""
        return self._recipe.rules

    @property
    def loss_weights(self) -> LossWeights:
        """The weight of each loss, by output port; one that is set counts from the next step on.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2)
            >>> trainer.loss_weights["Loss"] = 0.5
            >>> trainer.loss_weights
            {'Loss': 0.5}
        """
        return self._recipe.loss_weights

    @loss_weights.setter
    def loss_weights(self, weights: Mapping[str, float]) -> None:
        """Set the weights of some losses, all of them or none.

        Raises:
            ArgumentError: They are no mapping, a weight is not a finite number, or no loss would have one.
            UnknownNameError: There is no such loss, or it cannot be trained.
        """
        self._recipe.loss_weights.update(weights)

    def _next_step(self) -> int:
        return self.step + (self._steps.opened is None)

    # Whole steps

    def update(
        self,
        batch: Mapping[str, Any] | None = None,
        *,
        lengths: Mapping[str, Any] | None = None,
        streams: Sequence[str | int] | None = None,
        reset: Sequence[bool] | None = None,
        only: str | Sequence[str] | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> int:
        """Queue one step: forward, backward, and the optimizer's move of the parameters.

        It waits for no computation, unless `depth` steps are unfinished, lengths come for the first time and their
        executor must be bound, or so many new streams that their table must grow. The caller's arrays are copied, and
        free when it returns.

        Args:
            batch: Arrays by input port, ``(rows, *item)`` or ``(rows, t, *item)``, with 1 to `batch_size` rows: numpy
                arrays, anything that numpy takes, NDArrays, or handles of `outputs`; for sequences also a list of one
                array ``(steps, *item)`` an example. Carried ports may be left out; given, they win for this step.
                Other states may be left out too, and are at their initial values. None: the batch that was staged.
            lengths: The true number of steps of each row, by length name, where sequences come as padded arrays.
            streams: The stream of each row, a string or an integer, whose carried state it goes on from and leaves; one
                that is unknown starts anew. None: each row's number.
            reset: One boolean a row: whether it begins a sequence, and so starts at the initial state.
            only: The arrays that move at this step, a pattern or several, as those of the optimizer's rules; others
                keep every bit, and their moments. None: all that are not frozen.
            losses: The weights of this step's losses; those that are not named have 0. None: those of `loss_weights`.

        Returns:
            The number of the step, 1 for the first.

        Raises:
            BatchError: The batch does not fit; one line for each mismatch; nothing has changed.
            ArgumentError: A batch was staged and another one is given, or neither; a pattern matches nothing, or a
                weight or the learning rate is none.
            UnknownNameError: There is no such loss.
            StaleHandleError: A handle in it belongs to an earlier step; nothing has changed.
            Error: A step has been begun by `compute` or `accumulate`.
            StepError: An earlier step failed.
        """
        with self._alone:
            self._check_alive()
            self._check_not_begun("update")
            steps = self._steps
            steps.recorder.begin()
            if batch is None:
                return self._update_staged((lengths, streams, reset), only, losses)
            if steps.staged is not None:
                raise ArgumentError("a batch is staged: call update() without one, which takes it")
            order = self._recipe.order(self.step + 1, only, losses)
            ready = self._ready(batch, order, Beside(lengths, streams, reset))
            steps.make_room()
            self._forget_evicted()
            with Uninterrupted():
                return self._queued(steps.queue(ready), ready)

    def _update_staged(
        self, beside: tuple[object, ...], only: str | Sequence[str] | None, losses: Mapping[str, float] | None
    ) -> int:
        steps = self._steps
        if steps.staged is None:
            raise ArgumentError("update() takes the batch that stage(batch) has loaded, and there is none")
        if any(found is not None for found in beside):
            raise ArgumentError("lengths=, streams= and reset= belong to a batch; give them to stage(batch, ...)")
        order = self._recipe.order(self.step + 1, only, losses)
        if order.heads != steps.staged.ready.order.heads:  # it is on its way to another graph
            self._restage(order)
        steps.make_room()
        ready = steps.staged.ready
        with Uninterrupted():  # a Ctrl-C is raised once the step has been queued
            return self._queued(steps.queue_staged(order), ready)

    def _restage(self, order: Order) -> None:
        """Load the staged batch again, for the graph of another order.

        Raises:
            StepError: An output of a step that failed is part of it.
        """
        self._know_what_feeds_it()
        ready = self._ready(self._steps.copy_of_staged(), order)
        self._steps.stage(ready._replace(origin=self._steps.unstage().ready.origin))

    def _know_what_feeds_it(self) -> None:
        """Wait for the steps whose outputs are part of the staged batch.

        Raises:
            StepError: One failed.
        """
        staged = self._steps.staged
        if staged is not None and staged.ready.origin.fed:
            self._steps.collect()

    def stage(
        self,
        batch: Mapping[str, Any],
        *,
        lengths: Mapping[str, Any] | None = None,
        streams: Sequence[str | int] | None = None,
        reset: Sequence[bool] | None = None,
    ) -> None:
        """Load the batch of the next step, which `update()` then queues; waits for no computation.

        So a loop can load a batch while the device works, before it waits for a loss. The caller's arrays are copied,
        and free when it returns.

        Args:
            batch: As for `update`.
            lengths: As for `update`.
            streams: As for `update`.
            reset: As for `update`.

        Raises:
            BatchError: The batch does not fit; nothing has changed.
            ArgumentError: A batch is staged already.
            StaleHandleError: A handle in it belongs to an earlier step; nothing has changed.
            Error: A step has been begun by `compute` or `accumulate`.
            StepError: An earlier step failed.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2, arrays={"linear.Weights": [[1.0]]})
            >>> trainer.stage({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
            >>> trainer.update()
            1
        """
        with self._alone:
            self._check_alive()
            self._check_not_begun("stage")
            self._steps.recorder.begin()
            self._check_unstaged()
            ready = self._ready(batch, self._recipe.order(None), Beside(lengths, streams, reset))
            if isinstance(ready.passes, Segmented):
                raise ArgumentError("a batch that is run in segments is loaded as it runs, so it cannot be staged")
            with Uninterrupted():
                self._steps.stage(ready)

    def unstage(self) -> Batch:
        """Take back the batch that is staged, and return a private copy of it; waits where NDArrays were in it.

        Raises:
            ArgumentError: There is none.
            StepError: An earlier step failed.
        """
        with self._alone:
            self._check_alive()
            if self._steps.staged is None:
                raise ArgumentError("no batch is staged")
            self._know_what_feeds_it()
            batch = self._steps.copy_of_staged()
            self._steps.unstage()
            return batch

    # Steps in parts

    def compute(
        self,
        batch: Mapping[str, Any],
        *,
        lengths: Mapping[str, Any] | None = None,
        streams: Sequence[str | int] | None = None,
        reset: Sequence[bool] | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> int:
        """Begin a step: queue forward and backward; `apply` moves the parameters, or `discard` gives the step up.

        In between, `gradients` can be read and written. Carried states and auxiliary arrays have moved.

        Args:
            batch: As for `update`.
            lengths: As for `update`.
            streams: As for `update`.
            reset: As for `update`.
            losses: As for `update`.

        Returns:
            The number of the step.

        Raises:
            BatchError: The batch does not fit; nothing has changed.
            ArgumentError: A batch is staged, or a weight is none.
            UnknownNameError: There is no such loss.
            StaleHandleError: A handle in it belongs to an earlier step; nothing has changed.
            Error: A step has been begun already.
            StepError: An earlier step failed.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=1, arrays={"linear.Weights": [[1.0]]})
            >>> trainer.compute({"Input": [2.0], "Target": [3.0]})
            1
            >>> trainer.gradients["linear.Weights"] = [[-1.0]]
            >>> trainer.apply()
            1
            >>> trainer.arrays["linear.Weights"][:]
            array([[1.1]], dtype=float32)
        """
        with self._alone:
            self._check_alive()
            self._check_not_begun("compute")
            ready = self._ready_for_part(batch, Beside(lengths, streams, reset), losses)
            with Uninterrupted():
                return self._queued(self._steps.compute(ready), ready)

    def accumulate(
        self,
        batch: Mapping[str, Any],
        *,
        lengths: Mapping[str, Any] | None = None,
        streams: Sequence[str | int] | None = None,
        reset: Sequence[bool] | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> int:
        """Begin a step, or go on with it: queue forward and backward, and add the gradients to those so far.

        `gradients` are then of the mean over the examples of all these batches (their true steps, for losses with
        ``average="steps"``), as if they had been one; batches may have other numbers of rows, and other buckets.
        `apply` moves the parameters, or `discard` gives the step up. Carried states and auxiliary arrays move with each
        batch, and batch normalization takes each batch by itself.

        Args:
            batch: As for `update`.
            lengths: As for `update`.
            streams: As for `update`.
            reset: As for `update`.
            losses: As for `update`; the same for all batches of a step.

        Returns:
            The number of the step.

        Raises:
            BatchError: The batch does not fit; nothing has changed.
            ArgumentError: A batch is staged; a weight is none, or others than those of the step so far; or some losses
                count by examples and others by steps.
            UnknownNameError: There is no such loss.
            StaleHandleError: A handle in it belongs to an earlier step; nothing has changed.
            Error: A step has been begun by `compute`.
            StepError: An earlier step failed.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2, arrays={"linear.Weights": [[1.0]]})
            >>> for part in ({"Input": [2.0], "Target": [3.0]}, {"Input": [1.0, 1.0], "Target": [0.0, 0.0]}):
            ...     step = trainer.accumulate(part)
            >>> trainer.gradients["linear.Weights"][:]  # (-4 + 2 + 2) / 3
            array([[0.]], dtype=float32)
            >>> trainer.apply()
            1
        """
        with self._alone:
            self._check_alive()
            opened = self._steps.opened
            if opened is not None and not self._steps.accumulates:
                raise Error(f"step {opened.number} was begun by compute(); call apply() or discard() first")
            ready = self._ready_for_part(batch, Beside(lengths, streams, reset), losses)
            if opened is not None and opened.weights != ready.order.weights:
                raise ArgumentError(
                    f"step {opened.number} was begun with the loss weights {dict(opened.weights)}, and the same ones "
                    f"hold for all of it, got {dict(ready.order.weights)}"
                )
            units = self._recipe.loss_weights.units(ready.order.weights, ready.batch)
            with Uninterrupted():
                return self._queued(self._steps.accumulate(ready, units), ready)

    def apply(self, *, only: str | Sequence[str] | None = None) -> int:
        """Queue the optimizer's move of the parameters by the gradients as they are now, which ends the step.

        Args:
            only: As for `update`.

        Returns:
            The number of the step.

        Raises:
            Error: No step has been begun by `compute` or `accumulate`.
            ArgumentError: A pattern matches nothing, or the learning rate is none; the step goes on.
            StepError: A step failed.
        """
        with self._alone:
            self._check_alive()
            opened = self._begun("apply")
            order = self._recipe.order(opened, only)
            self._steps.make_room()
            with Uninterrupted():
                return self._steps.apply(order)

    def discard(self) -> None:
        """Give up the step that `compute` or `accumulate` has begun: nothing moves, and its number is given back.

        Carried states and auxiliary arrays stay as its passes have left them.

        Raises:
            Error: No step has been begun.
            StepError: A step is known to have failed.
        """
        with self._alone:
            self._check_alive()
            self._begun("discard")
            self._steps.discard()
            self._forget_positions(self.step)
            self._last = None

    def recover(self) -> None:
        """Go back to before the step that failed, so that training can go on; does nothing where none has failed.

        Parameters, the optimizer's state and auxiliary arrays are as they were before that step, bit for bit; nothing
        that was queued behind it has had an effect. Their numbers are given back: the next step has the number of the
        one that failed. A batch that was staged stays so, unless an output of what failed was part of it.

        A step that was taken in parts is given up: its gradients are forgotten, and states and auxiliary arrays are as
        they were before the pass, or the move, that failed.

        The device's graphs are bound anew when they are next used.

        Raises:
            Error: The trainer was made with ``guard=False``.
            StepError: An earlier step failed too.
        """
        with self._alone:
            self._check_open()
            if self._steps.failure is None:
                return
            staged = self._steps.recover()
            self._last = None
            self._given = min(self._given, self.step)
            self._forget_positions(self.step)
            if staged is not None:
                self._steps.stage(self._ready(staged, self._recipe.order(None)))

    # Checks

    def _ready_for_part(self, batch: Mapping[str, Any], beside: Beside, losses: Mapping[str, float] | None) -> Ready:
        self._steps.recorder.begin()
        self._check_unstaged()
        ready = self._ready(batch, self._recipe.order(None, None, losses), beside)
        self._steps.make_room()
        return ready

    def _ready(self, batch: Mapping[str, Any], order: Order, beside: Beside = NOTHING_BESIDE) -> Ready:
        """Return a batch that has been checked, with the graph for it."""
        begin = time.perf_counter()
        checked = check_batch(batch, self._limits, beside)
        self._steps.check_streams(checked)
        executor, passes = self._bucketed.graph_for(checked, order.heads)
        origin = NOWHERE
        if type(batch) is not dict or checked.device:
            fed = {port: value.step for port, value in batch.items() if isinstance(value, OutputHandle)}
            origin = Origin(fed, getattr(batch, "position", None))
        seconds = self._steps.recorder.span("check", begin, self.step + 1)
        units = self._recipe.loss_weights.units(order.weights, checked) if self._steps.exchanges else 1
        return Ready(executor.queue, passes, checked, origin, order, seconds, units)

    def _forget_evicted(self) -> None:
        """Let go of the last graph if it has gone for lack of room; a batch in hand has what it needs of it."""
        if self._last is not None and self._last is not self._bucketed.last:
            self._last = None

    def _queued(self, step: int, ready: Ready) -> int:
        self._last = ready.passes
        if ready.origin.position is not None:
            self._note_position(step, ready.origin.position)
        return step

    def _note_position(self, step: int, position: tuple[int, ...]) -> None:
        known = self._positions
        if known and known[-1][0] == step:  # another pass of it
            known.pop()
        known.append((step, position))
        while known[0][0] <= self._steps.good:
            _, self._position = known.popleft()

    def _check_unstaged(self) -> None:
        if self._steps.staged is not None:
            raise ArgumentError("a batch is staged already: call update(), which takes it")

    def _check_not_begun(self, what: str) -> None:
        opened = self._steps.opened
        if opened is not None:
            raise Error(
                f"{what}: step {opened.number} was begun by compute() or accumulate(), and its gradients have moved "
                f"nothing yet; call apply(), or discard()"
            )

    def _begun(self, what: str) -> int:
        if self._steps.opened is None:
            raise Error(f"{what}() ends a step that compute(batch) or accumulate(batch) has begun, and there is none")
        return self._steps.opened.number
