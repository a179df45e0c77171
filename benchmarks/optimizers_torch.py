"""Optimizers beside PyTorch's: the same gradients to both, 50 steps, how far the arrays are apart.

Run as ``python benchmarks/optimizers_torch.py``, with torch, mxnet and numpy 1.26 installed. Each training is a small
recurrent net; PyTorch is told the gradients that the trainer reports. Of the rules of this project PyTorch has no LAMB
and no SignSGD. Its `clip_grad_norm_` adds 1e-6 to the norm, which is seen where gradients are clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import mxtrainer as mxt

STEPS = 50
CLIP = 0.2
Pair = tuple[str, Any, Callable[[list[Any]], torch.optim.Optimizer]]


def pairs(decay: float, clip: float | None) -> list[Pair]:
    """Return optimizers of both, with a weight decay and a largest norm."""
    ours: dict[str, Any] = {"weight_decay": decay, "clip_norm": clip}
    theirs, optim = {"weight_decay": decay}, torch.optim
    return [
        ("SGD", mxt.SGD(0.1, **ours), lambda p: optim.SGD(p, 0.1, **theirs)),
        ("momentum", mxt.SGD(0.05, momentum=0.9, **ours), lambda p: optim.SGD(p, 0.05, momentum=0.9, **theirs)),
        (
            "Nesterov",
            mxt.SGD(0.05, momentum=0.9, nesterov=True, **ours),
            lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, **theirs),
        ),
        ("Adam", mxt.Adam(0.01, **ours), lambda p: optim.Adam(p, 0.01, **theirs)),
        ("AdamW", mxt.AdamW(0.01, **ours), lambda p: optim.AdamW(p, 0.01, **theirs)),
        ("RMSProp", mxt.RMSProp(0.003, **ours), lambda p: optim.RMSprop(p, 0.003, **theirs)),
        (
            "RMSProp, momentum",
            mxt.RMSProp(0.001, momentum=0.8, **ours),
            lambda p: optim.RMSprop(p, 0.001, momentum=0.8, **theirs),
        ),
        (
            "RMSProp, centred",
            mxt.RMSProp(0.003, centred=True, **ours),
            lambda p: optim.RMSprop(p, 0.003, centered=True, **theirs),
        ),
        ("Adagrad", mxt.Adagrad(0.05, **ours), lambda p: optim.Adagrad(p, 0.05, **theirs)),
    ]


def plan_of(dtype: str) -> mxt.Plan:
    """Return a small recurrent net."""
    net = mxt.NetChain(
        [mxt.Linear(8), mxt.LSTM(16), mxt.Linear(4), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(4))},
    )
    return mxt.compile_plan(net, dtype=dtype)


def deviation(plan: mxt.Plan, pair: Pair, clip: float | None, exactly: bool) -> float:
    """Return the largest deviation after all steps, in units of the largest number of each array."""
    _, ours, theirs = pair
    trainer = mxt.Trainer(plan, ours, batch_size=8)
    arrays = {path: torch.from_numpy(array.asnumpy()).requires_grad_() for path, array in trainer.arrays.items()}
    optimizer = theirs(list(arrays.values()))
    generator = np.random.default_rng(0)
    for _ in range(STEPS):
        batch = {port: generator.normal(size=(8, 6, 4)) for port in ("Input", "Target")}
        trainer.update(batch)
        for path, gradient in trainer.gradients.items():
            arrays[path].grad = torch.from_numpy(gradient.asnumpy())
        if clip is not None:
            norm = torch.nn.utils.get_total_norm([array.grad for array in arrays.values()])
            limit = clip * float((norm + 1e-6) / norm) if exactly else clip
            torch.nn.utils.clip_grad_norm_(list(arrays.values()), limit)
        optimizer.step()
    found = {path: (array.asnumpy(), arrays[path].detach().numpy()) for path, array in trainer.arrays.items()}
    return max(float(np.abs(left - right).max() / np.abs(right).max()) for left, right in found.values())


def main() -> None:
    """Print a Markdown table."""
    ways: list[tuple[str, float, float | None, bool]] = [
        ("plain", 0.0, None, False),
        ("decay 0.05", 0.05, None, False),
        (f"clip_norm {CLIP}", 0.0, CLIP, False),
        ("both", 0.05, CLIP, False),
        ("both, less the 1e-6", 0.05, CLIP, True),
    ]
    columns = [(dtype, way) for dtype in ("float32", "float64") for way in ways]
    plans = {dtype: plan_of(dtype) for dtype in ("float32", "float64")}
    print(
        f"PyTorch {torch.__version__}; largest deviation after {STEPS} steps, relative to the array's largest number\n"
    )
    print("| optimizer |" + "".join(f" {dtype}, {way[0]} |" for dtype, way in columns))
    print("|---|" + "---|" * len(columns))
    for number, (name, *_) in enumerate(pairs(0.0, None)):
        cells = [
            deviation(plans[dtype], pairs(decay, clip)[number], clip, exactly)
            for dtype, (_, decay, clip, exactly) in columns
        ]
        print(f"| {name} |" + "".join(f" {found:.1e} |" for found in cells), flush=True)


if __name__ == "__main__":
    main()
