"""Which stream's state is where in the state table, kept by the host as of the last queued step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..errors import BatchError, UnknownNameError, nearest
from ..executors.checked import CheckedBatch
from ..executors.rows import Stream
from ..executors.state_table import INITIAL, RESERVED, SPARE, Places, StateTable


class _Before(NamedTuple):
    """What was known of a stream before something changed."""

    step: float
    stream: Stream
    place: int | None
    fresh: bool
    used: int
    dropped: int


class Streams:
    """The streams that have a place in the table.

    What a step changes is noted, so that it can be taken back where the step has failed.

    Args:
        table: The table.
        limit: How many streams there may be before the least recently used is dropped; None: any number.

    Attributes:
        table: The table.
        limit: As given.
        before_growth: What waits for all that is queued, before the table moves: an array that failed cannot be copied.
        after_growth: What lets go of the table's old arrays.
        dropped: How many streams have been dropped to make room.
    """

    def __init__(self, table: StateTable, limit: int | None = None) -> None:
        """Start without streams."""
        self.table = table
        self.limit = limit
        self.dropped = 0
        self.before_growth: Callable[[], None] = lambda: None
        self.after_growth: Callable[[], None] = lambda: None
        self._places: dict[Stream, int] = {}  # with a limit, the least recently used first
        self._fresh: set[Stream] = set()  # those that start anew at their next step
        self._used: dict[Stream, int] = {}  # the order of use: with a limit of the last one, else of the first
        self._uses = 0
        self._log: deque[_Before] = deque()
        self._free = self._all_places()
        self._version = 0
        self._by_number: dict[tuple[int, int], tuple[int, Places]] = {}

    def __iter__(self) -> Iterator[Stream]:
        """Iterate over the streams."""
        return iter(self._places)

    def __len__(self) -> int:
        """Count the streams."""
        return len(self._places)

    def __contains__(self, stream: object) -> bool:
        """Tell whether a stream is known."""
        return stream in self._places

    def _all_places(self) -> list[int]:
        return list(range(RESERVED + self.table.places - 1, RESERVED - 1, -1))

    # Steps

    def check(self, batch: CheckedBatch) -> None:
        """Check that the streams of a batch fit.

        Raises:
            BatchError: There are too many.
        """
        if self.limit is not None and batch.rows > self.limit:
            raise BatchError(
                f"the batch does not fit:\n  it has {batch.rows} streams, and state_capacity= has room for {self.limit}"
            )

    def places_for(self, batch: CheckedBatch, size: int, step: int) -> Places:
        """Return where the rows of a step begin and end; new streams get a place.

        Args:
            batch: The batch.
            size: The number of rows of its graph.
            step: The step.
        """
        streams: Collection[Stream] = range(batch.rows) if batch.streams is None else batch.streams
        if self.limit is not None:
            self._use(streams, step)
        by_number = batch.streams is None and batch.reset is None
        version, known = self._by_number.get((batch.rows, size), (-1, None))
        if by_number and known is not None and version == self._version:
            return known
        begins, ends = np.full(size, INITIAL, np.int32), np.full(size, SPARE, np.int32)
        for row, stream in enumerate(streams):
            place = self._places.get(stream)
            if place is None:
                place = self._add(stream, streams, step)
            elif stream in self._fresh:
                self._note(step, stream)
                self._fresh.discard(stream)
            else:
                begins[row] = place
            ends[row] = place
        if batch.reset is not None:
            begins[: batch.rows][batch.reset] = INITIAL
        places = Places(begins, ends)
        if by_number and (begins[: batch.rows] != INITIAL).all():
            self._by_number[batch.rows, size] = self._version, places
        return places

    def _use(self, streams: Iterable[Stream], step: float) -> None:
        for stream in streams:
            if stream in self._places:
                self._log.append(self._before(step, stream))
                self._places[stream] = self._places.pop(stream)
                self._count_use(stream)

    def _count_use(self, stream: Stream) -> None:
        self._uses += 1
        self._used[stream] = self._uses

    def _before(self, step: float, stream: Stream) -> _Before:
        place, used = self._places.get(stream), self._used.get(stream, 0)
        return _Before(step, stream, place, stream in self._fresh, used, self.dropped)

    def _note(self, step: float, stream: Stream) -> None:
        self._log.append(self._before(step, stream))
        self._version += 1

    def _add(self, stream: Stream, present: Collection[Stream], step: float) -> int:
        """Return a place for a new stream; without room, that of the least recently used one that is not present."""
        self._note(step, stream)
        if not self._free and (self.limit is None or self.table.places < self.limit):
            self.before_growth()
            old = self.table.places
            self.table.grow(2 * old if self.limit is None else min(2 * old, self.limit))
            self._free = [place for place in self._all_places() if place >= RESERVED + old]
            self.after_growth()
        if not self._free:
            victim = next(known for known in self._places if known not in present)
            self.drop(victim, step)
            self.dropped += 1
        place = self._places[stream] = self._free.pop()
        self._count_use(stream)
        return place

    # What users do between steps

    def check_known(self, stream: Stream) -> None:
        """Check that a stream is known.

        Raises:
            UnknownNameError: It is not.
        """
        if stream not in self._places:
            known = ", ".join(repr(known) for known in islice(self._places, 10)) or "none"
            more = ", ..." if len(self) > 10 else ""
            hint = nearest(stream, map(str, self._places))
            raise UnknownNameError(f"there is no state of stream {stream!r}{hint or '.'} Known: {known}{more}")

    def place_of(self, stream: Stream) -> int:
        """Return the place that the state of a stream is to be read from.

        Raises:
            UnknownNameError: It is unknown.
        """
        self.check_known(stream)
        return INITIAL if stream in self._fresh else self._places[stream]

    @property
    def fresh(self) -> tuple[Stream, ...]:
        """Those that start anew at their next step."""
        return tuple(stream for stream in self._places if stream in self._fresh)

    def kept_at(self, stream: Stream) -> int:
        """Return the place of a stream that is known, whether it starts anew or not."""
        return self._places[stream]

    def place_to_write(self, stream: Stream, step: float) -> int:
        """Return the place that the state of a stream is to be written to; a new one gets a place."""
        if stream not in self._places:
            return self._add(stream, (stream,), step)
        self._note(step, stream)
        self._fresh.discard(stream)
        return self._places[stream]

    def restart(self, streams: Iterable[Stream], step: float) -> None:
        """Let streams start anew at their next step; those that are unknown do so anyway."""
        for stream in streams:
            if stream in self._places and stream not in self._fresh:
                self._note(step, stream)
                self._fresh.add(stream)

    def drop(self, stream: Stream, step: float) -> None:
        """Forget a stream that is known."""
        self._note(step, stream)
        self._free.append(self._places.pop(stream))
        self._fresh.discard(stream)
        self._used.pop(stream)

    def clear(self) -> None:
        """Forget all streams for good."""
        self._places.clear()
        self._fresh.clear()
        self._used.clear()
        self._log.clear()
        self._free = self._all_places()
        self._version += 1

    # Going back

    def settle(self, step: float) -> None:
        """Note that no step up to this one is taken back any more."""
        while self._log and self._log[0].step <= step:
            self._log.popleft()

    def undo(self, step: float) -> None:
        """Take back what has changed after a step."""
        if not self._log or self._log[-1].step <= step:
            return
        while self._log and self._log[-1].step > step:
            _, stream, place, fresh, used, self.dropped = self._log.pop()
            self._fresh.discard(stream)
            self._used.pop(stream, None)
            self._places.pop(stream, None)
            if place is not None:
                self._places[stream], self._used[stream] = place, used
                if fresh:
                    self._fresh.add(stream)
        self._places = dict(sorted(self._places.items(), key=lambda item: self._used[item[0]]))
        taken = set(self._places.values())
        self._free = [place for place in self._all_places() if place not in taken]
        self._version += 1
