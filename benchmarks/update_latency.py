"""How long `update` keeps its caller while the device is busy: with a tiny net, steps of 50 to 150 ms, and of 1 s.

Run as ``python benchmarks/update_latency.py [steps]``. The rival is the plain loop over MXNet's own Executor, on the
same graph and arrays: ``argument[:] = numpy; forward; backward; adam_update``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.lowering import lower, training_heads


class Size(NamedTuple):
    """A language model and its batches."""

    layers: int
    units: int
    words: int
    rows: int
    steps: int


SIZES = {
    "tiny": Size(1, 2, 8, 1, 5),
    "large": Size(2, 200, 10_000, 20, 35),
    "huge": Size(2, 600, 10_000, 40, 60),
}


def language_model(size: Size) -> mxt.Plan:
    """LSTM layers over embedded words, and a loss over all words at every step."""
    layers = [mxt.LSTM(size.units) for _ in range(size.layers)]
    net = mxt.NetChain(
        [mxt.Embedding(size.units), *layers, mxt.Linear(size.words), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(size.words))},
    )
    return mxt.compile_plan(net)


def plain_loop(plan: mxt.Plan, size: Size) -> tuple[Callable[[Mapping[str, Any]], None], Callable[[], None]]:
    """Return the step of a loop over MXNet's own executor, and what waits for it."""
    store = mxt.instantiate(plan, size.rows, {"t": size.steps}).store
    lowered = lower(plan, {"t": size.steps}, training_heads(plan), training=True, padded=False)
    inputs = {port: mx.nd.zeros((size.rows, size.steps), dtype="int32") for port in plan.inputs}
    arguments = {name: inputs[port] for name, port in lowered.inputs.items()}
    arguments.update({name: store.argument(*paths).copy() for name, paths in lowered.arrays.items()})
    trained = list(lowered.arrays)
    gradients = {name: mx.nd.zeros_like(arguments[name]) for name in trained}
    states = {name: [mx.nd.zeros_like(arguments[name]) for _ in range(2)] for name in trained}
    executor = lowered.symbol.bind(mx.cpu(), arguments, args_grad=gradients, grad_req=dict.fromkeys(trained, "write"))
    head = [mx.nd.full((size.rows,), 1.0 / size.rows)]

    def step(batch: Mapping[str, Any]) -> None:
        for port, array in batch.items():
            inputs[port][:] = array
        executor.forward(is_train=True)
        executor.backward(head)
        for name in trained:
            mx.nd.adam_update(arguments[name], gradients[name], *states[name], out=arguments[name], lr=1e-3)

    return step, mx.nd.waitall


def measure(
    size: Size, step: Callable[[Mapping[str, Any]], Any], wait: Callable[[], Any], count: int
) -> tuple[list[float], list[float], float]:
    """Return the seconds of calls that found the device idle, of calls that found it busy, and of a whole step."""
    generator = np.random.default_rng(0)
    words = generator.integers(0, size.words, (size.rows, size.steps + 1))
    batch = {"Input": words[:, :-1], "Target": words[:, 1:]}
    step(batch)
    wait()
    calls: tuple[list[float], list[float]] = [], []
    begin = time.perf_counter()
    for _ in range(count // 2):
        for kind in calls:  # one step is unfinished when the second is queued
            start = time.perf_counter()
            step(batch)
            kind.append(time.perf_counter() - start)
        wait()
    return *calls, (time.perf_counter() - begin) / (2 * len(calls[0]))


def main(count: int = 60) -> None:
    """Print a Markdown table."""
    print("Milliseconds until the call returns, where it finds the device busy or idle.\n")
    print("| net | | busy, median | 99th percentile | idle, median | a step takes |\n|---|---|---|---|---|---|")
    for net, size in SIZES.items():
        plan = language_model(size)
        trainer = mxt.Trainer(plan, mxt.Adam(1e-3), batch_size=size.rows, lengths={"t": size.steps})
        rivals = {"Trainer.update": (trainer.update, trainer.current_loss), "plain MXNet loop": plain_loop(plan, size)}
        steps = {"tiny": 40 * count, "large": 2 * count, "huge": count // 3}[net]
        for name, (step, wait) in rivals.items():
            idle, busy, whole = measure(size, step, wait, steps)
            numbers = np.median(busy), np.percentile(busy, 99), np.median(idle), whole
            print(f"| {net} | {name} | {' | '.join(f'{1e3 * number:.2f}' for number in numbers)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
