"""The kernel that copies memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..compiling import carray, compiled, pointer


@lru_cache(None)
def copy_kernel() -> Any:
    """Return the kernel that copies memory. Its block: how many times; then sources, targets, and numbers of bytes."""
    return compiled(_copy)


def _copy(_: Any, block: Any) -> None:
    count = carray(block, 1, np.int64)[0]
    words = carray(block, 1 + 3 * count, np.int64)
    for place in range(1, 1 + 3 * count, 3):
        size = words[place + 2]
        source, target = (
            carray(pointer(words[place], np.uint8), size),
            carray(pointer(words[place + 1], np.uint8), size),
        )
        for byte in range(size):
            target[byte] = source[byte]
