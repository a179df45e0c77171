"""What a trainer, or an executor, would take in memory, before any of it is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..arguments import names, positive_int
from ..arrays import as_context
from ..errors import ArgumentError, MemoryBudgetError, NetError, nearest
from ..executors.blueprint import Blueprint, Bucket
from ..executors.bucketed import check_batch_size
from ..executors.buckets import Cut, Policy
from ..executors.executor import SLOTS, check_input_gradients
from ..executors.free_memory import budget_of
from ..executors.graph_memory import dry_bind
from ..executors.memory import MemoryReport, report_of
from ..executors.segment_buckets import SegmentBuckets
from ..executors.state_table import RESERVED, bytes_of_states
from ..executors.store import bytes_of_arrays
from ..plans.plan import Plan
from .explanation import Explanation, layers_of
from .optimizers import Optimizer
from .options import check_trainable, guarding_of, in_segments, policy_of
from .rules import resolve
from .state import carry_of

OPTIONS = ("optimizer", "buckets", "depth", "guard", "carry", "input_gradients", "segment")
MOST = 2**31  # rows or steps: an array of MXNet has fewer elements


def explain(
    plan: Plan,
    batch_size: int | None,
    lengths: Mapping[str, int] | None = None,
    *,
    buckets: Policy | None = None,
    optimizer: Optimizer | None = None,
    depth: int = 2,
    guard: bool | int = True,
    carry: bool | Mapping[str, str] = False,
    input_gradients: Sequence[str] = (),
    segment: int | None = None,
) -> Explanation:
    """Return what a trainer with these arguments takes, and which layers; without an optimizer what an executor does.

    Raises:
        ArgumentError: An argument is not usable.
        NetError: The plan has nothing to train, or a state cannot be carried.
    """
    trained = optimizer is not None
    if trained:
        check_trainable(plan, optimizer)
    elif segment is not None:
        raise ArgumentError("segment= is of trainers: give optimizer= too")
    policy = in_segments(plan, policy_of(plan, lengths, buckets), segment, batch_size, input_gradients, guard)
    size = check_batch_size(policy, batch_size)
    known = policy.known(plan.lengths) or ({},)
    if plan.lengths and known == ({},):
        raise ArgumentError(
            f"memory depends on the lengths: give lengths={dict.fromkeys(plan.lengths, 64)}, or buckets= that end"
        )
    frozen, _ = _of_optimizer(plan, optimizer)
    every, carried, slots = guarding_of(guard, None)[0], carry_of(plan, carry), positive_int(depth, "depth") + 1
    if not trained:
        every, carried, slots = 0, {}, SLOTS
    wanted = check_input_gradients(plan, names(input_gradients, "input_gradients"))
    fixed = fixed_parts(plan, optimizer, carried, size, every)
    longest = longest_of(policy, plan)
    if isinstance(policy, Cut) and size is not None:
        cut = SegmentBuckets(plan, policy, size)
        drawn = cut.of_length(longest)
        fixed["bytes_segments"] = cut.bytes_between(longest, fixed["bytes_gradients"])
    else:
        padded = buckets is not None and bool(plan.lengths)
        drawn = [_drawn(policy, size, bucket, padded) for bucket in known]
    bound = [dry_bind(Blueprint(plan, bucket, carried, frozen, wanted), as_context("cpu")) for bucket in drawn]
    graphs = [memory for memory, _ in bound]
    inputs = max(graph.bytes_inputs for graph in graphs) * (1 + slots)
    report = report_of(_title(size, known), graphs, **fixed, bytes_inputs=inputs)
    _, largest = max(bound, key=lambda pair: pair[0].bytes_planned)
    return Explanation(report, layers_of(plan, largest))


def _drawn(policy: Policy, size: int | None, lengths: Mapping[str, int], padded: bool) -> Bucket:
    own = policy.batch_size(lengths)
    rows = size if own is None else own
    assert rows is not None  # by check_batch_size
    return Bucket(rows, tuple(lengths.items()), padded=padded)


def longest_of(policy: Policy, plan: Plan) -> int:
    """Return the largest number of steps that a policy has a bucket for; 0: it has no end, or there are no lengths."""
    known = (policy.policy if isinstance(policy, Cut) else policy).known(plan.lengths)
    return max((steps for bucket in known for steps in bucket.values()), default=0)


def forecast(plan: Plan, batch_size: int | None, lengths: Mapping[str, int] | None, **options: Any) -> MemoryReport:
    """Return what a trainer with these arguments takes; see `explain`."""
    return explain(plan, batch_size, lengths, **options).memory


def fixed_parts(
    plan: Plan, optimizer: Optimizer | None, carried: Mapping[str, str], rows: int | None, every: int
) -> dict[str, int]:
    """Return what is taken whatever the batches are, by the parts of a `MemoryReport`.

    Args:
        plan: The plan.
        optimizer: The optimizer, or None.
        carried: The states that are carried.
        rows: The batch size, where there is one.
        every: Every so many steps one is guarded; a snapshot is kept if there are others.
    """
    frozen, states = _of_optimizer(plan, optimizer)
    found = bytes_of_arrays(plan, frozen)
    found["bytes_optimizer"] = states * found["bytes_gradients"]
    found["bytes_states"] = bytes_of_states(plan, carried) * (RESERVED + (rows or 1))
    moved = sum(found.values()) - found["bytes_gradients"]
    return {**found, "bytes_snapshot": moved if every > 1 else 0}


def _of_optimizer(plan: Plan, optimizer: Optimizer | None) -> tuple[frozenset[str], int]:
    """Return the arrays that stay as they are, and how many arrays of states there are for each gradient."""
    if optimizer is None:
        return frozenset(), 0
    rules = resolve(optimizer.pairs, optimizer.settings, tuple(plan.parameters))
    return frozenset(path for path, found in rules.items() if found.frozen), optimizer.formula.states


def _title(size: int | None, known: Sequence[Mapping[str, int]]) -> str:
    steps = "" if len(known) != 1 else "".join(f", {name}={count}" for name, count in known[0].items())
    rows = "by bucket" if size is None else str(size)
    return f"batch_size={rows}{steps}" + (f", {len(known)} buckets" if len(known) > 1 else "")


def check_options(what: str, given: Iterable[str], excluded: tuple[str, ...] = ()) -> None:
    """Check the names of what `Plan.memory` takes besides.

    Raises:
        ArgumentError: One is unknown.
    """
    known = [name for name in OPTIONS if name not in excluded]
    for name in given:
        if name not in known:
            raise ArgumentError(f"{what} takes no {name}={nearest(name, known)}; it takes {', '.join(known)}")


def max_batch(plan: Plan, limit: object, lengths: Mapping[str, int] | None, **options: Any) -> int:
    """Return the largest batch size that fits; see `Plan.max_batch`."""
    check_options("max_batch", options)
    return _largest(lambda rows: forecast(plan, rows, lengths, **options), limit, "one row")


def max_length(plan: Plan, limit: object, batch_size: int, **options: Any) -> int:
    """Return the largest number of steps that fits; see `Plan.max_length`."""
    check_options("max_length", options, excluded=("buckets",))
    if len(plan.lengths) != 1:
        lengths = ", ".join(plan.lengths) or "none"
        raise ArgumentError(f"max_length is of plans with one length; this one has {lengths}")
    (name,) = plan.lengths
    most = budget_of(limit)

    def fits(steps: int) -> bool:
        return _fits(lambda: forecast(plan, batch_size, {name: steps}, **options), most)

    segment = options.get("segment")
    if segment is not None and fits(2 * positive_int(segment, "segment")):  # a rest has graphs of its own
        whole = int(segment) * largest_that(lambda count: fits(count * segment))
        return whole + largest_that(lambda rest: rest < segment and fits(whole + rest))
    return _largest(lambda steps: forecast(plan, batch_size, {name: steps}, **options), most, "one step")


def _largest(report_of_size: Callable[[int], MemoryReport], limit: object, least: str) -> int:
    most = budget_of(limit)
    smallest = report_of_size(1)
    if smallest.bytes_total > most:
        raise MemoryBudgetError(f"not even {least} fits into {most:,} bytes:\n{smallest}")
    return largest_that(lambda size: _fits(lambda: report_of_size(size), most))


def _fits(report: Callable[[], MemoryReport], most: int) -> bool:
    try:
        return report().bytes_total <= most
    except (ArgumentError, NetError):  # an array has more elements than MXNet can hold
        return False


def largest_that(fits: Callable[[int], bool]) -> int:
    """Return the largest number that fits, 0 for none, where all below it do: twice as large until it does not.

    Example:
        >>> largest_that(lambda number: number <= 100)
        100
    """
    found, beyond = 0, 1
    while beyond <= MOST and fits(beyond):
        found, beyond = beyond, 2 * beyond
    while beyond - found > 1:
        middle = (found + beyond) // 2
        found, beyond = (middle, beyond) if fits(middle) else (found, middle)
    return found
