"""What is known of one process of a job, wherever it runs."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

STOPPED = 5.0  # seconds that a process may be stopped before it counts as dead
LEAVING = 2.0  # seconds that servers, and lines to other machines, have to end by themselves


@dataclass
class Process(ABC):
    """A process of a job.

    Attributes:
        name: Its name, such as "worker 0".
        pid: Its number.
        status: What `os.waitpid` said of its end; None while it runs.
        stopped: Since when it is stopped, by a signal such as SIGSTOP; None: it is not.
        state: The last beat: calls, step and phase.
        whereabouts: The line that it is at, once it was asked.
        moved: When its calls or its step last changed.
        joined: Whether it has joined the others.
        in_step: Whether it takes its steps together with the others.
        left: Whether it has taken leave of the servers.
        question: What it has asked all workers, with its own answer; None: nothing.
        held: How many calls it has made, once it was told to make no more; None: it may.
    """

    name: str
    pid: int
    status: int | None = None
    stopped: float | None = None
    state: dict[str, Any] = field(default_factory=lambda: {"calls": 0, "step": 0, "phase": "run"})
    whereabouts: str | None = None
    moved: float = field(default_factory=time.monotonic)
    joined: bool = False
    in_step: bool = False
    left: bool = False
    question: tuple[str, str] | None = None
    held: int | None = None

    @property
    def code(self) -> int:
        """The code it has ended with, as a shell has it: 128 and the signal's number, if one has killed it."""
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        return 128 - code if code < 0 else code

    @abstractmethod
    def tell(self, kind: str, **content: object) -> None:
        """Say something to it; if it has ended, nobody hears it."""

    @abstractmethod
    def signal(self, number: int) -> None:
        """Send a signal to it, and with SIGKILL to all that it has started."""

    @abstractmethod
    def ended(self) -> bool:
        """Return whether it has ended since this was asked last."""

    def stuck(self, now: float) -> str | None:
        """Say why it counts as dead though it has not ended; None: it does not."""
        if self.stopped is None or now - self.stopped <= STOPPED:
            return None
        return f"has been stopped for {STOPPED:g} seconds, by a signal such as SIGSTOP"
