"""The types of what a graph of MXNet operators gives, found by two inferences that differ in batch size and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import count
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..._mxnet import mx
from ..operators import BATCH_NORM, BY_LENGTH, DIVISIONS
from ..symbols import VARIABLE, Entry, Operation, SymbolGraph, apply_operation
from ..types import Array, Index, PortType, Sequence, item_of
from .base import MismatchError
from .symbol_order import in_order

BATCH_FIRST, TIME_FIRST = LAYOUTS = ("NTC", "TNC")
RESHAPES = frozenset(("Reshape", "reshape"))
ROWS = (2, 11, 13)  # few, and numbers that divide nothing
LARGEST = 2**31 - 1  # elements of an array of MXNet
Shape = tuple[int, ...]


class Trial(NamedTuple):
    """The batch size and the lengths of one inference."""

    rows: int
    lengths: Mapping[str, int]

    def __str__(self) -> str:
        """Show as errors do."""
        lengths = "".join(f", {steps} steps" for steps in self.lengths.values())
        return f"{self.rows} rows{lengths}"

    def shape(self, port: PortType, layout: str) -> Shape:
        """Return the shape that a port has in the graph."""
        outer: Shape = (self.rows,)
        if isinstance(port, Sequence):
            steps = self.lengths[port.length]
            outer = (self.rows, steps) if layout == BATCH_FIRST else (steps, self.rows)
        return (*outer, *item_of(port).shape)


def _trials(ports: tuple[PortType, ...]) -> tuple[Trial, Trial]:
    """Return two trials that differ in every extent that may vary."""
    names = dict.fromkeys(port.length for port in ports if isinstance(port, Sequence))
    first, second = (dict(zip(names, count(begin, 12))) for begin in (17, 23))
    return Trial(11, first), Trial(13, second)


class Output(NamedTuple):
    """What an output is to us.

    Attributes:
        type: Its type.
        merged: Whether the graph has each step, or each place of the item's first axis, as a row of its own:
            ``(batch * t, ...)``, the rows of one example together.
    """

    type: PortType
    merged: bool = False


class Shapes(NamedTuple):
    """What follows from the types of the inputs.

    Attributes:
        outputs: What each output is, in order.
        arrays: The shape of each other variable.
    """

    outputs: tuple[Output, ...]
    arrays: Mapping[str, Shape]


@lru_cache(maxsize=256)
def shapes_of(text: str, inputs: tuple[str, ...], ports: tuple[PortType, ...], layout: str) -> Shapes:
    """Return what follows from the types of the inputs.

    Args:
        text: The graph.
        inputs: The variables that are inputs.
        ports: The type of each of them.
        layout: "NTC" or "TNC".

    Raises:
        MismatchError: The shapes cannot be, or the graph is of one batch size only; says where.
    """
    graph = SymbolGraph.parse(text)
    types = dict(zip(inputs, ports))
    trials = _trials(ports)
    first, second = (_infer(graph, types, trial, layout) for trial in trials)
    arrays = {node.name: (number, 0) for number, node in enumerate(graph.nodes) if node.operator == VARIABLE}
    for name, entry in arrays.items():
        if name not in types and first[entry] != second[entry]:
            raise MismatchError(
                f'the array "{name}" has the shape {first[entry]} for {trials[0]}, and {second[entry]} for '
                f"{trials[1]}; an array has one shape. Is it an input, that inputs={{...}} should name?"
            )
    outputs = tuple(
        _output_of(graph.name_of(head), (first[head], second[head]), trials, layout) for head in graph.heads
    )
    both = {entry: (shape, second[entry]) for entry, shape in first.items()}
    for head, output in zip(graph.heads, outputs):
        if output.merged:
            _check_order(graph, head, both, trials, output, layout)
    return Shapes(outputs, {name: first[entry] for name, entry in arrays.items() if name not in types})


@lru_cache(maxsize=256)
def shapes_within(
    text: str,
    inputs: tuple[str, ...],
    ports: tuple[PortType, ...],
    layout: str,
    lengths: tuple[tuple[str, int], ...],
    outputs: tuple[Output, ...] = (),
) -> Mapping[Entry, Shape]:
    """Return the shape of every entry for these lengths, and for some number of rows.

    MXNet reshapes to whatever it is told, and touches foreign memory where that has another number of elements.

    Args:
        text: The graph.
        inputs: The variables that are inputs.
        ports: The type of each of them.
        layout: "NTC" or "TNC".
        lengths: The number of steps by length name.
        outputs: What each output must be; none: whatever it is.

    Raises:
        MismatchError: With these lengths something has another shape than it should; says where.
    """
    graph = SymbolGraph.parse(text)
    found: Mapping[Entry, Shape] = {}
    for rows in ROWS:
        trial = Trial(rows, dict(lengths))
        found = _infer(graph, dict(zip(inputs, ports)), trial, layout)
        for head, output in zip(graph.heads, outputs):
            expected = trial.shape(output.type, layout)
            if output.merged:
                expected = (expected[0] * expected[1], *expected[2:])
            if found[head] != expected:
                raise MismatchError(
                    f'the output "{graph.name_of(head)}" has the shape {found[head]} for {trial}, and not {expected}'
                )
    return found


def _check_order(
    graph: SymbolGraph,
    head: Entry,
    shapes: Mapping[Entry, tuple[Shape, Shape]],
    trials: tuple[Trial, Trial],
    output: Output,
    layout: str,
) -> None:
    """Refuse rows whose order nobody knows.

    Raises:
        MismatchError: They were not made by a Reshape of the first axes.
    """
    rows = trials[0].rows, trials[1].rows
    before: tuple[tuple[int, int], ...] = (rows,)
    if isinstance(output.type, Sequence):
        name = output.type.length
        steps = trials[0].lengths[name], trials[1].lengths[name]
        before = (rows, steps) if layout == BATCH_FIRST else (steps, rows)
    if not in_order(graph, head, shapes, before):
        axes = "(batch, t, ...)" if layout == BATCH_FIRST else "(t, batch, ...)"
        raise MismatchError(
            f'the output "{graph.name_of(head)}" has {shapes[head][0][0]} rows for {trials[0]}, and whose they are is '
            f"not known: what is read is a Reshape of {axes if len(before) > 1 else '(batch, ...)'} to rows, and what "
            f"keeps their order; no batch size may be fixed in the graph"
        )


def _infer(graph: SymbolGraph, types: Mapping[str, PortType], trial: Trial, layout: str) -> dict[Entry, Shape]:
    """Return all shapes; where what arrays say of themselves does not fit, without it."""
    given = {name: trial.shape(port, layout) for name, port in types.items()}
    hints = {name: shape for name, shape in graph.hints().items() if name not in types and _known(shape)}
    try:
        return _infer_from(graph, types, trial, {**given, **hints})
    except MismatchError:
        if not hints:
            raise
        return _infer_from(graph, types, trial, given)


def _infer_from(
    graph: SymbolGraph, types: Mapping[str, PortType], trial: Trial, given: Mapping[str, Shape]
) -> dict[Entry, Shape]:
    """Return the shape of every entry.

    Raises:
        MismatchError: One does not follow, or is wrong.
    """
    seen = SymbolGraph(graph.nodes, tuple(graph.entries()))
    variables = {name: mx.sym.var(name) for name in graph.variables}
    whole = mx.sym.Group(seen.build(variables, lambda node, taken: apply_operation(real_as("float32", node), taken)))
    try:
        _, shapes, _ = whole.infer_shape_partial(**given)
        _, kinds, _ = whole.infer_type_partial(**{name: _dtype(port) for name, port in types.items()})
    except mx.base.MXNetError as error:
        raise MismatchError(f"for {trial}, {_reason(error)}") from None
    found = dict(zip(seen.heads, shapes))
    for entry, shape in found.items():
        if not _known(shape):
            raise MismatchError(
                f'the shape of "{graph.name_of(entry)}" does not follow from the inputs; if it is one, give its type '
                f"in inputs={{...}}; if it is an array, its value or mx.sym.var(..., shape=...)"
            )
        if prod(shape) > LARGEST:
            raise MismatchError(f'"{graph.name_of(entry)}" has the shape {shape} for {trial}, which is too large')
    _check_nodes(graph, found, dict(zip(seen.heads, kinds)), trial)
    return found


def _check_nodes(graph: SymbolGraph, shapes: Mapping[Entry, Shape], kinds: Mapping[Entry, Any], trial: Trial) -> None:
    """Refuse what MXNet does not look at.

    Raises:
        MismatchError: There is some.
    """
    for number, node in enumerate(graph.nodes):
        where, taken = f'"{node.name}" ({node.operator})', [shapes[entry] for entry in node.inputs]
        if node.operator in RESHAPES and prod(taken[0]) != prod(shapes[number, 0]):
            raise MismatchError(f"{where} makes {shapes[number, 0]} of {taken[0]} for {trial}")
        if node.operator == BATCH_NORM and taken[0][0] != trial.rows:
            raise MismatchError(f"{where} gets {taken[0]} for {trial}; it wants one row for each")
        if node.operator in BY_LENGTH and len(taken) > 1 and taken[0][1 - int(node.number("axis", 0.0))] != trial.rows:
            raise MismatchError(f"{where} gets {taken[0]} for {trial}; the axis beside that of steps must be the rows")
        if node.operator in DIVISIONS and any(_is_integer(kinds[entry]) for entry in node.inputs):
            raise MismatchError(f"{where} divides integers, which ends the process at 0; give its input a real type")


def real_as(dtype: str, node: Operation) -> Operation:
    """Return an operation that gives real numbers in another dtype, and gradients that are no sparse arrays."""
    if node.get("dtype") in {"float16", "float32", "float64"}:
        node = node.but(dtype=dtype)
    return node.but(sparse_grad="False") if node.flag("sparse_grad") else node


def _dtype(port: PortType) -> str:
    return "int32" if isinstance(item_of(port), Index) else "float32"


def _is_integer(kind: Any) -> bool:
    return kind is not None and np.dtype(kind).kind in "iu"


def _known(shape: Shape | None) -> bool:
    return shape is not None and shape != () and 0 not in shape  # an empty shape is an unknown one


def _reason(error: Exception) -> str:
    """Return the line of MXNet's text that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if "rror" in line]
    return lines[-1] if lines else str(error).strip().splitlines()[-1]


