"""Where the time of a step goes on the device, operator by operator, as MXNet's profiler sees it.

Run as ``OMP_NUM_THREADS=1 python benchmarks/op_times.py [workload] [steps]``. Operators run one by one, where MXNet
else joins up to 15 of them in one call; that and the profiler make a step a little longer.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ["MXNET_EXEC_BULK_EXEC_TRAIN"] = "0"  # read when MXNet is imported

from rivals import ours
from workloads import WORKLOADS

DEVICE = 3  # the group of rows of a trace


def by_operator(trace: Path, steps: int) -> dict[str, tuple[float, float]]:
    """Return the milliseconds and the calls of a step by operator, most first."""
    begun: dict[tuple[int, str], float] = {}
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in json.loads(trace.read_text())["traceEvents"]:
        if event.get("pid") != DEVICE or event["ph"] not in {"B", "E"}:
            continue
        key = event["tid"], event["name"]
        if event["ph"] == "B":
            begun[key] = event["ts"]
        elif key in begun:
            found[event["name"]][0] += (event["ts"] - begun.pop(key)) / 1e3 / steps
            found[event["name"]][1] += 1 / steps
    return {name: (ms, calls) for name, (ms, calls) in sorted(found.items(), key=lambda item: -item[1][0])}


def main(workload: str = "mid", steps: int = 20) -> None:
    """Print a Markdown table."""
    chosen = WORKLOADS[workload]
    runner, batches = ours.build(chosen, chosen.weights()), chosen.batches()
    for number in range(5):
        runner.step(batches[number % len(batches)])
    runner.finish()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        with runner.trainer.trace(trace):
            begin = time.perf_counter()
            for number in range(steps):
                runner.step(batches[number % len(batches)])
            runner.finish()
            total = (time.perf_counter() - begin) / steps * 1e3
        found = by_operator(trace, steps)
    print(f"| {workload}: {total:.1f} ms a step | ms | share | calls |\n|---|---:|---:|---:|")
    for name, (ms, calls) in found.items():
        if ms > 0.005 * total:
            print(f"| {name} | {ms:.2f} | {ms / total:.0%} | {calls:.0f} |")
    rest = total - sum(ms for ms, _ in found.values())
    print(f"| nothing runs | {rest:.2f} | {rest / total:.0%} | |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mid", *map(int, sys.argv[2:3]))
