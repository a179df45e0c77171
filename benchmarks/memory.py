"""Memory that is known before, against what becomes resident; what a budget costs; and what segments cost and save.

Run: python benchmarks/memory.py [forecast] [budget] [segments]

Each row is a process of its own. It trains a small net of the same kind first, so that what MXNet and numba take once
is there, then reads its resident memory, makes the trainer, takes four steps, and reads the peak since. Batches are
made before. glibc is told to give back what is freed, as with every memory_budget=.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fold_cells import lstm_fold  # noqa: E402 - cells lie beside the tests, which are no package

import mxtrainer as mxt  # noqa: E402
from mxtrainer.executors.free_memory import resident_bytes  # noqa: E402
from mxtrainer.tables import table  # noqa: E402

MB = 2**20
OPTIMIZERS = {"SGD": mxt.SGD(0.01), "momentum": mxt.SGD(0.01, momentum=0.9), "Adam": mxt.Adam()}
STEPS = 4


def mlp(layers: int, width: int) -> mxt.NetGraph:
    """Return layers of one width, each with a tanh."""
    body = [layer for _ in range(layers) for layer in (mxt.Linear(width), mxt.Elementwise("tanh"))]
    return mxt.NetChain([*body, mxt.Linear(10), mxt.CrossEntropyLoss("index")], inputs={"Input": mxt.Vector(width)})


def convolutions(count: int, channels: int) -> mxt.NetGraph:
    """Return convolutions with relu, every second with pooling, on 28 by 28."""
    body: list[Any] = []
    for number in range(count):
        body += [mxt.Convolution(channels, (3, 3), padding=1), mxt.Elementwise("relu")]
        body += [mxt.Pooling((2, 2))] if number % 2 else []
    loss = [mxt.Linear(10), mxt.CrossEntropyLoss("index")]
    return mxt.NetChain([*body, *loss], inputs={"Input": mxt.Array((3, 28, 28))})


def residual(blocks: int, channels: int) -> mxt.NetGraph:
    """Return blocks of two convolutions with batch normalization, and a way around each, on 16 by 16."""
    layers: dict[str, Any] = {"stem": mxt.Convolution(channels, (3, 3), padding=1)}
    paths: list[tuple[Any, ...]] = [("Input", "stem")]
    at = "stem"
    for number in range(blocks):
        half = [mxt.Convolution(channels, (3, 3), padding=1), mxt.BatchNorm()]
        layers[f"block{number}"] = mxt.NetChain([*half, mxt.Elementwise("relu"), *half])
        layers[f"plus{number}"], layers[f"relu{number}"] = mxt.Threading("plus"), mxt.Elementwise("relu")
        paths += [(at, f"block{number}"), ([f"block{number}", at], f"plus{number}", f"relu{number}")]
        at = f"relu{number}"
    layers |= {"linear": mxt.Linear(10), "loss": mxt.CrossEntropyLoss("index")}
    return mxt.NetGraph(layers, [*paths, (at, "linear", "loss", "Loss")], inputs={"Input": mxt.Array((3, 16, 16))})


def recurrent(layer: str, count: int, size: int, width: int) -> mxt.NetGraph:
    """Return a stack of recurrent layers over vectors of a width."""
    body = [getattr(mxt, layer)(size) for _ in range(count)]
    return mxt.NetChain(
        [*body, mxt.Linear(8), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(width))}
    )


def stateful(layer: str, count: int, size: int, width: int) -> mxt.NetGraph:
    """Return the same with its states as ports, so that it can be run in segments."""
    return recurrent(layer, count, size, width).with_states()


def fold(size: int) -> mxt.NetGraph:
    """Return an LSTM of simple layers, run step by step."""
    return mxt.NetChain(
        [lstm_fold(size), mxt.Linear(8), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(size))}
    )


Net = Callable[..., mxt.NetGraph]
NETS: dict[str, Net] = {f.__name__: f for f in (mlp, convolutions, residual, recurrent, stateful, fold)}
SMALL: dict[str, list[Any]] = {
    "mlp": [4, 16], "convolutions": [2, 8], "residual": [1, 8], "recurrent": ["LSTM", 1, 4, 4],
    "stateful": ["LSTM", 1, 4, 4], "fold": [4]
}  # fmt: skip
GRID: list[tuple[str, list[Any], int, int | None, str]] = [
    ("mlp", [50, 256], 512, None, "Adam"),
    ("mlp", [50, 256], 4096, None, "SGD"),
    ("mlp", [12, 700], 2000, None, "momentum"),
    ("mlp", [3, 3000], 64, None, "Adam"),
    ("mlp", [3, 3000], 3000, None, "SGD"),
    ("convolutions", [4, 16], 100, None, "Adam"),
    ("convolutions", [6, 32], 200, None, "momentum"),
    ("convolutions", [4, 20], 300, None, "SGD"),
    ("convolutions", [5, 64], 50, None, "Adam"),
    ("residual", [4, 32], 100, None, "SGD"),
    ("residual", [10, 24], 32, None, "Adam"),
    ("residual", [16, 16], 64, None, "momentum"),
    ("recurrent", ["LSTM", 1, 100, 100], 20, 700, "Adam"),
    ("recurrent", ["LSTM", 2, 200, 50], 32, 300, "SGD"),
    ("recurrent", ["LSTM", 3, 128, 128], 16, 1000, "momentum"),
    ("recurrent", ["LSTM", 4, 64, 200], 64, 100, "Adam"),
    ("recurrent", ["LSTM", 2, 650, 300], 20, 80, "Adam"),
    ("recurrent", ["LSTM", 1, 1024, 512], 16, 120, "SGD"),
    ("recurrent", ["GRU", 2, 150, 100], 32, 300, "Adam"),
    ("recurrent", ["GRU", 1, 400, 40], 24, 250, "momentum"),
    ("recurrent", ["BasicRecurrent", 3, 120, 60], 32, 400, "SGD"),
    ("fold", [64], 32, 60, "Adam"),
    ("fold", [100], 20, 400, "SGD"),
    ("fold", [32], 64, 900, "momentum"),
]
BUDGETS = [("mlp", [50, 256], 2048, None, "SGD"), ("residual", [16, 32], 64, None, "SGD"),
           ("stateful", ["LSTM", 1, 128, 128], 16, 2000, "SGD")]  # fmt: skip
SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)
LONG = ("stateful", ["LSTM", 1, 128, 32], 8)
SEGMENTS: dict[int, list[int | None]] = {  # by the number of steps
    1_000: [None, 32, 200],
    10_000: [None, 100, 200, 400],
    100_000: [None, 100, 316, 1000],
}


def drawn(plan: mxt.Plan, rows: int, steps: int) -> dict[str, Any]:
    """Return a batch."""
    generator = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for port, spec in plan.inputs.items():
        shape = spec.shape(rows, {"t": steps})
        if spec.count is None:
            found[port] = generator.standard_normal(shape, np.float32)
        else:
            found[port] = generator.integers(0, spec.count, shape, np.int32)
    return found


def peak() -> int:
    """Return the largest resident memory so far, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Cell(NamedTuple):
    """What one process does: a net, the sizes of its batch, and how it is trained; gradients go into a file."""

    net: str
    arguments: list[Any]
    rows: int
    steps: int | None
    optimizer: str
    budget: float
    segment: int | None = None
    gradients: str | None = None

    def trainer(self) -> mxt.Trainer:
        """Return the trainer."""
        plan = mxt.compile_plan(NETS[self.net](*self.arguments))
        lengths = {"t": self.steps} if self.steps else None
        optimizer = OPTIMIZERS[self.optimizer]
        return mxt.Trainer(plan, optimizer, self.rows, lengths, memory_budget=self.budget, segment=self.segment)


