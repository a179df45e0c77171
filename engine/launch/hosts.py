"""A job on several machines: this one runs an ssh to each, through which an agent there is told what to do."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .child import started
from .cores import given_variables
from .crew import Crew
from .host import BEAT, Host
from .part import Part

OPTIONS = (
    "-4T",  # MXNet's addresses are of IPv4
    "-oBatchMode=yes",  # nobody is there to be asked
    "-oConnectTimeout=10",
    "-oServerAliveInterval=2",
    "-oServerAliveCountMax=3",
    "-oControlPath=none",  # a connection of its own, which ends with it
)
PASSED = ("OMP_NUM_THREADS", "PYTHONPATH", "MXNET_")  # how the variables begin that other machines get as well


def start_on(
    handlers: dict[int, Any], *, hosts: Sequence[str], script: str, arguments: Sequence[str], counts: tuple[int, int]
) -> Crew:
    """Start a job on other machines: the connections now, its processes once all machines have answered."""
    connected: list[Host] = []
    crew = Crew()

    def arrived() -> None:
        if all(host.place is not None for host in connected):
            deal(crew, connected, partial(Part, script, arguments, counts), counts)

    share = -(-counts[0] // len(hosts))
    for name in hosts:
        program = partial(_connect, host=name, command=_command(share))
        host = started(f"ssh to {name}", f"[{name}] ", program, {}, connected, handlers, kind=Host)
        host.host, host.arrived = name, arrived
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


def deal(crew: Crew, hosts: Sequence[Host], part: Callable[..., Part], counts: tuple[int, int]) -> None:
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
