"""Long sequences as they are read: one after the other, checked when their turn comes, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_array
from ..errors import ArgumentError

AS_IN = 'as in [{"Input": array, "Target": array}, ...]'


class Sequences:
    """Where sequences come from: a list of them, what can be iterated over, a function that gives it, or an iterator.

    Attributes:
        listed: Whether they are a list, so that one of them can be taken, and they can be counted.

    Raises:
        ArgumentError: It is none of these, or an empty list.
    """

    def __init__(self, given: Any) -> None:
        """Find out which it is; take nothing."""
        if isinstance(given, Mapping):
            raise ArgumentError(
                "stream takes several sequences, got one mapping: give [mapping] for one sequence, or "
                "mxt.lanes(mapping, 20), which cuts it into 20"
            )
        text = isinstance(given, (str, bytes))
        kind = type(given)  # a class may be the function that returns them, and has these names too
        self.listed = not text and hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
        if text or not (self.listed or isinstance(given, Iterable) or callable(given)):
            raise ArgumentError(
                f"stream takes sequences, a mapping of ports to arrays each, {AS_IN}, or a function that returns an "
                f"iterator over them, got {given!r}"
            )
        self._given = given
        self._used = False
        if self.listed:
            self.count()

    @property
    def once(self) -> bool:
        """Whether they come once, for one round."""
        return isinstance(self._given, Iterator)

    def count(self) -> int:
        """Count the sequences of a list.

        Raises:
            ArgumentError: There are none.
        """
        count = len(self._given)
        if not count:
            raise ArgumentError("there are no sequences")
        return count

    def take(self, order: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Iterate over those of a list in an order, each with its number."""
        return ((number, self._given[number]) for number in map(int, order))

    def open(self) -> Iterator[tuple[int, Any]]:
        """Iterate over them as they come, each with its number.

        Raises:
            ArgumentError: They come once, and have been opened; or the function returns something else.
        """
        if self.listed:
            return self.take(range(self.count()))
        if self.once and self._used:
            raise ArgumentError(
                "the sequences come from an iterator that is used up: for another round give a list, or a function "
                "that returns a new iterator, such as the generator function itself, without ()"
            )
        self._used = True
        given = self._given if isinstance(self._given, Iterable) else self._given()
        if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
            raise ArgumentError(f"the function must return an iterable of sequences, got {given!r}")
        return enumerate(given)


class LongSequence:
    """One sequence: a mapping of ports to arrays of as many steps, and to numbers that go with every window.

    Attributes:
        name: What errors call it.
        ports: As given.
        steps: How many steps it has.

    Raises:
        ArgumentError: It is no such mapping; names the sequence and the port.
    """

    def __init__(self, name: str, given: Any) -> None:
        """Read the number of steps, and none of them."""
        self.name = name
        if not isinstance(given, Mapping) or not given:
            raise ArgumentError(f"{name}: expected a mapping of ports to arrays, {AS_IN}, found {given!r}")
        self.ports = dict(given)
        counts = {port: self._count(port, value) for port, value in self.ports.items()}
        self._arrays = {port: steps for port, steps in counts.items() if steps is not None}
        if not self._arrays:
            raise ArgumentError(f"{name}: expected arrays, (steps, *item), found numbers only")
        if len(set(self._arrays.values())) > 1:
            found = ", ".join(f'{steps} in "{port}"' for port, steps in self._arrays.items())
            raise ArgumentError(f"{name}: all of its arrays must have the same number of steps, found {found}")
        port, self.steps = next(iter(self._arrays.items()))
        if not self.steps:
            raise ArgumentError(f'{name}, port "{port}": it has no steps; leave the sequence out')

    def _count(self, port: str, value: Any) -> int | None:
        """Count the steps; None for a single number."""
        if not isinstance(value, (str, bytes, Mapping)):
            if isinstance(value, (int, float, np.generic)) or getattr(value, "shape", None) == ():
                return None
            if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
                return len(value)
        raise ArgumentError(
            f'{self.name}, port "{port}": expected an array, (steps, *item), or a number, found {value!r}'
        )

    def window(self, begin: int, end: int) -> dict[str, NDArray[Any]]:
        """Return some steps of all arrays, views where they are numpy's, and the numbers.

        Raises:
            ArgumentError: They are no array.
        """
        found = {}
        for port, value in self.ports.items():
            part = value[begin : min(end, self.steps)] if port in self._arrays else value
            try:
                found[port] = as_array(part)
            except ArgumentError as error:
                raise ArgumentError(f'{self.name}, port "{port}": {error}') from None
        return found
