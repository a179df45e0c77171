"""Recurrent layers over a sequence, each one fused RNN operator of MXNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..._mxnet import mx
from ...errors import ArgumentError
from ...values import register
from .. import native
from ..initializers import Initializer, Xavier, Zeros
from ..types import Array, Sequence
from .base import (
    LEARNED,
    NO_INITIALIZERS,
    Declared,
    Layer,
    MismatchError,
    Node,
    Ports,
    Symbol,
    as_vector,
    check_choice,
    check_initial,
    check_initializers,
    check_size,
    flat_size,
    per_row,
    real,
    side_by_side,
)
from .sequence import last_step, reverse

SHUT = 1e4  # a gate's input at which it is 0 or 1 exactly, whatever else comes in
BLOCKED = 1e30  # taken off, it makes relu 0
ARRAYS = ("InputWeights", "StateWeights", "InputBiases", "StateBiases")


class Recurrent(Layer):
    """What the recurrent layers have in common: ports, arrays, and the operator."""

    masks_padding: ClassVar[bool] = True
    gates: ClassVar[int]
    #: What padding adds to each gate so that the state stands still, or None where it needs not.
    freezing: ClassVar[tuple[float, ...] | None] = None
    #: The operator's own memory in training, which no plan of MXNet counts, in elements of the output (measured).
    reserve: ClassVar[float]
    #: The same in a graph without gradients.
    reserve_forward: ClassVar[float]
    size: int
    initial: float | str

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        """Return the input and the states."""
        return ("Input", *self.states)

    def output_ports(self) -> tuple[str, ...]:
        """Return the output and the states."""
        return ("Output", *self.states)

    def deduce(self, ports: Ports) -> None:
        """Give states and output their size, and the output the input's length."""
        for port in self.states:
            ports.set_input(port, Array((self.size,)))
            ports.set_output(port, Array((self.size,)))
        known = ports.inputs["Input"] or ports.outputs["Output"]
        if known is None:
            return
        if not isinstance(known, Sequence):
            raise MismatchError(f'port "Input" gets {known!r}, but this layer needs a Sequence("t", ...) there')
        if ports.inputs["Input"] is not None:
            real(known.item)
        ports.set_output("Output", Sequence(known.length, Array((self.size,))))

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the weights and biases of all gates."""
        rows = self.gates * self.size
        learned = {f"Initial{state}": Declared((self.size,), Zeros()) for state in self.states}
        return {
            "InputWeights": Declared((rows, flat_size(ports.input_item())), Xavier()),
            "StateWeights": Declared((rows, self.size), Xavier()),
            "InputBiases": Declared((rows,), Zeros()),
            "StateBiases": Declared((rows,), Zeros()),
            **(learned if self.initial == LEARNED else {}),
        }

    def initial_of(self, state: str) -> float | str:
        """Return the number, or the array that is learned."""
        return f"Initial{state}" if isinstance(self.initial, str) else self.initial

    def packs(self) -> tuple[tuple[str, ...], ...]:
        """Return the one vector that the operator takes: weights, then biases."""
        return (ARRAYS,)

    def mode(self) -> str:
        """Return the operator's name for this layer."""
        raise TypeError(f"{type(self).__name__} does not define mode()")

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return the operator's output and the states after the last true step.

        Over padding the operator runs on. That reaches no true step; the state there is read from the output. What is
        in no output, a cell state, is frozen if something reads it, and so is what could grow beyond all numbers.
        """
        port, states = node.ports.input(), self.beginnings(node)
        seen = node.step_mask(port)
        steps, packed = self.arguments(node, time_major(node), ARRAYS, node.used)
        if node.split_at is None:
            output, *last = self.run(steps, packed, states, node.dtype)
        else:
            output, *last = self._run_in_two(node, node.split_at, steps, packed, states)
        output = mx.sym.swapaxes(output, dim1=0, dim2=1)
        final = [mx.sym.reshape(state, shape=(-3, -2)) for state in last]
        if seen is not None:
            final[0] = last_step(node, output, port)
        return {"Output": output, **dict(zip(self.states, final))}

    def _run_in_two(self, node: Node, at: int, steps: Symbol, packed: Symbol, states: list[Symbol]) -> list[Symbol]:
        """Return what `run` does, and hand over the states in between; gradients go through them."""
        first, *between = self.run(mx.sym.slice_axis(steps, axis=0, begin=0, end=at), packed, states, node.dtype)
        between = [mx.sym.reshape(state, shape=(-3, -2)) for state in between]
        true = node.true_steps(node.ports.input())
        if true is not None:
            between[0] = mx.sym.SequenceLast(first, mx.sym.minimum(true, at), use_sequence_length=True)
        for state, symbol in zip(self.states, between):
            node.hand_over(state, symbol)
        second, *last = self.run(mx.sym.slice_axis(steps, axis=0, begin=at, end=None), packed, between, node.dtype)
        both = mx.sym.concat(*(mx.sym.reshape(part, shape=(-3, -2)) for part in (first, second)), dim=0)
        return [with_time(node, both), *last]

    def freezes(self, used: frozenset[str]) -> bool:
        """Tell whether padding must freeze the state, given which outputs are used."""
        return self.freezing is not None

    def arguments(
        self, node: Node, steps: Symbol, names: tuple[str, ...], used: frozenset[str]
    ) -> tuple[Symbol, Symbol]:
        """Return what the operator takes: its input, and the vector of the arrays of these names.

        Where padding is to freeze the state, the input has one more element, which is 1 over padding, and the vector
        has its weights, which are constant.

        Args:
            node: The node.
            steps: ``(t, batch, input)``.
            names: The names of the arrays, weights of the input first.
            used: The outputs that something reads.
        """
        seen = node.step_mask(node.ports.input())
        if seen is None or self.freezing is None or not self.freezes(used):
            return steps, node.packed(names)
        width = flat_size(node.ports.input_item())
        parts = (mx.sym.full((self.size, 1), number, dtype=node.dtype) for number in self.freezing)
        wide = _with_column(node, node.array(names[0]), mx.sym.concat(*parts, dim=0), width)
        flagged = _with_column(node, steps, mx.sym.swapaxes(1 - seen, dim1=0, dim2=1), width)
        packed = as_vector(wide, node.packed(names[1:]), columns=self.gates * self.size)
        return with_time(node, flagged), packed

    def beginnings(self, node: Node, prefix: str = "") -> list[Symbol]:
        """Return what each state starts at, ``(batch, size)``; the prefix is that of the arrays' names."""
        found = []
        for state in self.states:
            value = self.initial_of(state)
            if state in node.inputs:
                found.append(node.inputs[state])
            elif isinstance(value, str):
                found.append(per_row(node.array(prefix + value), Array((self.size,)), node.inputs["Input"]))
            else:  # an extent of 0 is inferred: the batch size
                found.append(mx.sym.full(shape=(0, self.size), val=value, dtype=node.dtype))
        return found

    def run(self, steps: Symbol, packed: Symbol, states: list[Symbol], dtype: str) -> list[Symbol]:
        """Return output ``(t, batch, size)`` and final states ``(1, batch, size)`` for ``(t, batch, input)``."""
        keywords = zip(("state", "state_cell"), states)
        initial = {keyword: mx.sym.expand_dims(state, axis=0) for keyword, state in keywords}
        fused = mx.sym.RNN(
            steps, packed, state_size=self.size, num_layers=1, mode=self.mode(), state_outputs=True, **initial
        )
        return [fused[number] for number in range(1 + len(states))]


