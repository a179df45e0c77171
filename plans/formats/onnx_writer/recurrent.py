"""Recurrent layers in ONNX, whose operators have time first, their gates in an order of their own, and directions."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...layers.base import flat_size
from ...layers.recurrent import GRU, LSTM, BasicRecurrent, Bidirectional, Recurrent
from .graph import OMITTED, Place, unknown_layer


class Kind(NamedTuple):
    """An operator.

    Attributes:
        operator: Its name.
        gates: Which of our gates is each of its gates.
    """

    operator: str
    gates: tuple[int, ...]


KINDS: dict[type[Recurrent], Kind] = {
    BasicRecurrent: Kind("RNN", (0,)),
    GRU: Kind("GRU", (1, 0, 2)),  # z, r, h of r, z, n
    LSTM: Kind("LSTM", (0, 3, 1, 2)),  # i, o, f, c of i, f, g, o
}


def recurrent(place: Place) -> dict[str, str]:
    """Add a layer that runs forwards; return its output and its last states."""
    layer = cast(Recurrent, place.layer)
    output, *last = _run(place, layer, ("",))
    states = [place.operator("Squeeze", state, place.integers(0)) for state in last]
    return {"Output": output, **dict(zip(layer.states, states))}


def bidirectional(place: Place) -> dict[str, str]:
    """Add a layer that runs both ways; return its output."""
    return {"Output": _run(place, cast(Bidirectional, place.layer).layer, ("forward.", "backward."))[0]}


def _run(place: Place, layer: Recurrent, sides: tuple[str, ...]) -> list[str]:
    """Return the output, ``(batch, t, directions * size)``, and the last states, ``(directions, batch, size)``.

    Args:
        place: The place.
        layer: The layer that runs in each direction.
        sides: What the names of arrays begin with, by direction.
    """
    if type(layer) not in KINDS:
        raise unknown_layer(place.path, place.layer, KINDS)
    kind, x = KINDS[type(layer)], place.inputs["Input"]
    if len(place.ports.input_item().shape) != 1:
        x = place.with_item(x, (flat_size(place.ports.input_item()),))
    steps = place.operator("Transpose", x, perm=[1, 0, 2])
    weights = [_gates(place, kind, sides, names) for names in (("InputWeights",), ("StateWeights",))]
    biases = _gates(place, kind, sides, ("InputBiases", "StateBiases"))
    beginnings = [_beginning(place, layer, state, sides, steps) for state in layer.states]
    output, *last = place.operators(
        kind.operator,
        [steps, *weights, biases, OMITTED, *beginnings],
        1 + len(layer.states),
        hidden_size=layer.size,
        direction="bidirectional" if len(sides) == 2 else "forward",
        **_own_attributes(layer, len(sides)),
    )
    together = place.operator("Transpose", output, perm=[2, 0, 1, 3])  # of (t, directions, batch, size)
    return [place.operator("Reshape", together, place.integers(0, 0, len(sides) * layer.size)), *last]


def _own_attributes(layer: Recurrent, directions: int) -> dict[str, object]:
    if isinstance(layer, BasicRecurrent):
        return {"activations": [layer.activation.capitalize()] * directions}
    return {"linear_before_reset": 1} if isinstance(layer, GRU) else {}


def _gates(place: Place, kind: Kind, sides: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Return arrays with their gates in the operator's order, ``(directions, ...)``, one below the other."""
    paths = [place.arrays[side + name] for side in sides for name in names]
    stacked = [np.concatenate([_in_order(place.value(side + name), kind.gates) for name in names]) for side in sides]
    return place.builder.constant(f"{kind.operator}:{'+'.join(paths)}", np.stack(stacked))


def _in_order(array: NDArray[Any], gates: tuple[int, ...]) -> NDArray[Any]:
    parts = np.split(array, len(gates))
    return np.concatenate([parts[gate] for gate in gates])


def _beginning(place: Place, layer: Recurrent, state: str, sides: tuple[str, ...], steps: str) -> str:
    """Return what a state starts at, ``(directions, batch, size)``."""
    if state in place.inputs:
        return place.operator("Unsqueeze", place.inputs[state], place.integers(0))
    value = layer.initial_of(state)
    if value == 0.0:
        return OMITTED  # the operator's own
    if isinstance(value, str):
        paths = "+".join(place.arrays[side + value] for side in sides)
        learned = np.stack([place.value(side + value) for side in sides])[:, None]
        begin = place.builder.constant(f"states:{paths}", learned)
    else:
        begin = place.number(value)
    rows = place.operator("Shape", steps, start=1, end=2)
    shape = place.operator("Concat", place.integers(len(sides)), rows, place.integers(layer.size), axis=0)
    return place.operator("Expand", begin, shape)
