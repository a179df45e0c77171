"""Batches made ahead of the loop that takes them, in another thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ..arguments import positive_int
from ..errors import ArgumentError

T = TypeVar("T")
PATIENCE = 0.05  # seconds between looks at whether the loop has ended
GRACE = 1.0  # seconds that the end of the loop waits for a batch that is being made


def prefetch(batches: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Iterate over batches that another thread makes ahead: while the loop works on one, the next ones are prepared.

    The thread ends with the loop, also where that is left early, and with the iterator's ``close()``; or once the batch
    that it is making is made. What the batches
    raise is raised here, after those before it. A batch that has been made and not taken is lost with the iterator, so
    a position to go on from is that of the last batch that was taken.

    Args:
        batches: What to iterate over, once; `Batches` then gives its next round.
        depth: How many batches may be ready and not yet taken.

    Raises:
        ArgumentError: It is no iterable, or the depth is no positive integer.

    Example:
        >>> list(prefetch(range(3), depth=2))
        [0, 1, 2]
    """
    if not isinstance(batches, Iterable):
        raise ArgumentError(f"prefetch takes an iterable of batches, got {batches!r}")
    return _run(iter(batches), positive_int(depth, "depth"))


def _run(batches: Iterator[T], depth: int) -> Iterator[T]:
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue()
    room = threading.Semaphore(depth)
    ended = threading.Event()

    def make() -> None:
        try:
            while not ended.is_set():
                if room.acquire(timeout=PATIENCE):
                    ready.put((True, next(batches)))
        except StopIteration:
            ready.put((False, None))
        except BaseException as error:  # noqa: BLE001 - raised in the loop
            ready.put((False, error))

    thread = threading.Thread(target=make, daemon=True, name="mxtrainer-prefetch")
    thread.start()
    try:
        while True:
            going, found = ready.get()
            if not going:
                if found is not None:
                    raise found  # type: ignore[misc]  # an error, where it is no batch
                return
            room.release()
            yield found  # type: ignore[misc]  # a batch
    finally:
        ended.set()
        thread.join(GRACE)
