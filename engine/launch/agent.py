"""What runs a machine's part of a job for a launcher on another one: ``python -m mxtrainer.engine.launch.agent 2``.

The launcher speaks to it through its standard input, and hears it through its standard output. All that it has started
ends when it ends, and it ends when the launcher is not heard any more.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from ...executors.kernels import load_kernels
from .child import Child
from .cores import share_cores
from .host import BEAT, SILENT
from .lines import Lines, write_all
from .part import HANDLERS, Part
from .ports import Ports

TICK = 0.2  # seconds, after which it looks around though nothing has come


class Agent:
    """The launcher's hand on this machine.

    Args:
        target: The file descriptor by which it speaks to the launcher.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._children: list[Child] = []
        self._told: dict[str, tuple[int | None, bool]] = {}
        self._said = 0.0

    def run(self, address: str) -> None:
        """Run what the launcher says, to its end.

        Args:
            address: The address at which other machines find this one.
        """
        load_kernels()  # it may take long at the first time, and from now on silence counts
        orders = self._orders()
        with closing(Ports(1, address)) as port:
            self._say("here", address=address, port=port.numbers[0])
            part = next(order["part"] for order in orders if order["kind"] == "start")
            workers, helpers = Part(**part).start(HANDLERS, [self], self._write)
        self._children = [*helpers, *workers]
        threading.Thread(target=self._obey, args=(orders,), daemon=True).start()
        sources: dict[int, Child | Lines] = {}
        for child in self._children:
            sources[child.line.fileno()] = child
            sources.update((lines.source, lines) for lines in child.outputs)
        while any(child.status is None for child in self._children):
            for number in select.select([*sources], [], [], TICK)[0]:
                source = sources[number]
                if not (self._pass_on(source) if isinstance(source, Child) else source.pass_on()):
                    del sources[number]
            for child in self._children:
                self._report(child)
            if time.monotonic() - self._said > BEAT:
                self._say("alive")

    def close(self) -> None:
        """Close what leads to the launcher, in a process that has no business with it."""
        os.close(self._target)

    def _orders(self) -> Iterator[dict[str, Any]]:
        """Yield what the launcher says; end all once it is not heard any more."""
        rest = b""
        while select.select([0], [], [], SILENT)[0] and (received := os.read(0, 2**16)):
            *lines, rest = (rest + received).split(b"\n")
            yield from map(json.loads, lines)
        self._end()

    def _obey(self, orders: Iterator[dict[str, Any]]) -> None:
        children = {child.name: child for child in self._children}
        for order in orders:
            if order["kind"] == "tell":
                children[order["name"]].tell(**order["message"])
            elif order["kind"] == "signal":
                children[order["name"]].signal(order["number"])

    def _report(self, child: Child) -> None:
        """Say what has become of a process, if anything has."""
        if child.ended():
            self._pass_on(child)  # its last words first
            for lines in child.outputs:
                lines.pass_on()
        now = child.status, child.stopped is not None
        if self._told.get(child.name) != now:
            self._told[child.name] = now
            self._say("process", name=child.name, pid=child.pid, status=now[0], stopped=now[1])

    def _pass_on(self, child: Child) -> bool:
        messages, more = child.messages()
        for _, message in messages:
            self._say("said", name=child.name, message=message)
        return more

    def _write(self, target: int, text: bytes) -> None:
        self._say("output", target=target, text=text.decode(errors="surrogateescape"))

    def _say(self, kind: str, **content: object) -> None:
        self._said = time.monotonic()
        try:
            write_all(self._target, (json.dumps({"kind": kind, **content}) + "\n").encode())
        except OSError:
            self._end()

    def _end(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
        os._exit(1)


def main(arguments: Sequence[str]) -> None:
    """Run the agent of a machine with so many workers."""
    share_cores(int(arguments[0]), "mxtrainer.engine.launch.agent", arguments)
    target = os.dup(1)
    os.dup2(2, 1)  # what else is written comes out as errors do
    Agent(target).run(os.environ["SSH_CONNECTION"].split()[2])


if __name__ == "__main__":
    main(sys.argv[1:])
