"""What a trainer does with a batch, and with its memory, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import Error
from ..executors.bucket_report import BucketedReport
from ..executors.checked import CheckedBatch
from ..executors.memory import MemoryReport, report_of
from ..executors.ways import Way
from ..mappings import FrozenMapping
from ..tables import Part, Printed
from .forecast import largest_that

OF_GRAPHS = ("bytes_input_gradients", "bytes_heads", "bytes_planned", "bytes_operators", "bytes_scratch")
BY_ROWS = ("bytes_inputs", "bytes_segments")  # what grows with the number of rows, nearly all of it


@dataclass(frozen=True)
class BatchExplanation(Printed):
    """Where a batch goes, or what a bucket is, and what it takes; prints as text.

    Attributes:
        bucket: The number of steps by length name, of a segment where the batch is cut.
        batch_size: The number of rows of the bucket.
        rows: The number of rows of the batch.
        longest: The longest example of the batch, and its steps, by length name.
        padding: The share of steps, or of rows where there are none, that are padding or missing rows, from 0 to 1.
        masked: Whether it goes through a graph with masks, as an example is shorter than the bucket.
        segments: How many segments it is cut into; 1: none.
        bound: Whether its graphs are there.
        repeated: How much of the forward pass runs again in the backward pass, as a share of its time, about.
        memory: What the trainer takes with its graphs alone.
        limit: The memory budget; without one, what the trainer takes, and what is free beside it.
        most_rows: How large a batch size would fit into the limit, while nothing runs again.
    """

    bucket: Mapping[str, int]
    batch_size: int
    rows: int
    longest: Mapping[str, tuple[int, int]]
    padding: float
    masked: bool
    segments: int
    bound: bool
    repeated: float
    memory: MemoryReport
    limit: int
    most_rows: int

    @property
    def bytes_left(self) -> int:
        """What would be left of the limit; negative: so much is missing."""
        return self.limit - self.memory.bytes_total

    def _parts(self) -> list[Part]:
        lines: list[Part] = [self._where(), *self._why()]
        lines.append(f"padding or missing: {self.padding:.1%}; its graph has {'' if self.masked else 'no '}masks")
        lines.append("its graphs are bound" if self.bound else "its graphs will be bound when it first comes")
        if self.repeated:
            lines.append(f"runs again in the backward pass: {self.repeated:.0%} of the forward pass, by time")
        verdict = f"{self.bytes_left:,} bytes are left" if self.bytes_left >= 0 else f"{-self.bytes_left:,} are missing"
        lines.append(
            f"of {self.limit:,} bytes {verdict}; a batch size up to {self.most_rows} fits with nothing run again"
        )
        return [*lines, self.memory]

    def _where(self) -> str:
        steps = ", ".join(f"{name}={count}" for name, count in self.bucket.items())
        what = (
            f"{self.segments} segments of {steps}" if self.segments > 1 else f"the bucket {steps or 'without lengths'}"
        )
        return f"{self.rows} rows go through {what}, of {self.batch_size} rows"

    def _why(self) -> list[str]:
        return [
            f'because example {example} has {steps} steps of "{name}"'
            for name, (example, steps) in self.longest.items()
        ]


@dataclass(frozen=True)
class TrainerExplanation(Printed):
    """What a trainer has decided, and what it takes; prints as text.

    Attributes:
        batch_size: The batch size; None where each bucket has its own.
        segment: Sequences longer than this are cut into segments of so many steps; None: none is.
        budget: The memory budget, in bytes; None: there is none.
        memory: What it takes now.
        buckets: What went through each bucket, and how much of it was padding.
    """

    batch_size: int | None
    segment: int | None
    budget: int | None
    memory: MemoryReport
    buckets: BucketedReport

    def _parts(self) -> list[Part]:
        lines: list[Part] = []
        if self.segment is not None:
            lines.append(f"sequences of more than {self.segment} steps are run in segments of {self.segment}")
        again = {graph.bucket: graph.repeated for graph in self.memory.graphs if graph.repeated}
        lines += [f"{bucket}: {share:.0%} of the forward pass run again" for bucket, share in again.items()]
        if self.budget is not None:
            lines.append(f"{self.memory.bytes_total:,} bytes of a budget of {self.budget:,}")
        return [*lines, self.memory, "", self.buckets]


def explained(batch: CheckedBatch, way: Way, memory: MemoryReport, limit: int) -> BatchExplanation:
    """Return what is to be said of a batch.

    Args:
        batch: The batch.
        way: Where it goes.
        memory: What the trainer takes with this alone.
        limit: What it may take.
    """
    beside = memory.bytes_total - sum(getattr(memory, name) for name in (*OF_GRAPHS, *BY_ROWS))

    def fits(rows: int) -> bool:
        try:
            graphs = way.resized(rows)
        except Error:  # an array has more elements than MXNet can hold
            return False
        by_rows = {name: getattr(memory, name) * rows // way.batch_size for name in BY_ROWS}
        report = report_of("", graphs, **by_rows)
        return bool(beside + report.bytes_total <= limit)

    true = sum(batch.true_steps.values()) if batch.lengths else batch.rows
    longest = {name: int(found.argmax()) for name, found in batch.lengths.items()}
    return BatchExplanation(
        bucket=FrozenMapping(way.lengths, "length", "the bucket"),
        batch_size=way.batch_size,
        rows=batch.rows,
        longest={name: (row, int(batch.lengths[name][row])) for name, row in longest.items()},
        padding=1.0 - true / (way.batch_size * (way.steps or 1)),
        masked=way.masked,
        segments=way.segments,
        bound=way.bound,
        repeated=max(graph.repeated for graph in way.graphs),
        memory=memory,
        limit=limit,
        most_rows=largest_that(fits),
    )
