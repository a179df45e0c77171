"""A process of a job on this machine: its start, and what is heard of it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from .lines import Lines, write_all
from .process import Process

DIE_WITH_PARENT, NAME = 1, 15  # PR_SET_PDEATHSIG and PR_SET_NAME
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
Kind = TypeVar("Kind", bound="Child")


class Child(Process):
    """A process that this one has started.

    Args:
        name: Its name.
        pid: Its number.
        line: This process's end of a socket to it.
        outputs: What it writes, to its standard output and to its errors.
    """

    def __init__(self, name: str, pid: int, line: socket.socket, outputs: Sequence[Lines]) -> None:
        super().__init__(name, pid)
        self.line, self.outputs = line, outputs
        self._rest = b""

    def messages(self) -> tuple[list[tuple[Process, dict[str, Any]]], bool]:
        """Return what was said since the last time, with the process that has said it; and whether more may come."""
        open_ = True
        received = b""
        try:
            while part := self.line.recv(2**16):
                received += part
            open_ = False
        except BlockingIOError:
            pass
        except OSError:
            open_ = False
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [said for line in lines for said in self._read(line)], open_

    def _read(self, line: bytes) -> Iterator[tuple[Process, dict[str, Any]]]:
        yield self, json.loads(line)

    def tell(self, kind: str, **content: object) -> None:
        """Say something to it; if it has ended, nobody hears it."""
        with contextlib.suppress(OSError):
            self.line.sendall((json.dumps({"kind": kind, **content}) + "\n").encode())

    def signal(self, number: int) -> None:
        """Send a signal to it, and with SIGKILL to all that it has started."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if number == signal.SIGKILL else os.kill)(self.pid, number)

    def ended(self) -> bool:
        """Return whether it has ended since this was asked last; see also whether it is stopped."""
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if not pid:
                return False
            if os.WIFSTOPPED(status):
                self.stopped = time.monotonic()
            elif os.WIFCONTINUED(status):
                self.stopped = None
            else:
                self.status = status
                return True
        return False

    def close(self) -> None:
        """Close what leads to it."""
        self.line.close()
        for lines in self.outputs:
            os.close(lines.source)


class Closable(Protocol):
    """What a new process has no business with."""

    def close(self) -> None:
        """Close it."""


def started(
    name: str,
    label: str,
    program: Callable[[socket.socket], int],
    environment: Mapping[str, str],
    inherited: Sequence[Closable],
    handlers: Mapping[int, Any],
    *,
    write: Callable[[int, bytes], None] = write_all,
    kind: type[Kind] = Child,  # type: ignore[assignment]  # what a default of such an argument looks like
) -> Kind:
    """Start a process, a copy of this one, that runs a function and ends with the code that it returns.

    Args:
        name: Its name.
        label: What the lines that it writes are labelled with.
        program: The function; it gets the process's end of its line to the launcher.
        environment: Variables that it has beside those of this process.
        inherited: What was opened before, and is no business of this one.
        handlers: What it does at signals that this process handles.
        write: What takes its lines, with the file descriptor, 1 or 2, that they are for.
        kind: The class of what is returned.
    """
    ours, theirs = socket.socketpair()
    pipes = [os.pipe() for _ in range(2)]
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # none comes between the fork and the child's own handlers
    parent, pid = os.getpid(), os.fork()
    if not pid:
        code = 1
        try:
            _settle(pipes, environment, handlers, parent)
            ctypes.CDLL(None).prctl(NAME, name.encode())  # what `top` and `ps -o comm` show
            ours.close()
            for other in inherited:
                other.close()
            code = program(theirs)
        except BaseException:  # noqa: BLE001 - it must not go on as a second launcher
            traceback.print_exc()
        finally:
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    with contextlib.suppress(OSError):  # it may have done so itself, or have ended
        os.setpgid(pid, pid)
    theirs.close()
    for reading, writing in pipes:
        os.close(writing)
        os.set_blocking(reading, False)
    ours.setblocking(False)
    return kind(name, pid, ours, [Lines(pipe[0], partial(write, target), label) for pipe, target in zip(pipes, (1, 2))])


def _settle(
    pipes: list[tuple[int, int]], environment: Mapping[str, str], handlers: Mapping[int, Any], parent: int
) -> None:
    """Make this process one of its own: output, variables, signals, and an end no later than the launcher's."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it has ended in between
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for (reading, writing), target in zip(pipes, (1, 2)):
        os.dup2(writing, target)
        os.close(reading)
        os.close(writing)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)  # what a process says is to be there when it is killed
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    os.environ.update(environment)
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
