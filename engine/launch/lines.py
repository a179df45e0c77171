"""The output of processes, passed on in whole lines that say whose they are."""

from __future__ import annotations

import os
from collections.abc import Callable

MOST = 2**16  # bytes that are kept for the end of a line


class Lines:
    """What comes through one pipe, line by line.

    Args:
        source: The pipe's end.
        write: What takes them.
        label: What each begins with, such as "[0] ".
    """

    def __init__(self, source: int, write: Callable[[bytes], object], label: str) -> None:
        self.source = source
        self._write = write
        self._label = label.encode()
        self._rest = b""

    def pass_on(self) -> bool:
        """Write the lines that are whole by now; return whether more may come."""
        try:
            while self._pass_on(os.read(self.source, MOST)):
                pass
        except BlockingIOError:
            return True
        return False

    def _pass_on(self, received: bytes) -> bool:
        *lines, self._rest = (self._rest + received).split(b"\n")
        if self._rest and (not received or len(self._rest) > MOST):
            lines, self._rest = [*lines, self._rest], b""
        if lines:
            self._write(b"".join(self._label + _shown(line) + b"\n" for line in lines))
        return bool(received)


def _shown(line: bytes) -> bytes:
    """Return a line as a terminal would leave it, on which a progress bar has gone back to the beginning."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def write_all(target: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(target, data) :]
