"""A copy of everything that training moves, kept on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .capi import prepared


class Snapshot:
    """A copy of some arrays, which is taken anew where a step has passed.

    Args:
        arrays: Returns the NDArrays, always in the same order; what is None is left out.
    """

    def __init__(self, arrays: Callable[[], Iterable[Any]]) -> None:
        """Take the first copy."""
        self._now = arrays
        self._arrays = self._current()
        self._kept = [array.copy() for array in self._arrays]

    def _current(self) -> list[Any]:
        return [array for array in self._now() if array is not None]

    def follow(self) -> None:
        """Take over the arrays that stand in place of smaller ones; of their new rows what is kept is what they are."""
        for place, array in enumerate(self._current()):
            if array is not self._arrays[place]:
                old = self._kept[place]
                self._kept[place] = array.copy()
                old.copyto(self._kept[place][: old.shape[0]])
                self._arrays[place] = array

    def take(self) -> None:
        """Queue a copy."""
        for array, kept in zip(self._arrays, self._kept):
            array.copyto(kept)

    def taking(self, flag: Any) -> list[Callable[[], None]]:
        """Return what queues a copy where the flag ``(1,)`` is not 0."""
        rows = [(array.reshape((1, -1)), kept.reshape((1, -1))) for array, kept in zip(self._arrays, self._kept)]
        return [prepared("where", [flag, array, kept], [kept]) for array, kept in rows]

    def restore(self) -> None:
        """Queue the way back."""
        for array, kept in zip(self._arrays, self._kept):
            kept.copyto(array)
