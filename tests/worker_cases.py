"""Scripts of several workers, and what they have shown."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from launched import Job

NET = """
import json, os, sys, time
import numpy as np
import mxtrainer as mxt
from mxtrainer._mxnet import mx

net = mxt.NetChain(
    [mxt.LSTM(4), mxt.Linear(()), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Scalar())}
)
plan = mxt.compile_plan(net)
generator = np.random.default_rng(0)
EXAMPLES = [generator.normal(size=length) for length in generator.integers(2, 9, 64)]

def rows(step, rank, workers, each=6):
    whole = [EXAMPLES[(step * each + number) % 64] for number in range(each)]
    cut = [0, *(each * (number + 1) // workers - (number % 2) for number in range(workers - 1)), each]
    mine = whole[cut[rank]:cut[rank + 1]]
    return {"Input": mine, "Target": [np.cumsum(one) for one in mine]}

def trained(mode="sync", rank=None, workers=None, load=None, **options):
    options = {"buckets": mxt.buckets.Multiple(4), "distributed": mode, **options}
    if load is not None:
        return mxt.Trainer.load(load, distributed=mode)
    return mxt.Trainer(plan, options.pop("optimizer", mxt.Adam(1e-2)), 6, **options)

def show(trainer, **more):
    arrays = {path: array[:].tolist() for path, array in trainer.arrays.items()}
    print(json.dumps({"step": trainer.step, "arrays": arrays, **more}), flush=True)
"""
STEPS = """
trainer = trained()
for step in range(%(steps)d):
    trainer.update(rows(step, trainer.rank, trainer.workers))
trainer.current_loss()
show(trainer)
"""


def shown(job: Job, workers: int) -> list[dict[str, Any]]:
    """Return what each worker of a job that went well has shown last."""
    assert job.code == 0, job.errors
    return [json.loads(job.of_rank(rank)[-1]) for rank in range(workers)]


def alone(script: str) -> dict[str, Any]:
    """Return what a script shows that runs in this process, as the one worker there is."""
    lines: list[str] = []
    code = NET.replace('"distributed": mode', '"distributed": None').replace("distributed=mode", "distributed=None")
    names: dict[str, Any] = {"print": lambda line, **_: lines.append(line)}
    exec(code + script, names)  # noqa: S102 - a script of this file
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def apart(left: dict[str, Any], right: dict[str, Any]) -> float:
    """Return the largest difference between the arrays that two workers have shown."""
    return max(float(np.abs(np.subtract(left["arrays"][path], right["arrays"][path])).max()) for path in left["arrays"])
