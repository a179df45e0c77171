"""SIGTERM and Ctrl-C held back until a loop is at a place where it can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from ..arguments import is_integer
from ..errors import ArgumentError

if TYPE_CHECKING:
    from typing_extensions import Self


class StopSignals:
    """Notes the first of some signals; a second one has its usual effect at once. A context manager.

    Args:
        before: What is done before a signal that was noted has its effect.
        numbers: The signals.

    Raises:
        ArgumentError: It is not the main thread, which alone can have handlers, or a number is no signal.
    """

    def __init__(self, before: Callable[[], object], *numbers: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ArgumentError("signals are handled in the main thread only; run the loop there")
        known = {int(number) for number in signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP}
        for number in numbers:
            if not is_integer(number) or number not in known:
                raise ArgumentError(f"{number!r} is no signal that can be handled, such as signal.SIGTERM")
        self._do_before = before
        self._handlers: dict[int, Any] = {int(number): signal.getsignal(number) for number in numbers}
        self._noted: int | None = None

    def __enter__(self) -> Self:
        """Put handlers in place."""
        for number in self._handlers:
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is not None:
            self._restore()
            signal.raise_signal(number)
        self._noted = number

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """If a signal was noted, do what is to be done before, and let it have its effect.

        If that lets the loop go on, as a handler of one's own may, later signals are noted again.
        """
        if self._noted is not None:
            self._do_before()
            self._raise()
            self.__enter__()

    def _raise(self) -> None:
        self._restore()
        number, self._noted = self._noted, None
        if number is not None:
            signal.raise_signal(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers back; an error goes its way, else a signal that was noted has its effect."""
        self._restore()
        if error is None and self._noted is not None:
            self._do_before()
            self._raise()
