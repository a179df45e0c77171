"""The bucketed executor: one executor a bucket, made when it is needed, all on the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakMethod

import numpy as np

from ..arguments import names, positive_int
from ..errors import ArgumentError, BatchError, unknown
from ..plans.lowering import Head
from ..plans.plan import Plan
from ..resources import Resource
from .blueprint import Bucket
from .bound import Bound, Shared
from .bucket_report import BucketedReport, padding_of, report_of_bucket
from .buckets import Cut, Exact, Fixed, Policy
from .cache import Cache, Entry
from .checked import CheckedBatch
from .executor import Executor, check_input_gradients, room_of, share
from .graph_memory import GraphMemory
from .inputs import Beside, Limits, check_batch, check_rows
from .passes import Passes, Queueing
from .room import Room
from .segment_buckets import SegmentBuckets
from .segmented import Segmented, check_in_segments
from .shares import shares
from .store import ParameterStore
from .ways import Way

BYTES_KEPT = 2**30


class Buckets(Resource):
    """Executors by bucket, on arrays that are there.

    Args:
        shared: The arrays.
        policy: How lengths become buckets.
        batch_size: The number of rows, None where the policy has one for every bucket.
        training: Whether executors have gradients.
        bytes_kept: How many bytes graphs may hold, about; None: any.
        room: What everything must fit into; None: what is free.
        device: Which device this is, from 0, and how many there are that the rows are split over.

    Attributes:
        plan: The plan.
        store: The parameters, gradients and auxiliary arrays.
        policy: The policy.
    """

    def __init__(
        self,
        shared: Shared,
        policy: Policy,
        batch_size: int | None,
        training: bool,
        bytes_kept: int | None,
        *,
        room: Room | None = None,
        device: tuple[int, int] = (0, 1),
    ) -> None:
        """Bind nothing yet."""
        self.plan = shared.store.plan
        self.store = shared.store
        self.policy = policy
        self._batch_size = batch_size
        self._training = training
        self._device, self._devices = device
        self._cache = Cache(shared, bytes_kept, room)
        self._limits = Limits.of(self.plan, None, shared.clock)
        self._executors: dict[tuple[tuple[str, int], ...], Executor] = {}
        self._graphs: dict[tuple[object, tuple[Head, ...] | None], tuple[Executor, Bound]] = {}  # by forms of batches
        self._segmented: dict[tuple[Head, ...] | None, Segmented] = {}
        shared.rows = most_rows(policy, batch_size, self.plan)
        known = policy.known(self.plan.lengths)
        sizes = [(self.own_rows(bucket), bucket) for bucket in known if self.own_rows(bucket)]
        self._largest = max(sizes, key=lambda size: size[0] * sum(size[1].values()), default=None)

    def batch_size(self, bucket: Mapping[str, int]) -> int:
        """Return the number of rows of a bucket."""
        own = self.policy.batch_size(bucket)
        size = own if own is not None else self._batch_size
        assert size is not None  # by check_batch_size
        return size

    def own_rows(self, bucket: Mapping[str, int]) -> int:
        """Return the number of rows of a bucket that this device takes; 0 where there are fewer than devices."""
        return shares(self.batch_size(bucket), self._devices)[self._device]

    def has(self, graph: Bucket) -> bool:
        """Tell whether a graph is bound."""
        return self._cache.has(graph)

    def executor(self, lengths: Mapping[str, int]) -> Executor:
        """Return the executor of the smallest bucket that holds these lengths; made if it is not there.

        Raises:
            ArgumentError: A length is missing or unknown, or no bucket holds it.
            Error: It is closed.
        """
        self._cache.check_open()
        _check_names(self.plan, lengths)
        return self._executor(self.policy.bucket({name: positive_int(lengths[name], name) for name in lengths}))

    def _executor(self, bucket: Mapping[str, int]) -> Executor:
        key = tuple(bucket.items())
        found = self._executors.get(key)
        if found is None:
            found = Executor(self._cache, self.own_rows(bucket), bucket, self._training, self._largest)
            self._executors[key] = found
        return found

    def executor_for(
        self, batch: Mapping[str, Any] | CheckedBatch, *, lengths: Mapping[str, Any] | None = None
    ) -> Executor:
        """Return the executor of the smallest bucket that holds a batch; made if it is not there.

        Args:
            batch: As `Executor.forward` takes it.
            lengths: The true number of steps of each row, by length name, where sequences come as padded arrays.

        Raises:
            BatchError: The batch does not fit the plan, no bucket holds an example, or the bucket has fewer rows.
            Error: It is closed.

        Example:
            >>> from mxtrainer import LSTM, NetChain, Sequence, Vector, buckets, compile_plan
            >>> net = NetChain([LSTM(2)], inputs={"Input": Sequence("t", Vector(1))})
            >>> bucketed = BucketedExecutor(compile_plan(net, losses={"Output": 0.0}), 4, buckets.Multiple(4))
            >>> batch = {"Input": [[[1.0]], [[1.0], [2.0], [3.0], [4.0], [5.0]]]}
            >>> executor = bucketed.executor_for(batch)
            >>> executor.lengths
            {'t': 8}
            >>> executor.forward(batch)
        """
        self._cache.check_open()
        checked = batch if isinstance(batch, CheckedBatch) else check_batch(batch, self._limits, Beside(lengths))
        executor = self._executor(bucket_of(self.policy, checked, self.plan))
        executor.check(checked)
        return executor

    def graph_for(self, batch: CheckedBatch, heads: tuple[Head, ...] | None) -> tuple[Queueing, Passes]:
        """Return what queues the forward pass of a batch, and what has it: a graph, bound if it has not come before.

        Raises:
            BatchError: No bucket holds an example, or the bucket has fewer rows; or it cannot be run in segments.
            Error: It is closed.
        """
        self._cache.check_open()
        cutting = self._cutting(batch)
        if cutting is not None:
            segmented = self._in_segments(cutting, heads)
            return segmented, segmented
        found = None if batch.form is None else self._graphs.get((batch.form, heads))
        if found is None or not self._cache.use(found[1]):
            executor = self.executor_for(batch)
            found = executor, executor.bound_for(batch, True, heads)
            self._graphs = {key: pair for key, pair in self._graphs.items() if self._cache.holds(pair[1])}
            if batch.form is not None:
                self._graphs[batch.form, heads] = found
        return found

    def way(self, batch: CheckedBatch, heads: tuple[Head, ...] | None) -> Way:
        """Return where a batch would go for training, and what that takes; binds nothing.

        Raises:
            BatchError: No bucket holds an example, or the bucket has fewer rows; or it cannot be run in segments.
            Error: It is closed.
        """
        self._cache.check_open()
        cutting = self._cutting(batch)
        if cutting is not None:
            cut = self._segment_buckets(cutting, heads)
            parts = cut.cut(batch)
            buckets, segments, steps = cut.of_batch(batch), len(parts), cut.whole(parts).lengths[0][1]
            between = cut.bytes_between(batch.longest[cut.length], self.store.gradients.bytes)
            return self._way(buckets, steps, segments, between)
        executor = self.executor_for(batch)
        return self._way([Bucket.holding(batch, executor.batch_size, executor.lengths, True, heads)])

    def _way(self, buckets: Sequence[Bucket], steps: int | None = None, segments: int = 1, between: int = 0) -> Way:
        """Return the way through the graphs of some buckets.

        Args:
            buckets: The buckets, those that take most first.
            steps: How many steps a row has with its padding; None: those of the one bucket.
            segments: How many segments a batch is cut into; 1: none.
            between: What is kept between them.
        """
        graphs = [self._cache.memory(bucket) for bucket in buckets]

        def resized(rows: int) -> list[GraphMemory]:
            return [self._cache.would_take(bucket._replace(batch_size=rows)) for bucket in buckets]

        first = buckets[0]
        lengths = dict(first.lengths)
        steps = sum(lengths.values()) if steps is None else steps
        masked, bound = any(bucket.padded for bucket in buckets), all(map(self._cache.has, buckets))
        return Way(lengths, first.batch_size, steps, segments, masked, bound, between, graphs, resized)

    def _cutting(self, batch: CheckedBatch) -> Cut | None:
        """Return how a batch is cut into segments, None where it is not.

        Raises:
            BatchError: It is to be, and does not fit.
        """
        policy = self.policy
        if not isinstance(policy, Cut) or not policy.cuts(batch):
            return None
        bucket_of(policy.policy, batch, self.plan)  # whether it is too long
        check_in_segments(self.plan, batch)
        problems = check_rows(batch.rows, self._batch_size)
        if problems:
            raise BatchError("the batch does not fit:\n  " + "\n  ".join(problems))
        return policy

    def _in_segments(self, policy: Cut, heads: tuple[Head, ...] | None) -> Segmented:
        found = self._segmented.get(heads)
        if found is None:
            found = self._segmented[heads] = Segmented(self._cache, self._segment_buckets(policy, heads))
        return found

    def _segment_buckets(self, policy: Cut, heads: tuple[Head, ...] | None) -> SegmentBuckets:
        assert self._batch_size is not None  # as it was checked with the policy
        return SegmentBuckets(self.plan, policy, self._batch_size, heads)

    def bind_known(self) -> None:
        """Bind the graph for full batches of the one bucket, or segment, if there is only one."""
        known = self.policy.known(self.plan.lengths)
        if isinstance(self.policy, Cut):
            longest = self.policy.longest(self.plan.lengths)
            if longest:
                self._in_segments(self.policy, None).bind(longest)
        elif len(known) == 1 or not self.plan.lengths:
            bucket = known[0] if known else {}
            if self.own_rows(bucket):
                self.executor(bucket).bind()

    def report(self) -> BucketedReport:
        """Return what went through each bucket, and what each holds.

        Raises:
            Error: It is closed.
        """
        self._cache.check_open()
        grouped: dict[tuple[tuple[str, int], ...], list[tuple[Bucket, Entry]]] = {}
        for bucket, entry in self._cache.entries.items():
            grouped.setdefault(bucket.lengths, []).append((bucket, entry))
        buckets = [
            report_of_bucket(grouped[lengths]) for lengths in sorted(grouped, key=lambda key: [n for _, n in key])
        ]
        entries = self._cache.entries.values()
        return BucketedReport(tuple(buckets), self._cache.shared.buffers.bytes, padding_of(list(entries)))

    @property
    def last(self) -> Passes | None:
        """What has the last pass."""
        return self._cache.last

    def call_before_eviction(self, method: Callable[[], None]) -> None:
        """Have the method of an object called before graphs go for lack of room, as long as that object lives."""
        weak = WeakMethod(method)  # it has these buckets, and would be freed late if they had it

        def call() -> None:
            alive = weak()
            if alive is not None:
                alive()

        self._cache.before_eviction = call

    def graphs(self) -> list[GraphMemory]:
        """Return what each graph that is bound takes."""
        return [entry.bound.memory for entry in self._cache.entries.values() if entry.bound is not None]

    @property
    def bytes_segments(self) -> int:
        """What steps in segments have kept between them."""
        return sum(segmented.bytes for segmented in self._segmented.values())

    @property
    def bytes_inputs(self) -> int:
        """The memory of inputs, on the device and in front of it."""
        return self._cache.shared.buffers.bytes

    def forget_forms(self) -> None:
        """Forget which graphs the forms of batches go through, and so let go of these."""
        self._graphs.clear()

    def forget(self) -> None:
        """Let go of all graphs and of the memory of inputs; what is known of each bucket stays."""
        self._graphs.clear()
        self._segmented.clear()
        self._cache.release(self._cache.entries)
        self._cache.shared.buffers.clear()

    def release(self, bucket: Mapping[str, int]) -> None:
        """Release what is bound for a bucket, and give its memory back; it is bound again when it comes again.

        Raises:
            UnknownNameError: Nothing of such a bucket was made.
            ArgumentError: It is no mapping.
        """
        if not isinstance(bucket, Mapping):
            raise ArgumentError(f"release takes numbers of steps by length name, got {bucket!r}")
        key = tuple((name, bucket[name]) for name in self.plan.lengths if name in bucket)
        found = [entry for entry in self._cache.entries if entry.lengths == key]
        if not found or len(key) != len(bucket):
            known = [str(dict(entry.lengths)) for entry in self._cache.entries]
            raise unknown("bucket", str(dict(bucket)), list(dict.fromkeys(known)), "this executor")
        self._executors.pop(key, None)
        self._graphs.clear()
        self._cache.release(found)

    def close(self) -> None:
        """Release everything and give the memory back; every other call is an Error then."""
        self._executors.clear()
        self._graphs.clear()
        self._segmented.clear()
        self._cache.close()

    def __repr__(self) -> str:
        """Show plan and policy."""
        return f"{type(self).__name__}({self.plan!r}, {self.policy!r})"


class BucketedExecutor(Buckets):
    """Executors by bucket, on one set of parameters, gradients and auxiliary arrays, and in one pool of memory.

    An executor is made when a bucket first comes, and kept; one that is known binds nothing. Padding changes nothing.

    Args:
        plan: The plan.
        batch_size: The largest number of rows; None where the policy has one for each bucket.
        buckets: How lengths become buckets, a value of `mxtrainer.buckets`; None: every length is its own bucket.
        device: "cpu", "gpu:0", or a context of MXNet.
        training: Whether executors have gradients.
        seed: Start values depend on (seed, path, shape) alone. None draws a seed.
        arrays: Start values, copied: a net with arrays, a mapping, or another executor's arrays; may be a part.
        store: Another executor's or trainer's store, whose NDArrays are then shared; excludes arrays.
        input_gradients: Input ports whose gradients are wanted.
        bytes_kept: How many bytes graphs may take, about, before the least recently used are released; None: any.
            With a memory_budget it is that which counts.
        memory_budget: How many bytes all of it may take, as for `Trainer`; None: what is free.

    Attributes:
        plan: The plan.
        store: The arrays.
        policy: The policy.

    Raises:
        MemoryBudgetError: It does not fit.
        ArgumentError: An argument is not usable.
        NetError: A start value does not fit the plan.

    Example:
        >>> from mxtrainer import LSTM, MeanSquaredLoss, NetChain, Sequence, Vector, buckets, compile_plan
        >>> net = NetChain([LSTM(2), MeanSquaredLoss()], inputs={"Input": Sequence("t", Vector(1))})
        >>> bucketed = BucketedExecutor(compile_plan(net), batch_size=4, buckets=buckets.Fixed([8, 16]))
        >>> bucketed.executor({"t": 11}).lengths
        {'t': 16}
    """

    def __init__(
        self,
        plan: Plan,
        batch_size: int | None = None,
        buckets: Policy | None = None,
        *,
        device: object = "cpu",
        training: bool = True,
        seed: int | None = 0,
        arrays: object = None,
        store: ParameterStore | None = None,
        input_gradients: Sequence[str] = (),
        bytes_kept: int | None = BYTES_KEPT,
        memory_budget: str | float | None = None,
    ) -> None:
        """Allocate the arrays; bind nothing yet."""
        if not isinstance(plan, Plan):
            raise ArgumentError(f"BucketedExecutor takes a plan (see compile_plan), got {plan!r}")
        policy = check_policy(plan, buckets)
        wanted = check_input_gradients(plan, names(input_gradients, "input_gradients"))
        size = check_batch_size(policy, batch_size)
        if bytes_kept is not None:
            bytes_kept = positive_int(bytes_kept, "bytes_kept")
        if memory_budget is not None:
            bytes_kept = None  # it releases graphs itself
        room = room_of(plan, memory_budget, device, training)
        shared = share(plan, device, seed, arrays, store, wanted)
        super().__init__(shared, policy, size, training, bytes_kept, room=room)


def check_policy(plan: Plan, buckets: object) -> Policy:
    """Return the policy; None is `Exact`.

    Raises:
        ArgumentError: It is no policy, or has other lengths than the plan.
    """
    policy = Exact() if buckets is None else buckets
    if not isinstance(policy, Policy):
        raise ArgumentError(
            f"buckets must be a policy such as mxt.buckets.Fixed([8, 16, 32]) or mxt.buckets.Exact(), got {buckets!r}"
        )
    policy.check(plan.lengths)
    return policy


def one_bucket(lengths: Mapping[str, int]) -> Policy:
    """Return the policy of one bucket."""
    return Fixed({name: (steps,) for name, steps in lengths.items()}) if lengths else Exact()


def check_batch_size(policy: Policy, batch_size: object) -> int | None:
    """Return the batch size, None where the policy has one for every bucket.

    Raises:
        ArgumentError: It is no positive integer, or neither or both have one.
    """
    own = policy.has_batch_sizes()
    if own and batch_size is not None:
        raise ArgumentError(f"the buckets have batch sizes of their own: give batch_size=None, got {batch_size!r}")
    return None if own else positive_int(batch_size, "batch_size")


def most_rows(policy: Policy, batch_size: int | None, plan: Plan) -> int | None:
    """Return the batch size of the bucket that has most rows, the smallest one."""
    return batch_size if batch_size is not None else policy.batch_size(policy.bucket(dict.fromkeys(plan.lengths, 1)))


def bucket_of(policy: Policy, batch: CheckedBatch, plan: Plan) -> dict[str, int]:
    """Return the bucket for a batch; a length that it has not, as nothing needs it, counts as 1.

    Raises:
        BatchError: No bucket holds it; names the example.
    """
    longest = dict.fromkeys(plan.lengths, 1) | batch.longest
    try:
        return policy.bucket(longest)
    except ArgumentError as error:
        raise BatchError(f"the batch does not fit:\n  {_example_beyond(policy, batch, longest)}{error}") from None


def _example_beyond(policy: Policy, batch: CheckedBatch, longest: Mapping[str, int]) -> str:
    """Return the first example that no bucket holds, as the beginning of a message."""
    for name, found in batch.lengths.items():
        row = int(np.argmax(found))
        try:
            policy.bucket({**dict.fromkeys(longest, 1), name: int(found[row])})
        except ArgumentError:
            return f"example {row}: "
    return ""


def _check_names(plan: Plan, lengths: Mapping[str, Any]) -> None:
    if not isinstance(lengths, Mapping) or set(lengths) != set(plan.lengths):
        example = dict.fromkeys(plan.lengths, 8)
        raise ArgumentError(f"lengths must be numbers of steps by length name, as in {example}, got {lengths!r}")
