"""The executors of several devices, which share the rows of each batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from .._mxnet import mx
from ..errors import BatchError, UnknownNameError
from ..plans.lowering import Head
from .blueprint import Bucket
from .bound import Shared
from .bucketed import Buckets, bucket_of
from .buckets import Policy
from .checked import CheckedBatch
from .data_parallel import DataParallel, Traffic
from .inputs import check_rows
from .passes import Passes, Queueing
from .shares import check_can_be_split, cut, shares
from .state_table import StateTable
from .ways import Way


class ParallelBuckets(Buckets):
    """Executors by bucket on several devices, each of which takes some rows of every batch.

    What is told of memory and of graphs is told of the first device.

    Args:
        shared: What the graphs of each device share; the first has the trainer's own arrays.
        policy: How lengths become buckets.
        batch_size: The number of rows of all devices, None where the policy has one for every bucket.
        bytes_kept: How many bytes the graphs of a device may hold, about; None: any.
        table: The states that are carried, on the first device, if any are.
    """

    def __init__(
        self,
        shared: Sequence[Shared],
        policy: Policy,
        batch_size: int | None,
        bytes_kept: int | None,
        table: StateTable | None,
    ) -> None:
        """Bind nothing yet."""
        count = len(shared)
        super().__init__(shared[0], policy, batch_size, True, bytes_kept, device=(0, count))
        self._others = [
            Buckets(other, policy, batch_size, True, bytes_kept, device=(number, count))
            for number, other in enumerate(shared[1:], 1)
        ]
        self._shared, self._table = shared, table
        self._traffic: list[Traffic] = []
        self._parallel: dict[tuple[object, tuple[Head, ...] | None], DataParallel] = {}
        self._last: DataParallel | None = None

    def graph_for(self, batch: CheckedBatch, heads: tuple[Head, ...] | None) -> tuple[Queueing, Passes]:
        """Return what queues the forward pass of a batch, and what has it; binds graphs that have not come before.

        Raises:
            BatchError: No bucket holds an example, the bucket has fewer rows, or the batch cannot be split.
            Error: It is closed.
        """
        self._cache.check_open()
        check_can_be_split(batch)
        bucket = self._bucket(batch)
        key = tuple(bucket.items()), heads
        found = self._parallel.get(key)
        if found is None:
            executors = [part.executor(bucket) for part in (self, *self._others) if part.own_rows(bucket)]
            found = DataParallel(self._shared[0], self._between(), executors, heads, self._table)
        found.prepare(batch)
        self._last = found
        if key not in self._parallel:
            self._parallel[key] = found
            self._drop_unbound()
        return found, found

    def _between(self) -> list[Traffic]:
        """Return what goes between the first device and each of the others, the same for all buckets."""
        if not self._traffic:
            first, *others = (shared.store for shared in self._shared)
            self._traffic = [Traffic.between(first, other) for other in others]
        return self._traffic

    def _bucket(self, batch: CheckedBatch) -> Mapping[str, int]:
        """Return the bucket that holds a batch.

        Raises:
            BatchError: None does, or it has fewer rows.
        """
        bucket = bucket_of(self.policy, batch, self.plan)
        problems = check_rows(batch.rows, self.batch_size(bucket))
        if problems:
            raise BatchError("the batch does not fit:\n  " + "\n  ".join(problems))
        return bucket

    def way(self, batch: CheckedBatch, heads: tuple[Head, ...] | None) -> Way:
        """Return where a batch would go for training, and what that takes on the first device; binds nothing.

        Raises:
            BatchError: No bucket holds an example, the bucket has fewer rows, or the batch cannot be split.
            Error: It is closed.
        """
        self._cache.check_open()
        check_can_be_split(batch)
        lengths, devices = self._bucket(batch), self._devices
        graphs = [
            (part, Bucket.holding(rows, part.own_rows(lengths), lengths, True, heads))
            for part, (_, rows) in zip((self, *self._others), cut(batch, devices))
        ]
        first = self._way([graphs[0][1]])
        return first._replace(
            batch_size=self.batch_size(lengths),
            masked=any(graph.padded for _, graph in graphs),
            bound=all(part.has(graph) for part, graph in graphs),
            resized=lambda rows: first.resized(shares(rows, devices)[0]),
        )

    def bind_known(self) -> None:
        """Bind the graphs for full batches of the one bucket, if there is only one."""
        for part in self._others:
            part.bind_known()
        super().bind_known()

    @property
    def last(self) -> DataParallel | None:
        """What has the last pass, as long as its graphs are there."""
        return self._last if self._last is not None and self._last.is_bound() else None

    def call_before_eviction(self, method: Callable[[], None]) -> None:
        """Have the method of an object called before graphs go for lack of room, as long as that object lives."""
        super().call_before_eviction(method)
        for part in self._others:
            part.call_before_eviction(method)

    def forget(self) -> None:
        """Let go of all graphs and of the memory of inputs; waits, as errors of MXNet stick to arrays until then."""
        self._let_go()
        for part in self._others:
            for flat in (part.store.parameters, part.store.gradients, part.store.auxiliary):
                if flat.array is not None:
                    with contextlib.suppress(mx.MXNetError):
                        flat.array.wait_to_read()
            part.forget()
        super().forget()

    def forget_forms(self) -> None:
        """Do nothing: graphs are looked up for each batch."""

    def release(self, bucket: Mapping[str, int]) -> None:
        """Release what is bound for a bucket, and give its memory back; it is bound again when it comes again.

        Raises:
            UnknownNameError: Nothing of such a bucket was made.
            ArgumentError: It is no mapping.
        """
        super().release(bucket)
        for part in self._others:
            with contextlib.suppress(UnknownNameError):  # it has had no row of such a bucket
                part.release(bucket)
        self._drop_unbound()

    def close(self) -> None:
        """Release everything and give the memory back; every other call is an Error then."""
        self._let_go()
        for part in self._others:
            part.close()
        super().close()

    def _let_go(self) -> None:
        self._traffic = []  # errors of MXNet stick to its arrays too
        self._parallel.clear()
        self._last = None

    def _drop_unbound(self) -> None:
        """Let go of what brings the outputs of graphs together that have gone."""
        self._parallel = {key: found for key, found in self._parallel.items() if found.has_graphs}
        self._last = self.last
