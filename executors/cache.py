"""Graphs bound when first asked for, and kept: all on one set of arrays, and in one pool of memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import Error, MemoryBudgetError
from .blueprint import Blueprint, Bucket
from .bound import Bound, Shared
from .free_memory import check_free
from .graph_memory import GraphMemory, dry_bind
from .host_memory import return_freed
from .room import Room


@dataclass
class Entry:
    """What is known of a bucket, as long as the cache lives.

    Attributes:
        bound: The graph, None once it has been released.
        hits: How many passes went through it.
        binds: How often it was bound.
        seconds_bind: The time of its last bind, in seconds.
        evictions: How often it was released to make room.
        bytes: What it would take alone, about.
        rows: The true rows of all passes.
        steps_true: The true steps of all passes, over all lengths; rows where there are none.
        steps_padding: The steps that were padding, of rows that were there.
        steps_missing: The steps of rows that were missing.
    """

    bound: Bound | None = None
    hits: int = 0
    binds: int = 0
    seconds_bind: float = 0.0
    evictions: int = 0
    bytes: int = 0
    rows: int = 0
    steps_true: int = 0
    steps_padding: int = 0
    steps_missing: int = 0


class Cache:
    """Graphs by bucket, the most recently used last.

    The graphs share their memory for outputs and everything in between, which costs what the largest needs if that one
    is bound first: so it is, where the largest is known. The memory that recurrent operators keep is each graph's own.

    Args:
        shared: The arrays that the graphs share.
        bytes_kept: How many bytes graphs may take, each counted as if it were alone, before the least recently used are
            released; None: any. (What is shared is counted so too: operators of oneDNN keep memory that no plan has.)
        room: What graphs must fit into; None: what is free.

    Attributes:
        entries: What is known of each bucket.
        last: The graph of the last pass: another pass overwrites the outputs, as graphs share their memory.
        before_eviction: Called before graphs go for lack of room: what is queued holds their memory.
    """

    def __init__(self, shared: Shared, bytes_kept: int | None = None, room: Room | None = None) -> None:
        """Bind nothing yet."""
        self.shared = shared
        self.entries: dict[Bucket, Entry] = {}
        self.last: Bound | None = None
        self._bytes_kept = bytes_kept
        self._room = room
        self.before_eviction: Callable[[], None] = lambda: None
        self._closed = False

    def bound(self, bucket: Bucket, largest: Bucket | None = None) -> Bound:
        """Return the graph of a bucket; one that is there is not bound again.

        Args:
            bucket: The bucket.
            largest: The largest one that is known to come, to be bound before all others.

        Raises:
            Error: The cache is closed, or MXNet cannot bind it.
        """
        self.check_open()
        entry = self.entries.get(bucket)
        if entry is None or entry.bound is None:
            if largest is not None and not any(entry.bound for entry in self.entries.values()):
                with contextlib.suppress(MemoryBudgetError):  # it may never come
                    self._bind(largest)
            entry = self._bind(bucket) if self._missing(bucket) else self.entries[bucket]
        if next(reversed(self.entries)) != bucket:
            self.entries[bucket] = self.entries.pop(bucket)
        assert entry.bound is not None  # bound above
        return entry.bound

    def has(self, bucket: Bucket) -> bool:
        """Tell whether the graph of a bucket is bound."""
        return not self._missing(bucket)

    def memory(self, bucket: Bucket) -> GraphMemory:
        """Return what the graph of a bucket takes, or would take in the room that there is; binds nothing."""
        bound = None if self._missing(bucket) else self.entries[bucket].bound
        if bound is not None:
            return bound.memory
        if self._room is not None:
            with contextlib.suppress(MemoryBudgetError):
                return self._room.fit(self.shared.blueprint(bucket))
        return self.would_take(bucket)

    def would_take(self, bucket: Bucket) -> GraphMemory:
        """Return what the graph of a bucket would take if nothing of it ran again; binds nothing."""
        return dry_bind(self.shared.blueprint(bucket), self.shared.store.context)[0]

    def holds(self, bound: Bound) -> bool:
        """Tell whether a graph is there, and has not been released."""
        entry = self.entries.get(bound.bucket)
        return entry is not None and entry.bound is bound

    def use(self, bound: Bound) -> bool:
        """Make a graph the most recently used one; return whether it is there."""
        entry = self.entries.get(bound.bucket)
        if entry is None or entry.bound is not bound:
            return False
        if next(reversed(self.entries.values())) is not entry:
            self.entries[bound.bucket] = self.entries.pop(bound.bucket)
        return True

    def check_open(self) -> None:
        """Raise if it was closed.

        Raises:
            Error: It was.
        """
        if self._closed:
            raise Error("this executor is closed")

    def _missing(self, bucket: Bucket) -> bool:
        return bucket not in self.entries or self.entries[bucket].bound is None

    def _bind(self, bucket: Bucket) -> Entry:
        begin = time.perf_counter()
        blueprint = self.shared.blueprint(bucket)
        self._fit(blueprint)
        neighbour = self._neighbour()
        buffers = self.shared.buffers
        inputs = blueprint.bytes_inputs * (1 + buffers.slots)
        check_free(inputs - buffers.bytes, f"the inputs of the bucket {bucket}")
        bound = Bound(blueprint, self.shared, neighbour)
        pooled = 0 if neighbour is None else neighbour.memory.bytes_planned
        check_free(bound.memory.bytes_alone - pooled, f"the bucket {bucket}")  # nothing of it is allocated so far
        entry = self.entries.setdefault(bucket, Entry())
        entry.bound = bound
        entry.seconds_bind = time.perf_counter() - begin
        entry.binds += 1
        entry.bytes = bound.memory.bytes_operators + bound.memory.bytes_planned
        self._make_room(bucket)
        return entry

    def _fit(self, blueprint: Blueprint) -> None:
        """Make a graph fit into the room: operators of it run again, and the least recently used others go.

        One that is larger than all others, or has larger inputs, would have memory of its own beside theirs: all go.

        Raises:
            MemoryBudgetError: It does not fit; nothing has changed.
            StepError: A step is known to have failed.
        """
        room, buffers = self._room, self.shared.buffers
        if room is None:
            return
        memory = room.fit(blueprint)
        living = [entry for entry in self.entries.values() if entry.bound is not None]
        kept = [entry.bound.memory for entry in living if entry.bound is not None]
        pool = max((one.bytes_planned for one in kept), default=0)
        stay = len(living) if memory.bytes_planned <= pool and buffers.hold(blueprint.wanted) else 0
        while stay and not room.holds([*kept[len(kept) - stay :], memory], buffers.bytes):
            stay -= 1
        gone = living[: len(living) - stay]
        if gone:
            self.before_eviction()
            for entry in gone:
                if self.last is entry.bound:
                    self.last = None
                self._release(entry, evicted=True)
        if not stay:
            buffers.clear()
            return_freed()

    def _neighbour(self) -> Bound | None:
        """Return the graph with the most memory, which has room for most others."""
        living = [entry.bound for entry in self.entries.values() if entry.bound is not None]
        return max(living, key=lambda bound: bound.memory.bytes_planned, default=None)

    def _make_room(self, newest: Bucket) -> None:
        if self._bytes_kept is None:
            return
        held = sum(entry.bytes for entry in self.entries.values() if entry.bound is not None)
        for bucket, entry in list(self.entries.items()):
            if held <= self._bytes_kept:
                return
            if entry.bound is not None and bucket != newest:
                held -= entry.bytes
                self._release(entry, evicted=True)

    def _release(self, entry: Entry, evicted: bool = False) -> None:
        entry.bound = None
        entry.bytes = 0
        if evicted:
            entry.evictions += 1
            return_freed()

    def count(self, bound: Bound) -> None:
        """Note a pass through a graph."""
        self.last = bound
        entry, batch = self.entries[bound.bucket], bound.batch
        entry.hits += 1
        entry.rows += batch.rows
        missing = bound.bucket.batch_size - batch.rows
        if not bound.bucket.lengths:
            entry.steps_true += batch.rows
            entry.steps_missing += missing
        for name, steps in bound.bucket.lengths:
            if name in batch.lengths:
                entry.steps_true += batch.true_steps[name]
                entry.steps_padding += steps * batch.rows - batch.true_steps[name]
                entry.steps_missing += steps * missing

    def release(self, buckets: Iterable[Bucket]) -> None:
        """Release graphs; they are bound again when they are asked for."""
        for bucket in buckets:
            if self.last is self.entries[bucket].bound:
                self.last = None
            self._release(self.entries[bucket])
        return_freed()

    def close(self) -> None:
        """Release everything for good."""
        self._closed = True
        self.shared.buffers.clear()
        self.clear()

    def clear(self) -> None:
        """Forget all graphs."""
        self.last = None
        self.entries.clear()
        return_freed()
