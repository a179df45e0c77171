"""Windows of long sequences, in lanes: the batches of truncated back-propagation through time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import check_seed, is_integer, positive_int
from ..errors import ArgumentError
from ..executors.batch import Batch
from .positions import check_position, check_round, not_a_position
from .sequences import LongSequence, Sequences


def stream(
    sequences: Any, window: int = 35, rows: int = 20, *, overlap: int = 0, shuffle: bool = False, seed: int | None = 0
) -> Stream:
    """Return the batches of windows of long sequences; see `Stream`, which it makes.

    Example:
        >>> [batch["Input"].tolist() for batch in stream([{"Input": [1, 2, 3]}, {"Input": [4, 5]}], window=2, rows=2)]
        [[[1, 2], [4, 5]], [[3]]]
    """
    return Stream(sequences, window, rows, overlap=overlap, shuffle=shuffle, seed=seed)


class Stream:
    """Rounds over long sequences: batches of windows, for a trainer with ``carry=``.

    Each row is a lane, which works through one sequence window by window and then takes the next one. A batch says
    which lane each row is (`Batch.streams`) and which rows begin a sequence (`Batch.reset`). The last window of a
    sequence is short; then the batch holds lists of arrays. When no sequence is left, lanes drop out, and batches have
    fewer rows. Sequences are taken when a lane is free for them, and of their arrays only windows are read.

    With an overlap a window starts ``window - overlap`` steps after the one before, from the state there
    (`Batch.carry_at`), and its first steps, which had their loss before, have none (`Batch.loss_from`): the gradient
    reaches back at least so many steps, and every step still has a loss once. (In the terms of truncated BPTT, k1 is
    ``window - overlap`` and k2 is ``window``.)

    Each iteration is the next round. The first goes to the end of the sequences; for further ones they must be a
    list, something that can be iterated over again, or a function that returns a new iterator.

    Args:
        sequences: Mappings of ports to arrays ``(steps, *item)``, anything that has a length and slices; a single
            number goes with every window.
        window: The number of steps of a window.
        rows: The number of lanes.
        overlap: How many steps a window has in common with the one before.
        shuffle: Whether the order of sequences is drawn anew each round; they must then be a list.
        seed: The order is a function of (seed, round); None draws a seed.

    Attributes:
        seed: The seed.
        next_round: The round that the next iteration gives, 0 first.
        position: That of the last batch that an iteration has given, None before it. With `prefetch` some have been
            given that nobody has taken: there, go by `Batch.position`.

    Raises:
        ArgumentError: An argument is not usable, or, once its turn comes, a sequence; names sequence and port.

    Example:
        >>> for batch in Stream([{"Input": [1, 2, 3]}, {"Input": [4, 5]}, {"Input": [6]}], window=2, rows=2):
        ...     print(batch.streams, batch.reset, [row.tolist() for row in batch["Input"]])
        [0, 1] [True, True] [[1, 2], [4, 5]]
        [0, 1] [False, True] [[3], [6]]
    """

    def __init__(
        self,
        sequences: Any,
        window: int = 35,
        rows: int = 20,
        *,
        overlap: int = 0,
        shuffle: bool = False,
        seed: int | None = 0,
    ) -> None:
        """Take no sequence yet."""
        self._window = positive_int(window, "window")
        self._rows = positive_int(rows, "rows")
        if not is_integer(overlap) or not 0 <= overlap < self._window:
            raise ArgumentError(
                f"overlap must be an integer from 0 to {self._window - 1}, less than the window of {self._window} "
                f"steps, got {overlap!r}"
            )
        self._overlap = int(overlap)
        self._sequences = Sequences(sequences)
        if not isinstance(shuffle, bool):
            raise ArgumentError(f"shuffle must be True or False, got {shuffle!r}")
        if shuffle and not self._sequences.listed:
            raise ArgumentError(
                "shuffle=True needs a list of sequences, which can be counted and taken in any order, got "
                f"{sequences!r}; give list(...) of them, or shuffle what you iterate over"
            )
        self._shuffle = shuffle
        self.seed = check_seed(seed)
        self.next_round = 0
        self.position: tuple[int, ...] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the next round.

        Raises:
            ArgumentError: The sequences came from an iterator, which is used up.
        """
        lanes = self._open(self.next_round)
        number, self.next_round = self.next_round, self.next_round + 1
        return self._noted(self._batches(lanes, number, 0))

    def __len__(self) -> int:
        """Count the batches of the next round, for a list of sequences; looks at the length of each.

        Raises:
            TypeError: The sequences are no list, so it is not known.
        """
        if not self._sequences.listed:  # what asks whether the length is known, as list() does, expects this error
            raise TypeError("the number of batches is known for a list of sequences only")
        lanes = self._open(self.next_round)
        return sum(1 for _ in iter(lanes.move, False))

    def __bool__(self) -> bool:
        """Return True: there is always a batch."""
        return True

    def round(self, number: int) -> Iterator[Batch]:
        """Iterate over the batches of a round, the first is 0: of a list, they are a function of (seed, number).

        Raises:
            ArgumentError: The number is no integer, or negative; or the sequences come from an iterator, which is used
                up, or has no such round.
        """
        number = check_round(number)
        return self._batches(self._open(number), number, 0)

    def after(self, position: tuple[int, ...]) -> Iterator[Batch]:
        """Iterate over the rest of the round of a batch's position; the next iteration is then the round after it.

        What comes before is skipped at once: of a list, only the lengths of sequences are read; what is iterated over
        is run through.

        Raises:
            ArgumentError: It is no position of such batches, or the sequences come from an iterator, which is used up,
                or has no such round.
        """
        number, taken = check_position(position)
        lanes = self._open(number)
        for place in range(taken):
            if not lanes.move():
                raise not_a_position(position, place)
        self.next_round = number + 1
        self.position = (number, taken)
        return self._noted(self._batches(lanes, number, taken))

    def _open(self, number: int) -> _Lanes:
        """Return the lanes of a round before their first windows."""
        if self._shuffle:
            order = np.random.default_rng([self.seed, number]).permutation(self._sequences.count())
            return _Lanes(self._sequences.take(order), self._rows, self._window, self._overlap)
        if number and self._sequences.once:
            raise ArgumentError(
                f"there is no round {number}: the sequences come from an iterator, which gives one round, number 0, "
                "and is then used up; give a list, or a function that returns a new iterator"
            )
        return _Lanes(self._sequences.open(), self._rows, self._window, self._overlap)

    @staticmethod
    def _batches(lanes: _Lanes, number: int, taken: int) -> Iterator[Batch]:
        while lanes.move():
            taken += 1
            yield lanes.batch((number, taken))

    def _noted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.position = batch.position
            yield batch

    def __repr__(self) -> str:
        """Show the size of windows and the number of lanes."""
        return f"Stream(window={self._window}, rows={self._rows}, overlap={self._overlap}, shuffle={self._shuffle})"


