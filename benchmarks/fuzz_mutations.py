"""Random damage: to bytes, and to JSON that stays JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Generator = np.random.Generator
Place = tuple[Any, Any]  # a dict or a list, and a key or an index of it
DEEP = "@deep@"  # becomes nested lists in the text: JSON's writer itself would not go so deep
DEPTHS = (50, 900, 20_000)
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 255, 10**6, 10**9, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**40,
    -(10**40), 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"), "", "Input", "x.y", "\0", "\ud800", "é", "1",
    [], {}, [[]], [0, 0], {"": 0}, DEEP,
]  # fmt: skip


def changed_bytes(generator: Generator, data: bytes, head: int = 400) -> bytes:
    """Return bytes with one to four places changed, removed, repeated or cut off; half of them near the front."""
    found = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        size = len(found)
        if not size:
            break
        place = int(generator.integers(min(size, head) if generator.random() < 0.5 else size))
        length = int(generator.integers(1, 60))
        kind = generator.integers(6)
        if kind == 0:
            found[place] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            found[place] = int(generator.integers(256))
        elif kind == 2:
            del found[place : place + length]
        elif kind == 3:
            found[place:place] = found[place : place + length]
        elif kind == 4:
            found[place : place + length] = generator.bytes(length)
        elif generator.random() < 0.3:
            del found[place:]
    return bytes(found)


def changed_json(generator: Generator, data: Any) -> Any:
    """Return a copy of JSON data with some places deleted, replaced, swapped, repeated, renamed, nested; mostly one."""
    found = copy.deepcopy(data)
    for _ in range(generator.geometric(0.7)):
        places = list(_places(found))
        if places:
            change = CHANGES[int(generator.integers(len(CHANGES)))]
            change(generator, places[int(generator.integers(len(places)))], places)
    return found


def _places(data: Any) -> Iterator[Place]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, inner in pairs:
        yield data, key
        yield from _places(inner)


def _there(place: Place) -> bool:
    container, key = place
    return key in container if isinstance(container, dict) else key < len(container)


def _delete(_: Generator, place: Place, __: list[Place]) -> None:
    del place[0][place[1]]


def _replace(generator: Generator, place: Place, _: list[Place]) -> None:
    place[0][place[1]] = copy.deepcopy(ODD[int(generator.integers(len(ODD)))])


def _swap(generator: Generator, place: Place, places: list[Place]) -> None:
    """Put copies of two values in each other's place."""
    container, key = place
    other, other_key = places[int(generator.integers(len(places)))]
    first, second = copy.deepcopy(container[key]), copy.deepcopy(other[other_key])
    container[key] = second
    if _there((other, other_key)):
        other[other_key] = first


def _repeat(_: Generator, place: Place, __: list[Place]) -> None:
    container, key = place
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[f"{key}_2"] = copy.deepcopy(container[key])


def _rename(generator: Generator, place: Place, places: list[Place]) -> None:
    container, key = place
    if isinstance(container, dict):
        names = [str(other) for _, other in places] + ["type", "items", "", "x"]
        container[names[int(generator.integers(len(names)))]] = container.pop(key)


def _nest(_: Generator, place: Place, __: list[Place]) -> None:
    place[0][place[1]] = [place[0][place[1]]]


def _shift(generator: Generator, place: Place, places: list[Place]) -> None:
    """Change a number, or a letter of a text, a little."""
    container, key = place
    found = container[key]
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        container[key] = found * int(generator.choice([-1, 0, 2, 1000, 10**9])) + int(generator.integers(-1, 2))
    elif isinstance(found, str) and found:
        at = int(generator.integers(len(found)))
        container[key] = found[:at] + chr(int(generator.integers(1, 0x250))) + found[at + 1 :]
    else:
        _replace(generator, place, places)


CHANGES: list[Callable[[Generator, Place, list[Place]], None]] = [
    _delete, _replace, _replace, _swap, _repeat, _rename, _nest, _shift, _shift
]  # fmt: skip


def as_text(generator: Generator, data: Any) -> str:
    """Return JSON data as text, with what is deep in it as deep as it is to be."""
    depth = int(DEPTHS[int(generator.integers(len(DEPTHS)))])
    return json.dumps(data, separators=(",", ":")).replace(json.dumps(DEEP), "[" * depth + "]" * depth)
