"""MXNet Gluon: hybridized with static memory and shapes, autograd, gluon.Trainer."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from costs import numbered
from data import Batch
from families import Arrays, Dense, Images, Language, Series, Signals, Workload

from mxtrainer._mxnet import mx

nn, rnn = mx.gluon.nn, mx.gluon.rnn
LSTM_ARRAYS = {
    "InputWeights": "i2h_weight",
    "StateWeights": "h2h_weight",
    "InputBiases": "i2h_bias",
    "StateBiases": "h2h_bias",
}
KINDS = ((nn.Dense, "linear"), (nn.Conv2D, "convolution"), (nn.Embedding, "embedding"))


class Recurrent(mx.gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Everything with LSTMs: an embedding or not, LSTMs, a mean over steps or not, a linear layer; returns the loss."""

    def __init__(self, workload: Any) -> None:
        super().__init__()
        language = isinstance(workload, Language)
        width = workload.embedding if language else workload.width
        size = int(getattr(workload, "words", 0) or getattr(workload, "classes", 1))
        self.embedding = nn.Embedding(workload.words, width) if language else None
        self.lstm = rnn.LSTM(workload.size, getattr(workload, "layers", 1), layout="NTC", input_size=width)
        self.linear = nn.Dense(size, flatten=False, in_units=workload.size)
        self.squared = isinstance(workload, Signals)

    def hybrid_forward(self, F: Any, data: Any, target: Any, state: Any, cell: Any, weights: Any = None) -> Any:  # noqa: N803  # gluon's name
        """Return the loss of every example or step, and the states at the end."""
        steps = data if self.embedding is None else self.embedding(data)
        hidden, last = self.lstm(steps, [state, cell])
        if weights is not None:
            hidden = F.sum(F.broadcast_mul(hidden, F.expand_dims(weights, 2)), axis=1)
        scores = self.linear(hidden)
        if self.squared:
            return (F.square(F.reshape(scores, (0, 0)) - target), *last)
        return (-F.pick(F.log_softmax(scores), target), *last)


class Feedforward(mx.gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Everything without a state; returns the loss."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.layers = nn.HybridSequential()
        self.layers.add(*layers)

    def hybrid_forward(self, F: Any, data: Any, target: Any) -> Any:  # noqa: N803  # gluon's name
        """Return the loss of every example."""
        return -F.pick(F.log_softmax(self.layers(data)), target)


@singledispatch
def net(workload: Workload) -> Any:
    """Return the net of a workload."""
    return Recurrent(workload)


@net.register
def _(workload: Dense) -> Any:
    pairs = list(zip(workload.widths, workload.widths[1:]))
    layers = [nn.Dense(size, in_units=width, activation="relu") for width, size in pairs[:-1]]
    return Feedforward(*layers, nn.Dense(pairs[-1][1], in_units=pairs[-1][0]))


@net.register
def _(workload: Images) -> Any:
    layers: list[Any] = []
    for before, after in zip((1, *workload.channels), workload.channels):
        layers += [nn.Conv2D(after, 3, padding=1, in_channels=before, activation="relu"), nn.MaxPool2D(2)]
    return Feedforward(*layers, nn.Flatten(), nn.Dense(workload.classes, in_units=workload.features))


def blocks(block: Any) -> list[Any]:
    """Return all blocks in their order, outer first."""
    return [block, *(inner for child in block._children.values() for inner in blocks(child))]  # noqa: SLF001  # no other way


def parameters(block: Any) -> dict[str, Any]:
    """Return the parameters under this project's names."""
    found: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for part in blocks(block):
        for kind, name in KINDS:
            if isinstance(part, kind):
                counts[name] = counts.get(name, 0) + 1
                own = {"Weights": part.weight, "Biases": getattr(part, "bias", None)}
                found.update(
                    {f"{numbered(name, counts[name])}.{key}": array for key, array in own.items() if array is not None}
                )
        if isinstance(part, rnn.LSTM):
            for layer in range(part._num_layers):  # noqa: SLF001  # no other way
                name = numbered("lstm", layer + 1)
                found.update(
                    {f"{name}.{ours}": getattr(part, f"l{layer}_{theirs}") for ours, theirs in LSTM_ARRAYS.items()}
                )
    return found


class Gluon:
    """A block and its trainer behind the protocol."""

    def __init__(self, workload: Workload, weights: Arrays) -> None:
        self.workload = workload
        self.net = net(workload)
        self.net.initialize()
        self.named = parameters(self.net)
        for name, array in weights.items():
            self.named[name].set_data(mx.nd.array(array))
        self.net.hybridize(static_alloc=True, static_shape=True)
        options = {"learning_rate": workload.learning_rate, "epsilon": workload.epsilon, "lazy_update": False}
        self.trainer = mx.gluon.Trainer(self.net.collect_params(), "adam", options, kvstore=None)
        recurrent = not isinstance(workload, (Dense, Images))
        shape = getattr(workload, "layers", 1), workload.rows, getattr(workload, "size", 0)
        self.states = [mx.nd.zeros(shape) for _ in range(2)] if recurrent else []

    def step(self, batch: Batch) -> None:
        """Queue one step."""
        data, weights = batch["Input"], []
        if isinstance(self.workload, Series):
            data, share = self.workload.padded(batch)
            weights = [mx.nd.array(share)]
        arguments = [mx.nd.array(data), mx.nd.array(batch["Target"]), *self.states, *weights]
        with mx.autograd.record():
            found = self.net(*arguments)
            self.loss, *last = found if isinstance(found, (list, tuple)) else [found]
        self.loss.backward()
        self.trainer.step(self.loss.size)
        if getattr(self.workload, "carried", False):
            self.states = [state.detach() for state in last]

    def finish(self) -> float:
        """Wait; return the loss."""
        mx.nd.waitall()
        return float(self.loss.asnumpy().mean())

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        return {name: array.data().asnumpy() for name, array in self.named.items()}


def build(workload: Workload, weights: Arrays) -> Gluon:
    """Return the net at its start."""
    return Gluon(workload, weights)
