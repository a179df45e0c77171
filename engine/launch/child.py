"""One process of a job: how it is started, and what is known of it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .lines import Lines

DIE_WITH_PARENT, NAME = 1, 15  # PR_SET_PDEATHSIG and PR_SET_NAME
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


@dataclass
class Child:
    """A process of a job.

    Attributes:
        name: Its name, such as "worker 0".
        pid: Its number.
        line: The launcher's end of a socket to it.
        outputs: What it writes, to its standard output and to its errors.
        status: What `os.waitpid` said of its end; None while it runs.
        stopped: Since when it is stopped, by a signal such as SIGSTOP; None: it is not.
        state: The last beat: calls, step, phase, and the line that it is at.
        moved: When its calls or its step last changed.
        joined: Whether it has joined the others.
        in_step: Whether it takes its steps together with the others.
        left: Whether it has taken leave of the servers.
        question: What it has asked all workers, with its own answer; None: nothing.
        held: How many calls it has made, once it was told to make no more; None: it may.
    """

    name: str
    pid: int
    line: socket.socket
    outputs: tuple[Lines, Lines]
    status: int | None = None
    stopped: float | None = None
    state: dict[str, Any] = field(default_factory=lambda: {"calls": 0, "step": 0, "phase": "run", "at": "its start"})
    moved: float = 0.0
    joined: bool = False
    in_step: bool = False
    left: bool = False
    question: tuple[str, str] | None = None
    held: int | None = None
    rest: bytes = b""

    @property
    def code(self) -> int:
        """The code it has ended with, as a shell has it: 128 and the signal's number, if one has killed it."""
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        return 128 - code if code < 0 else code

    def messages(self) -> list[dict[str, Any]] | None:
        """Read what it has said; None: it says nothing any more."""
        try:
            received = self.line.recv(2**16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        *lines, self.rest = (self.rest + received).split(b"\n")
        return [json.loads(line) for line in lines] if received else None

    def tell(self, kind: str, **content: object) -> None:
        """Say something to it; if it has ended, nobody hears it."""
        with contextlib.suppress(OSError):
            self.line.sendall((json.dumps({"kind": kind, **content}) + "\n").encode())

    def signal(self, number: int) -> None:
        """Send a signal to it, and with SIGKILL to all that it has started."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if number == signal.SIGKILL else os.kill)(self.pid, number)

    def close(self) -> None:
        """Close what leads to it."""
        self.line.close()
        for lines in self.outputs:
            os.close(lines.source)


def started(
    name: str,
    label: str,
    program: Callable[[socket.socket], int],
    environment: Mapping[str, str],
    inherited: list[Child],
    handlers: Mapping[int, Any],
) -> Child:
    """Start a process, a copy of this one, that runs a function and ends with the code that it returns.

    Args:
        name: Its name.
        label: What the lines that it writes are labelled with.
        program: The function; it gets the process's end of its line to the launcher.
        environment: Variables that it has beside those of this process.
        inherited: What was started before, and is no business of this one.
        handlers: What it does at signals that this process handles.
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
    outputs = tuple(Lines(pipe[0], target, label) for pipe, target in zip(pipes, (1, 2)))
    return Child(name, pid, ours, outputs)  # type: ignore[arg-type]  # there are two


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
