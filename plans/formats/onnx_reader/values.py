"""What a value of an ONNX graph is here: a constant, a port of one of our layers, or several of these in a stack.

ONNX knows no batch and no time: it has tensors with axes in some order. Ours are batch first, `(batch, [t,] *item)`. So
each axis of an ONNX tensor has a label that says which of ours it is; to transpose is then to permute labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from ...graph import Source
from ...types import PortType, Sequence, item_of

BATCH, TIME = "batch", "time"
ONE = "one"  # an axis of extent 1 that ours has not
#: Axes of batch and time that were made one, in either order.
ROWS = {"batch and time": (BATCH, TIME), "time and batch": (TIME, BATCH)}
Axis = Union[int, str]  # a number: that axis of the item


@dataclass(frozen=True)
class Tensor:
    """A port of a layer, or of the net.

    Attributes:
        source: The port.
        port: Its type.
        axes: What each axis of the ONNX tensor is.
        private: Whether nothing else reads it, so that its layer may still be changed.
    """

    source: Source
    port: PortType
    axes: tuple[Axis, ...]
    private: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the item."""
        return item_of(self.port).shape

    def seen_as(self, *axes: Axis) -> Tensor:
        """Return it with other axes."""
        return replace(self, axes=axes)

    def extent(self, axis: Axis) -> int | str:
        """Return the extent of an axis: a number, or a symbol for what differs from batch to batch."""
        if isinstance(axis, int):
            return self.shape[axis]
        if axis == TIME and isinstance(self.port, Sequence):
            return f"{TIME} {self.port.length}"
        return 1 if axis == ONE else axis

    def shown(self) -> str:
        """Say what its axes are, for error texts."""
        names = (
            f"{axis}" if isinstance(axis, str) else f"item axis {axis} of {self.shape[axis]}" for axis in self.axes
        )
        return f"({', '.join(names)})"


@dataclass(frozen=True)
class Stack:
    """Tensors that ONNX has as one, along an axis that none of them has; each has ONE there."""

    parts: tuple[Tensor, ...]
    axis: int


@dataclass(frozen=True)
class Fill:
    """A constant of one number whose shape is not known before there is a batch."""

    number: float


Value = Union[Tensor, Stack, Fill, "NDArray[Any]"]


def uniform(value: Value | None) -> float | None:
    """Return the number that all of a constant is; None where it is no constant, or has several."""
    if isinstance(value, Fill):
        return value.number
    if isinstance(value, np.ndarray) and value.dtype != object and value.size:
        first = value.reshape(-1)[0]
        return float(first) if (value == first).all() else None
    return None


def ascending(axes: tuple[Axis, ...]) -> bool:
    """Tell whether the axes of the item come in their order."""
    items = [axis for axis in axes if isinstance(axis, int)]
    return items == sorted(items)


def renumbered(axes: tuple[Axis, ...], gone: set[int]) -> tuple[Axis, ...]:
    """Return axes as they are numbered once some of the item's are gone; those have become ONE."""
    kept = sorted(axis for axis in axes if isinstance(axis, int) and axis not in gone)
    number: dict[Axis, Axis] = {axis: place for place, axis in enumerate(kept)}
    return tuple(number.get(axis, axis if isinstance(axis, str) else ONE) for axis in axes)
