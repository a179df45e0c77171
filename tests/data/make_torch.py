"""Writes torch.npz beside this file, with PyTorch 2.13: state dicts of small modules, an input and the output of each.

An entry is ``kind/state/name``, ``kind/input`` or ``kind/output``; arrays are batch first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS, STEPS, WIDTH, SIZE = 2, 4, 3, 2


def kinds(torch: Any) -> dict[str, tuple[str, Any, Any]]:
    """Returns each kind's name of the module, the module, and its input."""
    nn = torch.nn
    vectors, sequences = torch.randn(ROWS, WIDTH), torch.randn(ROWS, STEPS, WIDTH)
    sides: dict[str, Any] = {"batch_first": True, "bidirectional": True}
    return {
        "rnn": ("rnn", nn.RNN(WIDTH, SIZE, batch_first=True), sequences),
        "rnn_relu": ("rnn", nn.RNN(WIDTH, SIZE, nonlinearity="relu", batch_first=True), sequences),
        "lstm": ("rnn", nn.LSTM(WIDTH, SIZE, num_layers=2, batch_first=True), sequences),
        "lstm_without_bias": ("rnn", nn.LSTM(WIDTH, SIZE, bias=False, batch_first=True), sequences),
        "gru": ("rnn", nn.GRU(WIDTH, SIZE, batch_first=True), sequences),
        "bidirectional_rnn": ("rnn", nn.RNN(WIDTH, SIZE, **sides), sequences),
        "bidirectional_lstm": ("rnn", nn.LSTM(WIDTH, SIZE, num_layers=2, **sides), sequences),
        "bidirectional_gru": ("rnn", nn.GRU(WIDTH, SIZE, **sides), sequences),
        "linear": ("linear", nn.Linear(WIDTH, SIZE), vectors),
        "linear_without_bias": ("linear", nn.Linear(WIDTH, SIZE, bias=False), vectors),
        "embedding": ("embedding", nn.Embedding(5, WIDTH), torch.randint(5, (ROWS, STEPS))),
        "convolution_1d": ("conv", nn.Conv1d(WIDTH, SIZE, 3, padding=1), torch.randn(ROWS, WIDTH, STEPS)),
        "convolution_2d": ("conv", nn.Conv2d(WIDTH, SIZE, (3, 2)), torch.randn(ROWS, WIDTH, 4, 4)),
        "batch_norm": ("norm", nn.BatchNorm1d(WIDTH), vectors),
        "batch_norm_without_affine": ("norm", nn.BatchNorm1d(WIDTH, affine=False), vectors),
        "layer_norm": ("norm", nn.LayerNorm(WIDTH), vectors),
    }


def main() -> None:
    """Draws all arrays, runs the modules, and writes the file."""
    import torch

    torch.manual_seed(0)
    entries = {}
    for kind, (name, module, x) in kinds(torch).items():
        draw: Callable[..., Any] = torch.nn.init.uniform_
        for array in module.state_dict().values():
            if array.is_floating_point():
                draw(array, 0.5, 1.5) if "norm" in kind else draw(array, -0.5, 0.5)
        with torch.no_grad():
            y = module.eval()(x)
        entries[f"{kind}/input"] = x.numpy()
        entries[f"{kind}/output"] = (y[0] if isinstance(y, tuple) else y).numpy()
        for key, array in torch.nn.ModuleDict({name: module}).state_dict().items():
            entries[f"{kind}/state/{key}"] = array.numpy()
    np.savez_compressed(Path(__file__).with_name("torch.npz"), **entries)


if __name__ == "__main__":
    main()
