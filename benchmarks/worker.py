"""One rival in a process of its own: reads commands, one JSON object a line, and answers each with one line.

`bench.py` starts it with the threads and whatever else the rival needs in its environment. Between commands the process
is stopped. What a framework prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from rivals import RIVALS, NotHereError, Runner
from workloads import WORKLOADS

PACKAGES = {
    "ours": ("mxnet", "numpy"), "torch_rival": ("torch",), "keras_rival": ("keras", "tensorflow-cpu"),
    "jax_rival": ("jax", "jaxlib"),
}  # fmt: skip


class Worker:
    """The rival's runners, by workload."""

    def __init__(self, rival: str) -> None:
        self.rival = RIVALS[rival]
        self.runners: dict[str, Runner] = {}

    def check(self, workload: str, file: str, one_bias: bool = False) -> dict[str, Any]:
        """Train the first steps, reading every loss, and write all arrays into a file; the runner is kept."""
        begin, found = time.perf_counter(), WORKLOADS[workload]
        options = {**dict(self.rival.options), **({"one_bias": True} if one_bias else {})}
        module = importlib.import_module(f"rivals.{self.rival.module}")
        runner = module.build(found, found.weights(), **options)
        losses, batches = [], found.batches()
        for number in range(found.checked):
            runner.step(batches[number % len(batches)])
            losses.append(runner.finish())
        np.savez(file, **runner.arrays())
        if not one_bias:
            self.runners[workload] = runner
            self.time(workload, max(2 * len(batches), found.timed // 4), read=False)  # all shapes, all compiled
        return {"losses": losses, "seconds": time.perf_counter() - begin}

    def time(self, workload: str, steps: int, read: bool) -> dict[str, Any]:
        """Time so many steps, after a few that warm up, with the loss read at the end or at every step."""
        runner, batches = self.runners[workload], WORKLOADS[workload].batches()
        calls = []
        for number in range(2 + steps // 10):
            runner.step(batches[number % len(batches)])
        runner.finish()
        begin, processor = time.perf_counter(), time.process_time()
        for number in range(steps):
            start = time.perf_counter()
            runner.step(batches[number % len(batches)])
            calls.append(time.perf_counter() - start)
            if read:
                runner.finish()
        runner.finish()
        seconds, processor = time.perf_counter() - begin, time.process_time() - processor
        return {"step": seconds / steps, "call": statistics.median(calls), "cpu": processor / steps, "wall": seconds}

    def multiply(self, sizes: list[list[int]]) -> list[float]:
        """Return the seconds that matrix products take, of each size the fastest of several."""
        product = importlib.import_module(f"rivals.{self.rival.module}").product
        generator, found = np.random.default_rng(0), []
        for m, k, n in sizes:
            left, right = (generator.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
            found.append(fastest(product(left, right)))
        return found

    def versions(self) -> dict[str, str]:
        """Return the versions of what this rival is made of."""
        found = {}
        for package in PACKAGES.get(self.rival.module, ()):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found


def fastest(call: Any, least: float = 0.05) -> float:
    """Return the seconds of a call: the least mean of five bursts."""
    begin = time.perf_counter()
    call()
    count = max(1, int(least / max(time.perf_counter() - begin, 1e-6)))
    means = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(min(count, 2000)):
            call()
        means.append((time.perf_counter() - begin) / min(count, 2000))
    return min(means)


def main(rival: str) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(rival)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"found": getattr(worker, command.pop("do"))(**command)}
        except NotHereError as error:
            answer = {"absent": str(error)}
        except Exception as error:  # noqa: BLE001  # whatever a framework raises is the answer
            traceback.print_exc()
            answer = {"absent": f"{type(error).__name__}: {error}".split("\n")[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
