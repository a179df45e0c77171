"""The verdict of a guard by a kernel, in one pass over what it looks at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..compiling import carray, compiled, pointer

# The block, in words of 64 bits: a header, and then rows
DUE = 0  # the number of the pass before
HOLDS = 1  # one of those below
LIMIT = 2  # the largest norm, float64
PASSED, WRONG, SOUND = 3, 4, 5  # addresses of one number each; that of SOUND may be 0
PACKED, SCALE, GO, SKIPPED = 6, 7, 8, 9  # addresses of what comes out
GRADIENTS, WATCHED, LOSSES, MOVED = 10, 11, 12, 13  # how many rows there are of each kind, in this order
HEADER = 14
ROW = 3  # an address, a number of elements; for what moves, where to

NOTHING, FAILURES, ALL, ALL_AND_SKIPS = 0, 1, 2, 3  # what holds a pass back, and whether the next one goes on then

# What these stand for is given when a kernel is compiled.
REAL: Any = None
ITEM: Any = None
STAMPS: Any = None
HEAD: Any = None
square_of: Any = None
zero_or_nan: Any = None


@lru_cache(None)
def judge_kernel(dtype: str, stamps: int, head: int) -> Any:
    """Return the kernel.

    Args:
        dtype: The dtype of parameters.
        stamps: What numbers of passes are counted modulo.
        head: Where losses begin in the result.
    """
    real = getattr(np, dtype)
    names = {"square_of": _square_of, "zero_or_nan": _zero_or_nan}
    return compiled(_judge, reorders=True, REAL=real, ITEM=np.dtype(dtype).itemsize, STAMPS=stamps, HEAD=head, **names)


def _square_of(array: Any) -> Any:
    total = np.float64(0.0)
    for i in range(array.size):
        total += np.float64(array[i]) * np.float64(array[i])
    return total


def _zero_or_nan(array: Any) -> Any:
    total = REAL(0.0)
    for i in range(array.size):
        total += array[i] * REAL(0.0)
    return total


def _judge(_: Any, block: Any) -> None:
    head = carray(block, HEADER, np.int64)
    end = HEADER + ROW * (head[GRADIENTS] + head[WATCHED] + head[LOSSES] + head[MOVED])
    words, at = carray(block, end, np.int64), HEADER
    total = np.float64(0.0)
    for _row in range(head[GRADIENTS]):
        total += square_of(carray(pointer(words[at], REAL), words[at + 1]))
        at += ROW
    square = REAL(total)
    doubt = square * REAL(0.0)
    for _row in range(head[WATCHED]):
        doubt += zero_or_nan(carray(pointer(words[at], REAL), words[at + 1]))
        at += ROW
    finite = not np.isnan(doubt)
    if head[SOUND] != 0:
        finite = finite and carray(pointer(head[SOUND], REAL), 1)[0] != REAL(0.0)

    before, wrong = carray(pointer(head[PASSED], REAL), 1)[0], carray(pointer(head[WRONG], REAL), 1)[0]
    sound = before == REAL(head[DUE]) and wrong == REAL(0.0)
    go = sound and (finite or head[HOLDS] <= FAILURES)
    passed = sound if head[HOLDS] == ALL_AND_SKIPS else go
    number = REAL((head[DUE] + 1) % STAMPS)

    packed = carray(pointer(head[PACKED], REAL), HEAD)
    packed[0] = number if passed else before
    packed[1] = number
    packed[2] = square
    packed[3] = REAL(1.0) if finite else REAL(0.0)
    packed[4] = wrong
    packed[5] = REAL(1.0) if go else REAL(0.0)
    target = head[PACKED] + ITEM * HEAD
    for _row in range(head[LOSSES]):
        loss = carray(pointer(words[at], REAL), words[at + 1])
        out = carray(pointer(target, REAL), words[at + 1])
        for i in range(loss.size):
            out[i] = loss[i]
        target += ITEM * words[at + 1]
        at += ROW
    scale = REAL(1.0) if go or head[HOLDS] == NOTHING else REAL(np.nan)
    limit = carray(block, HEADER, np.float64)[LIMIT]
    if total > limit * limit and square * REAL(0.0) == REAL(0.0):
        scale *= REAL(limit / np.sqrt(total))
    carray(pointer(head[SCALE], REAL), 1)[0] = scale
    carray(pointer(head[GO], REAL), 1)[0] = packed[5]
    carray(pointer(head[SKIPPED], REAL), 1)[0] = REAL(1.0) if passed and not go else REAL(0.0)
    if go:
        for _row in range(head[MOVED]):
            new = carray(pointer(words[at], REAL), words[at + 1])
            old = carray(pointer(words[at + 2], REAL), words[at + 1])
            for i in range(new.size):
                old[i] = new[i]
            at += ROW
