"""The true lengths of a batch: given, or those that its arrays have themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_array
from ..errors import ArgumentError, nearest

Lengths = NDArray[np.int64]


class Found(NamedTuple):
    """What came for a port.

    Attributes:
        shape: ``(rows, *item)`` or ``(rows, t, *item)``.
        lengths: The number of steps of each row, where the value itself knows it: a list of arrays, or a handle.
    """

    shape: tuple[int, ...]
    lengths: Lengths | None = None


def given_lengths(
    batch: Mapping[str, Any], argument: object, names: tuple[str, ...], problems: list[str]
) -> dict[str, Lengths]:
    """Return the lengths that come with a batch, or beside it; what is wrong with them goes to the problems."""
    own = getattr(batch, "lengths", None)
    if own is not None and argument is not None:
        problems.append("lengths come in the Batch and as lengths= as well; give one of them")
        return {}
    lengths = own if argument is None else argument
    if lengths is None:
        return {}
    if not isinstance(lengths, Mapping):
        problems.append(f'lengths must map length names to one length a row, as in {{"t": [7, 29]}}, got {lengths!r}')
        return {}
    found = {}
    for name, value in lengths.items():
        if name not in names:
            problems.append(f'lengths: there is no length "{name}"{nearest(name, names)}; known: {", ".join(names)}')
            continue
        try:
            found[name] = _integers(value)
        except ArgumentError as problem:
            problems.append(f'lengths: "{name}": {problem}')
    return found


def _integers(value: Any) -> Lengths:
    array = as_array(value)
    if array.ndim != 1:
        raise ArgumentError(f"expected one length a row, (rows,), found {array.shape}")
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"expected integers, found {array.dtype}")
    if array.size and array.min() < 1:
        row = int(array.argmin())
        raise ArgumentError(f"example {row} has length {array[row]}; a sequence has at least one step")
    return array.astype(np.int64)


def agree(name: str, ports: Mapping[str, Found], given: Lengths | None, problems: list[str]) -> Lengths | None:
    """Return the true lengths of all examples, in which the ports that share them must agree."""
    rows = next(iter(ports.values())).shape[0]
    if given is not None and len(given) != rows:
        problems.append(f'lengths: "{name}": expected one for each of {rows} rows, found {len(given)}')
        return None
    steps = next(iter(ports.values())).shape[1]
    if given is None and steps and all(own is None and shape[1] == steps for shape, own in ports.values()):
        return np.full(rows, steps)  # the most common case, at every step
    found = {}
    for port, (shape, own) in ports.items():
        if shape[1] < 1 or (own is not None and own.min() < 1):
            example = "" if own is None else f", example {int(own.argmin())}"
            problems.append(f'port "{port}"{example}: its sequences have no steps (length "{name}")')
        elif own is None and given is not None:
            _check_room(name, port, shape, given, problems)
        else:
            found[port] = np.full(shape[0], shape[1]) if own is None else own
    if given is not None and not problems:
        found = {"lengths=": given, **found}
    if problems:
        return None
    first, *others = found.items()
    for other in others:
        differs = np.flatnonzero(first[1] != other[1])
        if len(differs):
            row = differs[0]
            problems.append(
                f'ports that share the length "{name}" must have the same number of steps, found '
                f"{first[1][row]} in {_quoted(first[0])} and {other[1][row]} in {_quoted(other[0])} for example {row}"
            )
            return None
    return first[1]


def _quoted(port: str) -> str:
    return port if port == "lengths=" else f'"{port}"'


def _check_room(name: str, port: str, shape: tuple[int, ...], given: Lengths, problems: list[str]) -> None:
    if given.max(initial=0) > shape[1]:
        row = int(given.argmax())
        problems.append(
            f'port "{port}": example {row} is to have {given[row]} steps (length "{name}"), '
            f"but its array has {shape[1]}"
        )
