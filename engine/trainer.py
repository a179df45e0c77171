"""The trainer: batches in, losses and outputs out, parameters moved by an optimizer, all of it queued."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._mxnet import mx
from ..arguments import names, positive_int
from ..errors import ArgumentError, Error, FileFormatError
from ..executors.blueprint import Blueprint
from ..executors.bound import Shared
from ..executors.bucketed import BYTES_KEPT
from ..executors.buckets import Cut, Policy
from ..executors.executor import check_input_gradients
from ..executors.handles import Clock
from ..executors.inputs import Limits
from ..executors.rows import check_flags, check_streams
from ..executors.staging import InputBuffers
from ..executors.state_table import StateTable
from ..executors.store import ParameterStore
from ..plans.plan import Plan
from ..tensor_file import TensorFile
from .checkpoint import KEY, Description, check_tensors
from .described import Described
from .devices import buckets_on, check_goes_with_devices, contexts_of, rows_of_first
from .distributed import exchange_of
from .evaluation import Evaluation, Evaluator
from .forecast import fixed_parts
from .memory_budget import sizes_of
from .moves import Moves
from .optimizers import Optimizer
from .options import check_guard_of_workers, check_trainable, guarding_of, in_segments, policy_of
from .pipeline import Pipeline
from .recipe import Recipe
from .resume import ResumeReport, verify
from .saved import arguments_of
from .state import CarriedState, carry_of, limit_of
from .streams import Streams

if TYPE_CHECKING:
    from typing_extensions import Self


class Trainer(Described):
    """Trains a plan: `update` queues a step and returns, `current_loss` waits for it.

    Args:
        plan: The plan.
        optimizer: How parameters move, such as `Adam`.
        batch_size: The largest number of rows of a batch; None where the buckets have sizes of their own.
        lengths: The one bucket: the largest number of steps by length name. Excludes `buckets`.
        buckets: How lengths become buckets, a value of `mxtrainer.buckets`. With neither, every length is a bucket of
            its own. All buckets are on the same arrays, and padding changes nothing.
        device: "cpu", "gpu:0", or a context of MXNet.
        devices: In place of one device several, as ``["gpu:0", "gpu:1"]``, over which the rows of each batch are split;
            batch_size is that of all together. Each has a copy of the arrays, and runs its rows; the first one adds up
            the gradients, moves the arrays, and has the states and outputs. Batch normalization takes the rows of each
            device by itself. Several CPU devices do not make a training faster; they are for tests.
        distributed: For a script that `mxtrainer.launch` has started as several workers: "sync": each step moves by the
            gradients of all workers' true rows, and all workers keep the same arrays; "async": each worker makes its
            own moves, and all of them are added up as they come. All workers take the same number of steps.
        seed: Start values depend on (seed, path, shape), random nodes on (seed, step). None draws a seed.
        arrays: Start values, copied: a net with arrays, a mapping, or another trainer's arrays; may be a part.
        depth: How many steps may be unfinished: `update` waits only when there are as many. Each takes host memory
            of the size of the inputs.
        guard: Whether each step is judged on the device before it moves anything: one that fails, and what is queued
            behind it, moves nothing, and `recover` goes on from before it. A number n: every nth step is, and its
            arrays are kept; what fails is found up to n steps late, and `recover` goes back to the last of these.
            False: none; a step that fails leaves the arrays as they happen to be.
        on_nan: What becomes of a step whose losses, gradients or carried states are not finite: "raise", by default
            with a guard: it moves nothing and is a `StepError`; "skip": it moves nothing and training goes on;
            "ignore", by default without a guard: it moves.
        carry: States that go from step to step, on the device: True for all of `Plan.states`, or a mapping of input
            ports to output ports. No gradient crosses steps.
        state_capacity: How many bytes of carried state are kept, before the least recently used stream is dropped;
            None: all.
        total_steps: How many steps there will be, for learning rates that end by a schedule; None: nobody knows.
        input_gradients: Input ports whose gradients are wanted, in `gradients`.
        bytes_kept: How many bytes the graphs of buckets may hold, about, before the least recently used are released;
            None: any. With a memory_budget it is that which counts.
        memory_budget: How many bytes all of it may take: a number, text such as "2GB" (of 2**30 bytes), or a fraction
            of what is free, such as 0.5. Graphs that do not fit together are released; with ``batch_size=None`` each
            bucket has as many rows as fit; and where that is not enough, operators run again in the backward pass
            instead of being kept, which changes no bit. None: what is free.
        segment: Sequences with more steps than this are run in segments of so many, from state to state, in the memory
            of one of them: the same gradients, but for rounding, in 1.2 to 1.5 times the time. All states must be
            ports, as those of `NetGraph.with_states`. A step in segments is read from the caller's arrays as it goes,
            so `update` waits for most of it, and its outputs are losses, and what is known at the end. None: no
            sequence is cut.

    Raises:
        MemoryBudgetError: It does not fit.
        ArgumentError: An argument is not usable.
        NetError: The plan has nothing to train, or cannot be run in segments; a start value does not fit it, or a
            state cannot be carried.
        UnknownNameError: There is no port to be carried.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, compile_plan
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2, arrays={"linear.Weights": [[1.0]]})
        >>> trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
        1
        >>> trainer.current_loss()
        {'Loss': 2.5}
        >>> trainer.arrays["linear.Weights"][:]
        array([[1.5]], dtype=float32)
    """

    def __init__(
        self,
        plan: Plan,
        optimizer: Optimizer,
        batch_size: int | None,
        lengths: Mapping[str, int] | None = None,
        *,
        buckets: Policy | None = None,
        device: object = "cpu",
        devices: Sequence[object] | None = None,
        distributed: str | None = None,
        seed: int | None = 0,
        arrays: object = None,
        depth: int = 2,
        guard: bool | int = True,
        on_nan: str | None = None,
        carry: bool | Mapping[str, str] = False,
        state_capacity: int | None = None,
        total_steps: int | None = None,
        input_gradients: Sequence[str] = (),
        bytes_kept: int | None = BYTES_KEPT,
        memory_budget: str | float | None = None,
        segment: int | None = None,
    ) -> None:
        """Allocate the arrays; where there is one bucket, bind its graph for full batches."""
        check_trainable(plan, optimizer)
        recipe = Recipe(plan, optimizer, total_steps)
        policy = in_segments(plan, policy_of(plan, lengths, buckets), segment, batch_size, input_gradients, guard)
        self._depth = positive_int(depth, "depth")
        wanted = check_input_gradients(plan, names(input_gradients, "input_gradients"))
        kept = None if bytes_kept is None else positive_int(bytes_kept, "bytes_kept")
        kept = kept if memory_budget is None else None  # the budget releases graphs itself
        carried = carry_of(plan, carry)
        own_states = set(carried).difference(plan.states)
        if own_states and segment is not None:
            raise ArgumentError(f"segment= carries states of layers, and {sorted(own_states)} are none")
        every, reaction = guarding_of(guard, on_nan)
        check_guard_of_workers(distributed, every, reaction)
        excluding = {"input_gradients=": wanted, "states of your own": own_states, f"guard={guard}": every > 1}
        rows = None if batch_size is None else positive_int(batch_size, "batch_size")
        fixed = fixed_parts(plan, optimizer, carried, rows, every)
        slots = self._depth + 1  # one more for what is staged
        draw = partial(Blueprint, plan, carry=carried, frozen=recipe.frozen, input_gradients=wanted)
        contexts = contexts_of(device, devices)
        learned = any(isinstance(plan.inputs[port].initial, str) for port in carried)
        alone = {
            "segment=": segment is not None,
            "memory_budget=": memory_budget is not None,
            "carry= of states whose start is learned": learned,
        }
        check_goes_with_devices(contexts, rows, alone)
        size, policy, room = sizes_of(
            plan,
            batch_size,
            policy,
            memory_budget,
            draw,
            fixed=fixed,
            slots=slots,
            context=contexts[0],
            excluded=", ".join(name for name, found in excluding.items() if found),
        )
        store = ParameterStore(plan, contexts[0], seed, arrays, recipe.frozen)
        clock = Clock()
        exchange = exchange_of(
            distributed, store, seed, optimizer, f"depth={depth}, on_nan={reaction!r}, total_steps={total_steps}"
        )
        clock.worker = 0 if exchange is None else exchange.rank
        moves = Moves(optimizer, store, recipe.rules, self._depth)
        buffers = InputBuffers(store.context, slots, keeps=True)
        self._streams = _streams(store, carried, state_capacity, size)
        table = None if self._streams is None else self._streams.table
        shared = Shared(store, clock, buffers, wanted, table)
        self._bucketed = buckets_on(contexts, shared, policy, size, kept, room)
        own_rows = rows_of_first(contexts, size)
        self._evaluator = Evaluator(store, policy, own_rows, clock, kept, carried)
        limits = Limits.of(plan, size, clock, carried=carried)
        steps = Pipeline(
            self._bucketed,
            moves,
            clock,
            self._depth,
            clip_norm=optimizer.clip_norm,
            every=every,
            on_nan=reaction,
            streams=self._streams,
            exchange=exchange,
        )
        cut = policy if isinstance(policy, Cut) else None
        options = {
            "batch_size": size,
            "buckets": policy if cut is None else cut.policy,
            "depth": self._depth,
            "guard": every if every > 1 else bool(every),
            "on_nan": on_nan,
            "carry": carried,
            "state_capacity": None if state_capacity is None else int(state_capacity),
            "total_steps": None if total_steps is None else int(total_steps),
            "input_gradients": wanted,
            "bytes_kept": None if bytes_kept is None else int(bytes_kept),
            "segment": None if cut is None else cut.segment,
        }
        parts = options, moves, self._streams, store, clock, steps, self._bucketed, limits, recipe
        super().__init__(contexts, size, room, *parts)
        self._bucketed.call_before_eviction(self._let_go)
        # what a user changes between steps is lost where arrays go back to a snapshot from before it
        self._half = 0.5 if every > 1 else 0.0
        self._bucketed.bind_known()

    @classmethod
    def load(cls, path: str | os.PathLike[str], **others: Any) -> Self:
        """Return a trainer that goes on from a checkpoint that `save` wrote; runs no code of the file.

        On the same kind of processor, and with the same arguments, its steps have the same bits as if training had not
        stopped. `position` says after which batch, as in ``for batch in batches.after(trainer.position)``. Layers and
        optimizers of your own must have been registered before.

        Args:
            path: The file.
            **others: Arguments of `Trainer` that are to be others than before, such as `batch_size`, `buckets`,
                `device`, `memory_budget` or `carry`. `optimizer` can be another with as many states, and its learning
                rate counts then; it must be given if it, or its learning rate, is a function, which no file holds.

        Raises:
            FileFormatError: The file is not there, is none, is damaged, or does not fit.
            ArgumentError: An argument is not usable, or the optimizer is not in the file.
            MemoryBudgetError: It does not fit into the memory.
        """
        with TensorFile(path, "a checkpoint") as file:
            description = Description.from_text(file.metadata.get(KEY), file.name)
            check_tensors(file, description)
            options = arguments_of(description, file.name, others)
            try:
                trainer = cls(description.plan, seed=description.seed, **options)
            except mx.MXNetError as error:
                raise FileFormatError(f"{file.name!r}: its trainer cannot be made: {error}") from error
            try:
                trainer._go_on(file, description)
            except BaseException:
                trainer.close()
                raise
        return trainer

    def verify_resume(self, steps: int, batches: Iterable[Mapping[str, Any]]) -> ResumeReport:
        """Prove that training can stop and go on to the bit: with this net, these batches, on this machine.

        A copy of the trainer takes so many steps, is saved, and takes as many more. A new process loads the file and
        takes the same ones. The trainer itself stays as it is; waits.

        Args:
            steps: How many steps before the checkpoint, and after it.
            batches: At least twice as many batches, as for `update`.

        Raises:
            ArgumentError: There are fewer batches; or a layer or the optimizer is defined in the script itself, where
                no other process can import it, or is a function.
            BatchError: A batch does not fit.
            StepError: A step failed.
            Error: The new process failed.
        """
        return verify(self, steps, batches)

    # State

    @property
    def state(self) -> CarriedState:
        """The carried state by stream: read it, set it, drop streams, save and load it.

        Raises:
            Error: The trainer carries none.
        """
        self._check_open()
        return CarriedState(self.plan, self._carrying(), self._settled)

    def reset(self, *, rows: Sequence[bool] | None = None, streams: Sequence[str | int] | None = None) -> None:
        """Let carried states start anew at their initial values, by default all of them; does not wait.

        Args:
            rows: One boolean a row: those that start anew. A row is the stream of its number; where streams have
                names, give these.
            streams: The streams that start anew.

        Raises:
            Error: The trainer carries no state.
            ArgumentError: Both are given, or one is not usable.
            UnknownNameError: There is no such stream.
            StepError: A step is known to have failed.

        Example:
            >>> from mxtrainer import GRU, MeanSquaredLoss, NetChain, SGD, Sequence, Vector, compile_plan
            >>> net = NetChain([GRU(2), MeanSquaredLoss()], inputs={"Input": Sequence("t", Vector(1))}).with_states()
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=1, carry=True)
            >>> trainer.update({"Input": [[[1.0]]], "Target": [[[1.0, 1.0]]]})
            1
            >>> trainer.reset()
            >>> trainer.state[0]["gru.State"]
            array([0., 0.], dtype=float32)
        """
        with self._alone:
            self._check_alive()
            known = self._carrying()
            if rows is not None and streams is not None:
                raise ArgumentError("reset takes rows= or streams=, and not both")
            chosen: Sequence[str | int] = list(known)
            if rows is not None:
                flags = check_flags(rows, "rows")
                if self._batch_size is not None and len(flags) > self._batch_size:
                    raise ArgumentError(f"rows: expected up to {self._batch_size} booleans, found {len(flags)}")
                chosen = flags.nonzero()[0].tolist()
                if chosen and len(known) and not any(row in known for row in chosen):
                    known.check_known(chosen[0])
            elif streams is not None:
                chosen = check_streams(streams)
                for stream in chosen:
                    known.check_known(stream)
            known.restart(chosen, self._steps.tick + self._half)

    def _carrying(self) -> Streams:
        if self._streams is None:
            raise Error("this trainer carries no state: make it with Trainer(..., carry=True)")
        return self._streams

    def _settled(self) -> float:
        """Wait for all queued steps; return where in time a change now is."""
        self._collect()
        return self._steps.tick + self._half

    def _let_go(self) -> None:
        """Wait for all steps, whose graphs are to go, and forget the last one's.

        Raises:
            StepError: A step failed.
        """
        self._steps.collect()
        self._bucketed.forget_forms()

    def evaluate(
        self,
        batch: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        outputs: Sequence[str] | None = None,
        *,
        lengths: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Return losses and outputs in test mode, as all queued updates leave the arrays; waits, and moves nothing.

        Args:
            batch: A batch of any number of rows, or an iterable of batches, whose losses are taken together. Carried
                states start at their initial values and go from batch to batch of the call, by row or by stream.
            outputs: Which outputs: ports of the plan, or any layer's, as "lstm" or "lstm.State"; only the inputs
                that they need must be given. None: all ports of the plan for a batch, none for an iterable.
                Losses come with the outputs of a batch only if they are named; ``[]`` gives them alone.
            lengths: The true lengths of the rows of one batch, as for `update`.

        Raises:
            BatchError: A batch does not fit.
            ArgumentError: An output is unknown.
            StepError: A step failed.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=2, arrays={"linear.Weights": [[3.0]]})
            >>> trainer.evaluate({"Input": [1.0, 2.0, 3.0]}, outputs=["linear"]).outputs["linear"]
            array([3., 6., 9.], dtype=float32)
        """
        with self._alone:
            self._collect()
            return self._evaluator.run(batch, outputs, lengths, self._recipe.loss_weights.all)

    # Ending

    def close(self) -> None:
        """Wait for what is queued and end the trainer; every later call is an Error.

        Raises:
            StepError: A step failed.
        """
        if self._closed:
            return
        try:
            try:
                self._collect()
            finally:
                self._saver.wait()
        finally:
            self._closed = True
            self._last = self._net = None
            self._steps.close()
            self._bucketed.close()
            self._evaluator.clear()

    def __enter__(self) -> Self:
        """Return the trainer."""
        self._check_alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; a failed step, or checkpoint, is raised unless another exception is on its way."""
        try:
            self.close()
        except Error as found:
            if error is None:
                raise
            if found is error:
                found.__traceback__ = trace  # as it was, with the caller's own line


def _streams(
    store: ParameterStore, carry: Mapping[str, str], capacity: int | None, batch_size: int | None
) -> Streams | None:
    """Return the streams whose states are carried, None where none are.

    Raises:
        ArgumentError: There is nothing to have a capacity, or it is too small.
    """
    if not carry:
        if capacity is not None:
            raise ArgumentError("state_capacity= is the room for carried state, and there is none; add carry=True")
        return None
    table = StateTable(store, carry, batch_size or 1)
    return Streams(table, limit_of(capacity, table.bytes_per_stream, batch_size))
