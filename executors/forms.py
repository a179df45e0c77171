"""The form of a batch: what follows from the shapes and dtypes of its arrays alone, worked out once for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import LARGEST
from ..plans.plan import PortSpec
from .checked import CheckedBatch

MOST = 256  # forms that are remembered; more than any loop has


class Form:
    """The form of batches that have been found to fit, but for their numbers.

    Args:
        batch: One of them.
    """

    def __init__(self, batch: CheckedBatch) -> None:
        """Take what holds for all of them."""
        self._rows, self._lengths, self._left_out = batch.rows, batch.lengths, batch.left_out
        self._totals: dict[str, dict[str, int]] = {}

    def batch(self, arrays: Mapping[str, Any]) -> CheckedBatch:
        """Return another batch of this form."""
        return CheckedBatch(
            rows=self._rows,
            lengths=self._lengths,
            host=dict(arrays),
            left_out=self._left_out,
            _totals=self._totals,
            form=self,
        )


class Forms:
    """The forms that have been met.

    Args:
        ports: The input ports.
    """

    def __init__(self, ports: Mapping[str, PortSpec]) -> None:
        """Start with none."""
        self._specs = {name: (spec.count, spec.transfer_dtype[0] in "iu") for name, spec in ports.items()}
        self._known: dict[tuple[Any, ...], Form] = {}

    def find(self, batch: Mapping[str, Any]) -> CheckedBatch | None:
        """Return the batch, checked, if its form is known and all its numbers are seen to fit at a glance."""
        key = _key(batch)
        form = None if key is None else self._known.get(key)
        if form is None:
            return None
        for name, value in batch.items():
            count, integers = self._specs[name]
            if not _fits(value, count, integers):
                return None
        return form.batch(batch)

    def remember(self, batch: Mapping[str, Any], checked: CheckedBatch) -> None:
        """Note the form of a batch of plain arrays that has been found to fit."""
        key = _key(batch)
        plain = key is not None and all(checked.host.get(name) is value for name, value in batch.items())
        if key is not None and plain and checked.streams is None and checked.reset is None:
            if len(self._known) >= MOST:
                self._known.clear()
            checked.form = self._known[key] = Form(checked)


def _key(batch: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return what the form of plain arrays is found by; None where there are others."""
    key: list[Any] = []
    for name, value in batch.items():
        if type(value) is not np.ndarray or not value.dtype.isnative:
            return None
        key += (name, value.shape, value.dtype.char)
    return tuple(key)


def _fits(array: NDArray[Any], count: int | None, integers: bool) -> bool:
    """Tell whether one fast pass shows that all numbers of an array fit a port."""
    kind = array.dtype.kind
    if count is not None:
        unsigned = array.view(f"u{array.dtype.itemsize}")  # what is negative is then very large
        return not array.size or bool(unsigned.max() < count)
    if kind == "f" and array.dtype.itemsize >= 4:
        flat = array.reshape(-1)
        return bool(abs(flat.dot(flat)) <= LARGEST)  # not where there are NaN
    return kind == "b" or (kind in "iu" and not integers)
