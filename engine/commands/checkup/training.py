"""Whether numbers come out right: a product, kernels, and a training with known losses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from ...._mxnet import mx
from ....errors import Error
from ....executors.kernels import usable
from ....plans.compile import compile_plan
from ....plans.layers import Linear, MeanSquaredLoss
from ....plans.net import NetChain
from ....plans.types import Scalar
from ...optimizers import Adam
from ...trainer import Trainer
from .finding import PROBLEM, WARNING, Finding

SIZE = 1024  # of the product's matrices
ROUNDS = 5
BATCH = {"Input": [1.0, 2.0, 3.0, 4.0], "Target": [1.9, 4.1, 6.0, 8.1]}
START = {"linear.Weights": [[1.21544]], "linear.Biases": [0.0]}
#: Sums of squared errors before these updates, as another trainer printed them; `examples/linear.py` has all thirty.
KNOWN = {50: 16.3051, 60: 15.7414, 70: 15.1926, 79: 14.7113}
TOLERANCE = 1e-3  # they were printed to four decimals, as float32; a step changes them by 0.05
REPORT = "the numbers are wrong on this machine: please report it, with the output of mxtrainer doctor --json"


def look_at_training() -> Iterator[Finding]:
    """Yield the product, the kernels and the training."""
    for look in (_product, _kernels, _training):
        try:
            yield look()
        except (Error, mx.MXNetError) as error:
            yield Finding(
                look.__name__.strip("_"), str(error).splitlines()[0], PROBLEM, "training cannot work like this"
            )


def _product() -> Finding:
    """Multiply two matrices in float32, and compare with numpy in float64."""
    left, right = np.random.default_rng(0).normal(size=(2, SIZE, SIZE)).astype("float32")
    given = mx.nd.array(left), mx.nd.array(right)
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        found = mx.nd.dot(*given)
        found.wait_to_read()
        seconds.append(time.perf_counter() - begin)
    error = float(np.abs(found.asnumpy() - left.astype("float64") @ right).max())
    speed = f"{2 * SIZE**3 / min(seconds) / 1e9:.0f} billion operations a second"
    if error < 1e-2:  # of numbers of about 32
        return Finding("product", f"{speed}, of {SIZE} x {SIZE} matrices; right to {error:.0e}")
    return Finding("product", f"wrong by {error:.1e}", PROBLEM, REPORT)


def _kernels() -> Finding:
    """Compile a kernel, and see whether it is there the next time."""
    if not usable(mx.cpu()):
        advice = 'updates are slower: see whether numba imports, python -c "import numba"'
        return Finding("kernels", "do not load; MXNet's own operators take their place", WARNING, advice)
    from ....executors.threads_kernel import threads_kernel  # which imports numba

    begin = time.perf_counter()
    hits = threads_kernel().cache_hits
    seconds = time.perf_counter() - begin
    if hits or threads_kernel.__wrapped__().cache_hits:
        return Finding(
            "kernels", f"{'read from the disk' if hits else 'compiled and kept'}, the first in {seconds:.1f} s"
        )
    advice = "every process compiles anew: set NUMBA_CACHE_DIR to a folder that can be written"
    return Finding("kernels", "compiled, and cannot be kept", WARNING, advice)


def _training() -> Finding:
    """Train a linear unit, and compare its losses with known ones."""
    plan = compile_plan(NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()}))
    begin = time.perf_counter()
    with Trainer(plan, Adam(1e-3), batch_size=4, arrays=START) as trainer:
        trainer.update(BATCH)
        trainer.current_loss()
        first = time.perf_counter()
        for _ in range(max(KNOWN) - 1):
            trainer.update(BATCH)
        found = {step: trainer.loss_at(step, reduction="sum")["Loss"] for step in KNOWN}
        last = time.perf_counter()
    away = max(abs(found[step] - known) for step, known in KNOWN.items())
    if away > TOLERANCE:
        return Finding("training", f"losses {found}, known {KNOWN}", PROBLEM, REPORT)
    speed = 1e3 * (last - first) / (max(KNOWN) - 1)
    text = f"losses as known, to {away:.0e}; first step after {first - begin:.1f} s, then {speed:.2f} ms each"
    return Finding("training", text)
