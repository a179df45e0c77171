"""Oracles of recurrent layers, Bidirectional, and the folds that are such layers, by back-propagation through time."""

# ruff: noqa: ARG001 - every oracle takes the same arguments, so that one table can call them all

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from fold_cells import arrays_of_gates, arrays_of_layer
from reference_core import Arrays, Gradients, Oracle, Real, Result, head, sigmoid
from reference_pointwise import CURVES

States = tuple[Real, ...]


class CellGradients(NamedTuple):
    """Gradients of one step: both affine parts, and the states where the cell itself reads them."""

    from_input: Real
    from_state: Real
    states: States


class Step(NamedTuple):
    """The states after one step, and its backward pass from their gradients."""

    states: States
    backward: Callable[[States], CellGradients]


# (Wi x + bi, Ws h + bs, states before) -> the step.
Cell = Callable[[Real, Real, States], Step]


def _gates(x: Real, count: int) -> list[Real]:
    return np.split(x, count, axis=-1)


def _joined(*gates: Real) -> Real:
    return np.concatenate(gates, axis=-1)


def basic_cell(activation: str) -> Cell:
    """Return the cell h = activation(from input + from state)."""
    curve = CURVES[activation]

    def cell(from_input: Real, from_state: Real, states: States) -> Step:
        total = from_input + from_state

        def backward(gradients: States) -> CellGradients:
            d_total = gradients[0] * curve.slope(total)
            return CellGradients(d_total, d_total, (np.zeros(d_total.shape),))

        return Step((curve.value(total),), backward)

    return cell


