"""A copy of everything that training moves, kept on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .capi import prepared


class Snapshot:
    """A copy of some arrays, which is taken anew where a step has passed.

    Args:
        arrays: NDArrays; what is None is left out.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        """Take the first copy."""
        self._arrays = [array for array in arrays if array is not None]
        self._kept = [array.copy() for array in self._arrays]

    def taking(self, flag: Any) -> list[Callable[[], None]]:
        """Return what queues a copy where the flag ``(1,)`` is not 0."""
        rows = [(array.reshape((1, -1)), kept.reshape((1, -1))) for array, kept in zip(self._arrays, self._kept)]
        return [prepared("where", [flag, array, kept], [kept]) for array, kept in rows]

    def restore(self) -> None:
        """Queue the way back."""
        for array, kept in zip(self._arrays, self._kept):
            kept.copyto(array)
