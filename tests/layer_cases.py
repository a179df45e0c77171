"""One table with every layer: what feeds it, and which oracle says what must come out; and what runs a row of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from fold_cells import lstm_fold, tanh_fold
from numpy.typing import NDArray
from reference import ORACLES, Result

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer
from mxtrainer.plans.layers.elementwise import FUNCTIONS
from mxtrainer.plans.layers.losses import Loss
from mxtrainer.plans.types import Item, PortType

Values = dict[str, NDArray[Any]]
Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[Any]]
AUXILIARY = ("MovingMean", "MovingVariance")


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return generator.standard_normal(shape)


def positive(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return generator.uniform(0.2, 2.0, shape)


def off_zero(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.asarray(generator.uniform(0.2, 2.0, shape) * generator.choice([-1.0, 1.0], shape))


def unit(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return generator.uniform(0.05, 0.95, shape)


def bits(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return generator.integers(0, 2, shape).astype(np.float64)


def probabilities(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    weights = generator.uniform(0.2, 2.0, shape)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Extents:
    """The sizes of one drawn example.

    Attributes:
        batch_size: What the executor is made for.
        rows: How many of them the batch has.
        steps: The steps of a sequence.
        sizes: The extent of each letter in a port's item.
        seed: What inputs, arrays and head gradients are drawn from.
    """

    batch_size: int
    rows: int
    steps: int
    sizes: Mapping[str, int]
    seed: int


SIZES = {"a": (1, 5), "b": (1, 4), "h": (4, 7), "w": (4, 6)}  # h and w are space, under windows of up to 3


def random_extents(generator: np.random.Generator) -> Extents:
    """Return extents drawn at random, for those who do not have hypothesis draw them."""
    batch_size, steps = (int(generator.integers(1, 7)) for _ in range(2))
    sizes = {letter: int(generator.integers(low, high + 1)) for letter, (low, high) in SIZES.items()}
    rows = int(generator.integers(1, batch_size + 1))
    return Extents(batch_size, rows, steps, sizes, int(generator.integers(2**31)))


@dataclass(frozen=True)
class Port:
    """What feeds an input: the item's extents as letters (drawn) and numbers (fixed), or the count of an Index."""

    item: tuple[str | int, ...] = ()
    draw: Draw = normal
    sequence: bool = False
    count: int | None = None

    def type(self, extents: Extents) -> PortType:
        item: Item = mxt.Array(self._item(extents)) if self.count is None else mxt.Index(self.count)
        return mxt.Sequence("t", item) if self.sequence else item

    def value(self, extents: Extents, generator: np.random.Generator) -> NDArray[Any]:
        shape = (extents.rows, *((extents.steps,) if self.sequence else ()), *self._item(extents))
        if self.count is not None:
            return generator.integers(0, self.count, shape)
        return rounded(self.draw(generator, shape))

    def _item(self, extents: Extents) -> tuple[int, ...]:
        return tuple(extents.sizes[extent] if isinstance(extent, str) else extent for extent in self.item)


