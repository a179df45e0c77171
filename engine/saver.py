"""Writes checkpoints behind the back of the loop, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import ArgumentError, Error


class Saver:
    """Runs one job at a time in another thread, and tells later of what went wrong."""

    def __init__(self) -> None:
        """Start with none."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Wait for the job before, and start this one.

        Raises:
            Error: The job before went wrong; this one has not been started.
        """
        self.wait()

        def run() -> None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - told by `wait`
                self._error = error

        self._thread = threading.Thread(target=run, name="mxtrainer-saver")  # Python waits for it at its end
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            ArgumentError: The last file could not be written.
            Error: What was to be written was not good.
        """
        if self._thread is not None:
            self._thread.join()  # a Ctrl-C leaves it to be waited for
        self._thread = None
        error, self._error = self._error, None
        if isinstance(error, ArgumentError):
            raise ArgumentError(str(error)) from error
        if error is not None:
            raise Error(f"a checkpoint has not been written: {error}") from error
