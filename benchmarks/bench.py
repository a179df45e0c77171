"""This project against its rivals: same nets, weights, batches, optimizer and threads, results compared before timed.

Run: make bench, or make bench ARGS="--workload tiny,mid --rounds 3". See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from report import write
from rivals import RIVALS
from workers import AbsentError, Remote
from workloads import WORKLOADS

LOSSES_MAY_DIFFER = 1e-4
ARRAYS_MAY_DIFFER = 5e-4  # of the largest element: Adam makes a whole step of a gradient that is nothing but rounding
REFERENCE = "ours"
KERAS = "keras-"
PAGES = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
Results = dict[str, Any]


def deviation(found: Any, expected: Any) -> float:
    """Return how far numbers are from what is expected: the root mean square, as a part of the largest expected."""
    difference = np.subtract(found, expected)
    return float(np.sqrt(np.mean(difference**2)) / max(float(np.abs(expected).max()), 1e-3))


class Session:
    """All rivals at one number of threads.

    Args:
        threads: How many.
        rivals: Their names; ours is always among them.
        workloads: Names of workloads.
        folder: Where files and logs go.
    """

    def __init__(self, threads: int, rivals: list[str], workloads: list[str], folder: Path) -> None:
        self.folder = folder
        self.workloads = workloads
        self.remotes = {name: Remote(name, threads, folder / f"{name}-{threads}.log") for name in rivals}
        self.results: Results = {name: {rival: {} for rival in rivals} for name in workloads}
        self.floors: Results = {}
        self.order: list[str] = []  # of Keras' backends, once it is known
        self.versions: dict[str, str] = {}

    def compare(self, workload: str, rival: str) -> None:
        """Let a rival train the first steps, and note how far it is from ours."""
        found = self.results[workload][rival]
        try:
            answer = self.remotes[rival].ask("check", workload=workload, file=self.file(workload, rival))
        except AbsentError as error:
            found["absent"] = str(error)
            return
        found["start"] = answer["seconds"]
        reference = self.reference(workload, RIVALS[rival].one_bias)
        found["losses_differ"] = max(map(deviation, answer["losses"], reference[0]))
        with np.load(self.file(workload, rival)) as arrays:
            found["arrays_differ"] = max(deviation(arrays[name], array) for name, array in reference[1].items())
        close = found["losses_differ"] <= LOSSES_MAY_DIFFER and found["arrays_differ"] <= ARRAYS_MAY_DIFFER
        found["agrees"] = close

    def reference(self, workload: str, one_bias: bool) -> tuple[list[float], dict[str, Any]]:
        """Return our losses and arrays, of a training with one vector of biases an LSTM where a rival has one."""
        file = Path(self.file(workload, f"reference-{one_bias}"))
        losses = file.with_suffix(".json")
        if not losses.exists():
            answer = self.remotes[REFERENCE].ask("check", workload=workload, file=str(file), one_bias=one_bias)
            losses.write_text(json.dumps(answer["losses"]))
        return json.loads(losses.read_text()), dict(np.load(file).items())

    def file(self, workload: str, rival: str) -> str:
        """Return where a rival's arrays go."""
        return str(self.folder / f"{workload}-{rival}.npz")

    def round(self, workload: str, generator: random.Random) -> None:
        """Time every rival that agrees once, in random order."""
        order = [name for name, found in self.results[workload].items() if found.get("agrees")]
        for rival in generator.sample(order, len(order)):
            steps = WORKLOADS[workload].timed
            for kind, read in (("queued", False), ("read", True)):
                timed = self.remotes[rival].timed(workload, steps if not read else max(steps // 2, 4), read)
                self.results[workload][rival].setdefault(kind, []).append(timed)

    def compare_all(self, workload: str) -> None:
        """Let all rivals train the first steps; of Keras' backends, the first that can of those in their order."""
        for rival in self.remotes:
            if not rival.startswith(KERAS):
                self.compare(workload, rival)
        for backend in self.order or [name for name in self.remotes if name.startswith(KERAS)]:
            self.compare(workload, backend)
            if self.order and self.results[workload][backend].get("agrees"):
                break

    def choose_keras(self) -> None:
        """Order Keras' backends by their speed in the workloads so far, and keep one a workload."""
        backends = [name for name in self.remotes if name.startswith(KERAS)]
        speed = {name: self.speed(name) for name in backends}
        self.order = sorted(backends, key=speed.__getitem__)

    def keep_one_keras(self) -> None:
        """Leave of Keras' backends in every workload the first that agrees, or the first."""
        for found in self.results.values():
            able = [name for name in self.order if found[name].get("agrees")] or self.order
            for name in set(self.order) - set(able[:1]):
                del found[name]

    def speed(self, rival: str) -> float:
        """Return the mean logarithm of a rival's seconds a step, over tiny and mid where they are asked for."""
        chosen = deciding(self.workloads)
        try:
            timed = [self.remotes[rival].timed(name, max(WORKLOADS[name].timed // 4, 4), read=False) for name in chosen]
        except (AbsentError, KeyError):
            return math.inf
        return statistics.mean(math.log(found["step"]) for found in timed)

    def measure_floors(self) -> None:
        """Note for every workload how long its matrix products alone take, each by whichever library is faster."""
        sizes = sorted({(p.m, p.k, p.n) for name in self.workloads for p in WORKLOADS[name].products()})
        peak = (1024, 1024, 1024)
        seconds: dict[tuple[int, ...], float] = {}
        for rival in ("ours", "torch"):
            if rival in self.remotes:
                for size, found in zip([*sizes, peak], self.remotes[rival].ask("multiply", sizes=[*sizes, peak])):
                    seconds[size] = min(seconds.get(size, math.inf), found)
        for name in self.workloads:
            workload = WORKLOADS[name]
            total = sum(p.count * seconds[p.m, p.k, p.n] for p in workload.products()) / workload.counted
            self.floors[name] = {"gflop": workload.gflop, "floor": total, "peak": 2 * 1024**3 / seconds[peak] / 1e9}

    def found(self) -> Results:
        """Return all results."""
        for remote in self.remotes.values():
            with contextlib.suppress(AbsentError):
                self.versions.update(remote.ask("versions"))
        return {"workloads": self.results, "floors": self.floors}

    def close(self) -> None:
        """End all processes."""
        for remote in self.remotes.values():
            remote.close()


@contextlib.contextmanager
def session(threads: int, arguments: argparse.Namespace) -> Iterator[Session]:
    """Start all rivals, and end them."""
    with tempfile.TemporaryDirectory() as folder:
        made = Session(threads, arguments.rival, arguments.workload, Path(folder))
        try:
            yield made
        finally:
            made.close()


def run(threads: int, arguments: argparse.Namespace) -> tuple[Results, dict[str, str]]:
    """Run everything at one number of threads; return results and versions."""
    with session(threads, arguments) as made:
        for workload in arguments.workload:
            made.compare_all(workload)
            if workload == deciding(arguments.workload)[-1]:
                made.choose_keras()
            for rival, found in made.results[workload].items():
                say(f"{threads} threads, {workload}, {rival}: {told(found)}")
        made.keep_one_keras()
        made.measure_floors()
        generator = random.Random(threads)  # noqa: S311  # an order
        for number in range(arguments.rounds):
            for workload in arguments.workload:
                made.round(workload, generator)
            say(f"{threads} threads: round {number + 1} of {arguments.rounds}")
        return made.found(), made.versions


def deciding(workloads: list[str]) -> list[str]:
    """Return the workloads by which Keras' backend is chosen: tiny and mid, where they are asked for."""
    return [name for name in workloads if name in {"tiny", "mid"}] or workloads[:1]


def told(found: Results) -> str:
    """Return in words how a rival's comparison went."""
    if "losses_differ" not in found:
        return str(found.get("absent", "another backend is taken"))
    word = "agrees" if found["agrees"] else "differs"
    return f"{word}: losses {found['losses_differ']:.0e}, arrays {found['arrays_differ']:.0e}, {found['start']:.0f} s"


BEGIN = time.perf_counter()


def say(text: str) -> None:
    """Print progress."""
    print(f"{time.perf_counter() - BEGIN:6.0f} s  {text}", flush=True)


def listed(choices: dict[str, Any], first: str = "") -> Any:
    """Return what reads a list of names, with commas."""

    def read(text: str) -> list[str]:
        names = [first] * bool(first) + [name for name in text.split(",") if name != first]
        unknown = [name for name in names if name not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(choices)}")
        return names

    return read


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", type=listed(WORKLOADS), default=[*WORKLOADS], help="names, with commas")
    parser.add_argument("--rival", type=listed(RIVALS, REFERENCE), default=[*RIVALS], help="names, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="2,1", help="numbers, with commas; a table each")
    parser.add_argument("--output", type=Path, help="where the page goes; docs/benchmarks, if everything is run")
    arguments = parser.parse_args()
    results: Results = {"rounds": arguments.rounds, "threads": {}, "versions": {}}
    for threads in map(int, arguments.threads.split(",")):
        results["threads"][str(threads)], versions = run(threads, arguments)
        results["versions"].update(versions)
    results["machine"] = describe()
    results["minutes"] = (time.perf_counter() - BEGIN) / 60
    everything = (arguments.workload, arguments.rival) == ([*WORKLOADS], [*RIVALS])
    print(write(results, arguments.output or (PAGES if everything else None)))


if __name__ == "__main__":
    main()
