"""The kernel that sets the number of threads of OpenMP for the thread that it runs in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..compiling import call_with, carray, compiled


@lru_cache(None)
def threads_kernel() -> Any:
    """Return the kernel. Its block: the address of OpenMP's function, and the number."""
    return compiled(_threads)


def _threads(_: Any, block: Any) -> None:
    words = carray(block, 2, np.int64)
    call_with(words[0], words[1])
