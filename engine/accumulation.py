"""Gradients of several batches together, as if they had been one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._mxnet import mx
from ..executors.capi import prepared


class Accumulation:
    """Adds up the gradients of the passes of a step.

    Args:
        gradients: ``(elements,)``: where each pass leaves the mean over its units, times their number, and where the
            mean over all of them is then.

    Attributes:
        units: How many examples, or true steps, there are so far.
    """

    def __init__(self, gradients: Any) -> None:
        """Start with nothing; memory is allocated when it is first needed."""
        self._gradients = gradients
        self._sum: Any = None
        self._calls: dict[str, Callable[..., None]] = {}
        self.units = 0

    def add(self, units: int) -> None:
        """Queue the gradients of a pass beside those before it."""
        if self._sum is None:
            self._sum = mx.nd.zeros_like(self._gradients)
            self._calls = {
                "begin": prepared("_copyto", [self._gradients], [self._sum]),
                "add": prepared("elemwise_add", [self._sum, self._gradients], [self._sum]),
                "mean": prepared("_div_scalar", [self._sum], [self._gradients], ["scalar"]),
            }
        self._calls["add" if self.units else "begin"]()
        self.units += units
        self._calls["mean"](float(self.units))

    def clear(self) -> None:
        """Forget what has been added up."""
        self.units = 0

    @property
    def arrays(self) -> list[Any]:
        """What it holds on the device."""
        return [] if self._sum is None else [self._sum]
