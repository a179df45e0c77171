"""The nets as MXNet symbols with its own loss operators, for the rivals that take symbols, and its arrays as ours."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from costs import numbered
from data import Batch, Floats
from families import Arrays, Dense, Images, Language, Series, Signals, Workload
from numpy.typing import NDArray

from mxtrainer._mxnet import mx

PARTS = ("InputWeights", "StateWeights", "InputBiases", "StateBiases")
NAMES = {"Weights": "weight", "Biases": "bias"}
Symbol = Any


def lstm(workload: Any, layer: int, steps: Symbol) -> tuple[Symbol, list[Symbol]]:
    """Return the output of the fused operator over ``(t, batch, width)``, and its states at the end."""
    name = numbered("lstm", layer)
    if getattr(workload, "carried", False):
        states = [mx.sym.var(f"{name}_{kind}") for kind in ("state", "cell")]
    else:
        states = [mx.sym.zeros(shape=(1, workload.rows, workload.size)) for _ in range(2)]
    output, *last = mx.sym.RNN(
        steps, mx.sym.var(f"{name}_parameters"), *states, state_size=workload.size, num_layers=1, mode="lstm",
        state_outputs=True,
    )  # fmt: skip
    return output, last


def linear(symbol: Symbol, size: int, number: int = 1) -> Symbol:
    """Return a linear layer over the last axis."""
    return mx.sym.FullyConnected(symbol, num_hidden=size, flatten=False, name=numbered("linear", number))


@singledispatch
def symbol(workload: Workload) -> Symbol:
    """Return the graph: the loss operator's output first, then the states at the end where they are carried."""
    raise NotImplementedError(type(workload).__name__)


@symbol.register
def _(workload: Signals) -> Symbol:
    output, _ = lstm(workload, 1, mx.sym.swapaxes(mx.sym.var("Input"), dim1=0, dim2=1))
    found = mx.sym.reshape(linear(output, 1), shape=(0, 0))
    return mx.sym.LinearRegressionOutput(mx.sym.swapaxes(found, dim1=0, dim2=1), mx.sym.var("Target"))


@symbol.register
def _(workload: Language) -> Symbol:
    steps = mx.sym.Embedding(
        mx.sym.swapaxes(mx.sym.var("Input"), dim1=0, dim2=1), input_dim=workload.words,
        output_dim=workload.embedding, name="embedding",
    )  # fmt: skip
    last: list[Symbol] = []
    for layer in range(1, workload.layers + 1):
        steps, states = lstm(workload, layer, steps)
        last += [mx.sym.BlockGrad(state) for state in states]
    scores = mx.sym.reshape(linear(steps, workload.words), shape=(-3, 0))
    labels = mx.sym.reshape(mx.sym.swapaxes(mx.sym.var("Target"), dim1=0, dim2=1), shape=(-1,))
    loss = mx.sym.SoftmaxOutput(scores, labels)
    return mx.sym.Group([loss, *last]) if workload.carried else loss


@symbol.register
def _(workload: Dense) -> Symbol:
    found = mx.sym.var("Input")
    for number, size in enumerate(workload.widths[1:], 1):
        found = linear(found if number == 1 else mx.sym.relu(found), size, number)
    return mx.sym.SoftmaxOutput(found, mx.sym.var("Target"))


@symbol.register
def _(workload: Images) -> Symbol:
    found = mx.sym.var("Input")
    for number, channels in enumerate(workload.channels, 1):
        name = numbered("convolution", number)
        found = mx.sym.relu(mx.sym.Convolution(found, kernel=(3, 3), pad=(1, 1), num_filter=channels, name=name))
        found = mx.sym.Pooling(found, kernel=(2, 2), stride=(2, 2), pool_type="max")
    return mx.sym.SoftmaxOutput(linear(mx.sym.flatten(found), workload.classes), mx.sym.var("Target"))


@symbol.register
def _(workload: Series) -> Symbol:
    output, _ = lstm(workload, 1, mx.sym.swapaxes(mx.sym.var("Input"), dim1=0, dim2=1))
    weights = mx.sym.expand_dims(mx.sym.swapaxes(mx.sym.var("Share"), dim1=0, dim2=1), axis=2)
    mean = mx.sym.sum(mx.sym.broadcast_mul(output, weights), axis=0)
    return mx.sym.SoftmaxOutput(linear(mean, workload.classes), mx.sym.var("Target"))


def rescale(workload: Workload) -> float:
    """Return what makes the loss operators' gradient that of the mean loss."""
    if isinstance(workload, Signals):
        return 2 / workload.rows  # its operator divides by the steps, and leaves out the 2
    return 1 / (workload.rows * (workload.steps if isinstance(workload, Language) else 1))


def fed(workload: Workload, batch: Batch) -> dict[str, NDArray[Any]]:
    """Return a batch as the graph takes it; padded to its bucket where series differ in length."""
    if not isinstance(workload, Series):
        return batch
    data, weights = workload.padded(batch)
    return {"Input": data, "Share": weights, "Target": batch["Target"]}


def loss(workload: Workload, output: Any, batch: Batch) -> float:
    """Return the mean loss, given the loss operator's output. Waits."""
    target = batch["Target"]
    if isinstance(workload, Signals):
        return float(((output.asnumpy() - target) ** 2).mean())
    labels = target.T.reshape(-1) if target.ndim == 2 else target
    picked = mx.nd.pick(output, mx.nd.array(labels)).asnumpy()
    return float(-np.log(picked).mean())


def packed(weights: Arrays) -> Arrays:
    """Return arrays under MXNet's names; those of an LSTM as the one vector that its operator takes."""
    found = {}
    for name, array in weights.items():
        layer, _, own = name.partition(".")
        if own == PARTS[0]:
            found[f"{layer}_parameters"] = np.concatenate([weights[f"{layer}.{part}"].ravel() for part in PARTS])
        elif own in NAMES:
            found[f"{layer}_{NAMES[own]}"] = array
    return found


def unpacked(workload: Workload, arrays: Arrays) -> Arrays:
    """Return arrays under this project's names again."""
    found: Arrays = {}
    taken: dict[str, int] = {}
    for name, shape in workload.shapes().items():
        layer, _, own = name.partition(".")
        if own in NAMES:
            found[name] = arrays[f"{layer}_{NAMES[own]}"]
            continue
        begin, count = taken.get(layer, 0), int(np.prod(shape))
        found[name] = arrays[f"{layer}_parameters"][begin : begin + count].reshape(shape)
        taken[layer] = begin + count
    return found


def shapes(workload: Workload, batch: Batch) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a batch as the graph takes it, and of states that are carried."""
    found = {name: array.shape for name, array in fed(workload, batch).items()}
    return {**found, **dict.fromkeys(state_names(workload), (1, workload.rows, getattr(workload, "size", 0)))}


def state_names(workload: Workload) -> list[str]:
    """Return the graph's inputs for carried states."""
    if not (isinstance(workload, Language) and workload.carried):
        return []
    layers = range(1, workload.layers + 1)
    return [f"{numbered('lstm', layer)}_{kind}" for layer in layers for kind in ("state", "cell")]


def zeros(shape: tuple[int, ...]) -> Floats:
    """Return zeros, float32."""
    return np.zeros(shape, np.float32)
