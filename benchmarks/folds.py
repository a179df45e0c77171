"""A fold unrolled against one that is MXNet's foreach, and against the layer that it is: bind, step, and return.

Run: python benchmarks/folds.py [largest number of steps]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fold_cells import lstm_fold, tanh_fold  # noqa: E402 - cells lie beside the tests, which are no package

import mxtrainer as mxt  # noqa: E402
from mxtrainer.plans.layers import Layer, scan  # noqa: E402
from mxtrainer.tables import table  # noqa: E402

UNROLLED, LOOPED = 10**9, 0


def timed(layer: Layer, rows: int, size: int, steps: int, largest: int) -> list[float]:
    """Return milliseconds: the bind and its first step, a later step, and when `update` returns from it."""
    scan.LARGEST_UNROLLED = largest
    net = mxt.NetChain([layer, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(size))})
    generator = np.random.default_rng(0)
    batch = {port: generator.standard_normal((rows, steps, size)).astype("float32") for port in ("Input", "Target")}
    plan, begin = mxt.compile_plan(net), time.perf_counter()
    trainer = mxt.Trainer(plan, mxt.SGD(0.01), batch_size=rows, lengths={"t": steps})
    trainer.update(batch)
    trainer.current_loss()
    bound = time.perf_counter() - begin
    times: list[tuple[float, float]] = []
    while len(times) < 4 or (len(times) < 30 and sum(whole for whole, _ in times) < 2.0):
        begin = time.perf_counter()
        trainer.update(batch)
        returned = time.perf_counter() - begin
        trainer.current_loss()
        times.append((time.perf_counter() - begin, returned))
    trainer.close()
    return [1e3 * bound, *(1e3 * median(column) for column in zip(*times))]


def main() -> None:
    """Print the figures of each cell and size."""
    longest = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    rows_of: list[list[object]] = []
    for name, fold, layer in (("tanh", tanh_fold, mxt.BasicRecurrent), ("LSTM", lstm_fold, mxt.LSTM)):
        for rows, size in ((8, 32), (32, 128)):
            for steps in (steps for steps in (5, 20, 50, 100, 300) if steps <= longest):
                for way, made, largest in (
                    ("layer", layer(size), LOOPED),
                    ("unrolled", fold(size), UNROLLED),
                    ("foreach", fold(size), LOOPED),
                ):
                    found = timed(made, rows, size, steps, largest)
                    rows_of.append([name, rows, size, steps, way, *(f"{one:.2f}" for one in found)])
    print(
        table(["cell", "rows", "size", "steps", "", "bind, first step, ms", "step, ms", "update returns, ms"], rows_of)
    )


if __name__ == "__main__":
    main()
