"""What the tests of mistakes in nets use: nets yet to be built, and what their refusal must say."""

from __future__ import annotations

from typing import Any, Callable

import pytest

import mxtrainer as mxt

ITEM, STEPS = mxt.Vector(3), mxt.Sequence("t", mxt.Vector(3))


def refused(build: Callable[[], object], *parts: str) -> str:
    """Returns the text of the NetError, which must have these parts in this order."""
    with pytest.raises(mxt.NetError) as raised:
        build()
    text, place = str(raised.value), 0
    for part in parts:
        assert part in text[place:], f"{part!r} is missing, or out of order, in: {text}"
        place = text.index(part, place) + len(part)
    return text


def graph(paths: Any, layers: Any = None, **options: Any) -> Callable[[], mxt.NetGraph]:
    return lambda: mxt.NetGraph({"linear": mxt.Linear(3)} if layers is None else layers, paths, **options)


def chain(*layers: Any, **options: Any) -> Callable[[], mxt.NetGraph]:
    return lambda: mxt.NetChain(list(layers), **options)