def _with_column(node: Node, matrix: Symbol, column: Symbol, width: int) -> Symbol:
    """Return a matrix of this width with one more column, which is constant, by a kernel where there is one."""
    kernel = native.with_column(width) if node.kernels else None
    if kernel is None:
        return side_by_side((matrix, width), (column, 1))
    rows = (mx.sym.reshape(symbol, shape=(-1, size)) for symbol, size in ((matrix, width), (column, 1)))
    return kernel(*rows)


def time_major(node: Node) -> Symbol:
    """Return the input as ``(t, batch, elements)``."""
    item = node.ports.input_item()
    symbol = node.inputs["Input"]
    if len(item.shape) != 1:
        symbol = mx.sym.reshape(symbol, shape=(0, 0, -1)) if item.shape else mx.sym.expand_dims(symbol, axis=2)
    return mx.sym.swapaxes(symbol, dim1=0, dim2=1)


def with_time(node: Node, symbol: Symbol) -> Symbol:
    """Return ``(t * batch, size)`` as ``(t, batch, size)``."""
    return mx.sym.reshape(symbol, shape=(-4, node.steps(node.ports.input()), -1, -2))


@register
@dataclass(frozen=True, repr=False)
class BasicRecurrent(Recurrent):
    """``h = activation(Wi x + bi + Ws h + bs)`` at every step.

    Ports: Input (a Sequence), State; Output (all ``h``), State (the last ``h``). An unconnected State starts at
    `initial`.
    Arrays: ``InputWeights (size, input)``, ``StateWeights (size, size)``, ``InputBiases``, ``StateBiases (size,)``;
    with a learned initial state ``InitialState (size,)``.

    Args:
        size: The size of the state.
        activation: tanh or relu.
        initializers: Initializers by array name.
        initial: What the state starts at: a number, or "learned".

    Raises:
        ArgumentError: The size is not positive, the activation unknown, or `initial` is neither.

    Reference: Elman 1990, "Finding structure in time".

    Example:
        >>> BasicRecurrent(32)
        BasicRecurrent(32)
    """

    gates: ClassVar[int] = 1
    freezing: ClassVar[tuple[float, ...] | None] = (-BLOCKED,)
    reserve: ClassVar[float] = 4.1
    reserve_forward: ClassVar[float] = 1.8
    states: ClassVar[tuple[str, ...]] = ("State",)

    size: int
    activation: str = "tanh"
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS
    initial: float | str = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_size(self, "size")
        check_initial(self)
        check_choice(self, "activation", ("tanh", "relu"))
        check_initializers(self)

    def freezes(self, used: frozenset[str]) -> bool:
        """Freeze relu, at 0."""
        return self.activation == "relu"

    def mode(self) -> str:
        """Return rnn_tanh or rnn_relu."""
        return f"rnn_{self.activation}"

    def run(self, steps: Symbol, packed: Symbol, states: list[Symbol], dtype: str) -> list[Symbol]:
        """Return what the operator does; in float64 relu runs step by step, as the operator rounds it to float32."""
        if self.activation == "relu" and dtype == "float64":
            return self._run_exactly(steps, packed, states[0])
        return super().run(steps, packed, states, dtype)

    def _run_exactly(self, steps: Symbol, packed: Symbol, state: Symbol) -> list[Symbol]:
        size = self.size
        weights, recurrent, *biases = _cut(packed, size * size, size, size)
        from_input = mx.sym.FullyConnected(
            steps, mx.sym.reshape(weights, shape=(size, -1)), biases[0] + biases[1], num_hidden=size, flatten=False
        )
        from_state = mx.sym.reshape(recurrent, shape=(size, size))

        def step(driven: Symbol, before: Symbol) -> tuple[Symbol, Symbol]:
            after = mx.sym.relu(driven + mx.sym.FullyConnected(before, from_state, num_hidden=size, no_bias=True))
            return after, after

        output, last = mx.sym.contrib.foreach(step, from_input, state)
        return [output, mx.sym.expand_dims(last, axis=0)]