def run(cell: Cell) -> dict[str, Any]:
    """Train in this process; return bytes, seconds and a digest of the arrays."""
    batch = drawn(mxt.compile_plan(NETS[cell.net](*cell.arguments)), cell.rows, cell.steps or 1)
    small = cell._replace(
        arguments=SMALL[cell.net], rows=2, steps=cell.steps and 2, budget=0.9, segment=cell.segment and 1
    )
    warm = small.trainer()
    for _ in range(2):
        warm.update(drawn(warm.plan, 2, 2))
    warm.close()
    del warm
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    trainer = cell.trainer()
    times = []
    for number in range(STEPS):
        begin = time.perf_counter()
        trainer.update(batch)
        trainer.current_loss()
        times.append(time.perf_counter() - begin)
        if cell.gradients is not None and not number:
            np.save(cell.gradients, trainer.store.gradients.array.asnumpy())
    taken = peak() - before
    digest = hashlib.sha256(trainer.store.parameters.array.asnumpy().tobytes()).hexdigest()
    said = trainer.memory()
    repeated = max(graph.repeated for graph in said.graphs)
    cut = getattr(trainer.buckets.policy, "segment", None)
    return {
        "peak": taken, "said": said.bytes_total, "seconds": min(times), "digest": digest, "repeated": repeated,
        "segment": cut,
    }  # fmt: skip


