"""Batches of examples of similar length, in an order that is a function of (seed, round)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import check_seed, is_integer, positive_int
from ..errors import ArgumentError
from ..executors.batch import Batch
from ..executors.buckets import Exact, Policy
from ..plans.plan import Plan
from .columns import columns_of, lengths_of
from .positions import check_position, check_round, not_a_position

POOL = 100  # batches: within so many examples of a shuffled round are sorted by length

Rows = NDArray[np.int64]


class Batches:
    """Rounds over a data set, in batches of examples of similar length.

    Each iteration is the next round. A round takes every example once. With `shuffle` its order is drawn anew: all
    examples are shuffled, sorted by bucket within pools of 100 batches (within the whole, where buckets or tokens set
    the size of batches), cut into batches, and these are shuffled. The last batch of the cut may be short. Without
    `shuffle` they come as they are.

    Args:
        data: Columns by input port, each of one entry an example: arrays; for sequences also lists of arrays, object
            arrays, `Ragged`, or what has ``values`` and ``offsets``.
        batch_size: The number of rows; None where the buckets have sizes of their own, or `tokens` is given.
        tokens: In place of a batch size: the largest number of steps of a batch, padding included, over all lengths.
            An example that alone has more is refused.
        buckets: The policy of the trainer that they are for, a value of `mxtrainer.buckets`.
        shuffle: Whether the order is drawn.
        seed: The order is a function of (seed, round); None draws a seed.
        plan: The plan, which knows which port has which length; needed for several length names.
        shard: ``(rank, workers)``: every worker gets as many batches as the others, and other ones.

    Attributes:
        seed: The seed.
        next_round: The round that the next iteration gives, 0 first.

    Raises:
        ArgumentError: An argument is not usable, or columns do not fit together; names port and example.

    Example:
        >>> data = {"Input": [[1.0], [2.0, 3.0], [4.0]], "Target": [0, 1, 0]}
        >>> batches = Batches(data, batch_size=2, shuffle=False)
        >>> [list(batch["Target"]) for batch in batches]
        [[0, 1], [0]]
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        batch_size: int | None = None,
        *,
        tokens: int | None = None,
        buckets: Policy | None = None,
        shuffle: bool = True,
        seed: int | None = 0,
        plan: Plan | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Read the lengths; copy nothing."""
        self._columns = columns_of(data, plan)
        self._examples = len(next(iter(self._columns.values())))
        self._policy = _policy(buckets)
        lengths = lengths_of(self._columns)
        self._lengths = tuple(lengths)
        self._steps, own_sizes = self._buckets(lengths)
        if not lengths and (tokens is not None or self._policy.has_batch_sizes()):
            raise ArgumentError(
                "tokens=, and buckets with batch sizes, need sequences, and no column is known to hold any: "
                "give plan=, which knows the sequences among arrays"
            )
        self._batch_size, self._tokens = _chosen_size(batch_size, tokens, own_sizes)
        self._check_tokens()
        if not isinstance(shuffle, bool):
            raise ArgumentError(f"shuffle must be True or False, got {shuffle!r}")
        self._shuffle = shuffle
        self.seed = check_seed(seed)
        self._rank, self._workers = _shard(shard)
        if seed is None and self._workers > 1:
            raise ArgumentError("shard: all workers must have the same seed; give one in place of None")
        self.next_round = 0
        self._kept = 0, self._rows(0)
        self._count = len(self._kept[1])

    def _buckets(self, lengths: Mapping[str, Rows]) -> tuple[Rows, bool]:
        """Return each example's bucket, ``(examples, lengths)``, and whether the policy has batch sizes for all."""
        if not lengths:
            return np.ones((self._examples, 1), np.int64), False
        self._policy.check(tuple(lengths))
        kinds, kind = np.unique(np.stack(list(lengths.values()), axis=1), axis=0, return_inverse=True)
        steps, own_sizes = [], True
        for number, row in enumerate(kinds):
            try:
                bucket = self._policy.bucket({name: int(length) for name, length in zip(lengths, row)})
            except ArgumentError as error:
                example = int(np.flatnonzero(kind.reshape(-1) == number)[0])
                raise ArgumentError(f"example {example}: {error}") from None
            steps.append(list(bucket.values()))
            own_sizes = own_sizes and self._policy.batch_size(bucket) is not None
        return np.array(steps)[kind.reshape(-1)], own_sizes

    def _check_tokens(self) -> None:
        steps = self._steps.sum(axis=1)
        if self._tokens is not None and steps.max() > self._tokens:
            example = int(steps.argmax())
            raise ArgumentError(
                f"example {example} alone takes {steps[example]} steps in its bucket, more than tokens={self._tokens}"
            )

    # Rounds

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the next round."""
        number = self.next_round
        self.next_round += 1
        return self.round(number)

    def __len__(self) -> int:
        """Count the batches of a round; it is the same for all."""
        return self._count

    def round(self, number: int) -> Iterator[Batch]:
        """Iterate over the batches of a round, which are a function of (seed, number); the first is 0.

        Raises:
            ArgumentError: The number is no integer, or negative.
        """
        return self._batches(check_round(number), 0)

    def after(self, position: tuple[int, ...]) -> Iterator[Batch]:
        """Iterate over the rest of the round of a batch's position; the next iteration is then the round after it.

        Raises:
            ArgumentError: It is no position of such batches.
        """
        number, taken = check_position(position, len(self))
        self.next_round = number + 1
        return self._batches(number, taken)

    def batch(self, position: tuple[int, ...]) -> Batch:
        """Return the batch that has a position, ``(round, n)`` for the n-th of the round; the first has n = 1.

        Positions of one round, in any order, cost no more than a loop over it: the cut of the last one is kept.

        Raises:
            ArgumentError: There is no such batch.

        Example:
            >>> Batches({"Input": [1.0, 2.0, 3.0]}, batch_size=2, shuffle=False).batch((0, 2))["Input"]
            array([3.])
        """
        number, place = check_position(position, len(self))
        if not place:
            raise not_a_position(position, len(self))
        kept = self._kept
        if kept[0] != number:
            kept = self._kept = number, self._rows(number)
        return self._taken(kept[1][place - 1], (number, place))

    def _batches(self, number: int, taken: int) -> Iterator[Batch]:
        for place, rows in enumerate(self._rows(number)[taken:], taken + 1):
            yield self._taken(rows, (number, place))

    def _taken(self, rows: Rows, position: tuple[int, int]) -> Batch:
        return Batch({port: column.take(rows) for port, column in self._columns.items()}, position=position)

    def _rows(self, number: int) -> list[Rows]:
        """Return the examples of each batch of a round, of this worker."""
        if not self._shuffle:
            return self._sharded(self._cut(np.arange(self._examples)))
        generator = np.random.default_rng([self.seed, number])
        order = generator.permutation(self._examples)
        pool = POOL * self._batch_size if self._batch_size is not None else self._examples
        pools = [order[begin : begin + pool] for begin in range(0, len(order), pool)]
        ordered = [one[self._order(self._steps[one])] for one in pools]
        batches = self._cut(np.concatenate(ordered))
        return self._sharded([batches[place] for place in generator.permutation(len(batches))])

    @staticmethod
    def _order(steps: Rows) -> Rows:
        """Return the order of buckets by their steps in all, and of those with as many by the steps of each length."""
        order: Rows = np.lexsort((*steps.T, steps.sum(axis=1)))
        return order

    def _cut(self, order: Rows) -> list[Rows]:
        if self._batch_size is not None:
            return [order[begin : begin + self._batch_size] for begin in range(0, len(order), self._batch_size)]
        steps = self._steps[order].tolist()
        batches, begin, longest = [], 0, steps[0]
        for end, own in enumerate(steps):
            then = list(map(max, longest, own))
            if end > begin and not self._fits(end + 1 - begin, then):
                batches.append(order[begin:end])
                begin, then = end, own
            longest = then
        return [*batches, order[begin:]]

    def _fits(self, rows: int, bucket: Sequence[int]) -> bool:
        """Tell whether so many rows fit into the bucket that holds them all."""
        if self._tokens is not None:
            return rows * sum(bucket) <= self._tokens
        return rows <= (self._policy.batch_size(dict(zip(self._lengths, bucket))) or 1)

    def _sharded(self, batches: list[Rows]) -> list[Rows]:
        """Return this worker's batches; the largest are halved until every worker gets as many."""
        while len(batches) % self._workers:
            place = max(range(len(batches)), key=lambda number: len(batches[number]))
            rows = batches[place]
            if len(rows) < 2:
                raise ArgumentError(
                    f"shard: {self._examples} examples cannot be dealt evenly to {self._workers} workers"
                )
            batches[place : place + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        return batches[self._rank :: self._workers]

    def __repr__(self) -> str:
        """Show the ports, the number of examples and of batches."""
        return f"Batches({', '.join(self._columns)}: {self._examples} examples in {len(self)} batches)"


def _policy(buckets: object) -> Policy:
    policy = Exact() if buckets is None else buckets
    if not isinstance(policy, Policy):
        raise ArgumentError(f"buckets must be a policy such as mxt.buckets.Fixed([8, 16, 32]), got {buckets!r}")
    return policy


def _chosen_size(batch_size: object, tokens: object, own: bool) -> tuple[int | None, int | None]:
    """Return batch size and tokens; of these and the policy's own sizes exactly one is given."""
    given = [name for name, found in (("batch_size", batch_size), ("tokens", tokens)) if found is not None]
    if own:
        given.append("the buckets' own batch sizes")
    if len(given) != 1:
        raise ArgumentError(
            f"give batch_size= or tokens=, or buckets with batch sizes, and one of them only; "
            f"got {' and '.join(given) or 'none'}"
        )
    size = None if batch_size is None else positive_int(batch_size, "batch_size")
    return size, None if tokens is None else positive_int(tokens, "tokens")


def _shard(shard: object) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    pair: Sequence[Any] = shard if isinstance(shard, (tuple, list)) and len(shard) == 2 else (0, 0)
    if not all(map(is_integer, pair)) or not 0 <= pair[0] < pair[1]:
        raise ArgumentError(f"shard must be (rank, workers) with 0 <= rank < workers, got {shard!r}")
    return int(pair[0]), int(pair[1])
