"""What PyTorch's checkpointing saves and costs, on the nets of memory.py.

Run: python benchmarks/torch_checkpointing.py       (needs the extra bench)

Each row is a process of its own: it trains a small net of the same kind first, then reads its resident memory, makes
the net, takes four steps of SGD, and reads the peak since. glibc is told to give back what is freed, as with a
memory_budget= of this project. Chains go through `checkpoint` in so many parts, a long LSTM in so many segments with
the states between them, as its documentation has it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from memory import MB, STEPS, peak  # noqa: E402 - lies beside this file

from mxtrainer.executors.free_memory import resident_bytes  # noqa: E402
from mxtrainer.executors.host_memory import give_back_always  # noqa: E402
from mxtrainer.tables import table  # noqa: E402

CASES: list[tuple[str, list[int], list[int]]] = [
    ("mlp", [50, 256, 2048], [0, 4, 7, 10]),
    ("residual", [16, 32, 64], [0, 4, 8]),
    ("lstm", [128, 128, 16, 2000], [0, 2, 4, 8, 16]),
]
SMALL = {"mlp": [2, 4, 2], "residual": [1, 4, 2], "lstm": [4, 4, 2, 4]}


class Block(nn.Module):
    """Two convolutions with batch normalization, and a way around them."""

    def __init__(self, channels: int) -> None:
        """Make the layers."""
        super().__init__()
        half = [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)]
        other = [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)]
        self.body = nn.Sequential(*half, nn.ReLU(), *other)

    def forward(self, images: Tensor) -> Tensor:
        """Run the block."""
        return functional.relu(self.body(images) + images)


Step = Callable[[], Tensor]


def mlp(layers: int, width: int, rows: int, parts: int) -> tuple[nn.Module, Step]:
    """Return layers of one width, each with a tanh, and a step's loss."""
    body = nn.Sequential(*(layer for _ in range(layers) for layer in (nn.Linear(width, width), nn.Tanh())))
    return _classifier(body, nn.Linear(width, 10), torch.randn(rows, width), parts)


def residual(blocks: int, channels: int, rows: int, parts: int) -> tuple[nn.Module, Step]:
    """Return a residual net on 16 by 16, and a step's loss."""
    body = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), *(Block(channels) for _ in range(blocks)))
    head = nn.Sequential(nn.Flatten(), nn.Linear(channels * 256, 10))
    return _classifier(body, head, torch.randn(rows, 3, 16, 16), parts)


def _classifier(body: nn.Sequential, head: nn.Module, images: Tensor, parts: int) -> tuple[nn.Module, Step]:
    labels = torch.randint(0, 10, (len(images),))

    def step() -> Tensor:
        through = body(images) if not parts else checkpoint_sequential(body, parts, images, use_reentrant=False)
        return functional.cross_entropy(head(through), labels)

    return nn.ModuleList([body, head]), step


def lstm(size: int, width: int, rows: int, steps: int, parts: int) -> tuple[nn.Module, Step]:
    """Return an LSTM with a linear layer, and a step's loss."""
    layer, linear = nn.LSTM(width, size, batch_first=True), nn.Linear(size, 8)
    series, target = torch.randn(rows, steps, width), torch.randn(rows, steps, 8)

    def run(part: Tensor, wanted: Tensor, *states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, (hidden, cell) = layer(part, states)
        return functional.mse_loss(linear(output), wanted, reduction="sum"), hidden, cell

    def step() -> Tensor:
        states = torch.zeros(1, rows, size), torch.zeros(1, rows, size)
        total = torch.zeros(())
        for part, wanted in zip(series.chunk(parts or 1, 1), target.chunk(parts or 1, 1)):
            if parts:
                loss, *after = checkpoint(run, part, wanted, *states, use_reentrant=False)
            else:
                loss, *after = run(part, wanted, *states)
            states = after[0], after[1]
            total = total + loss
        return total / target.numel()

    return nn.ModuleList([layer, linear]), step


NETS: dict[str, Callable[..., tuple[nn.Module, Step]]] = {"mlp": mlp, "residual": residual, "lstm": lstm}


def trained(name: str, arguments: list[int], parts: int) -> tuple[float, float]:
    """Take steps; return the seconds of the fastest, and the sum of all parameters."""
    torch.manual_seed(0)
    net, step = NETS[name](*arguments, parts)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = step()
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(time.perf_counter() - begin)
    return min(times), sum(float(parameter.double().sum()) for parameter in net.parameters())


def child(name: str, arguments: list[int], parts: int) -> dict[str, Any]:
    """Return what one way takes, in a process of its own."""
    cell = json.dumps([name, arguments, parts])
    done = subprocess.run([sys.executable, __file__, cell], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def run_here(name: str, arguments: list[int], parts: int) -> dict[str, Any]:
    """Train in this process; return bytes, seconds and the sum of all parameters."""
    trained(name, SMALL[name], parts and 1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    give_back_always()
    before = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    seconds, total = trained(name, arguments, parts)
    return {"peak": peak() - before, "seconds": seconds, "total": total}


def main() -> None:
    """Print what each way takes, beside the first."""
    lines = []
    for name, arguments, ways in CASES:
        first: dict[str, Any] = {}
        for parts in ways:
            found = child(name, arguments, parts)
            first = first or found
            lines.append(
                [f"{name}({', '.join(map(str, arguments))})", parts or "all kept", f"{found['peak'] / MB:.1f}",
                 f"{found['peak'] / first['peak']:.0%}", f"{found['seconds'] * 1e3:.0f}",
                 f"{found['seconds'] / first['seconds']:.2f}", str(found["total"] == first["total"])]
            )  # fmt: skip
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    print(table(["net", "parts", "peak, MB", "", "ms a step", "time", "same sum"], lines))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(run_here(*json.loads(sys.argv[1]))))
    else:
        main()