class _Lanes:
    """The lanes of a round: for each that is not yet done, its sequence and where its window begins."""

    def __init__(self, source: Iterator[tuple[int, Any]], rows: int, window: int, overlap: int) -> None:
        self._source = source
        self._rows: range | list[int] = range(rows)
        self._window = window
        self._overlap = overlap
        self._at: dict[int, tuple[LongSequence, int]] = {}
        self._first: LongSequence | None = None

    def move(self) -> bool:
        """Move every lane to its next window, or to that of the next sequence; return False once all are done."""
        found = {lane: self._next(lane) for lane in self._rows}
        self._at = {lane: at for lane, at in found.items() if at is not None}
        self._rows = list(self._at)
        if self._first is None:
            raise ArgumentError("there are no sequences")
        return bool(self._at)

    def _next(self, lane: int) -> tuple[LongSequence, int] | None:
        if lane in self._at:
            sequence, begin = self._at[lane]
            if begin + self._window < sequence.steps:
                return sequence, begin + self._window - self._overlap
        entry = next(self._source, None)
        return None if entry is None else (self._checked(LongSequence(f"sequence {entry[0]}", entry[1])), 0)

    def _checked(self, sequence: LongSequence) -> LongSequence:
        """Refuse one with other ports than the first one's."""
        if self._first is None:
            self._first = sequence
        elif sequence.ports.keys() != self._first.ports.keys():
            raise ArgumentError(
                f"{sequence.name}: expected the ports {', '.join(map(str, self._first.ports))}, as {self._first.name} "
                f"has them, found {', '.join(map(str, sequence.ports))}"
            )
        return sequence

    def batch(self, position: tuple[int, int]) -> Batch:
        """Return the batch of the windows where the lanes are."""
        at = list(self._at.values())
        windows = [sequence.window(begin, begin + self._window) for sequence, begin in at]
        names = [sequence.name for sequence, _ in at]
        return Batch(
            {port: _joined(port, [window[port] for window in windows], names) for port in windows[0]},
            streams=list(self._at),
            reset=[begin == 0 for _, begin in at],
            position=position,
            carry_at=self._window - self._overlap if self._overlap else None,
            loss_from=[self._overlap if begin else 0 for _, begin in at] if self._overlap else None,
        )


def _joined(port: str, windows: list[NDArray[Any]], names: list[str]) -> Any:
    """Return one array of windows of the same number of steps, and of others a list.

    Raises:
        ArgumentError: The items differ; says in which two of the sequences.
    """
    items = [(window.ndim, window.shape[1:]) for window in windows]
    if items.count(items[0]) < len(items):
        other = next(place for place, item in enumerate(items) if item != items[0])
        raise ArgumentError(
            f'{names[other]}, port "{port}": expected items as in {names[0]}, where a window is {windows[0].shape}, '
            f"found {windows[other].shape}"
        )
    if len({window.shape for window in windows}) > 1:
        return windows
    return np.stack(windows)


def lanes(ports: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return one long sequence cut into contiguous parts of about the same length, for as many rows of a `stream`.

    Nothing is lost: where the steps do not divide evenly, the first parts are one longer, as `numpy.array_split` has
    it.

    Args:
        ports: Arrays ``(steps, *item)`` by port; a single number goes with every part.
        count: The number of parts.

    Returns:
        As many mappings of the same ports, with views of the arrays.

    Raises:
        ArgumentError: It is no mapping, the arrays differ in their number of steps, or there are fewer steps than
            parts.

    Example:
        >>> text = np.arange(8)
        >>> for part in lanes({"Input": text[:-1], "Target": text[1:]}, 2):
        ...     print(part["Input"], part["Target"])
        [0 1 2 3] [1 2 3 4]
        [4 5 6] [5 6 7]
    """
    count = positive_int(count, "lanes: count")
    if not isinstance(ports, Mapping):
        raise ArgumentError(f'lanes takes a mapping of ports to arrays, as in {{"Input": array}}, got {ports!r}')
    whole = LongSequence("lanes", ports)
    if whole.steps < count:
        raise ArgumentError(f"lanes: {whole.steps} steps cannot be cut into {count} lanes; give {whole.steps} or fewer")
    arrays = whole.window(0, whole.steps)
    size, more = divmod(whole.steps, count)
    ends = [(lane + 1) * size + min(lane + 1, more) for lane in range(count)]
    return [
        {port: array[begin:end] if array.ndim else array[()] for port, array in arrays.items()}
        for begin, end in zip([0, *ends], ends)
    ]
