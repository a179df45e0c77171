"""This project's trainer, as a user has it: guard, checks and all defaults on."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from data import Batch, Floats
from families import Arrays, Dense, Images, Language, Series, Signals, Workload

import mxtrainer as mxt
from mxtrainer._mxnet import mx


@singledispatch
def net(workload: Workload) -> mxt.NetGraph:
    """Return the net of a workload."""
    raise NotImplementedError(type(workload).__name__)


@net.register
def _(workload: Signals) -> mxt.NetGraph:
    layers = [mxt.LSTM(workload.size), mxt.Linear(()), mxt.MeanSquaredLoss()]
    return mxt.NetChain(layers, inputs={"Input": mxt.Sequence("t", mxt.Vector(workload.width))})


@net.register
def _(workload: Language) -> mxt.NetGraph:
    lstms = [mxt.LSTM(workload.size) for _ in range(workload.layers)]
    loss = mxt.CrossEntropyLoss("index", average="steps")
    layers = [mxt.Embedding(workload.embedding), *lstms, mxt.Linear(workload.words), loss]
    return mxt.NetChain(layers, inputs={"Input": mxt.Sequence("t", mxt.Index(workload.words))})


@net.register
def _(workload: Dense) -> mxt.NetGraph:
    layers: list[Any] = [mxt.Linear(workload.widths[1])]
    for size in workload.widths[2:]:
        layers += [mxt.Elementwise("relu"), mxt.Linear(size)]
    return mxt.NetChain([*layers, mxt.CrossEntropyLoss("index")], inputs={"Input": mxt.Vector(workload.widths[0])})


@net.register
def _(workload: Images) -> mxt.NetGraph:
    layers: list[Any] = []
    for channels in workload.channels:
        layers += [mxt.Convolution(channels, 3, padding=1), mxt.Elementwise("relu"), mxt.Pooling(2, stride=2)]
    layers += [mxt.Flatten(), mxt.Linear(workload.classes), mxt.CrossEntropyLoss("index")]
    return mxt.NetChain(layers, inputs={"Input": mxt.Array((1, workload.extent, workload.extent))})


@net.register
def _(workload: Series) -> mxt.NetGraph:
    layers = [mxt.LSTM(workload.size), mxt.Aggregate("mean"), mxt.Linear(workload.classes)]
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(workload.width))}
    return mxt.NetChain([*layers, mxt.CrossEntropyLoss("index")], inputs=inputs)


class Ours:
    """A trainer behind the protocol."""

    def __init__(self, trainer: mxt.Trainer, held: tuple[str, ...]) -> None:
        self.trainer = trainer
        self.held = held

    def step(self, batch: Batch) -> None:
        """Queue one step."""
        self.trainer.update(batch)
        for name in self.held:
            self.trainer.arrays[name] = np.zeros(self.trainer.arrays[name].shape)

    def finish(self) -> float:
        """Wait; return the loss."""
        return float(self.trainer.current_loss()["Loss"])

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        return {name: handle[:].copy() for name, handle in self.trainer.arrays.items()}


def product(left: Floats, right: Floats) -> Callable[[], object]:
    """Return what multiplies two matrices with MXNet, and waits."""
    one, other = mx.nd.array(left), mx.nd.array(right)
    result = mx.nd.dot(one, other)
    return lambda: mx.nd.dot(one, other, out=result).wait_to_read()


def build(workload: Workload, weights: Arrays, one_bias: bool = False, depth: int = 2) -> Ours:
    """Return a trainer of the workload; with `one_bias` the LSTMs' second biases stay 0, as for who has one."""
    chain = net(workload)
    carried = isinstance(workload, Language) and workload.carried
    plan = mxt.compile_plan(chain.with_states() if carried else chain)
    steps = getattr(workload, "steps", None)
    options: dict[str, Any] = {"lengths": {"t": steps}} if steps else {}
    if isinstance(workload, Series):
        options = {"buckets": mxt.buckets.Multiple(workload.multiple)}
    optimizer = mxt.Adam(workload.learning_rate, epsilon=workload.epsilon)
    trainer = mxt.Trainer(plan, optimizer, workload.rows, arrays=weights, carry=carried, depth=depth, **options)
    held = tuple(name for name in weights if one_bias and name.endswith("StateBiases"))
    return Ours(trainer, held)
