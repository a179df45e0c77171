"""How long it takes until all processes of a job have ended after one of them was killed, and what is said.

    python benchmarks/distributed_kills.py

Prints a table for docs/guides/several-machines.md: the slowest of some repeats.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from launched import SCRIPT, Launcher  # noqa: E402

REPEATS = 3
STEPS = """
from mxtrainer._mxnet import mx
from mxtrainer.engine.group import Group

group = Group.join("sync")
array = mx.nd.ones((1_000_000,))
step = 0
while True:
    step += 1
    group.note_step(step)
    group.sum(array)
    array.wait_to_read()
    array[:] = 1
    if step == 5:
        print("five")
"""


def main() -> None:
    """Kill each kind of process in jobs of several sizes."""
    print("| workers | servers | killed | the other workers have ended after | all after | what the launcher says |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        launcher = Launcher(Path(folder))
        for workers in (1, 2, 4):
            for servers in (1, 2):
                for name in (f"worker {workers - 1}", "server 0", "scheduler"):
                    found = [_killed(launcher, workers, servers, name) for _ in range(REPEATS)]
                    first, last = (max(times[place] for times in found) for place in (0, 1))
                    others = f"{first:.2f} s" if workers > 1 or "worker" not in name else ""
                    print(f"| {workers} | {servers} | {name} | {others} | {last:.2f} s | {found[0][2]} |", flush=True)
        launcher.close()


def _killed(launcher: Launcher, workers: int, servers: int, name: str) -> tuple[float, float, str]:
    """Kill a process in the middle of the steps; return seconds to the end of the last other worker, and of all."""
    job = launcher.start("-n", workers, "-s", servers, SCRIPT, script=STEPS)
    job.until(lambda: len(job.output) >= workers)
    time.sleep(0.3)
    left = {**job.processes(), "launcher": psutil.Process(job.pid)}
    begin = time.monotonic()
    job.send(name, signal.SIGKILL)
    del left[name]
    ended: dict[str, float] = {}
    while left:
        for other, process in list(left.items()):
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                ended[other] = time.monotonic() - begin
                del left[other]
        time.sleep(0.002)
    job.wait()
    of_workers = [seconds for other, seconds in ended.items() if other.startswith("worker")]
    return max(of_workers, default=0.0), max(ended.values()), job.errors.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
