"""Checks of a trainer's arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..arguments import is_integer, positive_int
from ..errors import ArgumentError, NetError
from ..executors.bucketed import check_policy, one_bucket
from ..executors.buckets import Cut, Policy
from ..plans.lowering import check_lengths
from ..plans.plan import Plan
from ..plans.segmentation import segmentation
from .optimizers import Optimizer

ON_NAN = ("raise", "skip", "ignore")


def check_trainable(plan: object, optimizer: object) -> None:
    """Check that there is something to train, and something to train it with.

    Raises:
        ArgumentError: One is no plan, or the other no optimizer.
        NetError: The plan has no parameters, or no output of a weight that is not 0.
    """
    if not isinstance(plan, Plan):
        raise ArgumentError(f"Trainer takes a plan (see compile_plan), got {plan!r}")
    if not isinstance(optimizer, Optimizer):
        hint = ""
        if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
            hint = f"; write {optimizer.__name__}()"
        raise ArgumentError(f"Trainer takes an optimizer such as Adam(), got {optimizer!r}{hint}")
    if not plan.parameters:
        raise NetError("the plan has no parameters, so there is nothing to train; instantiate() runs it")
    if not any(loss.weight for loss in plan.losses.values()):
        raise NetError(f"all outputs have weight 0 ({', '.join(plan.outputs)}), so there is nothing to train")


def guarding_of(guard: object, on_nan: object) -> tuple[int, str]:
    """Return every how many steps one is guarded, 0 for none, and what becomes of those that are not finite.

    Raises:
        ArgumentError: They are not usable, or not together.
    """
    if not isinstance(guard, bool) and not (is_integer(guard) and guard > 0):
        raise ArgumentError(f"guard must be True, False, or n for every nth step, got {guard!r}")
    every = int(guard)
    if on_nan is None:
        return every, "raise" if every else "ignore"
    if not isinstance(on_nan, str) or on_nan not in ON_NAN:
        raise ArgumentError(f"on_nan must be one of {', '.join(ON_NAN)}, got {on_nan!r}")
    if not every and on_nan != "ignore":
        raise ArgumentError(f'on_nan="{on_nan}" needs the guard, which knows what is finite; leave out guard=False')
    if every > 1 and on_nan == "skip":
        raise ArgumentError('on_nan="skip" needs the guard at every step: once such numbers have moved, none is finite')
    return every, on_nan


def policy_of(plan: Plan, lengths: Mapping[str, int] | None, buckets: Policy | None) -> Policy:
    """Return the policy: that of the one bucket, or the one that is given, or `Exact`.

    Raises:
        ArgumentError: Both are given, or do not fit the plan.
    """
    if lengths is None:
        return check_policy(plan, buckets)
    if buckets is not None:
        raise ArgumentError("lengths= is the one bucket, and buckets= are several: give one of them")
    return one_bucket(check_lengths(plan, lengths))


def in_segments(
    plan: Plan,
    policy: Policy,
    segment: object,
    batch_size: int | None,
    input_gradients: Collection[str] = (),
    guard: object = True,
) -> Policy:
    """Return the policy, or that of segments of so many steps where sequences can be longer.

    Raises:
        ArgumentError: It is no positive number of steps, or does not go with what else is asked for.
        NetError: The plan cannot be run in segments.
    """
    if segment is None:
        return policy
    steps = positive_int(segment, "segment")
    segmentation(plan)
    if policy.has_batch_sizes() or batch_size is None:
        raise ArgumentError(f"segment= needs one batch size for all buckets: give batch_size=, got {batch_size!r}")
    if input_gradients:
        raise ArgumentError("segment= excludes input_gradients=: they would be as long as the sequences")
    if guarding_of(guard, None)[0] > 1:
        raise ArgumentError("segment= takes guard=True or False: a guard of every nth step keeps copies of batches")
    cut = Cut(policy, steps)
    return cut if not 0 < cut.longest(plan.lengths) <= steps else policy


def check_guard_of_workers(distributed: object, every: int, on_nan: str) -> None:
    """Check that several workers can judge their steps alike.

    Raises:
        ArgumentError: They cannot.
    """
    if distributed is None:
        return
    if every > 1:
        raise ArgumentError(f"guard={every} goes with one worker: others would not go back to its last guarded step")
    if distributed == "sync" and (not every or on_nan == "ignore"):
        raise ArgumentError(
            'distributed="sync" needs guard=True, and on_nan="raise" or "skip": a step that fails in one worker is to '
            "move nothing in any"
        )
