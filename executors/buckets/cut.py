"""Buckets of segments: those of another policy, up to a number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ArgumentError
from ..checked import CheckedBatch
from .policies import Policy


@dataclass(frozen=True, repr=False)
class Cut(Policy):
    """The buckets of another policy up to a number of steps: a longer sequence is cut into segments of so many.

    What is left over after the last whole one goes through the other policy's bucket for it.

    Args:
        policy: The other policy.
        segment: How many steps a segment has.
    """

    policy: Policy
    segment: int

    def steps_for(self, name: str, longest: int) -> int:
        """Return the smallest number of steps of a segment that has room for these.

        Raises:
            ArgumentError: The other policy has no bucket for them, or they are more than a segment.
        """
        if longest > self.segment:
            raise ArgumentError(f"{longest} steps are more than a segment of {self.segment}")
        return min(self.policy.steps_for(name, longest), self.segment)

    def cuts(self, batch: CheckedBatch) -> bool:
        """Tell whether an example of a batch is longer than a segment."""
        return any(steps > self.segment for steps in batch.longest.values())

    def known(self, names: Sequence[str]) -> tuple[dict[str, int], ...]:
        """Return all buckets, the largest first; none where the other policy has no end."""
        capped = ({name: min(bucket[name], self.segment) for name in names} for bucket in self.policy.known(names))
        return tuple(dict(pairs) for pairs in dict.fromkeys(tuple(bucket.items()) for bucket in capped))

    def longest(self, names: Sequence[str]) -> int:
        """Return the largest number of steps that the other policy has a bucket for; 0: it has no end."""
        return max((steps for bucket in self.policy.known(names) for steps in bucket.values()), default=0)

    def check(self, names: Sequence[str]) -> None:
        """Check that the other policy is for a plan with these length names."""
        self.policy.check(names)
