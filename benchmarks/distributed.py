"""Several workers on this machine: do they train as one does, what goes over the wire, and what a step costs.

Run as ``python benchmarks/distributed.py [alike] [cost]``, by default both. Bytes are those of the loopback device,
so nothing else should use it meanwhile.

alike: 50 steps of 1, 2 and 4 workers with 1 and 2 servers, against one process that has all rows.
cost: milliseconds a step of 1, 2 and 4 workers by the number of parameters, and a model that is fitted to them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from numpy.typing import NDArray

WORKERS, SERVERS, SIZES = (1, 2, 4), (1, 2), (10_000, 100_000, 1_000_000, 4_000_000)

COMMON = """
import json, re, sys, time
import numpy as np
import mxtrainer as mxt
from mxtrainer._mxnet import mx

def bytes_sent():
    return int(re.search(r"lo:(.*)", open("/proc/net/dev").read())[1].split()[8])
"""
ALIKE = (
    COMMON
    + """
net = mxt.NetChain([mxt.LSTM(64), mxt.Linear(()), mxt.MeanSquaredLoss()],
    inputs={"Input": mxt.Sequence("t", mxt.Vector(8))})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.Adam(1e-3), 8, distributed=MODE, buckets=mxt.buckets.Multiple(8))
generator = np.random.default_rng(0)
batches = [[generator.normal(size=(length, 8)) for length in generator.integers(5, 33, 8)] for _ in range(50)]
for rows in batches:
    mine = rows[trainer.rank::trainer.workers]
    trainer.update({"Input": mine, "Target": [np.cumsum(one.sum(1)) / 10 for one in mine]})
    if trainer.step == 10:
        trainer.current_loss()
        sent = bytes_sent()
trainer.current_loss()
arrays = np.concatenate([array[:].ravel() for array in trainer.arrays.values()])
np.save(f"{sys.argv[1]}/{trainer.rank}.npy", arrays)
print(json.dumps({"bytes": (bytes_sent() - sent) / 40}), flush=True)
"""
)
COST = (
    COMMON
    + """
side = int(sys.argv[1]) // 100
net = mxt.NetChain([mxt.Linear(100), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(side)})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(1e-3), 1, distributed=MODE)
batch = {"Input": np.ones((1, side), np.float32), "Target": np.ones((1, 100), np.float32)}
seconds = []
for block in range(8):
    begin = time.perf_counter()
    for _ in range(STEPS):
        trainer.update(batch)
    trainer.current_loss()
    seconds.append((time.perf_counter() - begin) / STEPS)
print(json.dumps({"ms": 1e3 * float(np.median(seconds[1:]))}), flush=True)
"""
)


def run(script: str, workers: int, servers: int, *arguments: str) -> list[dict[str, Any]]:
    """Return what the workers have printed; 0 workers are one process by itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.py"
        path.write_text(script.replace("MODE", '"sync"' if workers else "None"))
        launch = ["-m", "mxtrainer.launch", "-n", str(workers), "-s", str(servers)] if workers else []
        command = [sys.executable, *launch, str(path), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line[line.index("{") :]) for line in done.stdout.splitlines()]


def trained(workers: int, servers: int) -> tuple[list[NDArray[np.float32]], float]:
    """Return the arrays of each worker, and how many bytes a step have gone over the wire."""
    with tempfile.TemporaryDirectory() as folder:
        found = run(ALIKE, workers, servers, folder)
        arrays = [np.load(path) for path in sorted(Path(folder).iterdir())]
    return arrays, max(one["bytes"] for one in found)


def alike() -> None:
    """Print how far workers are from one process, and what they send."""
    (expected,), _ = trained(0, 0)
    print(f"50 steps, {expected.size:,} parameters, bytes a step of loopback\n")
    print("workers  servers  workers alike  largest difference  bytes a step  by the size")
    for workers in WORKERS:
        for servers in SERVERS:
            arrays, sent = trained(workers, servers)
            same = all(one.tobytes() == arrays[0].tobytes() for one in arrays)
            difference = np.abs(arrays[0] - expected).max()
            print(
                f"{workers:7}  {servers:7}  {'every bit' if same else 'NO':13}  {difference:18.1e}  {sent:12,.0f}  "
                f"{bytes_of(workers, expected.size):11,.0f}"
            )


def bytes_of(workers: int, size: int) -> int:
    """Return how many bytes of numbers go over the wire at a step: to the servers and back, under each pair's keys."""
    pairs = (workers + 1) // 2 if workers > 2 else 1
    return 2 * 4 * workers * pairs * size


def cost() -> None:
    """Print milliseconds a step, and the model."""
    jobs = [(workers, servers) for workers in WORKERS for servers in SERVERS]
    print("parameters  alone  " + "".join(f"{workers} workers ({servers})  " for workers, servers in jobs))
    rows, times = [], []
    for size in SIZES:
        script = COST.replace("STEPS", str(max(5, 2_000_000 // size)))
        alone = run(script, 0, 0, str(size))[0]["ms"]
        line = f"{size:10,}  {alone:5.2f}  "
        for workers, servers in jobs:
            found = np.median([one["ms"] for one in run(script, workers, servers, str(size))])
            line += f"{found:13.2f}  "
            rows.append((1.0, workers, bytes_of(workers, size) / 1e6))
            times.append(found - alone * max(1.0, workers / 2))  # two processors share the computations
        print(line)
    weights = 1 / np.maximum(np.array(times), 0.1)  # so that what is relative counts
    matrix, found = np.array(rows) * weights[:, None], np.array(times) * weights
    (base, each, by_byte), *_ = np.linalg.lstsq(matrix, found, rcond=None)
    fitted = np.array(rows) @ [base, each, by_byte]
    errors = np.abs(fitted / np.array(times) - 1)
    print(f"\nms a step = {base:.2f} + {each:.2f} a worker + {by_byte:.2f} for each MB on the wire")
    print(f"off by {100 * np.median(errors):.0f}% in the median, {100 * errors.max():.0f}% at most")


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["alike", "cost"]
    print(", ".join(f"{name} {value}" for name, value in describe().items()), end="\n\n")
    for name in chosen:
        {"alike": alike, "cost": cost}[name]()
        print()
