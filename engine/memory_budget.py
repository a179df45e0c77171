"""A trainer within a memory budget: what graphs have room in, and how many rows each bucket may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import ArgumentError, Error, MemoryBudgetError
from ..executors.blueprint import Blueprint, Bucket
from ..executors.bucketed import check_batch_size
from ..executors.buckets import Fitted, Fixed, Policy
from ..executors.free_memory import budget_of, check_free, free_bytes
from ..executors.graph_memory import GraphMemory, dry_bind
from ..executors.room import Room
from ..plans.plan import Plan
from .forecast import largest_that


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
        return Sizes(check_batch_size(policy, batch_size), policy, room)
    if not plan.lengths:
        return Sizes(rows_of({}, room, draw), policy, room)
    return Sizes(None, policy_with_rows(plan, policy, room, draw), room)


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
        raise MemoryBudgetError(f"not even one row fits into the memory_budget of {room.total:,} bytes:\n{report}")
    return found
