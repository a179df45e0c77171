"""SIGTERM and Ctrl-C held back until a loop is at a place where it can stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError

if TYPE_CHECKING:
    from typing_extensions import Self


class StopSignals:
    """Notes the first of some signals; a second one has its usual effect at once. A context manager.

    Args:
        numbers: The signals.

    Attributes:
        noted: The signal that has come, None while none has.

    Raises:
        ArgumentError: It is not the main thread, which alone can have handlers, or a number is no signal.
    """

    def __init__(self, *numbers: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ArgumentError("signals are handled in the main thread only; run the loop there")
        known = {int(number) for number in signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP}
        for number in numbers:
            if number not in known:
                raise ArgumentError(f"{number!r} is no signal that can be handled, such as signal.SIGTERM")
        self.noted: int | None = None
        self._numbers = numbers
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Put handlers in place."""
        self._before = {number: signal.signal(number, self._note) for number in self._numbers}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted is not None:
            self._restore()
            signal.raise_signal(number)
        self.noted = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def deliver(self) -> None:
        """Put the handlers back, and let the signal that was noted have its effect."""
        self._restore()
        if self.noted is not None:
            number, self.noted = self.noted, None
            signal.raise_signal(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers back; an error goes its way, else the signal has its effect."""
        if error is None:
            self.deliver()
        else:
            self._restore()
