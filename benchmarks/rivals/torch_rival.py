"""PyTorch on the CPU: nn modules, autograd, and Adam in its fused form; eager or compiled."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import torch
from costs import numbered
from data import Batch, Floats
from families import Arrays, Dense, Images, Language, Series, Signals, Workload
from torch import nn

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_num_interop_threads(1)

LSTM_ARRAYS = {
    "InputWeights": "weight_ih",
    "StateWeights": "weight_hh",
    "InputBiases": "bias_ih",
    "StateBiases": "bias_hh",
}
Tensor = Any  # torch.Tensor


class Recurrent(nn.Module):
    """Everything with LSTMs: an embedding or not, LSTMs, a mean over steps or not, a linear layer."""

    def __init__(self, workload: Any) -> None:
        super().__init__()
        language = isinstance(workload, Language)
        width = workload.embedding if language else workload.width
        layers = workload.layers if language else 1
        self.embedding = nn.Embedding(workload.words, width) if language else None
        self.lstm = nn.LSTM(width, workload.size, layers, batch_first=True)
        self.linear = nn.Linear(workload.size, outputs(workload))
        self.loss = nn.MSELoss() if isinstance(workload, Signals) else nn.CrossEntropyLoss()

    def forward(self, data: Tensor, target: Tensor, weights: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """Return the loss, and the states at the end."""
        hidden, last = self.lstm(data if self.embedding is None else self.embedding(data), state)
        if weights is not None:
            hidden = (hidden * weights[..., None]).sum(dim=1)
        scores = self.linear(hidden)
        if scores.shape[-1] == 1:
            return self.loss(scores[..., 0], target), last
        return self.loss(scores.flatten(0, -2), target.flatten()), last


def outputs(workload: Any) -> int:
    """Return the number of scores, or 1 for a number."""
    return int(getattr(workload, "words", 0) or getattr(workload, "classes", 1))


class Feedforward(nn.Module):
    """Everything without a state."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, data: Tensor, target: Tensor, weights: None, state: None) -> tuple[Tensor, None]:
        """Return the loss."""
        return self.loss(self.layers(data), target), None


@singledispatch
def net(workload: Workload) -> nn.Module:
    """Return the net of a workload."""
    return Recurrent(workload)


@net.register
def _(workload: Dense) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(*workload.widths[:2])]
    for pair in zip(workload.widths[1:], workload.widths[2:]):
        layers += [nn.ReLU(), nn.Linear(*pair)]
    return Feedforward(*layers)


@net.register
def _(workload: Images) -> nn.Module:
    layers: list[nn.Module] = []
    for pair in zip((1, *workload.channels), workload.channels):
        layers += [nn.Conv2d(*pair, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return Feedforward(*layers, nn.Flatten(), nn.Linear(workload.features, workload.classes))


def parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters under this project's names."""
    found: dict[str, nn.Parameter] = {}
    counts: dict[str, int] = {}
    for part in module.modules():
        kind = {nn.Linear: "linear", nn.Conv2d: "convolution", nn.Embedding: "embedding"}.get(type(part))
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + 1
            own = zip(("Weights", "Biases"), part.parameters())
            found.update({f"{numbered(kind, counts[kind])}.{name}": array for name, array in own})
        if isinstance(part, nn.LSTM):
            for layer in range(part.num_layers):
                name = numbered("lstm", layer + 1)
                found.update(
                    {f"{name}.{ours}": getattr(part, f"{theirs}_l{layer}") for ours, theirs in LSTM_ARRAYS.items()}
                )
    return found


class Torch:
    """A module and its optimizer behind the protocol."""

    def __init__(self, workload: Workload, weights: Arrays, compiled: bool) -> None:
        self.workload = workload
        self.net = net(workload)
        self.named = parameters(self.net)
        with torch.no_grad():
            for name, array in weights.items():
                self.named[name].copy_(torch.from_numpy(array).reshape(self.named[name].shape))
        self.optimizer = torch.optim.Adam(
            self.named.values(), lr=workload.learning_rate, eps=workload.epsilon, fused=True
        )
        self.state: Any = None
        self.forward: Callable[..., tuple[Tensor, Any]] = self.net
        if compiled:
            self.forward = torch.compile(self.net)

    def step(self, batch: Batch) -> None:
        """Do one step."""
        data, weights = batch["Input"], None
        if isinstance(self.workload, Series):
            data, weights = map(torch.from_numpy, self.workload.padded(batch))
        else:
            data = torch.from_numpy(data)
        target = torch.from_numpy(batch["Target"])
        loss, state = self.forward(data, target if target.is_floating_point() else target.long(), weights, self.state)
        if isinstance(self.workload, Language) and self.workload.carried:
            self.state = tuple(part.detach() for part in state)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()

    def finish(self) -> float:
        """Return the loss; nothing is queued."""
        return float(self.loss)

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        shapes = self.workload.shapes()
        return {name: array.detach().numpy().copy().reshape(shapes[name]) for name, array in self.named.items()}


def product(left: Floats, right: Floats) -> Callable[[], object]:
    """Return what multiplies two matrices."""
    one, other = torch.from_numpy(left), torch.from_numpy(right)
    result = torch.mm(one, other)
    return lambda: torch.mm(one, other, out=result)


def build(workload: Workload, weights: Arrays, compiled: bool = False) -> Torch:
    """Return the net at its start."""
    return Torch(workload, weights, compiled)
