"""What the weights of other libraries have in common: layers by name, and which array of theirs holds which of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arguments import kind_of
from ...errors import ArgumentError, NetError, nearest
from ..graph import Graph, Types, undetermined
from ..layers.base import Layer
from ..layers.inner import NetLayer
from ..net import NetGraph
from ..storage import allocate

Numbers = NDArray[Any]


def _alone(theirs: Numbers) -> tuple[Numbers, ...]:
    return (theirs,)


def _same(ours: Numbers) -> Numbers:
    return ours


@dataclass(frozen=True)
class Weight:
    """One array of a layer of another library.

    Attributes:
        names: The arrays of our layer that it holds.
        read: From theirs to ours, in the order of `names`.
        write: From ours to theirs.
        absent: What our arrays are where theirs is left out; None: it must be there.
        note: What to know where its shape is another, to end the sentence.
    """

    names: tuple[str, ...]
    read: Callable[[Numbers], tuple[Numbers, ...]] = _alone
    write: Callable[..., Numbers] = _same
    absent: float | None = None
    note: str = ""


class Holder(NamedTuple):
    """A layer that has arrays.

    Attributes:
        path: Its path, also within a Fold or a Map.
        layer: The layer.
        shapes: The shapes of its arrays.
        owners: The path of the array that each of them is.
    """

    path: str
    layer: Layer
    shapes: dict[str, tuple[int, ...]]
    owners: dict[str, str]

    def __str__(self) -> str:
        """Show as errors name it."""
        return f'layer "{self.path}" ({self.layer!r})'

    def expected(self, weight: Weight) -> tuple[int, ...]:
        """Return the shape of one of their arrays."""
        return tuple(weight.write(*(np.zeros(self.shapes[name]) for name in weight.names)).shape)


class Mapped(NamedTuple):
    """A layer, the name of its counterpart, and the counterpart's arrays by full name, in their order."""

    holder: Holder
    place: Any
    weights: dict[str, Weight]


class Problems:
    """What does not fit, to be told in one message."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        """Keep a problem, once."""
        if problem not in self._found:
            self._found.append(problem)

    def check(self) -> None:
        """Refuse what has problems.

        Raises:
            ArgumentError: There are some.
        """
        if self._found:
            raise ArgumentError("\n  ".join([self._title, *self._found]))


def match(
    net: object,
    names: Mapping[str, Any] | None,
    weights_of: Callable[[Layer, Any], dict[str, Weight] | None],
    library: str,
    problems: Problems,
) -> list[Mapped]:
    """Return the layers that a map names, with what they are called elsewhere.

    Args:
        net: The net.
        names: The counterpart's name of each layer; None: every layer that has arrays is called as it is here.
        weights_of: From a layer, and the name of its counterpart, to the latter's arrays by full name; None where the
            library has no such layer.
        library: The library.
        problems: Gets what is wrong with the names.

    Raises:
        ArgumentError: It is no net, or no map.
        NetError: The net's types are not determined, or its arrays cannot be.
    """
    if not isinstance(net, NetGraph):
        raise ArgumentError(f"the first argument must be a net, got {net!r}")
    known = holders(net)
    if names is not None and not isinstance(names, Mapping):
        raise ArgumentError(f'names must map layers to names, as in {{"linear": "decoder"}}, got {names!r}')
    found = []
    for path, place in ({path: path for path in known} if names is None else names).items():
        if path not in known:
            hint = nearest(path, known) or "."
            problems.add(f'the net has no layer "{path}" with arrays{hint} It has {", ".join(known) or "none"}')
            continue
        try:
            weights = weights_of(known[path].layer, place)
        except ArgumentError as error:
            problems.add(f"{known[path]}: {error}")
            continue
        if weights is None:
            problems.add(f"{known[path]} has no counterpart in {library}; give names= without it")
            continue
        # a layer without biases has no array for theirs
        held = {name: weight for name, weight in weights.items() if set(weight.names) <= set(known[path].shapes)}
        found.append(Mapped(known[path], place, held))
    return found


def holders(net: NetGraph) -> dict[str, Holder]:
    """Return the layers that have arrays, by path.

    Raises:
        NetError: The net's types are not determined, or its arrays cannot be.
    """
    missing = undetermined(net.graph, net.types)
    if missing is not None:
        raise NetError(missing)
    allocate(net.graph, net.types)
    return {holder.path: holder for holder in _holders(net.graph, net.types) if holder.shapes}


def _holders(graph: Graph, types: Types) -> Iterator[Holder]:
    for path, node in graph.nodes.items():
        layer, ports = node.layer, types.nodes[path]
        if isinstance(layer, NetLayer):
            inner = _holders(layer.net.graph, layer.inner_types(ports))
            held: Iterable[Holder] = (found._replace(path=f"{path}.{found.path}") for found in inner)
        else:
            shapes = {name: array.shape for name, array in layer.declare(ports).items()}
            held = [Holder(path, layer, shapes, {name: name for name in shapes})]
        for found in held:
            owners = {name: graph.owner_of(f"{path}.{owner}") for name, owner in found.owners.items()}
            yield found._replace(owners=owners)


def read(net: NetGraph, layers: Iterable[Mapped], given: Mapping[str, Any], problems: Problems) -> NetGraph:
    """Return the net with arrays read from theirs.

    Args:
        net: The net.
        layers: The layers to read.
        given: Their arrays by full name.
        problems: What is wrong already; gets what else is.

    Raises:
        ArgumentError: Something is wrong.
    """
    arrays: dict[str, Numbers] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for name, path, array in _read_layer(layer, given, problems):
            if path in arrays and not _identical(arrays[path], array):
                problems.add(f'"{path}" is shared, but "{origins[path]}" and "{name}" differ; give both one value')
            arrays[path], origins[path] = array, name
    problems.check()
    return net.with_arrays({**net.arrays, **arrays})


def _read_layer(layer: Mapped, given: Mapping[str, Any], problems: Problems) -> Iterator[tuple[str, str, Numbers]]:
    """Yield their name, our path and the values of each of a layer's arrays."""
    holder = layer.holder
    dtype = np.dtype("float32")
    for name, weight in layer.weights.items():  # those that may be absent come after one that must be there
        if name not in given and weight.absent is not None:
            ours = tuple(np.full(holder.shapes[own], weight.absent, dtype) for own in weight.names)
        else:
            theirs = _checked(holder, name, weight, given, problems)
            if theirs is None:
                continue
            dtype = theirs.dtype
            ours = weight.read(theirs)
        for own, array in zip(weight.names, ours):
            yield name, holder.owners[own], array


