"""LSTM, GRU and RNN of ONNX as recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ArgumentError, NetError
from ...layers.base import Layer
from ...layers.elementwise import Elementwise, Threading
from ...layers.fold import Fold
from ...layers.linear import Linear
from ...layers.recurrent import GRU, LSTM, BasicRecurrent, Bidirectional, Recurrent
from ...layers.sequence import SequenceReverse
from ...net import NetGraph
from ...types import Vector
from .builder import Call
from .values import BATCH, ONE, TIME, Axis, Stack, Tensor, Value, uniform

#: The places of our gates among those of ONNX: i o f c as i f g o, z r h as r z n.
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
STATES = {"State": 5, "CellState": 6}  # the places of their initial values
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(call: Call) -> list[Value | None]:
    """Return the steps of the states, and the last ones, of one direction or two."""
    reverse = DIRECTIONS.get(call.get("direction", "forward"))
    if reverse is None:
        raise ArgumentError(f"its direction is {call.get('direction', '')!r}")
    weights = _weights(call, len(reverse))
    states = [_beginnings(call, number, len(reverse)) for number in range(len(reverse))]
    layer = _layer(call, weights[0]["StateWeights"].shape[1], states)
    x = _steps(call)
    fed = [{name: state for name, state in one.items() if isinstance(state, Tensor)} for one in states]
    if len(reverse) == 2 and call.used <= {0} and not any(fed) and isinstance(layer, Recurrent):
        return [_joint(call, layer, x, weights)]
    runs = [
        _run(call, layer, {"Input": x, **begin}, arrays, back) for begin, arrays, back in zip(fed, weights, reverse)
    ]
    return [_labelled(call, [run[name] for run in runs], name) for name in ("Output", *layer.states)]


def _batch_first(call: Call) -> bool:
    call.refuse_unless("layout", 0, 1)
    return bool(call.get("layout", 0))


def _steps(call: Call) -> Tensor:
    """Return the input, which must be a sequence."""
    x = call.tensor()
    expected: tuple[Axis, ...] = (BATCH, TIME) if _batch_first(call) else (TIME, BATCH)
    if len(x.axes) != 3 or x.axes[:2] != expected or x.axes[2] not in {0, ONE} or len(x.shape) > 1:
        raise NetError(
            f"its input must have the axes ({expected[0]}, {expected[1]}, size) and has {x.shown()}; if these are the "
            f'axes of the file in a wrong order, say what they are, as in inputs={{...: Sequence("t", Vector(10))}}'
        )
    return x


def _weights(call: Call, directions: int) -> list[dict[str, NDArray[Any]]]:
    """Return the arrays of our layer for each direction, gates in our order."""
    weights, recurrence = call.needed(1, "W"), call.needed(2, "R")
    gates = GATES[call.node.operator]
    size = recurrence.shape[-1]
    rows = len(gates) * size
    found = call.constant(3, "B")
    biases = np.broadcast_to(np.zeros((), weights.dtype), (directions, 2 * rows)) if found is None else found
    for name, array, shape in (
        ("W", weights, (directions, rows, weights.shape[-1])),
        ("R", recurrence, (directions, rows, size)),
        ("B", biases, (directions, 2 * rows)),
    ):
        if array.shape != shape:
            raise ArgumentError(f"its {name} has the shape {array.shape}, and not {shape}")
    if call.get("hidden_size", size) != size:
        raise ArgumentError(f"its hidden_size is {call.get('hidden_size', size)}, but that of R is {size}")
    return [
        {
            "InputWeights": _ordered(weights[number], gates),
            "StateWeights": _ordered(recurrence[number], gates),
            "InputBiases": _ordered(biases[number, :rows], gates),
            "StateBiases": _ordered(biases[number, rows:], gates),
        }
        for number in range(directions)
    ]


def _ordered(array: NDArray[Any], gates: tuple[int, ...]) -> NDArray[Any]:
    parts = np.split(array, len(gates))
    return np.concatenate([parts[gate] for gate in gates])


def _beginnings(call: Call, direction: int, directions: int) -> dict[str, float | Tensor]:
    """Return what each state starts at in one direction: a number, or a tensor ``(batch, size)``."""
    names = ("State", "CellState") if call.node.operator == "LSTM" else ("State",)
    return {name: _beginning(call, call.value(STATES[name]), direction, directions) for name in names}


def _beginning(call: Call, value: Value | None, direction: int, directions: int) -> float | Tensor:
    if value is None:
        return 0.0
    if isinstance(value, Stack) and len(value.parts) == directions:
        value = value.parts[direction]
    elif isinstance(value, (Tensor, Stack)) and directions > 1:
        raise NetError(
            "its initial states of two directions are one value; what is read is a constant, or the last states of "
            "another layer of two directions"
        )
    if isinstance(value, Stack):
        raise NetError(f"its initial state has {len(value.parts)} directions, and not {directions}")
    if isinstance(value, Tensor):
        expected = (BATCH, ONE, 0) if _batch_first(call) else (ONE, BATCH, 0)
        if value.axes != expected:
            raise NetError(f"its initial state must have the axes {expected} and has {value.shown()}")
        return value
    number = uniform(value)
    if number is None:
        raise NetError(
            "its initial state is a constant of several numbers; what is read is one number, or an input of the net "
            "(leave it out of arrays=)"
        )
    return number


def _layer(call: Call, size: int, states: list[dict[str, float | Tensor]]) -> Layer:
    """Return the layer of one direction.

    Raises:
        NetError: The operator has an option that the layers have not.
    """
    _check_options(call)
    numbers = {value for one in states for value in one.values() if isinstance(value, float)} or {0.0}
    if len(numbers) > 1:
        raise NetError(
            f"its states start at {' and '.join(map(str, sorted(numbers)))}; what is read is one number for all"
        )
    initial = numbers.pop()
    if call.node.operator == "LSTM":
        return LSTM(size, initial=initial)
    if call.node.operator == "RNN":
        return BasicRecurrent(size, _activations(call)[0], initial=initial)
    return GRU(size, initial=initial) if call.get("linear_before_reset", 0) else reset_before(size, initial)


def _check_options(call: Call) -> None:
    for name in ("clip", "activation_alpha", "activation_beta"):
        if call.node.attributes.get(name):
            raise NetError(f"has {name}, which the recurrent layers have not")
    call.refuse_unless("input_forget", 0)
    default = ACTIVATIONS[call.node.operator]
    allowed = {default} | ({("relu",)} if call.node.operator == "RNN" else set())
    if _activations(call) not in allowed:
        raise NetError(
            f"has the activations {', '.join(_activations(call))}; what is read is "
            f"{' or '.join(', '.join(one) for one in sorted(allowed, reverse=True))}, the same in both directions"
        )
    if call.value(7) is not None and uniform(call.value(7)) != 0.0:
        raise NetError("has peepholes (P), which LSTM has not")
    _check_lengths(call)


def _activations(call: Call) -> tuple[str, ...]:
    """Return the activations of one direction, in lower case; all of them where directions differ."""
    default = ACTIVATIONS[call.node.operator]
    found = tuple(name.lower() for name in call.get("activations", default))
    half = found[: len(default)]
    return half if found == half * 2 else found


def _check_lengths(call: Call) -> None:
    """Refuse lengths that are constant, unless they are those of whole sequences."""
    lengths = call.value(4)
    if not isinstance(lengths, np.ndarray):
        return  # an input, in whose place lengths come with the batch
    steps = call.tensor().extent(TIME)
    if not (lengths == call.build.fixed.get(str(steps), steps)).all():
        raise NetError(
            f"its sequence_lens are the constants {lengths.tolist()}; leave them out of arrays=: lengths come with "
            f"each batch"
        )


def reset_before(size: int, initial: float) -> Fold:
    """Return a GRU whose reset gate comes before the product: ``n = tanh(Wn x + bn + Un (s(r) h) + cn)``.

    Example:
        >>> reset_before(2, 0.0).states
        ('State',)
    """
    parts = ("reset", "update", "new")
    cell = NetGraph(
        {
            **{f"{part}_input": Linear(size) for part in parts},
            **{f"{part}_state": Linear(size) for part in parts},
            **{f"{part}_sum": Threading("plus") for part in parts},
            "reset": Elementwise("sigmoid"),
            "update": Elementwise("sigmoid"),
            "new": Elementwise("tanh"),
            "kept": Threading("times"),
            "change": Threading("subtract"),
            "share": Threading("times"),
            "next": Threading("plus"),
        },
        [
            *(("Input", f"{part}_input") for part in parts),
            ("State", "reset_state"),
            ("State", "update_state"),
            *(([f"{part}_input", f"{part}_state"], f"{part}_sum", part) for part in parts),
            (["reset", "State"], "kept", "new_state"),
            (["State", "new"], "change"),
            (["update", "change"], "share"),
            (["new", "share"], "next", "Output"),
        ],
        inputs={"State": Vector(size)},
    )
    return Fold(cell, {"Output": "State"}, initial=initial)


def _fold_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a GRU as those of `reset_before`."""
    found = {}
    for kind, side in (("Input", "input"), ("State", "state")):
        for name in ("Weights", "Biases"):
            for part, values in zip(("reset", "update", "new"), np.split(arrays[kind + name], 3)):
                found[f"{part}_{side}.{name}"] = values
    return found


