"""Where the host's time of an update goes: by what `stats` tells apart, and by module as cProfile sees it.

Run as ``OMP_NUM_THREADS=1 python benchmarks/host_time.py [workload] [updates]``. No update waits for a free place: in
bursts there is room for all of them, and elsewhere the device is waited for after each. cProfile makes every call of
Python longer: its figures say where time goes, not how much there is.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

from data import Batch
from rivals import ours
from workloads import WORKLOADS

WARM_UP = BURST = 50
ROOT = Path(__file__).resolve().parents[1]


def in_bursts(runner: ours.Ours, batches: list[Batch], updates: int) -> float:
    """Return the median seconds of a call in a loop that does nothing else, and never waits."""
    calls = []
    for number in range(updates):
        begin = time.perf_counter()
        runner.step(batches[number % len(batches)])
        calls.append(time.perf_counter() - begin)
        if number % BURST == BURST - 1:
            runner.finish()
    return statistics.median(calls)


def apart(runner: ours.Ours, batches: list[Batch], updates: int) -> dict[str, float]:
    """Return the seconds of an update: the median of the calls, and the means of what the trainer tells apart."""
    calls, processor, before = [], [], runner.trainer.stats()
    for number in range(updates):
        begin, used = time.perf_counter(), time.thread_time()
        runner.step(batches[number % len(batches)])
        processor.append(time.thread_time() - used)
        calls.append(time.perf_counter() - begin)
        runner.finish()
    after = runner.trainer.stats()
    staging = (after.seconds_staging - before.seconds_staging) / updates
    queueing = (after.seconds_queueing - before.seconds_queueing) / updates
    mean = statistics.mean(calls)
    return {
        "a call of update behind an idle device, median": statistics.median(calls),
        "the same, processor time of its thread": statistics.median(processor),
        "checks and copies, mean": staging,
        "queueing of forward, backward, guard, optimizer, mean": queueing,
        "the rest, mean: bookkeeping": mean - staging - queueing,
    }


def by_module(runner: ours.Ours, batches: list[Batch], updates: int) -> dict[str, tuple[float, float]]:
    """Return the own seconds and the calls of an update, by module, most first."""
    profile = cProfile.Profile(time.thread_time)  # which other processes do not make longer
    for number in range(updates):
        profile.enable()
        runner.step(batches[number % len(batches)])
        profile.disable()
        runner.finish()
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (file, _, _), (_, count, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # typeshed lacks it
        module = module_name(file)
        found[module][0] += own / updates
        found[module][1] += count / updates
    order = sorted(found.items(), key=lambda item: -item[1][0])
    return {module: (seconds, calls) for module, (seconds, calls) in order}


def module_name(file: str) -> str:
    """Return a file of this project by its path in it, and any other by its package."""
    path = Path(file).resolve()
    if file == "~":
        return "functions in C"
    if file.startswith("<"):
        return "standard library"
    if path.is_relative_to(ROOT) and ".venv" not in path.parts:
        return path.relative_to(ROOT).as_posix()
    return next((package for package in ("mxnet", "numpy", "ctypes") if package in path.parts), "standard library")


def main(workload: str = "tiny", updates: int = 2000) -> None:
    """Print two Markdown tables."""
    chosen = WORKLOADS[workload]
    runner, batches = ours.build(chosen, chosen.weights(), depth=BURST), chosen.batches()
    for number in range(WARM_UP):
        runner.step(batches[number % len(batches)])
    runner.finish()
    print(f"| {workload}, microseconds an update |  |\n|---|---:|")
    print(f"| a call of update in bursts of {BURST}, median | {1e6 * in_bursts(runner, batches, updates):.1f} |")
    for what, seconds in apart(runner, batches, updates).items():
        print(f"| {what} | {1e6 * seconds:.1f} |")
    print("\n| module, by cProfile | own microseconds | calls |\n|---|---:|---:|")
    for module, (seconds, calls) in by_module(runner, batches, updates).items():
        print(f"| {module} | {1e6 * seconds:.1f} | {calls:.1f} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tiny", *map(int, sys.argv[2:3]))
