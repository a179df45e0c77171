"""A job on several machines: this one runs an ssh to each, through which an agent there is told what to do."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from .child import Child, started
from .cores import given_variables
from .crew import Crew
from .lines import Lines, write_all
from .part import Part
from .process import LEAVING, Process

BEAT = 1.0  # seconds between two words that say that the other side is there
SILENT = 6.0  # seconds without a word, after which it counts as gone
OPTIONS = (
    "-4T",  # MXNet's addresses are of IPv4
    "-oBatchMode=yes",  # nobody is there to be asked
    "-oConnectTimeout=10",
    "-oServerAliveInterval=2",
    "-oServerAliveCountMax=3",
    "-oControlPath=none",  # a connection of its own, which ends with it
)
PASSED = ("OMP_NUM_THREADS", "PYTHONPATH", "MXNET_")  # how the variables begin that other machines get as well


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
        elif now - self._closed > LEAVING:
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
        if self.trouble is None and self._heard is not None and now - self._heard > SILENT:
            return f"has brought no answer for {SILENT:g} seconds"
        return self.trouble or super().stuck(now)

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


def start_on(
    handlers: dict[int, Any], *, hosts: Sequence[str], script: str, arguments: Sequence[str], counts: tuple[int, int]
) -> Crew:
    """Start a job on other machines: the connections now, its processes once all machines have answered."""
    connected: list[Host] = []
    crew = Crew()

    def deal() -> None:
        if all(host.place is not None for host in connected):
            _deal(crew, connected, counts, partial(Part, script, arguments, counts))

    share = -(-counts[0] // len(hosts))
    for name in hosts:
        program = partial(_connect, host=name, command=_command(share))
        host = started(f"ssh to {name}", f"[{name}] ", program, {}, connected, handlers, kind=Host)
        host.host, host.arrived = name, deal
        connected.append(host)
    crew.helpers += connected
    threading.Thread(target=_beat, args=(connected,), daemon=True).start()
    return crew


def _command(workers: int) -> str:
    """Return what the other machine's shell is to run, for so many workers there."""
    passed = [f"{name}={value}" for name, value in given_variables().items() if name.startswith(PASSED)]
    agent = [sys.executable, "-m", "mxtrainer.engine.launch.agent", str(workers)]
    return f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(['env', *passed, *agent])}"  # noqa: PTH109 - a text


def _connect(line: socket.socket, host: str, command: str) -> int:
    """Become an ssh, of which the line is the input and the output."""
    for target in (0, 1):
        os.dup2(line.fileno(), target)
    os.execvp("ssh", ["ssh", *OPTIONS, host, command])  # noqa: S606, S607 - the user's own ssh


def _beat(hosts: Sequence[Host]) -> None:
    """Tell machines that the launcher is there, also while nobody reads its output."""
    while any(host.status is None for host in hosts):
        time.sleep(BEAT)
        for host in hosts:
            host.tell("alive")


def _deal(crew: Crew, hosts: Sequence[Host], counts: tuple[int, int], part: Callable[..., Part]) -> None:
    """Give each machine its part of the job.

    MXNet numbers workers by the text of their addresses, from the last to the first, and on one address by their ports.
    """
    ordered = sorted(hosts, key=lambda host: host.place or (), reverse=True)
    addresses = [host.place[0] for host in ordered if host.place is not None]
    for host, address in zip(ordered, addresses):
        if addresses.count(address) > 1:
            host.trouble = f"has come to {address}, as another one has; name each machine once"
        elif address.startswith("127.") and not all(other.startswith("127.") for other in addresses):
            host.trouble = f"has come to {address}, where other machines do not find it; name it by another address"
    if any(host.trouble is not None for host in hosts):
        return
    for number, (host, address) in enumerate(zip(ordered, addresses)):
        ranks, numbers = ([one for one in range(count) if one * len(ordered) // count == number] for count in counts)
        host.begin(part(ordered[0].place, ranks, numbers, number == 0, address))
    for host in ordered:
        for name, member in host.members.items():
            (crew.workers if name.startswith("worker") else crew.helpers).append(member)