def _joint(call: Call, layer: Recurrent, x: Tensor, weights: list[dict[str, NDArray[Any]]]) -> Tensor:
    """Return the steps of both directions from one layer, as an item of shape (2, size)."""
    sides = zip(("forward", "backward"), weights)
    arrays = {f"{side}.{name}": array for side, one in sides for name, array in one.items()}
    output = call.add(Bidirectional(layer), x, arrays)["Output"]
    both = call.reshaped(output, (2, layer.size))
    return both.seen_as(*((BATCH, TIME, 0, 1) if _batch_first(call) else (TIME, 0, BATCH, 1)))


def _run(
    call: Call, layer: Layer, inputs: dict[str, Tensor], arrays: Mapping[str, NDArray[Any]], back: bool
) -> dict[str, Tensor]:
    """Return the outputs of one direction."""
    if isinstance(layer, Fold):
        arrays = _fold_arrays(arrays)
    if not back:
        return call.add(layer, inputs, arrays)
    turned = call.add(SequenceReverse(), inputs["Input"], suffix="_reversed")["Output"]
    found = call.add(layer, {**inputs, "Input": turned}, arrays, suffix="_backward")
    return {**found, "Output": call.add(SequenceReverse(), found["Output"], suffix="_turned")["Output"]}


def _labelled(call: Call, parts: list[Tensor], name: str) -> Value:
    """Return the outputs of all directions as ONNX has them."""
    axes: tuple[Axis, ...] = (BATCH, ONE, 0) if _batch_first(call) else (ONE, BATCH, 0)
    if name == "Output":
        axes = (BATCH, TIME, ONE, 0) if _batch_first(call) else (TIME, ONE, BATCH, 0)
    labelled = tuple(part.seen_as(*axes) for part in parts)
    return labelled[0] if len(labelled) == 1 else Stack(labelled, axes.index(ONE))