def child(*cell: Any) -> dict[str, Any]:
    """Return what `run` does, in a process of its own; the error's text where there is one."""
    done = subprocess.run(
        [sys.executable, __file__, "child", json.dumps(cell)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": done.stderr.strip()}
    return dict(json.loads(done.stdout))


def called(name: str, arguments: list[Any], rows: int, steps: int | None) -> str:
    """Return a cell in words."""
    return f"{name}({', '.join(map(str, arguments))}), {rows} rows" + (f", {steps} steps" if steps else "")


def forecast() -> None:
    """Print what was said against what became resident."""
    lines, off = [], []
    for name, arguments, rows, steps, optimizer in GRID:
        found = child(name, arguments, rows, steps, optimizer, 0.9)
        difference = found["said"] - found["peak"]
        off.append((abs(difference) / found["peak"], abs(difference) / 1e6))
        lines.append(
            [called(name, arguments, rows, steps), optimizer, f"{found['said'] / MB:.1f}", f"{found['peak'] / MB:.1f}",
             f"{difference / MB:+.1f}", f"{difference / found['peak']:+.1%}"]
        )  # fmt: skip
    print(table(["net", "optimizer", "said, MB", "peak, MB", "", ""], lines))
    within = sum(share <= 0.05 or size <= 8.0 for share, size in off)
    print(f"{within} of {len(off)} within 5% or 8 MB; the largest shares {max(share for share, _ in off):.1%}")


def budget() -> None:
    """Print what smaller and smaller budgets give."""
    for name, arguments, rows, steps, optimizer in BUDGETS:
        plan = mxt.compile_plan(NETS[name](*arguments))
        whole = plan.memory(rows, {"t": steps} if steps else None, optimizer=OPTIMIZERS[optimizer]).bytes_total
        lines: list[list[str]] = []
        first: dict[str, Any] = {}
        for share in SHARES:
            found = child(name, arguments, rows, steps, optimizer, int(share * whole) + MB)
            if "error" in found:
                least = re.search(r"smallest budget that it fits into is ([\d,]+) bytes", found["error"])
                told = f"the smallest is {int(least[1].replace(',', '')) / MB:.1f}" if least else found["error"][-60:]
                lines.append([f"{share:.0%}", f"{share * whole / MB:.1f}", "refused", told, "", "", ""])
                continue
            first = first or found
            lines.append(
                [f"{share:.0%}", f"{share * whole / MB:.1f}", f"{found['said'] / MB:.1f}", f"{found['peak'] / MB:.1f}",
                 f"segments of {found['segment']}" if found["segment"] else f"{found['repeated']:.0%}",
                 f"{found['seconds'] / first['seconds']:.2f}", str(found["digest"] == first["digest"])]
            )  # fmt: skip
        print(called(name, arguments, rows, steps))
        print(table(["", "budget, MB", "said, MB", "peak, MB", "runs again", "time", "same bits"], lines))


def segments() -> None:
    """Print what long sequences take, whole and in segments."""
    name, arguments, rows = LONG
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for steps, choices in SEGMENTS.items():
            whole: Any = None
            for segment in choices:
                file = f"{folder}/{steps}-{segment}.npy"
                found = child(name, arguments, rows, steps, "SGD", 0.9, segment, file)
                if "error" in found:
                    lines.append([f"{steps:,}", str(segment or "whole"), found["error"][-60:], "", "", "", ""])
                    continue
                gradients = np.load(file)
                whole = (found, gradients) if segment is None else whole
                ratio = off = ""
                if whole is not None and segment is not None:
                    ratio = f"{found['seconds'] / whole[0]['seconds']:.2f}"
                    off = f"{np.abs(gradients - whole[1]).max() / np.abs(whole[1]).max():.1e}"
                lines.append(
                    [f"{steps:,}", str(segment or "whole"), f"{found['said'] / MB:.1f}", f"{found['peak'] / MB:.1f}",
                     f"{found['seconds'] / steps * 1e6:.0f}", ratio, off]
                )  # fmt: skip
    print(called(name, arguments, rows, None))
    print(table(["steps", "segment", "said, MB", "peak, MB", "us a step", "time", "gradients off"], lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(run(Cell(*json.loads(sys.argv[2])))))
    else:
        for part in sys.argv[1:] or ["forecast", "budget", "segments"]:
            {"forecast": forecast, "budget": budget, "segments": segments}[part]()
