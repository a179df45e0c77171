"""Cells that several tests fold: layers known by name, written as nets of primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

Values = dict[str, NDArray[Any]]
PARTS = {"InputWeights": "x.Weights", "StateWeights": "h.Weights", "InputBiases": "x.Biases", "StateBiases": "h.Biases"}


def tanh_cell(size: int) -> mxt.NetGraph:
    return mxt.NetGraph(
        {
            "tx": mxt.Linear(size),
            "th": mxt.Linear(size),
            "plus": mxt.Threading("plus"),
            "tanh": mxt.Elementwise("tanh"),
        },
        [("Input", "tx"), ("State", "th"), (["tx", "th"], "plus", "tanh", "Output")],
    )


def tanh_fold(size: int) -> mxt.Fold:
    """Return what BasicRecurrent is."""
    return mxt.Fold(tanh_cell(size), {"Output": "State"})


def lstm_fold(size: int) -> mxt.Fold:
    """Return what LSTM is, ports and all; each gate has two Linear layers, such as "ix" and "ih"."""
    layers: dict[str, Any] = {}
    paths: list[Any] = []
    for gate in "ifgo":
        layers[f"{gate}x"], layers[f"{gate}h"] = mxt.Linear(size), mxt.Linear(size)
        layers[f"{gate}_sum"] = mxt.Threading("plus")
        layers[gate] = mxt.Elementwise("tanh" if gate == "g" else "sigmoid")
        paths += [("Input", f"{gate}x"), ("State", f"{gate}h"), ([f"{gate}x", f"{gate}h"], f"{gate}_sum", gate)]
    layers.update({name: mxt.Threading("times") for name in ("kept", "added", "output")})
    layers.update(cell=mxt.Threading("plus"), squashed=mxt.Elementwise("tanh"))
    paths += [
        (["f", "CellState"], "kept"),
        (["i", "g"], "added"),
        (["kept", "added"], "cell", "CellState"),
        ("cell", "squashed"),
        (["o", "squashed"], "output", "Output"),
        ("output", "State"),
    ]
    return mxt.Fold(mxt.NetGraph(layers, paths), {"State": "State", "CellState": "CellState"})


def arrays_of_gates(arrays: Values, gates: str) -> Values:
    """Return the arrays of a fold, given those of the layer that it is."""
    return {
        f"{gate}{part}": rows
        for name, part in PARTS.items()
        for gate, rows in zip(gates, np.split(arrays[name], len(gates)))
    }


def arrays_of_layer(arrays: Values, gates: str) -> Values:
    """Return the arrays of a recurrent layer, given those of the fold that it is."""
    return {name: np.concatenate([arrays[f"{gate}{part}"] for gate in gates]) for name, part in PARTS.items()}