def _cut(vector: Symbol, *sizes: int) -> list[Symbol]:
    """Return the parts of a vector, the last ones of these sizes and the first all that is before them."""
    ends = [-sum(sizes[number:]) for number in range(len(sizes))]
    cuts = zip([0, *ends], [*ends, None])
    return [mx.sym.slice_axis(vector, axis=0, begin=begin, end=end) for begin, end in cuts]


@register
@dataclass(frozen=True, repr=False)
class LSTM(Recurrent):
    """Long short-term memory: ``c = s(f) c + s(i) tanh(g)``, ``h = s(o) tanh(c)`` at every step.

    Ports: Input (a Sequence), State, CellState; Output (all ``h``), State (the last ``h``), CellState (the last
    ``c``). Unconnected states start at `initial`.
    Arrays: ``InputWeights (4*size, input)``, ``StateWeights (4*size, size)``, ``InputBiases``, ``StateBiases
    (4*size,)``, gates in the order i, f, g, o; with learned initial states ``InitialState``, ``InitialCellState
    (size,)``.

    Args:
        size: The size of the states.
        initializers: Initializers by array name; `ForgetBias` is made for InputBiases.
        initial: What both states start at: a number, or "learned".

    Raises:
        ArgumentError: The size is not positive, or `initial` is neither.

    Reference: Gers, Schmidhuber and Cummins 2000, "Learning to forget".

    Example:
        >>> LSTM(128)
        LSTM(128)
    """

    gates: ClassVar[int] = 4
    freezing: ClassVar[tuple[float, ...] | None] = (-SHUT, SHUT, 0.0, 0.0)
    reserve: ClassVar[float] = 15.4
    reserve_forward: ClassVar[float] = 9.1
    states: ClassVar[tuple[str, ...]] = ("State", "CellState")

    size: int
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS
    initial: float | str = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_size(self, "size")
        check_initial(self)
        check_initializers(self)

    def freezes(self, used: frozenset[str]) -> bool:
        """Freeze the cell state where something reads it: input gate 0, forget gate 1."""
        return "CellState" in used

    def mode(self) -> str:
        """Return the operator's name."""
        return "lstm"


