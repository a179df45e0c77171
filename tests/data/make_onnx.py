"""Writes the ONNX files beside this file, and what PyTorch 2.13 says that they give, into torch_onnx.npz.

Needs torch, onnx and onnxscript. Each net is written by both exporters of torch, where they can.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parent


class Net(nn.Module):
    """Modules, and a function that runs them."""

    def __init__(self, run: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Any) -> Any:
        """Run them."""
        return self.run(self, *inputs)


def last_of_both(net: Any, x: Any) -> Any:
    _, (state, _) = net.lstm(x)
    return net.linear(torch.cat([state[-2], state[-1]], 1))


torch.manual_seed(0)
NETS: dict[str, Net] = {
    "lstm": Net(lambda net, x: net.linear(net.lstm(x)[0]), lstm=nn.LSTM(3, 4, batch_first=True),
                linear=nn.Linear(4, 2)),
    "gru": Net(lambda net, x: net.linear(net.gru(x)[1][-1]), gru=nn.GRU(3, 4, 2, batch_first=True),
               linear=nn.Linear(4, 2)),
    "rnn": Net(lambda net, x: net.linear(net.rnn(x)[0][:, -1]), rnn=nn.RNN(3, 4, batch_first=True, nonlinearity="relu"),
               linear=nn.Linear(4, 2)),
    "bidirectional": Net(last_of_both, lstm=nn.LSTM(3, 4, batch_first=True, bidirectional=True),
                         linear=nn.Linear(8, 2)),
    "two_layers": Net(lambda net, x: net.linear(net.gru(x)[0]),
                      gru=nn.GRU(3, 4, 2, batch_first=True, bidirectional=True), linear=nn.Linear(8, 2)),
    "states": Net(lambda net, x, h, c: net.lstm(x, (h, c)), lstm=nn.LSTM(3, 4, batch_first=True)),
    "words": Net(lambda net, x: net.linear(net.norm(net.lstm(net.embedding(x))[0])), embedding=nn.Embedding(7, 3),
                 lstm=nn.LSTM(3, 4, batch_first=True), norm=nn.LayerNorm(4), linear=nn.Linear(4, 2)),
    "steps": Net(lambda net, x: net.linear(torch.relu(net.conv(x.transpose(1, 2))).transpose(1, 2)).mean(1),
                 conv=nn.Conv1d(3, 4, 3, padding=1), linear=nn.Linear(4, 2)),
    "image": Net(lambda net, x: net.layers(x), layers=nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2, stride=2),
        nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2), nn.Softmax(dim=-1))),
    "dense": Net(lambda net, x: net.layers(x) + net.skip(x), skip=nn.Linear(3, 2, bias=False), layers=nn.Sequential(
        nn.Linear(3, 5), nn.SELU(), nn.Dropout(0.5), nn.Linear(5, 5), nn.Sigmoid(), nn.Linear(5, 2))),
}  # fmt: skip
FIXED = ("rnn", "words")  # of which the newer exporter fixes the number of steps
STEPS = ("lstm", "gru", "rnn", "bidirectional", "two_layers", "states", "words", "steps")


def inputs_of(name: str) -> tuple[Any, ...]:
    """Return inputs of a net."""
    if name == "words":
        return (torch.randint(0, 7, (2, 5)),)
    if name in STEPS:
        states = tuple(torch.randn(1, 2, 4) for _ in range(2)) if name == "states" else ()
        return (torch.randn(2, 5, 3), *states)
    return (torch.randn(3, *((2, 9, 9) if name == "image" else (3,))),)


def strip(path: Path) -> None:
    """Remove what the exporter says of where the code was."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output):
        del part.metadata_props[:]
    del graph.value_info[:]
    onnx.save(model, path)


def write(name: str, dynamo: bool) -> dict[str, Any]:
    """Write a net; return inputs and outputs by name."""
    net, inputs = NETS[name].eval(), inputs_of(name)
    names = ["x", "h", "c"][: len(inputs)]
    outputs = ["y", "h_n", "c_n"][: len(inputs)]
    axes = {"x": {0: "batch", 1: "t"} if name in STEPS else {0: "batch"}, "h": {1: "batch"}, "c": {1: "batch"}}
    file = f"{name}_{'dynamo' if dynamo else 'script'}.onnx"
    torch.onnx.export(
        net,
        inputs,
        str(FOLDER / file),
        input_names=names,
        output_names=outputs,
        opset_version=20 if dynamo else 17,
        dynamo=dynamo,
        external_data=False,
        dynamic_axes=None if dynamo else {port: axes[port] for port in names},
        dynamic_shapes={"inputs": tuple(axes[port] for port in names)} if dynamo else None,
        verbose=False,
    )
    strip(FOLDER / file)
    given = net(*inputs)
    flat = [given] if name != "states" else [given[0], *given[1]]
    with torch.no_grad():
        return {f"{file}/{port}": value.detach().numpy() for port, value in zip([*names, *outputs], [*inputs, *flat])}


if __name__ == "__main__":
    values: dict[str, Any] = {}
    for each in NETS:
        values.update(write(each, dynamo=False))
        if each not in FIXED:
            values.update(write(each, dynamo=True))
    np.savez(FOLDER / "torch_onnx.npz", **values)
