"""Cells that several tests fold: layers known by name, written as nets of primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

Values = dict[str, NDArray[Any]]
ROWS, STEPS, WIDTH, SIZE = 3, 6, 2, 4
VECTORS = mxt.Sequence("t", mxt.Vector(WIDTH))
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


def drawn(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def ragged(lengths: list[int], *item: int) -> list[NDArray[np.float64]]:
    return [drawn(row + 1, steps, *item)[0] for row, steps in enumerate(lengths)]


def plan_of(fold: mxt.Fold, inputs: dict[str, Any], dtype: str = "float64") -> mxt.Plan:
    """Return a plan in which every output of the fold counts, and every state that has a type in `inputs` is fed."""
    ports = [port for port in fold.input_ports() if port in inputs]
    outputs = {f"Last{port}" if port in fold.states else port: port for port in fold.output_ports()}
    paths = [*((port, f"fold.{port}") for port in ports), *((f"fold.{port}", name) for name, port in outputs.items())]
    return mxt.compile_plan(
        mxt.NetGraph({"fold": fold}, paths, inputs=inputs), dict.fromkeys(outputs, 1.0), dtype=dtype
    )


def passed(plan: mxt.Plan, batch: dict[str, Any], arrays: Values, steps: int = STEPS) -> Values:
    """Return outputs and gradients of one pass, inputs' too."""
    real = [name for name, spec in plan.inputs.items() if spec.count is None]
    executor = mxt.instantiate(plan, ROWS, {"t": steps}, arrays=arrays, input_gradients=real)
    executor.forward(batch)
    found = {name: handle.asnumpy() for name, handle in executor.outputs.items()}
    executor.backward()
    return {**found, **{f"gradient {name}": handle.asnumpy() for name, handle in executor.gradients.items()}}