@register
@dataclass(frozen=True, repr=False)
class GRU(Recurrent):
    """Gated recurrent unit: ``n = tanh(Wn x + bn + s(r) (Un h + cn))``, ``h = (1 - s(z)) n + s(z) h`` at every step.

    Ports: Input (a Sequence), State; Output (all ``h``), State (the last ``h``). An unconnected State starts at
    `initial`.
    Arrays: ``InputWeights (3*size, input)``, ``StateWeights (3*size, size)``, ``InputBiases``, ``StateBiases
    (3*size,)``, gates in the order r, z, n; with a learned initial state ``InitialState (size,)``.

    Args:
        size: The size of the state.
        initializers: Initializers by array name.
        initial: What the state starts at: a number, or "learned".

    Raises:
        ArgumentError: The size is not positive, or `initial` is neither.

    Reference: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", with the reset gate
    after the product, as cuDNN has it.

    Example:
        >>> GRU(128)
        GRU(128)
    """

    gates: ClassVar[int] = 3
    reserve: ClassVar[float] = 10.9
    reserve_forward: ClassVar[float] = 7.8
    states: ClassVar[tuple[str, ...]] = ("State",)

    size: int
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS
    initial: float | str = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_size(self, "size")
        check_initial(self)
        check_initializers(self)

    def mode(self) -> str:
        """Return the operator's name."""
        return "gru"


@register
@dataclass(frozen=True, repr=False)
class Bidirectional(Layer):
    """A recurrent layer run forwards and, with arrays of its own, backwards; outputs joined, forwards first.

    Ports: Input (a Sequence); Output, of twice the layer's size. Both runs start at the layer's initial states.
    Arrays: those of the layer as ``forward.*`` and ``backward.*``.

    Args:
        layer: A BasicRecurrent, LSTM or GRU.

    Raises:
        ArgumentError: The layer is none of these.

    Reference: Schuster and Paliwal 1997, "Bidirectional recurrent neural networks".

    Example:
        >>> Bidirectional(LSTM(64))
        Bidirectional(LSTM(64))
    """

    masks_padding: ClassVar[bool] = True
    layer: Recurrent

    def __post_init__(self) -> None:
        """Check the layer."""
        if not isinstance(self.layer, Recurrent):
            raise ArgumentError(f"Bidirectional: takes a BasicRecurrent, LSTM or GRU, got {self.layer!r}")

    def deduce(self, ports: Ports) -> None:
        """Give the output twice the size, and the input's length."""
        known = ports.inputs["Input"] or ports.outputs["Output"]
        if known is None:
            return
        if not isinstance(known, Sequence):
            raise MismatchError(f'port "Input" gets {known!r}, but this layer needs a Sequence("t", ...) there')
        if ports.inputs["Input"] is not None:
            real(known.item)
        ports.set_output("Output", Sequence(known.length, Array((2 * self.layer.size,))))

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the layer's arrays twice."""
        declared = self.layer.declare(ports)
        return {f"{side}.{name}": declared[name] for side in ("forward", "backward") for name in declared}

    def packs(self) -> tuple[tuple[str, ...], ...]:
        """Return one vector a direction."""
        return tuple(tuple(f"{side}.{name}" for name in ARRAYS) for side in ("forward", "backward"))

    def chosen_initializers(self) -> Mapping[str, Initializer]:
        """Return the layer's initializers for both directions."""
        chosen = self.layer.chosen_initializers()
        return {f"{side}.{name}": chosen[name] for side in ("forward", "backward") for name in chosen}

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Return two operators, the second between reversals."""
        port, steps = node.ports.input(), time_major(node)
        true_steps = node.true_steps(port)
        outputs = []
        for names, turned in zip(self.packs(), (steps, reverse(steps, true_steps))):
            arguments = self.layer.arguments(node, turned, names, node.used)
            states = self.layer.beginnings(node, names[0].partition(".")[0] + ".")
            outputs.append(self.layer.run(*arguments, states, node.dtype)[0])
        size = self.layer.size
        both = side_by_side((outputs[0], size), (reverse(outputs[1], true_steps), size))
        return {"Output": mx.sym.swapaxes(with_time(node, both), dim1=0, dim2=1)}
