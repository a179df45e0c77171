"""What buckets would pad, drawn before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...plots import axes_of, height_of, stacked_bars
from .fitting import ONLY_LENGTH, check_lengths
from .policies import Policy


def plot_waste(policy: Policy, lengths: object, ax: Any) -> Any:
    """Draw the true steps and the padding of examples, by bucket; see `Policy.plot`."""
    checked = check_lengths(lengths, "plot")
    names = tuple(checked)
    policy.check(names)
    kinds, counts = np.unique(np.stack(list(checked.values()), axis=1), axis=0, return_counts=True)
    found: dict[tuple[int, ...], list[int]] = {}  # examples, true steps and padded steps, by bucket
    for kind, count in zip(kinds.tolist(), counts.tolist()):
        try:
            bucket = tuple(policy.bucket(dict(zip(names, kind))).values())
        except ArgumentError as error:
            raise ArgumentError(f"plot: {count} of the examples fit into no bucket: {error}") from error
        sums = found.setdefault(bucket, [0, 0, 0])
        for place, more in enumerate((1, sum(kind), sum(bucket))):
            sums[place] += count * more
    ordered = sorted(found)
    true = [float(found[bucket][1]) for bucket in ordered]
    padding = [float(found[bucket][2] - found[bucket][1]) for bucket in ordered]
    labels = [", ".join(f"{name}={steps}" for name, steps in zip(names, bucket)) for bucket in ordered]
    if names == (ONLY_LENGTH,):
        labels = [str(bucket[0]) for bucket in ordered]
    notes = [
        f"{found[bucket][0]} examples, {pad / (one + pad):.0%} padding"
        for bucket, one, pad in zip(ordered, true, padding)
    ]
    ax = axes_of(ax, "Policy.plot", height_of(len(ordered)))
    stacked_bars(ax, labels, {"true steps": true, "padding": padding}, notes)
    share = sum(padding) / (sum(true) + sum(padding))
    ax.set(xlabel="steps", ylabel="bucket", title=f"padding: {share:.1%} of all steps, in {len(ordered)} buckets")
    return ax
