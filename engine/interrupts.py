"""Ctrl-C between two steps, and not within one."""

from __future__ import annotations

import signal
import sys
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
        self._handler: Any = _signals.getsignal(signal.SIGINT)
        if callable(self._handler):
            try:
                _signals.signal(signal.SIGINT, self._note)
            except ValueError:  # not the main thread
                self._handler = None

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
