"""A trainer within a memory budget: what graphs have room in, and how many rows each bucket may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import ArgumentError, Error, MemoryBudgetError, NetError
from ..executors.blueprint import Blueprint, Bucket
from ..executors.bucketed import check_batch_size
from ..executors.buckets import Cut, Fitted, Fixed, Policy
from ..executors.free_memory import budget_of, check_free, free_bytes
from ..executors.graph_memory import GraphMemory, dry_bind
from ..executors.memory import MemoryReport
from ..executors.room import Room
from ..executors.segment_buckets import SegmentBuckets
from ..plans.plan import Plan
from ..plans.segmentation import segmentation
from .forecast import largest_that, longest_of


class Sizes(NamedTuple):
    """How large a trainer is.

    Attributes:
        batch_size: The number of rows; None where each bucket has its own.
        policy: The buckets.
        room: What all of it must fit into; None: what is free.
    """

    batch_size: int | None
    policy: Policy
    room: Room | None


def sizes_of(
    plan: Plan,
    batch_size: int | None,
    policy: Policy,
    budget: object,
    draw: Callable[[Bucket], Blueprint],
    *,
    fixed: Mapping[str, int],
    slots: int,
    context: Any,
    excluded: str,
) -> Sizes:
    """Return what a budget makes of a batch size and buckets.

    Args:
        plan: The plan.
        batch_size: As it was given.
        policy: The buckets.
        budget: As it was given; None: there is none.
        draw: Returns the graph for a bucket.
        fixed: What is taken whatever the batches are, by the parts of a `MemoryReport`.
        slots: How many batches can be on their way.
        context: The device.
        excluded: Why no sequence may be cut into segments; empty: they may be.

    Raises:
        ArgumentError: The budget or the batch size is not usable.
        MemoryBudgetError: It does not fit.
    """
    if budget is None:
        size = check_batch_size(policy, batch_size)
        check_free(sum(fixed.values()), "the arrays of the trainer")
        return Sizes(size, policy, None)
    room = Room(min(budget_of(budget, "memory_budget"), free_bytes()), fixed, slots, context)
    if batch_size is not None or policy.has_batch_sizes():
        size = check_batch_size(policy, batch_size)
        if size is not None:
            policy = _cut_or_hint(plan, policy, size, room, draw, excluded)
        return Sizes(size, policy, room)
    if not plan.lengths:
        return Sizes(rows_of({}, room, draw), policy, room)
    return Sizes(None, policy_with_rows(plan, policy, room, draw), room)


def cut_to_fit(plan: Plan, policy: Policy, rows: int, room: Room, draw: Callable[[Bucket], Blueprint]) -> Policy:
    """Return a policy, or where its largest bucket does not fit, that of the fewest segments that do.

    Args:
        plan: The plan, which can be run in segments.
        policy: The policy.
        rows: The batch size.
        room: What it must fit into.
        draw: Returns the graph for a bucket.

    Raises:
        MemoryBudgetError: No segments do, however short.
    """
    longest = longest_of(policy, plan)
    if longest < 2 or _fits(Bucket(rows, ((plan.lengths[0], longest),)), room, draw):
        return policy
    gradients = room.report("", []).bytes_gradients

    def report(cut: Cut) -> MemoryReport:
        buckets = SegmentBuckets(plan, cut, rows)
        room.reserve(bytes_segments=buckets.bytes_between(longest, gradients))
        drawn = (draw(bucket) for bucket in buckets.of_length(longest, masked=True))
        title = f"segments of {cut.segment} of {longest} steps"
        return room.report(title, [dry_bind(blueprint, room.context)[0] for blueprint in drawn])

    reports = []
    for steps in _segments_of(longest):
        cut = Cut(policy, steps)
        reports.append(report(cut))
        if reports[-1].bytes_total <= room.total:
            return cut
    smallest = min(reports, key=lambda found: found.bytes_total)
    raise MemoryBudgetError(
        f"it does not fit into the memory_budget of {room.total:,} bytes, in segments neither; the smallest budget "
        f"that it fits into is {smallest.bytes_total:,} bytes, for less take fewer rows:\n{smallest}"
    )


def _fits(bucket: Bucket, room: Room, draw: Callable[[Bucket], Blueprint]) -> bool:
    try:
        room.fit(draw(bucket))
    except Error:
        return False
    return True


def _cut_or_hint(
    plan: Plan, policy: Policy, rows: int, room: Room, draw: Callable[[Bucket], Blueprint], excluded: str
) -> Policy:
    """Return what `cut_to_fit` does, or the policy, with a hint for where it turns out not to fit."""
    if isinstance(policy, Cut):
        longest = policy.longest(plan.lengths) or policy.segment
        gradients = room.report("", []).bytes_gradients
        room.reserve(bytes_segments=SegmentBuckets(plan, policy, rows).bytes_between(longest, gradients))
        room.hint = f", or a segment shorter than {policy.segment}"
        return policy
    if not plan.lengths:
        return policy
    try:
        segmentation(plan)
    except NetError as error:
        room.hint = f". (It cannot be cut into segments. {error})"
        return policy
    if excluded:
        room.hint = f". (It is not cut into segments because of {excluded})"
        return policy
    if not longest_of(policy, plan):
        room.hint = ", or give lengths=, or buckets that end, so that sequences can be cut into segments"
    return cut_to_fit(plan, policy, rows, room, draw)


def _segments_of(longest: int) -> list[int]:
    """Return lengths of segments to be tried, long ones first: those that leave no rest, and half octaves."""
    even = {longest // count for count in range(2, longest + 1) if longest % count == 0}
    others = {
        -(-longest // count) for octave in range(1, longest.bit_length()) for count in (2**octave, 3 * 2**octave // 2)
    }
    return sorted(even | others, reverse=True)


def policy_with_rows(plan: Plan, policy: Policy, room: Room, draw: Callable[[Bucket], Blueprint]) -> Policy:
    """Return the buckets of a policy with as many rows each as fit beside what operators keep in the others.

    Args:
        plan: The plan.
        policy: The policy, without numbers of rows.
        room: What they must fit into.
        draw: Returns the graph for a bucket.

    Raises:
        ArgumentError: Nobody knows all of its buckets.
        MemoryBudgetError: Not even one row fits.
    """
    known = policy.known(plan.lengths)
    if not known or not isinstance(policy, Fixed):
        raise ArgumentError(
            f"batch_size=None leaves the number of rows to the memory_budget, which needs all buckets, as of "
            f"mxt.buckets.Fixed([8, 16, 32]), got {policy!r}; or give batch_size="
        )
    sizes = tuple((tuple(bucket.values()), rows_of(bucket, room, draw, len(known))) for bucket in known)
    return Fitted(policy.steps, sizes)


def rows_of(lengths: Mapping[str, int], room: Room, draw: Callable[[Bucket], Blueprint], buckets: int = 1) -> int:
    """Return the largest number of rows of a bucket that fits beside what operators keep in so many others like it.

    Raises:
        MemoryBudgetError: Not even one row fits.
    """

    def together(rows: int) -> Sequence[GraphMemory]:
        bucket = Bucket(rows, tuple(lengths.items()), padded=bool(lengths))
        memory, _ = dry_bind(draw(bucket), room.context)
        graphs = buckets * (2 if lengths else 1)  # of full examples, and of shorter ones
        return [replace(memory, bytes_operators=memory.bytes_operators * graphs)]

    def fits(rows: int) -> bool:
        try:
            return room.holds(together(rows))
        except Error:  # an array has more elements than MXNet can hold
            return False

    found = largest_that(fits)
    if not found:
        report = room.report(f"one row of {dict(lengths)}", together(1))
        hint = "; with batch_size= long sequences may be cut into segments" if lengths else ""
        raise MemoryBudgetError(
            f"not even one row fits into the memory_budget of {room.total:,} bytes{hint}:\n{report}"
        )
    return found
