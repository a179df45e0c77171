"""Waits for a step without asking MXNet, whose answer would clear the errors of steps that are still running."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from .._mxnet import mx

EAGER = 2e-4  # seconds of looking all the time
PATIENCE = 2e-3  # seconds until something may be wrong
SHORTEST, LONGEST = 5e-5, 1e-3  # seconds between looks


class _Idle:
    """Tells when MXNet's engine has had nothing to do, in a thread of its own: one for the process.

    MXNet hands an error to every array that it reaches, tells the first who reads one of them, and forgets it: what is
    queued behind then runs on stale numbers, of this trainer or another. Only `waitall` forgets when nothing runs any
    more.
    """

    def __init__(self) -> None:
        """Start no thread yet."""
        self._changed = threading.Condition()
        self._asked = self._answered = 0
        self._thread: threading.Thread | None = None

    def ask(self) -> int:
        """Ask for a moment without work after now; return the number of the question."""
        with self._changed:
            self._asked += 1
            if self._thread is None or not self._thread.is_alive():  # it does not live on in a forked child
                self._thread = threading.Thread(target=self._run, daemon=True, name="mxtrainer-idle")
                self._thread.start()
            self._changed.notify_all()
            return self._asked

    def is_answered(self, number: int) -> bool:
        """Tell whether there was such a moment."""
        return self._answered >= number

    def settle(self) -> None:
        """Wait until its thread is not inside of MXNet."""
        with self._changed:
            self._changed.wait_for(lambda: self._answered >= self._asked)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._answered)
                asked = self._asked
            with contextlib.suppress(mx.MXNetError):
                mx.nd.waitall()
            with self._changed:
                self._answered = asked
                self._changed.notify_all()


_idle = _Idle()


def settle() -> None:
    """Wait until no thread of this module is inside of MXNet, where it waits for the engine to have nothing to do."""
    _idle.settle()


def wait(is_done: Callable[[], bool]) -> None:
    """Wait until something is done, or the engine has nothing to do any more; a Ctrl-C is raised at once.

    Args:
        is_done: Looks at memory that the engine writes.
    """
    begin = time.perf_counter()
    question, pause = 0, SHORTEST
    while not is_done():
        if question and _idle.is_answered(question):
            return
        waited = time.perf_counter() - begin
        if waited > PATIENCE and not question:
            question = _idle.ask()
        if waited < EAGER:
            time.sleep(0)
        else:
            time.sleep(pause)
            pause = min(LONGEST, 1.5 * pause)
