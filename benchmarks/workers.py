"""The processes of the rivals as the driver sees them: one of them runs, all others are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rivals import RIVALS

HERE = Path(__file__).resolve().parent


class AbsentError(Exception):
    """The rival cannot do what it was asked; the text says why."""


class Remote:
    """One rival's process, stopped but while it answers.

    Args:
        rival: Its name in `RIVALS`.
        threads: How many threads it may use.
        log: Where its standard error goes.
    """

    def __init__(self, rival: str, threads: int, log: Path) -> None:
        self.rival = rival
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), rival], env=environment(rival, threads), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        self._process.send_signal(signal.SIGSTOP)

    def ask(self, do: str, **options: Any) -> Any:
        """Let it run until it has answered; return the answer.

        Raises:
            AbsentError: It has none, or has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise AbsentError(f"its process ended with {self._process.wait()}")
        self._process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "absent" in answer:
            raise AbsentError(answer["absent"])
        return answer["found"]

    def timed(self, workload: str, steps: int, read: bool) -> dict[str, float]:
        """Time steps; the answer says too what share of the machine others took meanwhile."""
        before, begin = busy_seconds(), time.perf_counter()
        used = children_seconds(self._process.pid)
        found: dict[str, float] = self.ask("time", workload=workload, steps=steps, read=read)
        wall = time.perf_counter() - begin
        others = busy_seconds() - before - (children_seconds(self._process.pid) - used)
        return {**found, "others": max(0.0, others) / (wall * (os.cpu_count() or 1))}

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def environment(rival: str, threads: int) -> dict[str, str]:
    """Return the environment of a rival's process: the same number of threads for all, as far as it can be set."""
    found = {**os.environ, **dict(RIVALS[rival].environment)}
    found["OMP_NUM_THREADS"] = found["MKL_NUM_THREADS"] = found["OPENBLAS_NUM_THREADS"] = str(threads)
    found["NPROC"] = str(threads)  # the threads of JAX
    if threads == 1:
        found["XLA_FLAGS"] = f"{found.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    found["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent)])
    return found


def busy_seconds() -> float:
    """Return the seconds that all processors have worked since the machine's start."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def children_seconds(pid: int) -> float:
    """Return the seconds of processor time that a process has had, and this one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    own = os.times()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + own.user + own.system
