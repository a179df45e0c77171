"""Which batches come when: whole rounds, the rest of one that was left, or an iterator to its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import chain
from typing import Any

from ...arguments import positive_int
from ...errors import ArgumentError
from ..positions import check_position
from ..windows import Stream

Marked = Iterator[tuple[Any, bool]]  # batches, and whether each is known to be the round's last


class Rounds:
    """The rounds of a training, with their numbers; the first is 0.

    Batches that have positions, those of `Batches` and `Stream`, go on after a position.

    Args:
        batches: What `train` was given.
        count: How many rounds there are in all; None: any number.
        position: The position of the last batch that was taken; None: none has.

    Attributes:
        begin: The number of the first round, of which some may have been done before.
        once: Whether there is one round only, as an iterator is used up by it.

    Raises:
        ArgumentError: `batches` is not usable, or does not go with `count`.
    """

    def __init__(self, batches: Any, count: int | None, position: tuple[int, ...] | None) -> None:
        """Take no batch yet."""
        if isinstance(batches, Mapping):
            raise ArgumentError("batches is one batch; give a list of batches, as in [batch]")
        if not isinstance(batches, Iterable):
            raise ArgumentError(
                f"batches must be something to iterate over that gives batches, such as mxt.Batches(...), got "
                f"{type(batches).__name__}"
            )
        self._batches: Any = batches
        self._count = None if count is None else positive_int(count, "rounds")
        self.once = isinstance(batches, Iterator)
        if self.once and self._count not in {None, 1}:
            raise ArgumentError(
                f"rounds={self._count}, but batches is an iterator, which gives one round and is then used up: leave "
                f"rounds= out, or give a list, mxt.Batches(...) or mxt.stream(...)"
            )
        self._numbered = hasattr(batches, "after")
        self._rest: Iterator[Any] | None = None
        self.begin, self._taken = 0, 0
        if self._numbered and position is not None:
            self._go_on(*check_position(position))

    def _go_on(self, number: int, taken: int) -> None:
        rest = self._batches.after((number, taken))
        first = next(rest, None)
        self.begin, self._taken = (number + 1, 0) if first is None else (number, taken)
        self._rest = None if first is None else chain([first], rest)

    @property
    def count(self) -> int | None:
        """How many rounds there are in all, as far as that is known."""
        return 1 if self.once else self._count

    @property
    def done(self) -> bool:
        """Whether there is nothing to do: all rounds have been done before."""
        return self._count is not None and self.begin >= self._count

    def steps(self) -> int | None:
        """Return how many steps there are to come, where that is known."""
        if self._count is None or not isinstance(self._batches, Sized):
            return None
        try:
            return max(0, (self._count - self.begin) * len(self._batches) - self._taken)
        except TypeError:  # a stream over what has no length
            return None

    def __iter__(self) -> Iterator[tuple[int, Marked]]:
        """Iterate over the rounds to come."""
        number, taken = self.begin, self._taken
        while self.count is None or number < self.count:
            rest, self._rest = self._rest, None
            yield number, self._marked(self._whole(number) if rest is None else rest, taken)
            number, taken = number + 1, 0

    def _whole(self, number: int) -> Iterator[Any]:
        return iter(self._batches.after((number, 0)) if self._numbered else self._batches)

    def _marked(self, batches: Iterator[Any], taken: int) -> Marked:
        if isinstance(self._batches, Stream):
            return _looking_ahead(batches)
        count = len(self._batches) if isinstance(self._batches, Sized) else None
        return ((batch, place == count) for place, batch in enumerate(batches, taken + 1))


def _looking_ahead(batches: Iterator[Any]) -> Marked:
    """Take one batch ahead; only where making it cannot depend on the steps before it."""
    held = next(batches, None)
    while held is not None:
        following = next(batches, None)
        yield held, following is None
        held = following
