"""Jobs of several processes, launched within a second, and looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
SECONDS = 60.0  # that anything may take on a machine that is busy


class Launcher:
    """Launches jobs, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        here = Path(__file__).parent
        path = os.pathsep.join([str(here), *(entry for entry in sys.path if entry)])
        programs = fake_ssh(folder)
        self._process = subprocess.Popen(
            [sys.executable, str(here / "job_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PATH": programs,
                "PYTHONPATH": path,
                "OMP_NUM_THREADS": "1",
                "AGENTS": str(folder / "agents"),
            },
        )
        self._numbers: queue.Queue[int] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._numbers.put(int(line))

    def start(self, *arguments: object, script: str = "") -> Job:
        """Start a job; a script is given as text, and its path goes before the last arguments."""
        self._number += 1
        files = [str(self._folder / f"{self._number}.{kind}") for kind in ("py", "output", "errors")]
        Path(files[0]).write_text(script)
        given = [files[0] if argument is SCRIPT else str(argument) for argument in arguments]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([*given, *files[1:]]) + "\n")
        self._process.stdin.flush()
        return Job(self._numbers.get(timeout=SECONDS), self._numbers, Path(files[1]), Path(files[2]))

    def elsewhere(self) -> dict[str, psutil.Process]:
        """Return the processes that run on other machines, by name; those of agents begin with "agent"."""
        (agents,) = (child for child in psutil.Process(self._process.pid).children() if child.name() == "agents")
        found: dict[str, psutil.Process] = {}
        for number, agent in enumerate(agents.children()):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ends just now
                found.update((child.name(), child) for child in agent.children())
                found[f"agent {number}"] = agent
        return found

    def run(self, workers: int, script: str, *options: object) -> Job:
        """Run a job of workers with one server, or as the options say, to its end."""
        job = self.start("-n", workers, *options, SCRIPT, script=script)
        job.wait()
        return job

    def close(self) -> None:
        """End."""
        self._process.kill()
        self._process.communicate()


def fake_ssh(folder: Path) -> str:
    """Make a program `ssh` that stands in for it; return the search path of programs on which it comes first."""
    program = folder / "ssh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_ssh.py")} "$@"\n')
    program.chmod(0o755)
    return os.pathsep.join([str(folder), os.environ["PATH"]])


SCRIPT = object()  # where the script's path stands among the arguments


class Job:
    """A job that was launched."""

    def __init__(self, pid: int, numbers: queue.Queue[int], output: Path, errors: Path) -> None:
        self.pid = pid
        self.code: int | None = None
        self._numbers = numbers
        self._output, self._errors = output, errors

    @property
    def output(self) -> list[str]:
        """The lines that were written so far."""
        return self._output.read_text().splitlines() if self._output.exists() else []

    @property
    def errors(self) -> str:
        """What was written to the errors so far."""
        return self._errors.read_text() if self._errors.exists() else ""

    def of_rank(self, rank: int) -> list[str]:
        """Return the lines of one worker."""
        label = f"[{rank}] "
        return [line[len(label) :] for line in self.output if line.startswith(label)]

    def wait(self) -> int:
        """Wait for the end; return the code."""
        if self.code is None:
            self.code = self._numbers.get(timeout=SECONDS)
        return self.code

    def processes(self) -> dict[str, psutil.Process]:
        """Return the processes by name."""
        return {child.name(): child for child in psutil.Process(self.pid).children()}

    def send(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a process; return its number."""
        process = self.processes()[name]
        process.send_signal(number)
        return process.pid

    def send_launcher(self, number: signal.Signals) -> None:
        """Send a signal to the launcher."""
        os.kill(self.pid, number)

    def until(self, look: Callable[[], T]) -> T:
        """Wait until something is there."""
        end = time.monotonic() + SECONDS
        while not (found := look()):
            assert time.monotonic() < end, f"{self.output}\n{self.errors}"
            time.sleep(0.01)
        return found
