"""The executor: a plan with a batch size, lengths and a device, and the arrays that these need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from .._mxnet import mx
from ..arguments import names, positive_int
from ..arrays import as_context
from ..errors import ArgumentError, BatchError, Error, StaleHandleError
from ..mappings import FrozenMapping
from ..plans.lowering import Head, check_lengths
from ..plans.plan import Plan
from ..resources import Resource
from .blueprint import Bucket
from .bound import Bound, Shared
from .cache import Cache
from .checked import CheckedBatch
from .free_memory import budget_of
from .handles import ArrayMapping, Clock, OutputHandle
from .inputs import Beside, Limits, check_batch
from .loaded import Loaded
from .memory import MemoryReport, report_of
from .room import Room
from .staging import InputBuffers
from .store import ParameterStore, bytes_of_arrays

SLOTS = 2  # batches on their way


def instantiate(
    plan: Plan,
    batch_size: int,
    lengths: Mapping[str, int] | None = None,
    *,
    device: object = "cpu",
    training: bool = True,
    seed: int | None = 0,
    arrays: object = None,
    store: ParameterStore | None = None,
    input_gradients: tuple[str, ...] | list[str] = (),
    memory_budget: str | float | None = None,
) -> Executor:
    """Turn a plan into an executor, which owns the arrays.

    Args:
        plan: The plan.
        batch_size: The largest number of rows.
        lengths: The largest number of steps by length name, for plans that have lengths.
        device: "cpu", "gpu:0", or a context of MXNet.
        training: Whether it has gradients, and `Executor.forward` runs in training mode unless told otherwise.
        seed: Start values depend on (seed, path, shape) alone; random nodes on (seed, pass). None draws a seed.
        arrays: Start values, copied: a net with arrays, a mapping, or another executor's arrays; may be a part.
        store: Another executor's or trainer's store, whose NDArrays are then shared, with its device and its
            seed; excludes arrays.
        input_gradients: Input ports whose gradients are wanted.
        memory_budget: How many bytes it may take in all, as for `Trainer`; None: what is free.

    Raises:
        MemoryBudgetError: It does not fit.
        ArgumentError: An argument is not usable.
        NetError: A start value has no array in the plan, or another shape.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Scalar, compile_plan
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> executor = instantiate(compile_plan(net), batch_size=2, arrays={"linear.Weights": [[2.0]]})
        >>> executor.forward({"Input": [1.0, 2.0], "Target": [2.0, 5.0]})
        >>> executor.outputs["Loss"].asnumpy()
        array([0., 1.], dtype=float32)
        >>> executor.backward()
        >>> executor.gradients["linear.Biases"][:]
        array([-1.], dtype=float32)
    """
    if not isinstance(plan, Plan):
        raise ArgumentError(f"instantiate takes a plan (see compile_plan), got {plan!r}")
    if not isinstance(training, bool):
        raise ArgumentError(f"training must be True or False, got {training!r}")
    batch_size = positive_int(batch_size, "batch_size")
    checked = check_lengths(plan, {} if lengths is None else lengths)
    wanted = check_input_gradients(plan, names(input_gradients, "input_gradients"))
    room = room_of(plan, memory_budget, device, training)
    shared = share(plan, device, seed, arrays, store, wanted)
    executor = Executor(Cache(shared, room=room), batch_size, checked, training)
    executor.bind()
    return executor


def room_of(plan: Plan, budget: object, device: object, training: bool) -> Room | None:
    """Return what an executor must fit into; None: what is free.

    Raises:
        ArgumentError: The budget is none.
        MemoryBudgetError: The arrays do not fit.
    """
    if budget is None:
        return None
    fixed = bytes_of_arrays(plan, training=training)
    return Room(budget_of(budget, "memory_budget"), fixed, SLOTS, as_context(device))


def share(
    plan: Plan,
    device: object,
    seed: int | None,
    arrays: object,
    store: object,
    input_gradients: tuple[str, ...],
) -> Shared:
    """Return the arrays for the graphs of a plan, new ones or those of a store.

    Raises:
        ArgumentError: `store` is none, is another plan's, or comes with what it has itself.
    """
    if store is None:
        store = ParameterStore(plan, device, seed, arrays)
    elif not isinstance(store, ParameterStore):
        raise ArgumentError(f"store= takes the store of an executor or a trainer, got {store!r}")
    elif store.plan != plan:
        raise ArgumentError(f"store= shares the arrays of the same plan, which is {store.plan!r}, got {plan!r}")
    elif arrays is not None or seed not in (0, store.seed) or as_context(device) not in (mx.cpu(), store.context):
        raise ArgumentError("store= comes with its own arrays, device and seed: give none of them with it")
    return Shared(store, Clock(), InputBuffers(store.context, SLOTS), input_gradients)


def check_input_gradients(plan: Plan, ports: tuple[str, ...]) -> tuple[str, ...]:
    """Return the input ports, each of which can have a gradient.

    Raises:
        UnknownNameError: There is no such port.
        ArgumentError: A port holds indices, or travels in another dtype than the plan's.
    """
    for port in ports:
        spec = plan.inputs[port]
        if spec.count is not None:
            raise ArgumentError(f'input_gradients: "{port}" holds indices, which have no gradient')
        if spec.transfer_dtype != plan.dtype:
            raise ArgumentError(
                f'input_gradients: "{port}" travels as {spec.transfer_dtype}, and has no gradient in that dtype'
            )
    return ports


class Executor(Resource):
    """A plan ready to run in one bucket; `instantiate` makes one, or `BucketedExecutor.executor`.

    `forward` and `backward` queue their work and return; reading an output waits. One thread uses an executor.

    Examples may be shorter than the bucket: padding changes nothing. Batches of which every example fills the bucket
    go through a graph without masks of their own, which is faster.

    Attributes:
        plan: The plan.
        store: The parameters, gradients and auxiliary arrays, which several executors can share.
        batch_size: The largest number of rows.
        lengths: The largest number of steps by length name.
        training: Whether it has gradients.
    """

    def __init__(
        self,
        cache: Cache,
        batch_size: int,
        lengths: Mapping[str, int],
        training: bool = True,
        largest: tuple[int, Mapping[str, int]] | None = None,
    ) -> None:
        """Take the cache in which graphs are bound, and the largest bucket that is known to come."""
        self.plan = cache.shared.store.plan
        self.store = cache.shared.store
        self.batch_size = batch_size
        self.lengths = FrozenMapping(lengths, "length", "the executor")
        self.training = training
        self._limits = Limits.of(self.plan, None, cache.shared.clock)
        self._cache = cache
        self._key = tuple(self.lengths.items())
        self._largest = None if largest is None else (largest[0], tuple(largest[1].items()))
        self._pass: int | None = None

    def bind(self) -> None:
        """Bind the graph for full batches, unless it is there."""
        self._bound(Bucket(self.batch_size, self._key, training=self.training))

    def _bound(self, bucket: Bucket) -> Bound:
        largest = None
        if self._largest is not None:
            largest = bucket._replace(batch_size=self._largest[0], lengths=self._largest[1])
        return self._cache.bound(bucket, largest)

    # One pass

    def forward(
        self,
        batch: Mapping[str, Any],
        training: bool | None = None,
        *,
        lengths: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue a forward pass.

        It returns once the batch has been copied; it waits only while two earlier batches are still on their way.

        Args:
            batch: Arrays by input port, ``(rows, *item)`` or ``(rows, t, *item)`` with up to `batch_size` rows; or for
                sequences a list of one array ``(steps, *item)`` an example.
            training: Dropout and batch statistics, or neither; by default as the executor was made.
            lengths: The true number of steps of each row, by length name, where sequences come as padded arrays.

        Raises:
            BatchError: The batch does not fit; nothing was queued.
            Error: Training mode is asked of an executor without gradients.
        """
        if training is True and not self.training:
            raise Error("this executor was made with training=False; instantiate another one to train")
        checked = self.check(check_batch(batch, self._limits, Beside(lengths)))
        bound = self.bound_for(checked, self.training if training is None else training)
        bound.wait_for_inputs()
        self.queue(bound, bound.load(checked))
        bound.move()

    def check(self, batch: CheckedBatch) -> CheckedBatch:
        """Return a batch that fits the bucket.

        Raises:
            BatchError: It has too many rows, or an example has too many steps.
        """
        problems = []
        if batch.rows > self.batch_size:
            steps = "".join(f", {name}={count}" for name, count in self.lengths.items())
            of_bucket = f" of the bucket {steps[2:]}" if steps else ""
            problems.append(f"it has {batch.rows} rows, more than the batch size of {self.batch_size}{of_bucket}")
        for name, found in batch.lengths.items():
            if int(found.max()) > self.lengths[name]:
                problems.append(
                    f'example {int(found.argmax())} has {found.max()} steps (length "{name}"), '
                    f"more than the {self.lengths[name]} of the bucket"
                )
        if problems:
            raise BatchError("the batch does not fit:\n  " + "\n  ".join(problems))
        return batch

    def bound_for(self, batch: CheckedBatch, training: bool, heads: tuple[Head, ...] | None = None) -> Bound:
        """Return the graph for a batch; binds it if it comes for the first time."""
        return self._bound(Bucket.holding(batch, self.batch_size, self.lengths, training, heads))

    def queue(self, bound: Bound, loaded: Loaded) -> None:
        """Queue a forward pass through one of its graphs; the auxiliary arrays stay."""
        bound.forward(loaded)
        self.count(bound)

    def count(self, bound: Bound) -> None:
        """Note a pass through one of its graphs."""
        self._cache.count(bound)
        self._pass = self._cache.shared.clock.now

    def _last(self) -> Bound | None:
        """Return the graph of its last pass, None before the first.

        Raises:
            StaleHandleError: Another executor on the same memory has run since, or the graph was released.
        """
        now, last = self._cache.shared.clock.now, self._cache.last
        if self._pass is not None and (self._pass != now or last is None):
            fate = "was released" if self._pass == now else f"was overwritten by pass {now}, of another bucket"
            raise StaleHandleError(
                f"pass {self._pass} of the executor {Bucket(self.batch_size, self._key)} {fate}: "
                f"go backward and read outputs before that"
            )
        return None if self._pass is None else last

    def backward(self, gradients: Mapping[str, ArrayLike] | None = None) -> None:
        """Queue the backward pass: the gradients of the weighted mean of the losses over the true rows.

        Args:
            gradients: Head gradients of one's own, ``(rows, *item)`` by output port; ports that are not named get 0.

        Raises:
            Error: There was no forward pass in training mode before, or a backward pass since.
            StaleHandleError: Another bucket's executor has run since.
            ArgumentError: It is no mapping.
            BatchError: A head gradient does not fit its port.
            UnknownNameError: A port is unknown.
        """
        last = self._last()
        if last is None or not last.bucket.training:
            raise Error("backward needs a forward pass in training mode before it: forward(batch)")
        last.backward(gradients)

    # What came out

    def collect(self) -> None:
        """Wait for the last pass, of this executor or another one on the same memory.

        Raises:
            StepError: It failed.
        """
        if self._cache.last is not None:
            self._cache.last.collect()

    @property
    def outputs(self) -> FrozenMapping[OutputHandle]:
        """Handles on the outputs of the last pass; stale once the next pass has been queued.

        Raises:
            Error: There was no pass yet.
            StaleHandleError: Another bucket's executor has run since.
        """
        last = self._last()
        if last is None:
            raise Error("there are no outputs yet: call forward(batch) first")
        return last.handles("pass", last.collect)

    @property
    def arrays(self) -> ArrayMapping:
        """Live handles on parameters and auxiliary arrays."""
        return self.store.handles(self.collect)

    @property
    def gradients(self) -> ArrayMapping:
        """Live handles on the gradients of parameters, and of the inputs that were asked for.

        Raises:
            Error: The executor was made with training=False.
        """
        if not self.training:
            raise Error("an executor made with training=False has no gradients")
        last = self._cache.last if self._pass == self._cache.shared.clock.now else None
        inputs = {} if last is None else last.input_gradient_handles(self.collect)
        return ArrayMapping({**self.store.gradient_handles(self.collect), **inputs}, "gradient", "the plan")

    def memory(self) -> MemoryReport:
        """Return how many bytes its arrays take, and what MXNet plans for everything between inputs and outputs."""
        last = self._cache.last if self._pass == self._cache.shared.clock.now else None
        bound = last or self._bound(Bucket(self.batch_size, self._key, training=self.training))
        return report_of(
            str(bound.bucket),
            [bound.memory],
            bytes_parameters=self.store.parameters.bytes,
            bytes_gradients=self.store.gradients.bytes if self.training else 0,
            bytes_auxiliary=self.store.auxiliary.bytes,
            bytes_inputs=bound.bytes_inputs,
        )

    def __repr__(self) -> str:
        """Show plan, bucket and mode."""
        bucket = Bucket(self.batch_size, self._key)
        return f"Executor({self.plan!r}, {bucket}, {'training' if self.training else 'evaluation'})"
