"""What went through the buckets of an executor, and what each holds, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..mappings import FrozenMapping
from ..plots import axes_of, height_of, stacked_bars
from ..tables import Part, Printed, Table
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
        steps_true: The true steps of all passes, over all lengths; rows where there are none.
        steps_padding: The steps that were padding, of rows that were there.
        steps_missing: The steps of rows that batches did not have.
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
    steps_true: int
    steps_padding: int
    steps_missing: int
    padding: float
    bytes_planned: int
    bytes_operators: int
    binds: int
    seconds_bind: float
    evictions: int

    @property
    def name(self) -> str:
        """The number of steps by length name, as text."""
        return ", ".join(f"{name}={steps}" for name, steps in self.lengths.items()) or "-"


@dataclass(frozen=True)
class BucketedReport(Printed):
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

    def _parts(self) -> list[Part]:
        rows = [
            [
                bucket.name,
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
        return [Table(head, rows), f"bytes of inputs {self.bytes_inputs:,}, padding {self.padding:.1%}"]

    def plot(self, ax: Any = None) -> Any:
        """Draw a bar for each bucket: its true steps, padding, and missing rows, in steps (rows without sequences).

        Args:
            ax: Axes of matplotlib to draw into; None: those of a new figure.

        Returns:
            The axes.

        Raises:
            ArgumentError: They are no axes.
            MissingExtraError: matplotlib is not installed (the extra ``plots``).
        """
        ax = axes_of(ax, "BucketedReport.plot", height_of(len(self.buckets)))
        parts = {
            "true steps": [float(bucket.steps_true) for bucket in self.buckets],
            "padding": [float(bucket.steps_padding) for bucket in self.buckets],
            "missing rows": [float(bucket.steps_missing) for bucket in self.buckets],
        }
        notes = [
            f"{bucket.hits} passes, {bucket.padding:.0%} padding, {bucket.binds} bind{'s' if bucket.binds != 1 else ''}"
            for bucket in self.buckets
        ]
        stacked_bars(ax, [bucket.name for bucket in self.buckets], parts, notes)
        ax.set(xlabel="steps", ylabel="bucket", title=f"padding and missing rows: {self.padding:.1%} of all steps")
        return ax


def report_of_bucket(found: list[tuple[Bucket, Entry]]) -> BucketReport:
    """Return the report on one bucket, given what is known of each of its graphs."""
    bucket, entries = found[0][0], [entry for _, entry in found]
    bound = [entry.bound for entry in entries if entry.bound is not None]
    return BucketReport(
        lengths=FrozenMapping(dict(bucket.lengths), "length", "the bucket"),
        batch_size=bucket.batch_size,
        hits=sum(entry.hits for entry in entries),
        rows=sum(entry.rows for entry in entries),
        steps_true=sum(entry.steps_true for entry in entries),
        steps_padding=sum(entry.steps_padding for entry in entries),
        steps_missing=sum(entry.steps_missing for entry in entries),
        padding=padding_of(entries),
        bytes_planned=max((one.memory.bytes_planned for one in bound), default=0),
        bytes_operators=sum(one.memory.bytes_operators for one in bound),
        binds=sum(entry.binds for entry in entries),
        seconds_bind=entries[-1].seconds_bind,
        evictions=sum(entry.evictions for entry in entries),
    )


def padding_of(entries: list[Entry]) -> float:
    """Return the share of steps that were padding or missing rows."""
    true = sum(entry.steps_true for entry in entries)
    steps = true + sum(entry.steps_padding + entry.steps_missing for entry in entries)
    return 1.0 - true / steps if steps else 0.0
