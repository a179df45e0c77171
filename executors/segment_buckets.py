"""Which graphs sequences in segments go through."""

from __future__ import annotations

from ..plans.lowering import Head, training_heads
from ..plans.plan import Plan
from ..plans.segmentation import Kind, Segmentation, segmentation
from .blueprint import Bucket
from .buckets.cut import Cut
from .checked import CheckedBatch
from .segments import Segment, segments_of
from .state_table import bytes_of_states


class SegmentBuckets:
    """What the graphs of segments are for.

    Args:
        plan: The plan.
        policy: How long segments are.
        rows: The number of rows.
        heads: What a training step computes; None: what the plan's own weights ask for.

    Attributes:
        plan: As given.
        policy: As given.
        rows: As given.
        parts: How the plan runs in segments.
        heads: What a segment computes: losses, what is known at the end, and states that gradients come back through.
    """

    def __init__(self, plan: Plan, policy: Cut, rows: int, heads: tuple[Head, ...] | None = None) -> None:
        """Find out what a segment computes."""
        self.plan, self.policy, self.rows = plan, policy, rows
        self.parts = segmentation(plan)
        self.heads = _heads_of(heads or training_heads(plan), self.parts)
        outputs = plan.graph_of_nodes.outputs
        self._state_heads = tuple(Head(name, outputs[name]) for name in self.parts.states.values())

    @property
    def length(self) -> str:
        """The name of the length that is cut."""
        return self.parts.length

    def cut(self, batch: CheckedBatch) -> list[Segment]:
        """Return the segments of a batch."""
        return segments_of(batch, self.length, self.policy.segment)

    def steps(self, segment: Segment) -> int:
        """Return the number of steps of a segment's graph."""
        return self.policy.steps_for(self.length, segment.end - segment.begin)

    def of_segment(self, segment: Segment, goes_back: bool) -> Bucket:
        """Return what the graph of a segment is for; where nothing goes back, without its losses."""
        steps = self.steps(segment)
        return self._bucket(steps, segment.pads(steps), goes_back)

    def of_batch(self, batch: CheckedBatch) -> list[Bucket]:
        """Return what the graphs are for that a batch goes through, once each, those that take most first."""
        segments = self.cut(batch)
        forward = {self.of_segment(segment, goes_back=False) for segment in segments[:-1]}
        return _sorted(forward | {self.of_segment(segment, goes_back=True) for segment in segments})

    def of_length(self, longest: int, masked: bool = False) -> list[Bucket]:
        """Return what they are for in batches whose examples all have a length; or where some are shorter, too.

        Those that take most come first.
        """
        segment, rest = self.policy.segment, longest % self.policy.segment
        found = {self._bucket(segment, padded, back) for padded in {False, masked} for back in (True, False)}
        if rest:
            steps = self.policy.steps_for(self.length, rest)
            found |= {self._bucket(steps, padded, True) for padded in {steps > rest, masked or steps > rest}}
        return _sorted(found)

    def whole(self, segments: list[Segment]) -> Bucket:
        """Return the bucket that stands for all segments of a batch."""
        steps = sum(map(self.steps, segments))
        return self._bucket(steps, padded=True, goes_back=True)

    def largest(self, padded: bool) -> Bucket:
        """Return what the largest graph is for."""
        return self._bucket(self.policy.segment, padded, goes_back=True)

    def bytes_between(self, longest: int, bytes_gradients: int) -> int:
        """Return what a step keeps between its segments: states, their gradients, and the sum of all gradients."""
        segments = -(-longest // self.policy.segment)
        return bytes_of_states(self.plan, self.plan.states) * self.rows * (segments + 1) + bytes_gradients

    def _bucket(self, steps: int, padded: bool, goes_back: bool) -> Bucket:
        """Return a bucket; one where nothing goes back has no losses.

        It has, where the plan draws numbers: what is left out would have changed which ones the rest draws.
        """
        lengths, segment = ((self.length, steps),), self.policy.segment
        if goes_back or self.plan.random_nodes:
            return Bucket(self.rows, lengths, padded, True, self.heads, segment=segment)
        return Bucket(self.rows, lengths, padded, False, self._state_heads, segment=segment)


def _sorted(buckets: set[Bucket]) -> list[Bucket]:
    return sorted(buckets, key=lambda bucket: (not bucket.training, -bucket.lengths[0][1], not bucket.padded))


def _heads_of(heads: tuple[Head, ...], parts: Segmentation) -> tuple[Head, ...]:
    """Return what a segment computes: no sequences, and states that gradients come back through."""
    states = parts.states.values()
    return tuple(
        head._replace(gradient=True) if head.name in states else head
        for head in heads
        if parts.kinds[head.source] is not Kind.STEPS
    )
