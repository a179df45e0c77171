"""The kernel that runs other kernels, one after the other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..compiling import call, carray, compiled


@lru_cache(None)
def sequence_kernel() -> Any:
    """Return the kernel. Its block: how many kernels; then the address of each, and that of what it is given."""
    return compiled(_sequence)


def _sequence(_: Any, block: Any) -> None:
    count = carray(block, 1, np.int64)[0]
    words = carray(block, 1 + 2 * count, np.int64)
    for place in range(1, 1 + 2 * count, 2):
        call(words[place], words[place + 1])