def rounded(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers that float32 has, so that engine and oracle start from the same ones."""
    return np.asarray(x, np.float32).astype(np.float64)


@dataclass(frozen=True)
class Case:
    """A row: a layer, what feeds it, and its oracle.

    Attributes:
        layer: The layer.
        ports: What feeds each connected input.
        oracle: The oracle's name.
        fields: The oracle's keyword arguments.
    """

    layer: Layer
    ports: Mapping[str, Port]
    oracle: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name the row in a test's id."""
        shown = [f"{port} {'sequence ' if x.sequence else ''}{x.count or x.item}" for port, x in self.ports.items()]
        return f"{self.layer!r}: {', '.join(shown)}".replace("'", "")

    @property
    def sequence(self) -> bool:
        return next(iter(self.ports.values())).sequence

    @property
    def outputs(self) -> dict[str, str]:
        """The layer's output by the net's: a state leaves under a name that is not that of the one that came in."""
        ports = self.layer.output_ports()
        return {f"Last{port}" if port in self.layer.states else port: port for port in ports}

    @property
    def real_ports(self) -> list[str]:
        return [port for port, fed in self.ports.items() if fed.count is None]

    def net(self, extents: Extents) -> mxt.NetGraph:
        many = isinstance(self.layer, (mxt.Threading, mxt.Catenate))
        paths: list[tuple[Any, ...]] = [(list(self.ports), "layer")] if many else []
        paths += [] if many else [(port, f"layer.{port}") for port in self.ports]
        paths += [(f"layer.{port}", name) for name, port in self.outputs.items()]
        inputs = {port: fed.type(extents) for port, fed in self.ports.items()}
        return mxt.NetGraph({"layer": self.layer}, paths, inputs=inputs)

    def plan(self, extents: Extents, dtype: str = "float32") -> mxt.Plan:
        weight = 1.0 if not isinstance(self.layer, Loss) or self.layer.trained else 0.0
        return mxt.compile_plan(self.net(extents), losses=dict.fromkeys(self.outputs, weight), dtype=dtype)


def made(layer: Layer, ports: Mapping[str, Port], **extra: Any) -> Case:
    """Return a row whose oracle and keyword arguments follow from the layer."""
    told: dict[str, Any] = {} if isinstance(layer, mxt.Bidirectional) else _fields(layer)
    if isinstance(layer, mxt.Bidirectional):
        told = {"kind": type(layer.layer).__name__, **_fields(layer.layer)}
    if isinstance(layer, mxt.Linear):
        size = told.pop("size")
        told["output"] = (size,) if isinstance(size, int) else size
    told["sequence"] = next(iter(ports.values())).sequence
    return Case(layer, ports, type(layer).__name__, {**told, **extra})


def _fields(layer: Layer) -> dict[str, Any]:
    return {x.name: getattr(layer, x.name) for x in fields(layer) if x.name != "initializers"}  # type: ignore[arg-type]  # every layer is a dataclass


def both(layer: Layer, *item: str | int, draw: Draw = normal) -> list[Case]:
    """Return a row over plain items and one over sequences."""
    return [made(layer, {"Input": Port(item, draw, sequence)}) for sequence in (False, True)]


def over_steps(layer: Layer, *item: str | int, **states: int) -> Case:
    """Return a row over a sequence, with these states connected."""
    return made(layer, over(*item, **states))


def over(*item: str | int, **states: int) -> dict[str, Port]:
    return {"Input": Port(item, sequence=True), **{port: Port((size,)) for port, size in states.items()}}


def joined(layer: Layer, *ports: Port) -> Case:
    return made(layer, {str(number + 1): port for number, port in enumerate(ports)})


def loss(layer: Layer, source: Port, target: Port) -> Case:
    return made(layer, {"Input": source, "Target": target})


def attention(layer: Layer, query: Port) -> Case:
    return made(layer, {"Query": query, "Key": Port(("a",), sequence=True), "Value": Port(("b",), sequence=True)})


INPUTS: dict[str, Draw] = {"log": positive, "log1p": positive, "sqrt": positive, "reciprocal": off_zero}
PAIRS: dict[str, tuple[Draw, Draw]] = {
    "plus": (normal, normal),
    "times": (normal, normal),
    "subtract": (normal, normal),
    "divide": (normal, off_zero),
    "maximum": (normal, normal),
    "minimum": (normal, normal),
    "power": (positive, normal),
}
RECURRENT = (mxt.BasicRecurrent(3), mxt.BasicRecurrent(3, "relu"), mxt.LSTM(3), mxt.GRU(3))
TANH = {"kind": "BasicRecurrent", "gates": "t", "size": 3}
LSTM = {"kind": "LSTM", "gates": "ifgo", "size": 3}
NORM = mxt.BatchNorm(momentum=0.8, epsilon=0.1)

LAYERS: list[Case] = [
    *both(mxt.Linear(5), "a"),
    *both(mxt.Linear(()), "a"),
    *both(mxt.Linear((2, 3)), "a", "b"),
    *both(mxt.Linear(3, biases=False)),
    made(mxt.Linear(64), {"Input": Port((48,))}),
    *(made(mxt.Embedding(3), {"Input": Port(count=4, sequence=sequence)}) for sequence in (False, True)),
    *(case for f in FUNCTIONS for case in both(mxt.Elementwise(f), "a", "b", draw=INPUTS.get(f, normal))),
    *(
        joined(mxt.Threading(f), *(Port(("a", "b"), draw, sequence) for draw in draws))
        for f, draws in PAIRS.items()
        for sequence in (False, True)
    ),
    *(joined(mxt.Threading(f), *(Port(("a",)) for _ in range(3))) for f in ("plus", "times")),
    *(case for f in ("sum", "mean", "max", "norm") for case in both(mxt.Aggregate(f), "a", "b")),
    *(case for f in ("sum", "mean", "max", "norm") for case in both(mxt.Aggregate(f, axes=(-1,)), "a", "b")),
    *(made(mxt.Aggregate(f), {"Input": Port(())}) for f in ("sum", "norm")),
    *(made(mxt.Aggregate(f, axes=(0, 2)), {"Input": Port(("a", "b", 3))}) for f in ("sum", "mean", "max", "norm")),
    *(joined(mxt.Catenate(), Port(("a",), sequence=s), Port(("b",), sequence=s)) for s in (False, True)),
    joined(mxt.Catenate(-1), Port((2, "a")), Port((2, "b")), Port((2, 1))),
    *both(mxt.Reshape((3, 4)), 2, 6),
    *both(mxt.Flatten(), "a", "b"),
    *both(mxt.Flatten()),
    *both(mxt.GradientScale(-0.5), "a"),
    *both(mxt.LearnedWeight(initializers={"LogVariance": mxt.initializers.Normal(1.0)})),
    *both(mxt.Dropout(0.0), "a"),  # other probabilities have tests of their own, which find the mask
    *both(NORM),
    *both(NORM, "a"),
    *both(mxt.BatchNorm(), "a", "b", 3),
    *both(mxt.LayerNorm(epsilon=0.1), "a"),
    *both(mxt.LayerNorm(), 6),
    *both(mxt.LayerNorm(), "a", "b", 5),
    *both(mxt.Softmax(), "a"),
    *both(mxt.Softmax(), "a", "b"),
    *both(mxt.Convolution(4, 3, padding=1), "a", "h", "w"),
    *both(mxt.Convolution(4, 3, stride=2, biases=False), "a", "h"),
    made(mxt.Convolution(3, (2, 3), padding=(1, 2), dilation=(1, 2)), {"Input": Port(("a", "h", "w"))}),
    made(mxt.Convolution(2, 2), {"Input": Port((2, "w", "w", "w"))}),
    made(mxt.Convolution(16, 3, padding=1), {"Input": Port((16, "h", "w"))}),  # a layout of oneDNN's own
    over_steps(mxt.Convolution(4, 3, padding=1), "a"),
    over_steps(mxt.Convolution(4, 3, padding=2, dilation=2), "a"),
    *(case for f in ("max", "mean") for case in both(mxt.Pooling(2, f), "a", "h", "w")),
    *(case for f in ("max", "mean") for case in both(mxt.Pooling((3, 2), f, stride=(2, 1), padding=1), "a", "h", "w")),
    *(made(mxt.Pooling(2, f, stride=1), {"Input": Port(("a", "h"))}) for f in ("max", "mean")),
    *(made(mxt.Pooling(2, f), {"Input": Port((2, "w", "w", "w"))}) for f in ("max", "mean")),
    *(over_steps(mxt.Pooling(3, f, stride=1, padding=1), "a") for f in ("max", "mean")),
    over_steps(mxt.SequenceLast()),
    over_steps(mxt.SequenceLast(), "a", "b"),
    over_steps(mxt.SequenceReverse()),
    over_steps(mxt.SequenceReverse(), "a", "b"),
    *(over_steps(layer, "a") for layer in RECURRENT),
    *(over_steps(layer, 6, **dict.fromkeys(layer.states, 3)) for layer in RECURRENT),
    *(over_steps(mxt.LSTM(3), 2, **{state: 3}) for state in mxt.LSTM.states),
    over_steps(mxt.LSTM(16), 24, State=16, CellState=16),
    *(over_steps(mxt.Bidirectional(layer), "a") for layer in RECURRENT),
    *(over_steps(replace(layer, initial=initial), "a") for layer in RECURRENT for initial in (0.3, "learned")),
    over_steps(mxt.LSTM(3, initial=-0.2), 2, State=3),
    over_steps(mxt.Bidirectional(mxt.LSTM(2, initial="learned")), "a"),
    *(Case(tanh_fold(3), ports, "Fold", TANH) for ports in (over("a"), over(6, State=3))),
    *(Case(lstm_fold(3), ports, "Fold", LSTM) for ports in (over("a"), over("a", State=3, CellState=3))),
    Case(mxt.Map(mxt.NetChain([mxt.Linear(4), mxt.Aggregate("sum")])), over("a", "b"), "Map", {"output": (4,)}),
    attention(mxt.Attention(), Port(("a",))),
    attention(mxt.Attention(), Port(("a",), sequence=True)),
    attention(mxt.Attention(scaled=False), Port(("a",), sequence=True)),
    attention(mxt.Attention(causal=True), Port(("a",), sequence=True)),
]

SCALES = [(sequence, average) for sequence in (False, True) for average in ("examples", "steps")]
CLASSES = Port(count=5)
LOSSES: list[Case] = [
    *(
        loss(kind(average=average), Port(item, sequence=sequence), Port(item, sequence=sequence))
        for sequence, average in SCALES
        for kind in (mxt.MeanSquaredLoss, mxt.MeanAbsoluteLoss)
        for item in ((), ("a", "b"))
    ),
    *(
        loss(
            mxt.CrossEntropyLoss("index", form, average),
            Port((5,), draw, sequence),
            Port(count=5, sequence=sequence),
        )
        for sequence, average in SCALES
        for form, draw in (("logits", normal), ("probabilities", probabilities))
    ),
    *(
        loss(
            mxt.CrossEntropyLoss("probabilities", form, average),
            Port(("a",), draw, sequence),
            Port(("a",), probabilities, sequence),
        )
        for sequence, average in SCALES
        for form, draw in (("logits", normal), ("probabilities", probabilities))
    ),
    *(
        loss(mxt.CrossEntropyLoss("binary", form, average), Port(item, draw, sequence), Port(item, target, sequence))
        for sequence, average in SCALES
        for form, draw in (("logits", normal), ("probabilities", unit))
        for item, target in (((), bits), (("a", "b"), unit))
    ),
    *(
        loss(mxt.ContrastiveLoss(average=average), Port((), unit, sequence), Port((), bits, sequence))
        for sequence, average in SCALES
    ),
    *(
        loss(mxt.ErrorRate(average=average), Port((5,), normal, sequence), Port(count=5, sequence=sequence))
        for sequence, average in SCALES
    ),
]
CASES = LAYERS + LOSSES


@dataclass(frozen=True)
class Example:
    """A row with inputs, arrays and head gradients drawn.

    Attributes:
        case: The row.
        extents: The sizes.
        plan: The net of this one layer.
        inputs: The batch, ``(rows, ...)`` by input port.
        arrays: The layer's arrays by name, auxiliary ones too.
        heads: A gradient by output port of the net: the plan's own of a loss, else drawn.
    """

    case: Case
    extents: Extents
    plan: mxt.Plan
    inputs: Values
    arrays: Values
    heads: Values

    def executor(self, **options: Any) -> mxt.Executor:
        """Return an executor whose inputs have gradients."""
        return mxt.instantiate(
            self.plan,
            self.extents.batch_size,
            {"t": self.extents.steps} if self.plan.lengths else {},
            arrays={f"layer.{name}": x for name, x in self.arrays.items()},
            input_gradients=self.case.real_ports,
            **options,
        )

    def oracle(self, training: bool = True) -> Result:
        """Return what the oracle says of the true rows alone."""
        told = dict(self.case.fields)
        if self.case.oracle == "BatchNorm":
            told["training"] = training
        return ORACLES[self.case.oracle](self.inputs, self.arrays, **told)

    def backward(self, executor: mxt.Executor) -> None:
        """Queue the backward pass from the example's heads."""
        own = not isinstance(self.case.layer, Loss)
        executor.backward(self.heads if own else None)

    @property
    def trained(self) -> list[str]:
        return [name for name in self.arrays if name not in AUXILIARY]


def example(case: Case, extents: Extents, dtype: str = "float32") -> Example:
    """Draw a row's inputs, arrays and head gradients."""
    generator = np.random.default_rng(extents.seed)
    plan = case.plan(extents, dtype)
    inputs = {port: fed.value(extents, generator) for port, fed in case.ports.items()}
    arrays = {
        path[len("layer.") :]: _array(path, spec.shape, generator)
        for path, spec in {**plan.parameters, **plan.auxiliary}.items()
    }
    lengths = {"t": extents.steps}
    heads = {
        name: _head(plan, name, spec.shape(extents.rows, lengths), extents, generator)
        for name, spec in plan.outputs.items()
    }
    return Example(case, extents, plan, inputs, arrays, heads)


def _array(path: str, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[Any]:
    draw = positive if path.endswith(("Scaling", "MovingVariance")) else normal
    return rounded(draw(generator, shape))


def _head(
    plan: mxt.Plan, name: str, shape: tuple[int, ...], extents: Extents, generator: np.random.Generator
) -> NDArray[Any]:
    found = plan.losses[name]
    if not found.is_loss:
        return rounded(normal(generator, shape))
    parts = extents.rows * (extents.steps if found.length is not None else 1)
    return np.full(shape, found.weight / parts)


def error(found: NDArray[Any], expected: NDArray[Any], least: float = 0.0) -> float:
    """Return the largest difference, relative to the largest number expected (or to `least`, if that is larger)."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = max(float(np.abs(expected).max()), least)
    largest = float(np.abs(found - expected).max())
    return largest / scale if largest else 0.0


def forward_errors(drawn: Example, executor: mxt.Executor, result: Result) -> dict[str, float]:
    """Return the error of every output, and of every auxiliary array after a pass."""
    outputs = drawn.case.outputs
    found = {name: executor.outputs[name].asnumpy() for name in outputs}
    errors = {name: error(found[name], result.outputs[port], 1e-2) for name, port in outputs.items()}
    moved = [name for name in AUXILIARY if name in result.outputs]
    return {**errors, **{name: error(executor.arrays[f"layer.{name}"][:], result.outputs[name]) for name in moved}}


def gradient_errors(drawn: Example, executor: mxt.Executor, result: Result) -> dict[str, float]:
    """Return the error of every gradient, relative to its own largest number or a tenth of the largest head."""
    heads = {port: drawn.heads[name] for name, port in drawn.case.outputs.items()}
    expected = result.backward(heads)
    least = 0.1 * max(float(np.abs(head).max()) for head in heads.values())
    rows = drawn.extents.rows
    errors = {
        port: error(executor.gradients[port][:rows], expected.inputs[port], least) for port in drawn.case.real_ports
    }
    for name in drawn.trained:
        errors[name] = error(executor.gradients[f"layer.{name}"][:], expected.arrays[name], least)
    return errors