def lstm_cell(from_input: Real, from_state: Real, states: States) -> Step:
    """Take one step with the gates i, f, g, o and the states h, c."""
    i, f, g, o = _gates(from_input + from_state, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    before = states[1]
    after = f * before + i * g
    squashed: Real = np.tanh(after)

    def backward(gradients: States) -> CellGradients:
        d_h, d_c = gradients
        d_after = d_c + d_h * o * (1 - squashed**2)
        d_i = d_after * g * i * (1 - i)
        d_f = d_after * before * f * (1 - f)
        d_g = d_after * i * (1 - g**2)
        d_o = d_h * squashed * o * (1 - o)
        d_total = _joined(d_i, d_f, d_g, d_o)
        return CellGradients(d_total, d_total, (np.zeros(d_h.shape), d_after * f))

    return Step((o * squashed, after), backward)


def gru_cell(from_input: Real, from_state: Real, states: States) -> Step:
    """Take one step with the gates r, z, n, where r scales the state's affine part of n."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = _gates(from_input, 3), _gates(from_state, 3)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    n: Real = np.tanh(n_x + r * n_h)
    before = states[0]

    def backward(gradients: States) -> CellGradients:
        d_h = gradients[0]
        d_n = d_h * (1 - z) * (1 - n**2)
        d_r = d_n * n_h * r * (1 - r)
        d_z = d_h * (before - n) * z * (1 - z)
        return CellGradients(_joined(d_r, d_z, d_n), _joined(d_r, d_z, d_n * r), (d_h * z,))

    return Step(((1 - z) * n + z * before,), backward)


def _run(cell: Cell, x: Real, arrays: Arrays, states: States) -> list[Step]:
    steps: list[Step] = []
    for t in range(x.shape[1]):
        from_input = x[:, t] @ arrays["InputWeights"].T + arrays["InputBiases"]
        from_state = states[0] @ arrays["StateWeights"].T + arrays["StateBiases"]
        steps.append(cell(from_input, from_state, states))
        states = steps[-1].states
    return steps


def _run_backward(steps: list[Step], weights: Real, d_output: Real, d_states: States) -> tuple[Real, Real, States]:
    """Return the gradients of both affine parts, each (batch, t, gates), and of the first states."""
    d_inputs: list[Real] = []
    d_recurrent: list[Real] = []
    for t in reversed(range(len(steps))):
        got = steps[t].backward((d_states[0] + d_output[:, t], *d_states[1:]))
        d_inputs.append(got.from_input)
        d_recurrent.append(got.from_state)
        d_states = (got.states[0] + got.from_state @ weights, *got.states[1:])
    return np.stack(d_inputs[::-1], axis=1), np.stack(d_recurrent[::-1], axis=1), d_states


def _array_gradients(d_input: Real, d_recurrent: Real, x: Real, before: Real) -> Arrays:
    return {
        "InputWeights": np.einsum("btg,bti->gi", d_input, x),
        "StateWeights": np.einsum("btg,bth->gh", d_recurrent, before),
        "InputBiases": d_input.sum(axis=(0, 1)),
        "StateBiases": d_recurrent.sum(axis=(0, 1)),
    }


def _first(port: str, inputs: Arrays, arrays: Arrays, size: int, initial: float | str) -> Real:
    if port in inputs:
        return inputs[port]
    one = np.full(size, initial) if not isinstance(initial, str) else arrays[f"Initial{port}"]
    return np.tile(one, (len(inputs["Input"]), 1))


def _recurrent(
    cell: Cell, ports: tuple[str, ...], inputs: Arrays, arrays: Arrays, size: int, initial: float | str
) -> Result:
    x = inputs["Input"]
    first: States = tuple(_first(port, inputs, arrays, size, initial) for port in ports)
    steps = _run(cell, x, arrays, first)
    y = np.stack([step.states[0] for step in steps], axis=1)
    last = dict(zip(ports, steps[-1].states))

    def backward(heads: Arrays) -> Gradients:
        d_last = tuple(head(heads, port, state) for port, state in last.items())
        d_output = head(heads, "Output", y)
        d_input, d_recurrent, d_first = _run_backward(steps, arrays["StateWeights"], d_output, d_last)
        before = np.concatenate([first[0][:, None], y[:, :-1]], axis=1)
        given = {port: gradient for port, gradient in zip(ports, d_first) if port in inputs}
        d_arrays = _array_gradients(d_input, d_recurrent, x, before)
        if initial == "learned":
            d_arrays.update({f"Initial{port}": found.sum(axis=0) for port, found in zip(ports, d_first)})
        return Gradients({"Input": d_input @ arrays["InputWeights"], **given}, d_arrays)

    return Result({"Output": y, **last}, backward)


def basic_recurrent(
    inputs: Arrays,
    arrays: Arrays,
    *,
    sequence: bool = True,
    size: int,
    activation: str = "tanh",
    initial: float | str = 0.0,
) -> Result:
    """Run h = activation(Wi x + bi + Ws h + bs) over the steps; the activation is tanh or relu."""
    return _recurrent(basic_cell(activation), ("State",), inputs, arrays, size, initial)


def lstm(inputs: Arrays, arrays: Arrays, *, sequence: bool = True, size: int, initial: float | str = 0.0) -> Result:
    """Run a long short-term memory over the steps."""
    return _recurrent(lstm_cell, ("State", "CellState"), inputs, arrays, size, initial)


def gru(inputs: Arrays, arrays: Arrays, *, sequence: bool = True, size: int, initial: float | str = 0.0) -> Result:
    """Run a gated recurrent unit over the steps."""
    return _recurrent(gru_cell, ("State",), inputs, arrays, size, initial)


RECURRENT: dict[str, Oracle] = {"BasicRecurrent": basic_recurrent, "LSTM": lstm, "GRU": gru}


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) :]: x for name, x in arrays.items() if name.startswith(prefix)}


def bidirectional(inputs: Arrays, arrays: Arrays, *, sequence: bool = True, kind: str, **fields: Any) -> Result:
    """Run a recurrent layer over the sequence and another over its reverse; features of the first come first."""
    x = inputs["Input"]
    ahead = RECURRENT[kind]({"Input": x}, _part(arrays, "forward."), **fields)
    behind = RECURRENT[kind]({"Input": x[:, ::-1]}, _part(arrays, "backward."), **fields)
    y = _joined(ahead.outputs["Output"], behind.outputs["Output"][:, ::-1])

    def backward(heads: Arrays) -> Gradients:
        d_ahead, d_behind = _gates(head(heads, "Output", y), 2)
        first = ahead.backward({"Output": d_ahead})
        second = behind.backward({"Output": d_behind[:, ::-1]})
        d_arrays = {f"forward.{name}": x for name, x in first.arrays.items()}
        d_arrays.update({f"backward.{name}": x for name, x in second.arrays.items()})
        return Gradients({"Input": first.inputs["Input"] + second.inputs["Input"][:, ::-1]}, d_arrays)

    return Result({"Output": y}, backward)


def fold(inputs: Arrays, arrays: Arrays, *, sequence: bool = True, kind: str, gates: str, size: int) -> Result:
    """Run a recurrent layer whose gates have arrays of their own."""
    result = RECURRENT[kind](inputs, arrays_of_layer(arrays, gates), size=size)

    def backward(heads: Arrays) -> Gradients:
        slopes = result.backward(heads)
        return Gradients(slopes.inputs, arrays_of_gates(slopes.arrays, gates))

    return Result(result.outputs, backward)
