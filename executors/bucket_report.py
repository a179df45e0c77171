"""What went through the buckets of an executor, and what each holds, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..mappings import FrozenMapping
from ..tables import table
from .blueprint import Bucket
from .cache import Entry


@dataclass(frozen=True)
class BucketReport:
    """What went through one bucket.

    Attributes:
        lengths: The number of steps by length name.
        batch_size: The number of rows.
        hits: How many passes.
        rows: The true rows of all passes.
        padding: The share of steps that were padding or missing rows, from 0 to 1.
        bytes_planned: What MXNet plans for its graphs, the largest of them; 0 once released.
        bytes_operators: What operators keep for themselves, about; 0 once released.
        binds: How often a graph of it was bound.
        seconds_bind: How long the last bind took, in seconds.
        evictions: How often a graph of it was released to make room.
    """

    lengths: Mapping[str, int]
    batch_size: int
    hits: int
    rows: int
    padding: float
    bytes_planned: int
    bytes_operators: int
    binds: int
    seconds_bind: float
    evictions: int


@dataclass(frozen=True)
class BucketedReport:
    """What a bucketed executor did and holds; prints as a table.

    Attributes:
        buckets: One report a bucket, in the order of their sizes.
        bytes_inputs: The memory of inputs, which all buckets share.
        padding: The share of steps that were padding or missing rows, over all buckets.
    """

    buckets: tuple[BucketReport, ...]
    bytes_inputs: int
    padding: float

    @property
    def bytes_planned(self) -> int:
        """What MXNet plans for outputs and everything in between: the largest, as the others share its memory."""
        return max((bucket.bytes_planned for bucket in self.buckets), default=0)

    def __str__(self) -> str:
        """Show one line a bucket."""
        rows = [
            [
                ", ".join(f"{name}={steps}" for name, steps in bucket.lengths.items()) or "-",
                bucket.batch_size,
                bucket.hits,
                f"{bucket.padding:.1%}",
                f"{bucket.bytes_planned:,}",
                f"{bucket.bytes_operators:,}",
                bucket.binds,
                f"{bucket.seconds_bind:.4f}",
                bucket.evictions,
            ]
            for bucket in self.buckets
        ]
        head = ["bucket", "rows", "hits", "padding", "bytes planned", "operators", "binds", "seconds", "evictions"]
        return f"{table(head, rows)}\nbytes of inputs {self.bytes_inputs:,}, padding {self.padding:.1%}"


def report_of_bucket(found: list[tuple[Bucket, Entry]]) -> BucketReport:
    """Return the report on one bucket, given what is known of each of its graphs."""
    bucket, entries = found[0][0], [entry for _, entry in found]
    bound = [entry.bound for entry in entries if entry.bound is not None]
    return BucketReport(
        lengths=FrozenMapping(dict(bucket.lengths), "length", "the bucket"),
        batch_size=bucket.batch_size,
        hits=sum(entry.hits for entry in entries),
        rows=sum(entry.rows for entry in entries),
        padding=padding_of(entries),
        bytes_planned=max((one.memory.bytes_planned for one in bound), default=0),
        bytes_operators=sum(one.memory.bytes_operators for one in bound),
        binds=sum(entry.binds for entry in entries),
        seconds_bind=entries[-1].seconds_bind,
        evictions=sum(entry.evictions for entry in entries),
    )


def padding_of(entries: list[Entry]) -> float:
    """Return the share of steps that were padding or missing rows."""
    padded = sum(entry.steps_padded for entry in entries)
    return 1.0 - sum(entry.steps_true for entry in entries) / padded if padded else 0.0
