"""Another machine, and the processes of a job on it, as the launcher sees them through an ssh."""

from __future__ import annotations

import json
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from .child import Child
from .lines import Lines, write_all
from .part import Part
from .process import LEAVING, Process

BEAT = 1.0  # seconds between two words that say that the other side is there
SILENT = 5.0  # seconds without a word, after which it counts as gone


class Host(Child):
    """An ssh to another machine, and what is heard through it.

    Attributes:
        host: The machine, as the user names it.
        place: Its own address, with a port that is free there; None: it has not answered yet.
        members: The processes of the job that run there, by their names there.
        arrived: What is called once it has answered.
        trouble: Why the job cannot be run there.
    """

    def __init__(self, name: str, pid: int, line: socket.socket, outputs: Sequence[Lines]) -> None:
        super().__init__(name, pid, line, outputs)
        self.host = name
        self.place: tuple[str, int] | None = None
        self.members: dict[str, Member] = {}
        self.arrived: Callable[[], object] = int
        self.trouble: str | None = None
        self._heard: float | None = None
        self._closed: float | None = None
        self._sending = threading.Lock()

    def tell(self, kind: str, **content: object) -> None:
        """Say something to what answers there; the thread that says that all is well does so too."""
        with self._sending:
            super().tell(kind, **content)

    def begin(self, part: Part) -> None:
        """Let it run its part of the job."""
        names = ["scheduler"] * part.schedules
        names += [f"server {number}" for number in part.servers] + [f"worker {rank}" for rank in part.workers]
        self.members = {name: Member(name, self) for name in names}
        self.tell("start", part=asdict(part))
        self._heard = time.monotonic()

    def signal(self, number: int) -> None:
        """Let it end all that runs there, and with it itself; if that takes long, end ssh."""
        now = time.monotonic()
        if self._closed is None:
            self._closed = now
            with suppress(OSError):
                self.line.shutdown(socket.SHUT_WR)
        if now - self._closed > LEAVING or self._silent(now):
            super().signal(number)

    def ended(self) -> bool:
        """Return whether ssh has ended since this was asked last, and so all that was reached by it."""
        if not super().ended():
            return False
        for member in self.members.values():
            member.status = signal.SIGKILL if member.status is None else member.status  # its agent sees to it
        return True

    def stuck(self, now: float) -> str | None:
        """Say why the machine counts as gone; None: it does not."""
        if self._silent(now):
            return f"has brought nothing from there for {SILENT:g} seconds"
        return self.trouble or super().stuck(now)

    def _silent(self, now: float) -> bool:
        if self._heard is None or now - self._heard <= SILENT:
            return False
        return not select.select([self.line], [], [], 0)[0]  # it is the launcher itself that was held up

    def _read(self, line: bytes) -> Iterator[tuple[Process, dict[str, Any]]]:
        if not line.startswith(b'{"kind": '):  # what a shell says at its start
            write_all(2, f"[{self.host}] ".encode() + line + b"\n")
            return
        message = json.loads(line)
        kind = message["kind"]
        if self._heard is not None:
            self._heard = time.monotonic()
        if kind == "here":
            self.place = message["address"], message["port"]
            self.arrived()
        elif kind == "output":
            write_all(message["target"], message["text"].encode(errors="surrogateescape"))
        elif kind == "process":
            self.members[message["name"]].note(message["pid"], message["status"], message["stopped"])
        elif kind == "said":
            yield self.members[message["name"]], message["message"]


class Member(Process):
    """A process of the job on another machine."""

    def __init__(self, name: str, host: Host) -> None:
        super().__init__(f"{name} on {host.host}", 0)
        self._key, self._host = name, host
        self._noticed = False

    def tell(self, kind: str, **content: object) -> None:
        """Say something to it."""
        self._host.tell("tell", name=self._key, message={"kind": kind, **content})

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        self._host.tell("signal", name=self._key, number=number)

    def ended(self) -> bool:
        """Return whether it has ended since this was asked last."""
        before, self._noticed = self._noticed, self.status is not None
        return self._noticed and not before

    def note(self, pid: int, status: int | None, stopped: bool) -> None:
        """Take in what its machine says of it."""
        self.pid, self.status = pid, status
        self.stopped = (self.stopped or time.monotonic()) if stopped else None
