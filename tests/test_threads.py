"""Small nets run on one thread of OpenMP, others on as many as there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import ctypes, sys
import numpy as np
import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.executors.kernels import usable

found = []
gomp = ctypes.CDLL("libgomp.so.1")
note = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
    lambda *_: found.append(gomp.omp_get_max_threads())
)
device = (ctypes.c_int * 2)(1, 0)

def look():
    mx.nd.waitall()
    mx.base._LIB.MXEnginePushSyncND(note, None, None, device, None, 0, None, 0, None, 0, b"look")
    mx.nd.waitall()
    return found[-1]

def trainer(width):
    net = mxt.NetChain([mxt.Linear(width), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(width)})
    return mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=32)

def step(trainer, width):
    trainer.update({"Input": np.zeros((32, width)), "Target": np.zeros((32, width))})
    return look()

small, large = trainer(4), trainer(400)
seen = [step(small, 4), step(large, 400), step(small, 4), small.evaluate({"Input": np.zeros((32, 4)),
    "Target": np.zeros((32, 4))}) and look()]
print(usable(mx.cpu()), seen)
"""

STAGED = """
large.stage({"Input": np.zeros((32, 400)), "Target": np.zeros((32, 400))})
after_small = step(small, 4)
large.update()
print(after_small, look())
"""
TOKENS = """
net = mxt.NetChain([mxt.LSTM(64), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(64))})
buckets = mxt.buckets.Tokens(1024, mxt.buckets.Fixed([4, 256]))
tokens = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=None, buckets=buckets)
counts = []
for rows, steps in ((256, 4), (4, 256)):
    tokens.update({port: np.zeros((rows, steps, 64)) for port in ("Input", "Target")})
    counts.append(look())
print(*counts)
"""


def threads_seen(program: str = PROGRAM, **environment: str) -> str:
    variables = {**os.environ, "OMP_NUM_THREADS": "3", **environment}
    found = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return found.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [1, 3, 1, 1]),
        ({"OMP_NUM_THREADS": "1"}, [1, 1, 1, 1]),
        ({"MXNET_CPU_WORKER_NTHREADS": "2"}, [3, 3, 3, 3]),  # nobody knows which of the workers would be told
        ({"MXNET_ENGINE_TYPE": "NaiveEngine"}, [3, 3, 3, 3]),  # whose worker is the caller's own thread
    ],
)
def test_each_net_has_the_threads_that_its_size_asks_for(environment: dict[str, str], expected: list[int]) -> None:
    usable, _, seen = threads_seen(**environment).partition(" ")
    if usable == "False":
        pytest.skip("there are no kernels")
    assert seen == str(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param(STAGED, "1 3", id="a staged batch, after another net's"),
        pytest.param(TOKENS, "3 3", id="buckets of other batch sizes"),
    ],
)
def test_a_net_has_the_same_threads_at_every_step(more: str, expected: str) -> None:
    first, _, last = threads_seen(PROGRAM + more).partition("\n")
    if first.startswith("False"):
        pytest.skip("there are no kernels")
    assert last == expected
