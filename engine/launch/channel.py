"""A worker's line to its launcher: what it is at, questions that all workers answer, and the order to stop."""

from __future__ import annotations

import json
import os
import queue
import select
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .whereabouts import place_of_main_thread

SECONDS_BETWEEN_BEATS = 0.25


class Channel:
    """What a worker says to its launcher, and hears from it; a thread of its own does both.

    Args:
        line: The worker's end of a socket.
        rank: The worker's number.
        workers: How many there are.

    Attributes:
        rank: The worker's number.
        workers: How many there are.
        calls: How many calls this worker has made that all workers must make alike.
        step: The trainer's step, as far as it is known.
        settle: What waits for all that is queued.
    """

    def __init__(self, line: socket.socket, rank: int, workers: int) -> None:
        self.rank, self.workers = rank, workers
        self.calls = self.step = 0
        self.settle: Callable[[], object] = int
        self._line = line
        self._phase = "run"
        self._held = False
        self._stop: tuple[int, int] | None = None  # a signal, and after how many calls it comes
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._answers: queue.Queue[list[Any]] = queue.Queue()
        threading.Thread(target=self._serve, name="launcher", daemon=True).start()

    def tell(self, kind: str, **content: object) -> None:
        """Send a message to the launcher."""
        text = json.dumps({"kind": kind, **content}) + "\n"
        with self._sending:
            self._line.sendall(text.encode())

    def ask(self, question: str, answer: str) -> list[tuple[str, str]]:
        """Return the questions and answers of all workers, by rank; waits for all of them."""
        self.begin()
        with self.waiting():
            self.tell("answer", question=question, answer=answer)
            found = self._answers.get()
        self.end()
        return [(asked, given) for asked, given in found]

    def tell_state(self) -> None:
        """Say where this worker is; it is said several times a second anyway."""
        with suppress(OSError):
            self.tell("beat", **self._state())

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Say that this worker waits for others while the block runs."""
        before, self._phase = self._phase, "wait"
        try:
            yield
        finally:
            self._phase = before

    def begin(self) -> None:
        """Count a call that all workers make; waits while the launcher looks for a step at which all can stop."""
        with self._changed:
            while self._held:
                self._changed.wait()
            self.calls += 1

    def end(self) -> None:
        """Let the order to stop have its effect, if this was the last call before it."""
        if self._stop is None or self.calls < self._stop[1]:
            return
        number, self._stop = self._stop[0], None
        self.settle()  # others, who have to finish this very call, need this worker's part of it
        os.kill(os.getpid(), number)

    def _serve(self) -> None:
        try:
            self._listen()
        except BaseException:  # noqa: BLE001 - a process that hears nothing any more would wait for ever
            traceback.print_exc()
            os._exit(1)

    def _listen(self) -> None:
        rest = b""
        said: dict[str, Any] = {}
        while True:
            received = b""
            if select.select([self._line], [], [], SECONDS_BETWEEN_BEATS)[0]:
                received = self._line.recv(2**16)
                if not received:
                    os._exit(1)  # the launcher is gone
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))
            state = self._state()
            if state != said:
                self.tell("beat", **state)
                said = state

    def _state(self) -> dict[str, Any]:
        return {"calls": self.calls, "step": self.step, "phase": self._phase}

    def _hear(self, message: dict[str, Any]) -> None:
        if message["kind"] == "answers":
            self._answers.put(message["answers"])
        elif message["kind"] == "where":
            self.tell("place", at=place_of_main_thread())
        elif message["kind"] == "hold":
            with self._changed:
                self._held = True
                self.tell("held", calls=self.calls)
        elif message["kind"] == "stop":
            with self._changed:
                self._stop = message["signal"], message["calls"]
                self._held = False
                self._changed.notify_all()


_current: Channel | None = None


def open_channel(line: socket.socket, rank: int, workers: int) -> Channel:
    """Open the channel of this process."""
    global _current  # noqa: PLW0603 - a process has one launcher
    _current = Channel(line, rank, workers)
    return _current


def current() -> Channel | None:
    """Return the channel of this process; None where no launcher has started it."""
    return _current
