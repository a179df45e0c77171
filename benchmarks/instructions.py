"""Instructions that an update of the tiny net takes, on the host's thread and on MXNet's: load does not move them.

Run as ``python benchmarks/instructions.py [updates]``. With valgrind installed, the net is trained under callgrind,
which counts while the updates run and not before, in about two minutes. The host's thread is what checks, copies and
queues; MXNet's is what computes. Without valgrind, calls of Python and C functions are counted instead, which is less:
what happens inside a C function is not seen.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

WARM_UP = 30
COUNT = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes")


def tiny_step() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return what queues one update of the tiny net, and what waits for all of them."""
    from rivals import ours

    workload = WORKLOADS["tiny"]
    runner = ours.build(workload, workload.weights())
    batch = workload.batches()[0]
    return lambda: runner.step(batch), runner.finish


def child(updates: int, folder: Path) -> None:
    """Train; before and after the updates that count, wait until the parent has switched counting."""
    step, finish = tiny_step()
    for count, name in ((WARM_UP, "ready"), (updates, "done")):
        for _ in range(count):
            step()
        finish()
        (folder / name).touch()
        while not (folder / f"{name}.seen").exists():
            time.sleep(0.02)


def instructions(updates: int) -> dict[str, float]:
    """Return the instructions of an update, by thread."""
    control = shutil.which("callgrind_control") or "callgrind_control"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = f"--callgrind-out-file={folder / 'counts'}"
        command = [*COUNT, output, sys.executable, __file__, str(updates), str(folder)]
        with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            for mark, request in (("ready", ["--instr=on"]), ("done", ["--dump"])):
                while not (folder / mark).exists():
                    if process.poll() is not None:
                        raise RuntimeError((folder / "log").read_text()[-2000:])
                    time.sleep(0.05)
                subprocess.run([control, *request, str(process.pid)], check=True, capture_output=True)
                (folder / f"{mark}.seen").touch()
        found = {file.name: total(file) / updates for file in sorted(folder.glob("counts.1-*"))}
    return {"host": found.pop("counts.1-01"), "MXNet": sum(found.values())}


def total(file: Path) -> int:
    """Return the instructions of one thread."""
    (line,) = re.findall(r"^(?:totals|summary): (\d+)$", file.read_text(), re.MULTILINE)[:1] or ["0"]
    return int(line)


def calls(updates: int) -> dict[str, float]:
    """Return the calls of an update, by kind of function."""
    step, finish = tiny_step()
    for _ in range(WARM_UP):
        step()
    finish()
    counts: Counter[str] = Counter()
    sys.setprofile(lambda _, event, __: counts.update((event,)))
    with contextlib.ExitStack() as stack:
        stack.callback(sys.setprofile, None)
        for _ in range(updates):
            step()
    finish()
    return {"Python functions": counts["call"] / updates, "C functions": counts["c_call"] / updates}


def main(updates: int = 200) -> None:
    """Print a Markdown table."""
    found = {f"calls of {kind}": count for kind, count in calls(updates).items()}
    if shutil.which("valgrind"):
        found.update({f"instructions, {kind} thread": count for kind, count in instructions(updates).items()})
    print("| an update of the tiny net |  |\n|---|---|")
    for what, count in found.items():
        print(f"| {what} | {count:,.0f} |")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    if len(sys.argv) == 3:
        child(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
