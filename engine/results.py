"""What the steps of a trainer have come to: losses, outputs, gradients, arrays, statistics."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..arguments import is_integer
from ..errors import ArgumentError, Error, StepError
from ..executors.handles import ArrayMapping, Clock, OutputHandle
from ..executors.passes import Passes
from ..executors.store import ParameterStore
from ..mappings import FrozenMapping
from ..plans.net import NetGraph
from ..resources import Resource
from .losses import Losses, check_reduction
from .norms import GradientMapping, NormGraph, Norms
from .pipeline import Pipeline
from .stats import KEPT, Stats
from .trace import Timeline


class OneThread:
    """A block that one thread at a time is inside of, as often as it likes."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Refuse another thread.

        Raises:
            Error: One is inside.
        """
        if not self._lock.acquire(blocking=False):
            raise Error("another thread is inside of this trainer: one thread at a time uses a trainer")

    def __exit__(self, *_: object) -> None:
        """Let others in."""
        self._lock.release()


class Results(Resource):
    """The part of a trainer that is read.

    Args:
        store: The arrays.
        clock: Counts the steps.
        steps: The steps in flight.
    """

    def __init__(self, store: ParameterStore, clock: Clock, steps: Pipeline) -> None:
        """Start before the first step."""
        self._store = store
        self._clock = clock
        self._steps = steps
        self._last: Passes | None = None
        self._given = 0
        self._net: tuple[int, NetGraph] | None = None
        self._norm_graph: NormGraph | None = None
        self._closed = False
        self._process = os.getpid()
        self._alone = OneThread()  # MXNet's executors give wrong numbers to two at once

    @property
    def step(self) -> int:
        """The number of the last queued step, 0 before the first."""
        return self._clock.now

    def current_loss(self, reduction: str = "mean") -> Losses:
        """Return the losses of the last queued step, before its own move of the parameters; waits for it.

        Args:
            reduction: "mean" per example (per true step for ``average="steps"``), or "sum".

        Returns:
            The losses by port: those of loss layers, and of ports with a weight that is not 0.

        Raises:
            Error: There was no step yet.
            ArgumentError: The reduction is neither.
            StepError: A step failed.
        """
        self._collect()
        return self._loss(self.step, reduction)

    def loss_at(self, step: int, reduction: str = "mean") -> Losses:
        """Return the losses of a step; waits for it, and not for those behind it.

        A loop that reads the loss of the step before the last one never stalls the device.

        Args:
            step: The number of a step, of the last 1,024.
            reduction: As for `current_loss`.

        Raises:
            ArgumentError: There was no such step, it is too long ago, or the reduction is unknown.
            StepError: A step up to this one failed.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2, arrays={"linear.Weights": [[1.0]]})
            >>> for _ in range(3):
            ...     step = trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
            >>> trainer.loss_at(1)
            {'Loss': 2.5}
        """
        check_reduction(reduction)
        if not is_integer(step):
            raise ArgumentError(f"step must be an integer, got {step!r}")
        with self._alone:
            self._check_alive()
            if self.step and not 0 < step <= self.step:
                raise ArgumentError(f"there are steps 1 to {self.step}, and no step {step}")
            self._steps.collect(upto=int(step))
            return self._loss(int(step), reduction)

    def losses(self, reduction: str = "mean") -> list[tuple[int, Losses]]:
        """Return the steps that have finished since the last call, each with its losses; does not wait.

        Of more than 1,024 steps the last ones are returned.

        Args:
            reduction: As for `current_loss`.

        Raises:
            ArgumentError: The reduction is unknown.
            StepError: A step is known to have failed, and all losses of those before it have been given.
        """
        check_reduction(reduction)
        with self._alone:
            failure = None
            try:
                self._check_alive()
                self._steps.look()
            except StepError as error:
                failure = error
            known, done = self._steps.losses, self._steps.done
            new = [step for step in range(max(self._given, done - KEPT) + 1, done + 1) if step in known]
            if failure is not None and not new:
                raise failure
            self._given = max(new, default=self._given)
            return [(step, known[step].losses(reduction, step)) for step in new]

    def _loss(self, step: int, reduction: str) -> Losses:
        losses = self._steps.losses
        if not losses or not self.step:  # one that was discarded may have left losses
            after = " since the checkpoint was loaded, and it holds none" if self.step else ""
            raise Error(f"there is no loss yet{after}: call update(batch) first")
        if step not in losses:
            known = f"{min(losses)} to {max(losses)}"
            raise ArgumentError(f"there are losses of the steps {known}, and none of step {step}")
        return losses[step].losses(reduction, step)

    @property
    def outputs(self) -> FrozenMapping[OutputHandle]:
        """Handles on the outputs of the last queued step, stale once the next is queued; does not wait.

        Raises:
            Error: There was no step yet.
            StepError: A step is known to have failed.
        """
        self._check_alive()
        if self._last is None:
            raise Error("there are no outputs yet: call update(batch) first")
        return self._last.handles("step", self._collect)

    @property
    def arrays(self) -> ArrayMapping:
        """Live handles on parameters and auxiliary arrays; reading one waits for what is queued."""
        self._check_alive()
        return self._store.handles(self._collect)

    @property
    def gradients(self) -> GradientMapping:
        """Live handles on the gradients of the last pass's weighted mean loss, by array, and of inputs asked for.

        Between `compute` and `apply` they can be written too. ``gradients.norms()`` gives the norm of each.

        Raises:
            Error: There was no step yet.
            StepError: A step is known to have failed.
        """
        self._check_alive()
        if self._last is None:
            raise Error("there are no gradients: call update(batch) or compute(batch) first; discard() gives them up")
        inputs = self._last.input_gradient_handles(self._collect)
        handles = {**self._store.gradient_handles(self._collect), **inputs}
        return GradientMapping(handles, self._norms, self._store.frozen)

    def _norms(self) -> Norms:
        with self._alone:
            self._check_alive()
            if self._norm_graph is None:
                self._norm_graph = NormGraph(self._store)
            return self._norm_graph.norms(self._collect)

    def net(self) -> NetGraph:
        """Return the net with its current arrays, as numpy copies; waits.

        The same object is returned until an array changes. (Once ``arrays[...].array`` has given out a live
        NDArray, changes can no longer be seen, and each call copies anew.)

        Raises:
            StepError: A step failed.
        """
        self._collect()
        if self._net is None or self._net[0] != self._store.version or self._store.exposed:
            self._net = (
                self._store.version,
                self._store.plan.net.with_arrays({path: handle.asnumpy() for path, handle in self.arrays.items()}),
            )
        return self._net[1]

    def stats(self) -> Stats:
        """Return what has been counted so far, and who waits for whom; does not wait.

        Raises:
            StepError: A step is known to have failed.
        """
        with self._alone:
            self._check_alive()
            return self._steps.stats()

    @contextmanager
    def trace(self, path: str | os.PathLike[str]) -> Iterator[None]:
        """Record what host and device do within a block, for Perfetto or chrome://tracing; waits at the end of it.

        The file shows the host's checks, copies, queueing and waits; each step from when it was queued to when the
        host has seen its end; and the operators that MXNet runs, of all trainers in the process, which take a little
        longer while they are recorded.

        Args:
            path: The JSON file to write; one that is there is overwritten.

        Raises:
            ArgumentError: The file cannot be written.
            Error: Another trace is being recorded in this process.
            StepError: A step failed; the file is written all the same.

        Example:
            >>> import tempfile
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2)
            >>> with tempfile.TemporaryDirectory() as folder, trainer.trace(f"{folder}/trace.json"):
            ...     step = trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
        """
        self._collect()
        recorder = self._steps.recorder
        recorder.timeline = timeline = Timeline(path)
        try:
            yield
            self._collect()
        finally:
            recorder.timeline = None
            timeline.stop()

    # Who may ask

    def _collect(self) -> None:
        """Wait for all queued steps.

        MXNet tells of a failure once, and gives out stale numbers from then on; so it is asked for here, before any
        number is read, and told again by every later call.
        """
        with self._alone:
            self._check_alive()
            self._steps.collect()

    def _check_open(self) -> None:
        if self._closed:
            raise Error("this trainer is closed")
        if os.getpid() != self._process:
            raise Error(
                f"this trainer was made in process {self._process}, and MXNet does not work in its forked children: "
                f"make the trainer in the child, or start processes by spawning"
            )

    def _check_alive(self) -> None:
        self._check_open()
        if self._steps.failure is not None:
            raise self._steps.failure.with_traceback(None)  # else it would grow with every call
