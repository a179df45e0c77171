"""The types of what a graph of MXNet operators gives, found by two inferences that differ in batch size and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np

from ..._mxnet import mx
from ..operators import BATCH_NORM, DIVISIONS
from ..symbols import Entry, SymbolGraph
from ..types import Array, Index, PortType, Sequence, item_of
from .base import MismatchError

BATCH_FIRST, TIME_FIRST = LAYOUTS = ("NTC", "TNC")
Shape = tuple[int, ...]


class Trial(NamedTuple):
    """The batch size and the lengths of one inference."""

    rows: int
    lengths: Mapping[str, int]

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
        merged: Whether the graph has each step as a row of its own, ``(batch * t, ...)``.
    """

    type: PortType
    merged: bool = False


class Shapes(NamedTuple):
    """What follows from the types of the inputs.

    Attributes:
        outputs: What each output is, in order.
        arrays: The shape of each other variable.
        norms: The item that a BatchNorm gets, by the entry that it takes.
    """

    outputs: tuple[Output, ...]
    arrays: Mapping[str, Shape]
    norms: Mapping[Entry, Shape]


class _Inferred(NamedTuple):
    """All shapes of one trial: of variables by name, of outputs in order, of what each BatchNorm gets."""

    variables: Mapping[str, Shape]
    heads: tuple[Shape, ...]
    norms: Mapping[Entry, Shape]


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
    for name, shape in first.variables.items():
        if name not in types and shape != second.variables[name]:
            raise MismatchError(
                f'the array "{name}" has the shape {shape} for {_said(trials[0])}, and {second.variables[name]} for '
                f"{_said(trials[1])}; an array has one shape. Is it an input, that inputs={{...}} should name?"
            )
    outputs = tuple(
        _output_of(graph.name_of(head), pair, trials, layout)
        for head, pair in zip(graph.heads, zip(first.heads, second.heads))
    )
    for entry, shape in first.norms.items():
        if shape[0] != trials[0].rows:
            found = f'"{graph.name_of(entry)}" of shape {shape} for {trials[0].rows} rows'
            raise MismatchError(f"a BatchNorm gets {found}; it wants one for each")
    arrays = {name: shape for name, shape in first.variables.items() if name not in types}
    return Shapes(outputs, arrays, {entry: shape[1:] for entry, shape in first.norms.items()})


def _said(trial: Trial) -> str:
    lengths = "".join(f", {steps} steps" for steps in trial.lengths.values())
    return f"{trial.rows} rows{lengths}"


def _infer(graph: SymbolGraph, types: Mapping[str, PortType], trial: Trial, layout: str) -> _Inferred:
    """Return all shapes; what arrays say of themselves counts only where they do not follow without."""
    given = {name: trial.shape(port, layout) for name, port in types.items()}
    hints = {name: shape for name, shape in graph.hints().items() if name not in types and _known(shape)}
    try:
        found = _infer_from(graph, types, trial, given)
    except MismatchError:
        if not hints:
            raise
        found = _infer_from(graph, types, trial, {**given, **hints})
    return found


def _infer_from(
    graph: SymbolGraph, types: Mapping[str, PortType], trial: Trial, given: Mapping[str, Shape]
) -> _Inferred:
    norms = [node.inputs[0] for node in graph.operations if node.operator == BATCH_NORM]
    seen = SymbolGraph(graph.nodes, (*graph.heads, *norms))
    whole = mx.sym.Group(seen.build({name: mx.sym.var(name) for name in graph.variables}))
    try:
        arguments, outputs, auxiliary = whole.infer_shape_partial(**given)
    except mx.base.MXNetError as error:
        raise MismatchError(f"for {_said(trial)}, {_reason(error)}") from None
    found = dict(zip(whole.list_arguments(), arguments)) | dict(zip(whole.list_auxiliary_states(), auxiliary))
    shown = zip(map(graph.name_of, seen.heads), outputs)
    unknown = [name for name, shape in (*found.items(), *shown) if not _known(shape)]
    if unknown:
        raise MismatchError(
            f'the shape of "{unknown[0]}" does not follow from the inputs; if it is one, give its type in '
            f"inputs={{...}}; if it is an array, its value or mx.sym.var(..., shape=...)"
        )
    _check_divisions(graph, types)
    count = len(graph.heads)
    return _Inferred(found, tuple(outputs[:count]), dict(zip(norms, outputs[count:])))


def _known(shape: Shape | None) -> bool:
    return shape is not None and shape != () and 0 not in shape  # an empty shape is an unknown one


def _reason(error: Exception) -> str:
    """Return the line of MXNet's text that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if "rror" in line]
    return lines[-1] if lines else str(error).strip().splitlines()[-1]


def _check_divisions(graph: SymbolGraph, types: Mapping[str, PortType]) -> None:
    """Refuse to divide integers, which ends the process where one is 0."""
    divisions = [(node, entry) for node in graph.operations if node.operator in DIVISIONS for entry in node.inputs]
    whole = SymbolGraph(graph.nodes, (*graph.heads, *(entry for _, entry in divisions)))
    symbol = mx.sym.Group(whole.build({name: mx.sym.var(name) for name in graph.variables}))
    given = {name: "int32" if isinstance(item_of(port), Index) else "float32" for name, port in types.items()}
    try:
        _, kinds, _ = symbol.infer_type_partial(**given)
    except mx.base.MXNetError as error:
        raise MismatchError(_reason(error)) from None
    for (node, _), kind in zip(divisions, kinds[len(graph.heads) :]):
        if kind is not None and np.dtype(kind).kind in "iu":
            raise MismatchError(f'"{node.name}" ({node.operator}) divides integers; give its input a real type')


def _output_of(name: str, pair: tuple[Shape, Shape], trials: tuple[Trial, Trial], layout: str) -> Output:
    """Return what an output is, from its shape in each trial."""
    if len(pair[0]) != len(pair[1]) or not pair[0]:
        raise MismatchError(f'the output "{name}" has the shape {pair[0]}, which has no row for each example')
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
    raise MismatchError(
        f'the output "{name}" has the shape {pair[0]} for {_said(trials[0])}; its first axis must be the batch'
        f"{', or time before it' if layout == TIME_FIRST else ''}, and no batch size may be fixed in the graph"
    )


def _pairs(trials: tuple[Trial, Trial]) -> Iterator[tuple[int, int]]:
    yield from zip(trials[0].lengths.values(), trials[1].lengths.values())


def _fixed(name: str, extents: list[tuple[int, int]], trials: tuple[Trial, Trial]) -> Shape:
    """Return extents that are the same in both trials."""
    for first, second in extents:
        if first != second:
            raise MismatchError(
                f'the output "{name}" has an axis of {first} for {_said(trials[0])}, and of {second} for '
                f"{_said(trials[1])}; only its first axes, batch and steps, may vary"
            )
    return tuple(first for first, _ in extents)