def _checked(holder: Holder, name: str, weight: Weight, given: Mapping[str, Any], problems: Problems) -> Numbers | None:
    """Return one of their arrays, or None where there is something wrong with it."""
    expected = holder.expected(weight)
    if name not in given:
        problems.add(f'{holder}: there is no "{name}" {expected}{nearest(name, given)}')
        return None
    try:
        theirs = as_numpy(given[name])
    except ArgumentError as error:
        problems.add(f'{holder}: "{name}" {error}')
        return None
    if theirs.shape != expected:
        paths = " and ".join(f'"{holder.owners[own]}"' for own in weight.names)
        problems.add(f'{holder}: "{name}", for {paths}, must be {expected}, found {theirs.shape}{weight.note}')
        return None
    return theirs


def as_numpy(value: Any) -> Numbers:
    """Return numbers of another library, as far as numpy can read them, without a gradient.

    Raises:
        ArgumentError: It cannot, or they are no real numbers.
    """
    detached = value.detach() if hasattr(value, "detach") else value
    try:
        array = np.asarray(detached)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"cannot be read by numpy: {error}; give float32, on the CPU") from None
    if array.dtype.kind not in "fiu":
        raise ArgumentError(f"must hold real numbers that numpy has, found {kind_of(array)}; give float32")
    return array


def write(net: NetGraph, layers: Iterable[Mapped], problems: Problems) -> dict[str, Numbers]:
    """Return their arrays by full name, made of the net's; all are copies.

    Args:
        net: The net.
        layers: The layers to write.
        problems: What is wrong already; gets what else is.

    Raises:
        ArgumentError: Something is wrong.
    """
    written: dict[str, Numbers] = {}
    for layer in layers:
        for name, weight in layer.weights.items():
            ours = [_value(net, layer.holder, own, problems) for own in weight.names]
            held = [array for array in ours if array is not None]
            if len(held) < len(ours):
                continue
            theirs = np.array(weight.write(*held), order="C")
            if name in written and not _identical(written[name], theirs):
                problems.add(f'{layer.holder}: another layer has other values for "{name}"; map one of them')
            written[name] = theirs
    problems.check()
    return written


def _value(net: NetGraph, holder: Holder, name: str, problems: Problems) -> Numbers | None:
    path, expected = holder.owners[name], holder.shapes[name]
    found: Numbers | None = net.arrays.get(path)
    if found is None:
        problems.add(f'{holder}: the net has no values for "{path}"; take trainer.net(), or net.with_arrays(...)')
    elif found.shape != expected:
        problems.add(f'{holder}: "{path}" must be {expected}, found {found.shape}')
    else:
        return found
    return None


def _identical(left: Numbers, right: Numbers) -> bool:
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