def _output_of(name: str, pair: tuple[Shape, Shape], trials: tuple[Trial, Trial], layout: str) -> Output:
    """Return what an output is, from its shape in each trial."""
    if len(pair[0]) != len(pair[1]) or not pair[0]:
        raise MismatchError(
            f'the output "{name}" has the shape {pair[0]}, which has no row for each example; a loss has one number '
            f"for each, as in mean(..., axis=1)"
        )
    extents = list(zip(*pair))
    rows = tuple(trial.rows for trial in trials)
    lengths = {steps: length for length, steps in zip(trials[0].lengths, _pairs(trials))}
    merged = {(rows[0] * steps[0], rows[1] * steps[1]): length for steps, length in lengths.items()}
    outer, inner = extents[:2] if len(extents) > 1 else (extents[0], None)
    if layout == TIME_FIRST and outer in lengths and inner == rows:
        outer, inner = inner, outer
    if outer == rows and inner in lengths:
        return Output(Sequence(lengths[inner], Array(_fixed(name, extents[2:], trials))))
    if outer == rows:
        return Output(Array(_fixed(name, extents[1:], trials)))
    if outer in merged:
        return Output(Sequence(merged[outer], Array(_fixed(name, extents[1:], trials))), merged=True)
    places = outer[0] // rows[0]
    if places and outer == (places * rows[0], places * rows[1]):
        return Output(Array((places, *_fixed(name, extents[1:], trials))), merged=True)
    raise MismatchError(
        f'the output "{name}" has the shape {pair[0]} for {trials[0]}; its first axis must be the batch'
        f"{', or time before it' if layout == TIME_FIRST else ''}: one row, or so many, for each example, as a loss "
        f"has one number for each; no batch size may be fixed in the graph"
    )


def _pairs(trials: tuple[Trial, Trial]) -> Iterator[tuple[int, int]]:
    yield from zip(trials[0].lengths.values(), trials[1].lengths.values())


def _fixed(name: str, extents: list[tuple[int, int]], trials: tuple[Trial, Trial]) -> Shape:
    """Return extents that are the same in both trials."""
    for first, second in extents:
        if first != second:
            raise MismatchError(
                f'the output "{name}" has an axis of {first} for {trials[0]}, and of {second} for '
                f"{trials[1]}; only its first axes, batch and steps, may vary"
            )
    return tuple(first for first, _ in extents)
