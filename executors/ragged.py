"""Sequences of different lengths in one array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_array
from ..errors import ArgumentError


class Ragged:
    """Sequences of different lengths in one array, one after the other.

    Args:
        values: ``(steps of all, *item)``.
        offsets: ``(examples + 1,)`` integers: example i is ``values[offsets[i]:offsets[i + 1]]``.

    Attributes:
        values: As given, as an array.
        offsets: As given, int64.

    Raises:
        ArgumentError: The offsets are no increasing integers within the values.

    Example:
        >>> series = Ragged([1.0, 2.0, 3.0], [0, 2, 3])
        >>> series[0]
        array([1., 2.])
        >>> series[1:]
        Ragged(1 examples, values (3,) float64)
    """

    def __init__(self, values: Any, offsets: Any) -> None:
        """Keep the values; they are not copied if they are an array."""
        self.values = as_array(values)
        self.offsets = as_array(offsets)
        if not self.values.ndim:
            raise ArgumentError(f"Ragged: values must be (steps of all, *item), got {values!r}")
        if self.offsets.ndim != 1 or self.offsets.dtype.kind not in "iu" or len(self.offsets) < 1:
            raise ArgumentError(
                f"Ragged: offsets must be integers, (examples + 1,), got {self.offsets.dtype} {self.offsets.shape}"
            )
        self.offsets = self.offsets.astype(np.int64)
        if self.offsets[0] < 0 or self.offsets[-1] > len(self.values) or (np.diff(self.offsets) < 0).any():
            raise ArgumentError(
                f"Ragged: offsets must increase from 0 or above to at most {len(self.values)}, the number of values"
            )

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, example: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, example: slice) -> Ragged: ...

    def __getitem__(self, example: int | slice) -> NDArray[Any] | Ragged:
        """Return an example, a view; or several that follow on each other, on the same values.

        Raises:
            ArgumentError: The slice has a step.
        """
        place = range(len(self))[example]
        if isinstance(place, range):
            if place.step != 1:
                raise ArgumentError("Ragged: a slice takes examples that follow on each other; leave out its step")
            return Ragged(self.values, self.offsets[place.start : max(place.start, place.stop) + 1])
        row: NDArray[Any] = self.values[self.offsets[place] : self.offsets[place + 1]]
        return row

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Iterate over the examples, views."""
        return (self[example] for example in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of steps of each example, ``(examples,)``."""
        return np.diff(self.offsets)

    def __repr__(self) -> str:
        """Show the number of examples, and the values' shape and dtype."""
        return f"Ragged({len(self)} examples, values {self.values.shape} {self.values.dtype})"
