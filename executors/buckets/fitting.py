"""The buckets that fit some data best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arguments import as_array, byte_count, positive_int
from ...arrays import as_context
from ...errors import ArgumentError
from ...plans.plan import Plan
from ...tables import Part, Printed, Table
from ...values import register
from ..blueprint import Blueprint, Bucket
from ..graph_memory import dry_bind
from .policies import Fixed, Steps

ONLY_LENGTH = "t"  # what the one length is called where nothing tells its name
PROBE_ROWS = 256  # MXNet reports its plan in MB, so that few rows would be lost in rounding


@register
@dataclass(frozen=True, repr=False)
class Fitted(Printed, Fixed):
    """Buckets that `fit` has found.

    Attributes:
        steps: Numbers of steps, by length name where there are several.
        batch_sizes: The number of rows of each bucket, as pairs of its steps, in the order of `steps`, and the number;
            or none.
        waste_before: The share of padding if every example is padded to the longest, from 0 to 1.
        waste_after: The share of padding in these buckets.
    """

    batch_sizes: tuple[tuple[tuple[int, ...], int], ...] = ()
    waste_before: float = 0.0
    waste_after: float = 0.0

    def __post_init__(self) -> None:
        """Check the steps; a file gives lists for tuples."""
        super().__post_init__()
        sizes = tuple((tuple(steps), positive_int(size, "Fitted: a batch size")) for steps, size in self.batch_sizes)
        object.__setattr__(self, "batch_sizes", sizes)

    def has_batch_sizes(self) -> bool:
        """Tell whether they were asked for."""
        return bool(self.batch_sizes)

    def batch_size(self, bucket: Mapping[str, int]) -> int | None:
        """Return the number of rows of a bucket."""
        names = self.steps if isinstance(self.steps, Mapping) else bucket
        return dict(self.batch_sizes).get(tuple(bucket[name] for name in names))

    def _parts(self) -> list[Part]:
        rows = [[", ".join(map(str, steps)), size] for steps, size in self.batch_sizes]
        head = f"padding {self.waste_before:.1%} in one bucket, {self.waste_after:.1%} in these"
        return [repr(self), head, *([Table(["steps", "rows"], rows)] if rows else [])]


def fit(
    lengths: Sequence[int] | Mapping[str, Sequence[int]],
    max_buckets: int = 6,
    *,
    batch_size: int | None = None,
    bytes: int | str | None = None,  # noqa: A002 - the word that a user would write
    plan: Plan | None = None,
) -> Fitted:
    """Return the buckets in which the examples need the least padding.

    For one length name they are optimal over all choices of boundaries, by dynamic programming over the histogram.
    Buckets of several names are all combinations of the boundaries of each, at most `max_buckets` in all; the padding
    of an example is counted as the sum over the names, and the choice is optimal for that.

    Args:
        lengths: The lengths of all examples; by length name where there are several.
        max_buckets: The largest number of buckets.
        batch_size: The number of rows of every bucket; None leaves it to the trainer, unless `bytes` is given.
        bytes: How many bytes a batch may take: a number, or text such as "512MB" (of 2**20 bytes). Every bucket then
            has as many rows as fit, about: inputs, what MXNet plans for outputs and everything in between, and what
            recurrent operators keep. It needs the plan.
        plan: The plan, for `bytes`.

    Raises:
        ArgumentError: A length is no positive integer, names have different numbers of examples, or not even one row
            fits.

    Example:
        >>> fit([3, 3, 4, 9, 10], max_buckets=2).steps
        (4, 10)
    """
    table_of = check_lengths(lengths, "fit")
    max_buckets = positive_int(max_buckets, "max_buckets")
    bounds = _boundaries(table_of, max_buckets)
    steps: Steps = bounds if isinstance(lengths, Mapping) else bounds[ONLY_LENGTH]
    policy = Fixed(steps)
    names = tuple(bounds)
    sizes: tuple[tuple[tuple[int, ...], int], ...] = ()
    if bytes is not None:
        if batch_size is not None or plan is None:
            raise ArgumentError("fit: bytes= needs plan=, and excludes batch_size=")
        if not isinstance(plan, Plan):
            raise ArgumentError(f"fit: plan must be a plan (see compile_plan), got {plan!r}")
        policy.check(plan.lengths)
        names = names if isinstance(lengths, Mapping) else plan.lengths
        most = byte_count(bytes, "bytes")
        sizes = tuple((tuple(bucket.values()), _rows_that_fit(plan, bucket, most)) for bucket in policy.known(names))
    elif batch_size is not None:
        size = positive_int(batch_size, "batch_size")
        sizes = tuple((tuple(bucket.values()), size) for bucket in policy.known(names))
    true = sum(int(found.sum()) for found in table_of.values())
    before = sum(int(found.max()) * len(found) for found in table_of.values())
    after = sum(int(_ceil_to(found, bounds[name]).sum()) for name, found in table_of.items())
    return Fitted(steps, sizes, 1.0 - true / before, 1.0 - true / after)


def check_lengths(lengths: object, what: str) -> dict[str, NDArray[np.int64]]:
    """Return the lengths of examples by length name; one list is of the only length.

    Raises:
        ArgumentError: They are none.
    """
    by_name = lengths if isinstance(lengths, Mapping) else {ONLY_LENGTH: lengths}
    found = {name: _checked(f'{what}: lengths "{name}"', value) for name, value in by_name.items()}
    counts = {name: len(value) for name, value in found.items()}
    if not found or len(set(counts.values())) != 1:
        raise ArgumentError(f"{what}: every length needs one number an example, found {counts}")
    return found


def _checked(what: str, value: object) -> NDArray[np.int64]:
    array = as_array(value)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ArgumentError(f"{what} must be integers, one an example, got {array.dtype} {array.shape}")
    if array.min() < 1:
        example = int(array.argmin())
        raise ArgumentError(f"{what}: example {example} has length {array[example]}")
    return array.astype(np.int64)


def _ceil_to(lengths: NDArray[np.int64], bounds: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(bounds)[np.searchsorted(bounds, lengths)]


def _boundaries(lengths: Mapping[str, NDArray[np.int64]], most: int) -> dict[str, tuple[int, ...]]:
    """Return the boundaries of each name, of all splits of the number of buckets among the names the best."""
    choices = {name: _best_boundaries(found, most) for name, found in lengths.items()}
    best: tuple[float, dict[str, tuple[int, ...]]] | None = None
    for counts in itertools.product(*(range(1, len(found) + 1) for found in choices.values())):
        if np.prod(counts) <= most:
            picked = {name: choices[name][count - 1] for name, count in zip(choices, counts)}
            cost = float(sum(padded for padded, _ in picked.values()))
            if best is None or cost < best[0]:
                best = cost, {name: bounds for name, (_, bounds) in picked.items()}
    assert best is not None  # one bucket each is always among them
    return best[1]


def _best_boundaries(lengths: NDArray[np.int64], most: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return for 1, 2, ... buckets the padded steps in all, and the boundaries.

    ``cost[k][i]``, the padded steps of all examples up to the i-th length in k buckets, the last of which ends there,
    is the least over j of ``cost[k - 1][j] + length[i] * (number of examples between them)``.
    """
    values, counts = np.unique(lengths, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(counts)])
    cost = values * upto[1:]
    begins: list[NDArray[np.int64]] = []
    found: list[tuple[int, tuple[int, ...]]] = [(int(cost[-1]), (int(values[-1]),))]
    for buckets in range(2, min(most, len(values)) + 1):
        new, begin = np.full(len(values), np.iinfo(np.int64).max), np.zeros(len(values), np.int64)
        for i in range(buckets - 1, len(values)):
            earlier = cost[buckets - 2 : i] + values[i] * (upto[i + 1] - upto[buckets - 1 : i + 1])
            begin[i] = int(earlier.argmin()) + buckets - 2
            new[i] = earlier[begin[i] - (buckets - 2)]
        cost = new
        begins.append(begin)
        found.append((int(cost[-1]), _walk_back(values, begins)))
    return found


def _walk_back(values: NDArray[np.int64], begins: list[NDArray[np.int64]]) -> tuple[int, ...]:
    place = len(values) - 1
    bounds = [int(values[place])]
    for begin in reversed(begins):
        place = int(begin[place])
        bounds.append(int(values[place]))
    return tuple(reversed(bounds))


def _rows_that_fit(plan: Plan, bucket: Mapping[str, int], budget: int) -> int:
    each = bytes_per_row(plan, bucket)
    if each > budget:
        raise ArgumentError(
            f"fit: one row of the bucket {dict(bucket)} takes about {each:,} bytes, more than the {budget:,} that a "
            f"batch may take"
        )
    return budget // each


def bytes_per_row(plan: Plan, lengths: Mapping[str, int]) -> int:
    """Return about how many bytes a row takes in training, without parameters; nothing of that size is allocated."""
    bucket = Bucket(PROBE_ROWS, tuple((name, lengths[name]) for name in plan.lengths), padded=True)
    memory, _ = dry_bind(Blueprint(plan, bucket), as_context("cpu"))
    return -(-(memory.bytes_planned + memory.bytes_operators + 2 * memory.bytes_inputs) // PROBE_ROWS)
