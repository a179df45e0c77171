"""The processes of a training, from their start to their common end."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from .child import HANDLED, Child
from .crew import Crew
from .host import Host
from .lines import Lines, write_all
from .process import LEAVING, Process
from .verdict import early_leaver, end_of, named, stalled, who

TICK = 0.2  # seconds, after which the launcher looks around though nothing has come
LAST_WORDS = 1.0  # seconds that others have where a worker has raised: the cause may be theirs to tell
ANSWERING = 1.0  # seconds that workers have to say where they are
ERRORS = 2


class Job:
    """Workers that run one script, the servers between them, and the scheduler that makes them known to each other.

    Args:
        start: What starts them, given what they do at signals that the launcher handles.
        stall: After how many seconds without a step of any worker all are ended; None: never.
        grace: How many seconds workers have to end after Ctrl-C or SIGTERM.
    """

    def __init__(
        self, start: Callable[[dict[int, Any]], Crew], *, stall: float | None = None, grace: float = 30.0
    ) -> None:
        self._start = start
        self._stall, self._grace = stall, grace
        self._crew = Crew()
        self._code: int | None = None  # what the job ends with, once that is known
        self._signals: list[int] = []  # what the launcher itself was told
        self._stopping: tuple[int, float] | None = None  # by which signal, and until when
        self._asked = False  # whether the workers know after which call they are to stop
        self._kill_at = 0.0  # when all are ended, once the code is known
        self._asked_places: float | None = None  # when the workers were asked where they are
        self._urged = False  # whether they were told once more
        self._done: float | None = None  # since when no worker runs

    def run(self) -> int:
        """Start all, and wait for the end of all; return 0 or the code of what went wrong."""
        handlers: dict[int, Any] = {number: signal.getsignal(number) for number in HANDLED}
        ours, theirs = socket.socketpair()
        with ours, theirs, selectors.DefaultSelector() as selector:
            ours.setblocking(False)
            theirs.setblocking(False)
            wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            try:
                for number in HANDLED:
                    signal.signal(number, self._note)
                self._crew = self._start(handlers)
                self._register(selector, ours)
                while self._running():
                    self._look(selector, TICK)
                self._drain(selector)
            finally:
                self._kill()
                for child in self._started():
                    child.close()
                signal.set_wakeup_fd(wakeup)
                for handled, handler in handlers.items():
                    signal.signal(handled, handler)
        return self._code or 0

    @property
    def _workers(self) -> list[Process]:
        return self._crew.workers

    @property
    def _children(self) -> list[Process]:
        return [*self._crew.helpers, *self._crew.workers]

    def _started(self) -> list[Child]:
        return [child for child in self._children if isinstance(child, Child)]

    def _running(self) -> bool:
        return any(child.status is None for child in self._children)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _register(self, selector: selectors.BaseSelector, wakeup: socket.socket) -> None:
        selector.register(wakeup, selectors.EVENT_READ)
        for child in self._started():
            selector.register(child.line, selectors.EVENT_READ, child)
            for lines in child.outputs:
                selector.register(lines.source, selectors.EVENT_READ, lines)

    # The loop

    def _look(self, selector: selectors.BaseSelector, seconds: float) -> bool:
        """Take in what has come, and what that means; return whether anything has."""
        events = selector.select(seconds)
        for key, _ in events:
            if isinstance(key.data, Lines):
                if not key.data.pass_on():
                    selector.unregister(key.fd)
            elif isinstance(key.data, Child):
                if not self._listen(key.data):
                    selector.unregister(key.fd)
            else:
                with suppress(BlockingIOError):
                    key.fileobj.recv(4096)  # type: ignore[union-attr]  # it is the socket of signals
        self._reap()
        self._judge()
        return bool(events)

    def _drain(self, selector: selectors.BaseSelector) -> None:
        """Pass on what is left in the pipes, unless what a worker has started holds them open."""
        end = time.monotonic() + 1.0
        while len(selector.get_map()) > 1 and time.monotonic() < end and self._look(selector, 0.1):
            pass

    def _listen(self, child: Child) -> bool:
        """Take in what a process has said; return whether it may say more."""
        messages, more = child.messages()
        for process, message in messages:
            self._hear(process, message)
        return more

    def _hear(self, child: Process, message: dict[str, Any]) -> None:
        kind = message.pop("kind")
        if kind == "beat":
            if (message["calls"], message["step"]) != (child.state["calls"], child.state["step"]):
                child.moved = time.monotonic()
            child.state = message
        elif kind == "answer":
            child.question = message["question"], message["answer"]
            self._answer()
        elif kind == "held":
            child.held = message["calls"]
        elif kind == "place":
            child.whereabouts = message["at"]
        elif kind == "joined":
            child.joined = True
            child.in_step = message["mode"] == "sync"
        elif kind == "left":
            child.left = True

    def _answer(self) -> None:
        if all(child.question is not None for child in self._workers):
            answers = [child.question for child in self._workers]
            for child in self._workers:
                child.question = None
                child.tell("answers", answers=answers)

    def _reap(self) -> None:
        for child in self._children:
            if not child.ended():
                continue
            if isinstance(child, Child):
                self._listen(child)  # its last words first
                for lines in child.outputs:
                    lines.pass_on()
            self._ended(child)

    def _ended(self, child: Process) -> None:
        if self._code is not None or self._stopping is not None:
            return
        if child in self._workers:
            good = child.code == 0 and (child.left or not child.joined)
        elif isinstance(child, Host):
            good = child.code == 0  # all that it led to has ended before
        else:
            good = child.code == 0 and any(worker.left for worker in self._workers)
        if not good:
            raised = child in self._workers and os.WIFEXITED(child.status or 0)
            self._end(end_of(child), child.code or 1, LAST_WORDS if raised else 0.0)

    def _judge(self) -> None:
        """End the job if it cannot go on."""
        self._obey()
        now = time.monotonic()
        if self._code is not None:
            if now >= self._kill_at:
                self._kill()
            return
        for child in self._children:
            stuck = child.stuck(now)
            if stuck is not None:
                self._end(f"{who(child)} {stuck}", 1)
                return
        if all(child.status is not None for child in self._workers):
            self._finish(now)
            return
        early = early_leaver(self._workers)
        if self._stopping is not None:
            self._stop(now)
        elif early is not None:
            self._end(early, 1)
        elif self._stall is not None and now - max(child.moved for child in self._workers) > self._stall:
            self._end_stalled(now, self._stall)

    # Ending

    def _end_stalled(self, now: float, stall: float) -> None:
        """Ask the workers where they are, and end the job once they have answered, or had time to."""
        running = [child for child in self._workers if child.status is None]
        if self._asked_places is None:
            self._asked_places = now
            for child in running:
                child.tell("where")
        elif now - self._asked_places > ANSWERING or all(child.whereabouts for child in running):
            self._end(stalled(self._workers, stall), 1)

    def _finish(self, now: float) -> None:
        """End the job where no worker runs: none any more, or none yet."""
        if self._stopping is not None:
            self._end(f"stopped by signal {named(self._stopping[0])}", 128 + self._stopping[0])
        if self._code is not None or not self._workers:
            return
        self._done = self._done or now
        if now - self._done > LEAVING or not any(child.joined for child in self._workers):
            self._code = 0  # all is done, and nothing that ends from here on is a failure
            self._kill()

    def _obey(self) -> None:
        """Do what signals to the launcher ask for: the first stops the workers, the next one ends them."""
        while self._signals:
            number = self._signals.pop(0)
            if self._code is not None:
                return
            if self._stopping is not None:
                self._end(f"signal {named(number)} again", 128 + number)
                return
            self._say(f"signal {named(number)}: the workers have {self._grace:g} seconds to stop, after the same step")
            self._stopping = number, time.monotonic() + self._grace
            for child in self._workers:
                if child.in_step:
                    child.tell("hold")
                else:
                    child.signal(number)

    def _stop(self, now: float) -> None:
        """Let all workers stop after the same call: the one after the last that any of them has begun.

        Those that have not come to it after half of the time are told by the signal itself.
        """
        assert self._stopping is not None
        number, end = self._stopping
        running = [child for child in self._workers if child.status is None]
        in_step = [child for child in running if child.in_step]
        if not self._asked and all(child.held is not None for child in in_step):
            self._asked = True
            calls = max((child.held or 0 for child in in_step), default=0) + 1
            for child in in_step:
                child.tell("stop", signal=number, calls=calls)
        if not self._urged and now > end - self._grace / 2:
            self._urged = True
            for child in in_step:
                child.signal(number)
        if now > end:
            names = ", ".join(who(child) for child in running)
            self._end(f"{names} had not stopped {self._grace:g} seconds after signal {named(number)}", 128 + number)

    def _end(self, cause: str, code: int, seconds: float = 0.0) -> None:
        """Say why the job ends, and end it, in so many seconds."""
        running = [child.name for child in self._children if child.status is None]
        others = f"; ending {', '.join(running)}" if running else ""
        self._code = code
        self._say(cause + others)
        self._kill_at = time.monotonic() + seconds
        if not seconds:
            self._kill()

    def _kill(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)

    def _say(self, text: str) -> None:
        write_all(ERRORS, f"launch: {text}\n".encode())
