"""The kernel that moves parameters: one pass over their memory, compiled for a formula and a dtype."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..compiling import carray, compiled, pointer
from . import formulas
from .formulas import Formula
from .move_block import (
    CLIP_GRADIENT,
    CLIP_WEIGHTS,
    CONSTANTS,
    COUNTS,
    DECAY,
    GRADIENT,
    GRADIENTS,
    HEADER,
    MULTIPLIER,
    NUMBER,
    PARAMETER,
    PARAMETERS,
    RATE,
    ROW,
    SCALE,
    SIZE,
    STATES,
    STRIDE,
)

# What these stand for is given when a kernel is compiled.
REAL: Any = None
ITEM: Any = None
COUPLED: Any = None
numbers: Any = None
moments: Any = None
direction: Any = None
gradient: Any = None
clipped: Any = None
walk: Any = None


@lru_cache(None)
def move_kernel(formula: Formula, dtype: str, clips: bool) -> Any:
    """Return the kernel of a formula; its block is laid out as `move_block` says.

    Args:
        formula: The formula.
        dtype: The dtype of parameters.
        clips: Whether elements of gradients or parameters may be clipped.
    """
    return compiled(
        _move,
        REAL=getattr(np, dtype),
        ITEM=np.dtype(dtype).itemsize,
        COUPLED=0.0 if formula.decoupled else 1.0,
        numbers=formula.numbers,
        moments=formula.moments,
        direction=formula.direction,
        gradient=formulas.clipped_gradient if clips else formulas.raw_gradient,
        clipped=formulas.clipped if clips else formulas.unclipped,
        walk=_walk_trusting if formula.trusts else _WALKS[formula.states],
    )


def _move(_: Any, block: Any) -> None:
    arrays = carray(block, 1, np.int64)[0]
    words = carray(block, HEADER + ROW * arrays, np.int64)
    reals = carray(block, HEADER + ROW * arrays, np.float64)
    scale = carray(pointer(words[SCALE], REAL), 1)[0]
    if not scale > 0.0:  # NaN, too
        return
    for at in range(HEADER, HEADER + ROW * arrays, ROW):
        count = carray(pointer(words[COUNTS] + 8 * words[at + NUMBER], np.float64), 1)
        count[0] += 1.0
        decay, rate = reals[at + DECAY], reals[RATE] * reals[at + MULTIPLIER]
        constants = reals[CONSTANTS:HEADER]
        walk(
            carray(pointer(words[PARAMETERS] + ITEM * words[at + PARAMETER], REAL), words[at + SIZE]),
            carray(pointer(words[GRADIENTS] + ITEM * words[at + GRADIENT], REAL), words[at + SIZE]),
            (words[STATES] + ITEM * words[at + GRADIENT], words[STRIDE]),
            (scale, REAL(reals[at + CLIP_GRADIENT]), REAL(COUPLED * decay)),
            REAL(reals[at + CLIP_WEIGHTS]),
            numbers(REAL, constants, rate, decay, count[0]),
        )


def _walk_0(w: Any, g: Any, _: Any, before: Any, limit: Any, n: Any) -> None:
    for i in range(w.size):
        x = w[i]
        y = gradient(x, g[i], before[0], before[1], before[2])
        w[i] = clipped(x - direction(x, y, (y,), n), limit)


def _walk_1(w: Any, g: Any, states: Any, before: Any, limit: Any, n: Any) -> None:
    a = carray(pointer(states[0], REAL), w.size)
    for i in range(w.size):
        x = w[i]
        y = gradient(x, g[i], before[0], before[1], before[2])
        new = moments(x, y, (a[i],), n)
        a[i] = new[0]
        w[i] = clipped(x - direction(x, y, new, n), limit)


def _walk_2(w: Any, g: Any, states: Any, before: Any, limit: Any, n: Any) -> None:
    a, b = carray(pointer(states[0], REAL), w.size), carray(pointer(states[0] + states[1], REAL), w.size)
    for i in range(w.size):
        x = w[i]
        y = gradient(x, g[i], before[0], before[1], before[2])
        new = moments(x, y, (a[i], b[i]), n)
        a[i], b[i] = new
        w[i] = clipped(x - direction(x, y, new, n), limit)


def _walk_3(w: Any, g: Any, states: Any, before: Any, limit: Any, n: Any) -> None:
    a, b = carray(pointer(states[0], REAL), w.size), carray(pointer(states[0] + states[1], REAL), w.size)
    c = carray(pointer(states[0] + 2 * states[1], REAL), w.size)
    for i in range(w.size):
        x = w[i]
        y = gradient(x, g[i], before[0], before[1], before[2])
        new = moments(x, y, (a[i], b[i], c[i]), n)
        a[i], b[i], c[i] = new
        w[i] = clipped(x - direction(x, y, new, n), limit)


_WALKS = {0: _walk_0, 1: _walk_1, 2: _walk_2, 3: _walk_3}


def _walk_trusting(w: Any, g: Any, states: Any, before: Any, limit: Any, n: Any) -> None:
    a, b = carray(pointer(states[0], REAL), w.size), carray(pointer(states[0] + states[1], REAL), w.size)
    of_array = of_move = np.float64(0.0)
    for i in range(w.size):
        x = w[i]
        y = gradient(x, g[i], before[0], before[1], before[2])
        new = moments(x, y, (a[i], b[i]), n)
        a[i], b[i] = new
        move = np.float64(direction(x, y, new, n))
        of_array += np.float64(x) * np.float64(x)
        of_move += move * move
    ratio = np.sqrt(of_array / of_move) if of_array > 0.0 and of_move > 0.0 else 1.0
    length = REAL(n[0] * ratio)
    for i in range(w.size):
        x = w[i]
        y = gradient(x, g[i], before[0], before[1], before[2])
        w[i] = clipped(x - length * direction(x, y, (a[i], b[i]), n), limit)
