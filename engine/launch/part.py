"""The part of a job that one machine runs: all of it, or what falls to one of several."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...executors.kernels import load_kernels
from .child import Child, Closable, started
from .crew import Crew
from .lines import write_all
from .ports import LOOPBACK, Ports
from .programs import serve, work

HANDLERS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
}  # of the processes of a job


@dataclass(frozen=True)
class Part:
    """What is to run on one machine.

    Attributes:
        script: The path of the script.
        arguments: Its arguments.
        counts: How many workers and servers there are in all.
        scheduler: The address and the port of MXNet's scheduler.
        workers: The numbers of the workers that run here.
        servers: The numbers of the servers that run here.
        schedules: Whether the scheduler runs here.
        address: The address of this machine.
    """

    script: str
    arguments: Sequence[str]
    counts: tuple[int, int]
    scheduler: tuple[str, int]
    workers: Sequence[int]
    servers: Sequence[int]
    schedules: bool = True
    address: str = LOOPBACK

    def start(
        self, handlers: dict[int, Any], inherited: Sequence[Closable], write: Callable[[int, bytes], None] = write_all
    ) -> tuple[list[Child], list[Child]]:
        """Start all of it; return the workers, and what is there beside them.

        Args:
            handlers: What these do at signals that this process handles.
            inherited: What was opened before.
            write: What takes the lines that they write, with the file descriptor, 1 or 2, that they are for.
        """
        load_kernels()
        for name in [name for name in os.environ if name.startswith("DMLC_")]:
            del os.environ[name]  # another job's
        common = {
            "DMLC_PS_ROOT_URI": self.scheduler[0],
            "DMLC_PS_ROOT_PORT": str(self.scheduler[1]),
            "DMLC_NODE_HOST": self.address,
            "DMLC_NUM_WORKER": str(self.counts[0]),
            "DMLC_NUM_SERVER": str(self.counts[1]),
        }
        made: list[Child] = []
        make = partial(started, handlers=handlers, write=write)
        with closing(Ports(len(self.servers) + len(self.workers), self.address)) as ports:  # copies hold them as well
            numbers = map(str, ports.numbers)  # ascending: MXNet numbers the workers of a machine by their ports
            if self.schedules:
                own = {**common, "DMLC_ROLE": "scheduler"}
                made.append(make("scheduler", "[scheduler] ", serve, own, inherited))
            for number in self.servers:
                own = {**common, "DMLC_ROLE": "server", "PORT": next(numbers)}
                made.append(make(f"server {number}", f"[server {number}] ", serve, own, [*inherited, *made]))
            helpers = len(made)
            for rank in self.workers:
                own = {**common, "DMLC_ROLE": "worker", "PORT": next(numbers)}
                program = partial(work, rank=rank, workers=self.counts[0], script=self.script, arguments=self.arguments)
                made.append(make(f"worker {rank}", f"[{rank}] ", program, own, [*inherited, *made]))
        return made[helpers:], made[:helpers]


def start_here(handlers: dict[int, Any], *, script: str, arguments: Sequence[str], counts: tuple[int, int]) -> Crew:
    """Start a whole job on this machine, where nobody else reaches it."""
    with closing(Ports(1)) as port:
        scheduler = LOOPBACK, port.numbers[0]
        part = Part(script, arguments, counts, scheduler, range(counts[0]), range(counts[1]))
        workers, helpers = part.start(handlers, [])
    return Crew([*workers], [*helpers])
