"""Memory of many buckets against the largest alone: what MXNet allocates, and what is resident.

Run: python benchmarks/bucket_memory.py

Each row is a process of its own, which trains one batch in every bucket, then 1,000 batches of random lengths, and
closes the trainer. "allocated" is the peak of MXNet's own storage, which its profiler counts and in which the memory
that recurrent operators of oneDNN keep for themselves is not; "resident" is the process, over what it had before.
MXNet keeps four copies of the scratch memory of operators, which it uses in turn, so that one bucket alone shows one of
them and more show all: here it is told to keep one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.tables import table

LONGEST, ROWS, SIZE = 240, 16, 64
PAGE = 4096
ENVIRONMENT = {**os.environ, "MXNET_CPU_TEMP_COPY": "1"}


def plan_of(kind: str) -> mxt.Plan:
    """Return a net over sequences: linear step by step, of convolutions along time, or recurrent."""
    body = {
        "linear": [mxt.Linear(SIZE), mxt.Elementwise("tanh"), mxt.Linear(SIZE), mxt.Elementwise("tanh")],
        "convolution": [
            mxt.Convolution(SIZE, 3, padding=1),
            mxt.Elementwise("relu"),
            mxt.Convolution(SIZE, 3, padding=1),
        ],
        "LSTM": [mxt.LSTM(SIZE)],
    }
    layers = [*body[kind], mxt.Linear(SIZE), mxt.MeanSquaredLoss()]
    return mxt.compile_plan(mxt.NetChain(layers, inputs={"Input": mxt.Sequence("t", mxt.Vector(SIZE))}))


def resident() -> float:
    """Return the resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def allocated() -> float:
    """Return the peak of MXNet's storage since the profiler was started, in MB."""
    lines = mx.profiler.dumps().splitlines()
    found = [line.split() for line in lines if line.startswith("Memory: cpu/0")]
    return float(found[0][-2]) * 1000 / 2**20 if found else 0.0


def one(kind: str, count: int) -> dict[str, float]:
    """Return the figures of so many buckets; 1 is the largest alone."""
    with tempfile.TemporaryDirectory() as folder:  # the profiler writes a file, over whatever has its name
        mx.profiler.set_config(profile_memory=True, aggregate_stats=True, filename=f"{folder}/trace.json")
        mx.profiler.set_state("run")
        found = measured(kind, count)
        mx.profiler.set_state("stop")
        mx.profiler.dump()
    return found


def measured(kind: str, count: int) -> dict[str, float]:
    """Return the figures, while the profiler runs."""
    generator = np.random.default_rng(0)
    bounds = [LONGEST * number // count for number in range(1, count + 1)]
    before = resident()
    trainer = mxt.Trainer(plan_of(kind), mxt.SGD(0.01), ROWS, buckets=mxt.buckets.Fixed(bounds), bytes_kept=None)

    def train(steps: int) -> None:
        lengths = [steps, *generator.integers(1, steps + 1, ROWS - 1)]
        rows = [generator.standard_normal((length, SIZE)) for length in lengths]
        trainer.update({"Input": rows, "Target": rows})
        trainer.current_loss()

    for steps in bounds:
        train(steps)
    report = trainer.buckets.report()
    found = {
        "planned": report.bytes_planned / 2**20,
        "kept by operators": sum(bucket.bytes_operators for bucket in report.buckets) / 2**20,
        "allocated": allocated(),
        "resident": resident() - before,
    }
    for steps in generator.integers(1, LONGEST + 1, 500):
        train(int(steps))
    found["resident after 500"] = resident() - before
    for steps in generator.integers(1, LONGEST + 1, 500):
        train(int(steps))
    found["resident after 1,000"] = resident() - before
    trainer.close()
    found["resident after close"] = resident() - before
    return found


def main() -> None:
    """Print one table a net."""
    for kind in ("linear", "convolution", "LSTM"):
        rows = []
        for count in (1, 6, 12, 24):
            done = subprocess.run(
                [sys.executable, __file__, kind, str(count)],
                capture_output=True,
                text=True,
                check=True,
                env=ENVIRONMENT,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append([count, *(f"{value:.1f}" for value in found.values())])
        print(table([f"{kind}: buckets", *(f"{name}, MB" for name in found)], rows), end="\n\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
