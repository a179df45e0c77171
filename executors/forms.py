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
        indices: For each port of indices, what they are below, and the unsigned dtype that they are looked at in.
        numbers: The ports of floating-point numbers.
    """

    def __init__(self, batch: CheckedBatch, indices: list[tuple[str, int, np.dtype[Any]]], numbers: list[str]) -> None:
        """Take what holds for all of them."""
        self._rows, self._lengths, self._left_out = batch.rows, batch.lengths, batch.left_out
        self._totals: dict[str, dict[str, int]] = {}
        self._indices, self._numbers = indices, numbers

    def fits(self, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Tell whether one fast pass shows that all numbers of other arrays of this form fit their ports."""
        for name in self._numbers:
            flat = arrays[name].reshape(-1)
            if not abs(flat.dot(flat)) <= LARGEST:  # as where there are NaN
                return False
        for name, count, unsigned in self._indices:
            array = arrays[name].view(unsigned)  # what is negative is then very large
            if array.size and not array.max() < count:
                return False
        return True

    def batch(self, arrays: Mapping[str, NDArray[Any]]) -> CheckedBatch:
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
        self._ports = ports
        self._known: dict[tuple[Any, ...], Form] = {}

    def find(self, batch: Mapping[str, Any]) -> CheckedBatch | None:
        """Return the batch, checked, if its form is known and all its numbers are seen to fit at a glance."""
        key = _key(batch)
        form = None if key is None else self._known.get(key)
        return form.batch(batch) if form is not None and form.fits(batch) else None

    def remember(self, batch: Mapping[str, Any], checked: CheckedBatch) -> None:
        """Note the form of a batch of plain arrays that has been found to fit, if one glance can tell the next one."""
        key = _key(batch)
        plain = key is not None and all(checked.host.get(name) is value for name, value in batch.items())
        if key is None or not plain or checked.streams is not None or checked.reset is not None:
            return
        indices, numbers = [], []
        for name, value in batch.items():
            spec, kind, size = self._ports[name], value.dtype.kind, value.dtype.itemsize
            if spec.count is not None:
                indices.append((name, spec.count, np.dtype(f"u{size}")))
            elif kind == "f" and size >= 4:
                numbers.append(name)
            elif kind != "b" and (kind not in "iu" or spec.transfer_dtype[0] in "iu"):
                return
        if len(self._known) >= MOST:
            self._known.clear()
        checked.form = self._known[key] = Form(checked, indices, numbers)


def _key(batch: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return what the form of plain arrays is found by; None where there are others."""
    key: list[Any] = []
    for name, value in batch.items():
        if type(value) is not np.ndarray or not value.dtype.isnative:
            return None
        key += (name, value.shape, value.dtype.char)
    return tuple(key)
