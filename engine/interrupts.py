"""Ctrl-C between two steps and not within one, and at once where the host waits."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

# CPython's own functions behind those of the module, which make an enumeration's member of every number they see
_signals: Any = sys.modules.get("_signal", signal)


class Uninterrupted:
    """Holds a Ctrl-C back until the block has run; outside of the main thread there is none to hold.

    Example:
        >>> with Uninterrupted():
        ...     "runs to its end"
        'runs to its end'
    """

    def __enter__(self) -> None:
        """Put a handler in place of the one that raises."""
        self._caught: tuple[int, FrameType | None] | None = None
        main = threading.current_thread() is threading.main_thread()
        self._handler: Any = _signals.getsignal(signal.SIGINT) if main else None
        if callable(self._handler):
            _signals.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._caught = number, frame

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handler back, and let it handle what has come."""
        if callable(self._handler):
            _signals.signal(signal.SIGINT, self._handler)
            if self._caught is not None:
                self._handler(*self._caught)


class Wait:
    """Waits for an NDArray, so that a Ctrl-C is raised at once, and not when the wait is over.

    MXNet's own waits hold signals back. So a wait that may be long is left to another thread; a short one is not, as
    that takes a tenth of a millisecond.
    """

    def __init__(self) -> None:
        """Expect the first to be long."""
        self._long = True

    def __call__(self, array: Any) -> None:
        """Wait.

        Raises:
            MXNetError: What writes the array failed.
        """
        begin = time.perf_counter()
        try:
            if self._long and threading.current_thread() is threading.main_thread():
                _wait_in_thread(array)
            else:
                array.wait_to_read()
        finally:
            self._long = time.perf_counter() - begin > LONG


LONG = 0.02  # seconds


def _wait_in_thread(array: Any) -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            array.wait_to_read()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=wait, daemon=True, name="mxtrainer-wait").start()
    done.wait()
    if errors:
        raise errors[0]
