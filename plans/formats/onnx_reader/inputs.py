"""The types of a net's inputs: as they are given, as the file says, and as what reads them needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ....errors import ArgumentError, NetError
from ...graph import Source
from ...types import Array, Index, Item, PortType, Sequence, item_of, on_device
from .file import FileNode, Input, OnnxFile
from .values import BATCH, ONE, TIME, Axis, Tensor

RECURRENT = ("GRU", "LSTM", "RNN")
#: Operators whose first input has the axes of their output.
KEEPING = (
    "Abs", "Cast", "Cos", "Dropout", "Erf", "Exp", "Gelu", "Identity", "LayerNormalization", "Log", "MatMul", "Neg",
    "Reciprocal", "Relu", "Selu", "Sigmoid", "Sin", "Slice", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh",
)  # fmt: skip
Axes = tuple[Axis, ...]


@dataclass
class Needs:
    """What the readers of values need, found from the last node to the first.

    Attributes:
        axes: What the axes of a value are.
        counts: How many different indices a value of integers has.
    """

    file: OnnxFile
    constants: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        """Go through the nodes."""
        self.axes: dict[str, Axes] = {}
        self.counts: dict[str, int] = {}
        for node in reversed(self.file.nodes):
            self._recurrent(node) if node.operator in RECURRENT else self._others(node)

    def _need(self, node: FileNode, place: int, axes: Axes) -> None:
        if place < len(node.inputs) and node.inputs[place]:
            self.axes[node.inputs[place]] = axes

    def _recurrent(self, node: FileNode) -> None:
        batch_first = node.attributes.get("layout", 0) == 1
        self._need(node, 0, (BATCH, TIME, 0) if batch_first else (TIME, BATCH, 0))
        for state in (5, 6):
            self._need(node, state, (BATCH, ONE, 0) if batch_first else (ONE, BATCH, 0))

    def _others(self, node: FileNode) -> None:
        output = node.outputs[0] if node.outputs else ""
        axes = self.axes.get(output)
        if node.operator in KEEPING or node.operator in {"Transpose", "Unsqueeze"}:
            self.counts.update({node.inputs[0]: self.counts[output]} if output in self.counts else {})
        if node.operator == "Gather":
            self._gather(node, axes)
        elif axes is None:
            return
        elif node.operator in KEEPING:
            self._need(node, 0, axes)
        elif node.operator == "Transpose":
            order = node.attributes.get("perm", range(len(axes))[::-1])
            if sorted(order) == list(range(len(axes))):
                self._need(node, 0, tuple(axes[list(order).index(place)] for place in range(len(axes))))
        elif node.operator == "Unsqueeze":
            self._unsqueeze(node, axes)
        elif node.operator == "Concat":
            for place in range(len(node.inputs)):
                self._need(node, place, axes)

    def _gather(self, node: FileNode, axes: Axes | None) -> None:
        table = self.constants.get(node.inputs[0])
        if table is None or table.ndim != 2 or node.attributes.get("axis", 0) != 0:
            return
        self.counts[node.inputs[1]] = table.shape[0]
        if axes is not None:
            self._need(node, 1, axes[:-1])

    def _unsqueeze(self, node: FileNode, axes: Axes) -> None:
        added = node.attributes.get("axes")
        if added is None and len(node.inputs) > 1 and node.inputs[1] in self.constants:
            added = self.constants[node.inputs[1]].reshape(-1).tolist()
        if added is not None:
            gone = {axis % len(axes) for axis in added}
            self._need(node, 0, tuple(axis for place, axis in enumerate(axes) if place not in gone))


class Inputs:
    """Makes the inputs of a net.

    Args:
        needs: What their readers need.
        given: Types by name that a user gave.
        fixed: Takes the extents that the file fixes and ours does not, by symbol.
    """

    def __init__(self, needs: Needs, given: Mapping[str, PortType], fixed: dict[str, int]) -> None:
        """Name the lengths of the file."""
        self._needs, self._given, self._fixed = needs, given, fixed
        self._lengths: dict[int | None, str] = {}

    def tensor(self, name: str, port: Input, shown: str) -> Tensor:
        """Return an input with its type and its axes, under the name that it has in the net.

        Raises:
            NetError: The type does not follow from the file.
            ArgumentError: The given one does not fit the file.
        """
        if not port.shape:
            raise NetError(f'its input "{name}" has no axes, and so no batch; give its value, arrays={{"{name}": ...}}')
        needed = self._needs.axes.get(name)
        if needed is not None and len(needed) != len(port.shape):
            needed = None
        known = self._given.get(name)
        axes = self._axes(name, port, needed) if known is None else _axes_of(name, port, needed, known)
        self._note(axes, port, known)
        if known is None:
            known = self._type(name, port, axes)
        return Tensor(Source(None, shown), on_device(known), _numbered(axes))

    def type_of(self, name: str, tensor: Tensor, port: Input) -> PortType:
        """Return the type of the net's port: with the dtype in which it travels."""
        if name in self._given:
            return self._given[name]
        return tensor.port if isinstance(item_of(tensor.port), Index) else _travelling(tensor.port, port.dtype)

    def _axes(self, name: str, port: Input, needed: Axes | None) -> Axes:
        if needed is not None:
            fitting = (0 if axis == ONE and extent != 1 else axis for axis, extent in zip(needed, port.shape))
            return tuple(fitting)
        moving = [place for place, extent in enumerate(port.shape) if place and not isinstance(extent, int)]
        if len(moving) > 1:
            raise NetError(
                f'its input "{name}" has several axes without a fixed extent, {port.shape}; give its type, as in '
                f'inputs={{"{name}": Sequence("t", Vector(10))}}'
            )
        return (BATCH, *(TIME if place in moving else 0 for place in range(1, len(port.shape))))

    def _note(self, axes: Axes, port: Input, known: PortType | None) -> None:
        """Keep the extents that the file fixes, and name the length."""
        for axis, extent in zip(axes, port.shape):
            if axis == TIME:
                length = known.length if isinstance(known, Sequence) else self._length(extent)
                self._fixed.update({f"{TIME} {length}": extent} if isinstance(extent, int) else {})
            elif axis == BATCH and isinstance(extent, int):
                self._fixed[BATCH] = extent

    def _length(self, extent: int | str | None) -> str:
        if isinstance(extent, str):
            return extent
        taken = len(self._lengths)
        return self._lengths.setdefault(extent, f"t_{taken + 1}" if taken else "t")

    def _type(self, name: str, port: Input, axes: Axes) -> PortType:
        shape = tuple(extent for axis, extent in zip(axes, port.shape) if isinstance(axis, int))
        if not all(isinstance(extent, int) for extent in shape):
            raise NetError(
                f'its input "{name}" has an axis without a fixed extent, {port.shape}; give its type, as in '
                f'inputs={{"{name}": Vector(10)}}'
            )
        count = self._needs.counts.get(name)
        item: Item = Index(count) if count is not None and not shape else Array(tuple(int(size or 0) for size in shape))
        if TIME not in axes:
            return item
        return Sequence(self._length(port.shape[axes.index(TIME)]), item)


def _numbered(axes: Axes) -> Axes:
    """Return axes with those of the item in their order."""
    numbers = iter(range(len(axes)))
    return tuple(next(numbers) if isinstance(axis, int) else axis for axis in axes)


def _axes_of(name: str, port: Input, needed: Axes | None, known: PortType) -> Axes:
    """Return the axes of an input of a given type."""
    shape = item_of(known).shape
    if needed is not None and _fits(needed, port, known):
        return needed
    tails: list[Axes] = [(0,) * len(shape)]
    if isinstance(known, Sequence):
        behind = port.shape[1:]
        moving = [place for place, extent in enumerate(behind) if not isinstance(extent, int)]
        places = moving or range(len(behind))
        tails = [(*(0,) * place, TIME, *(0,) * (len(behind) - place - 1)) for place in places]
    for tail in tails:
        if _fits((BATCH, *tail), port, known):
            return (BATCH, *tail)
    raise ArgumentError(f'inputs: "{name}" is of shape {port.shape} in the file, batch first, which is no {known!r}')


def _fits(axes: Axes, port: Input, known: PortType) -> bool:
    if len(axes) != len(port.shape) or (TIME in axes) != isinstance(known, Sequence):
        return False
    extents = [extent for axis, extent in zip(axes, port.shape) if isinstance(axis, int)]
    shape = item_of(known).shape
    return len(extents) == len(shape) and all(
        found == size or not isinstance(found, int) for found, size in zip(extents, shape)
    )


def _travelling(port: PortType, dtype: str) -> PortType:
    """Return a type that says in which dtype integers travel."""
    if dtype not in {"uint8", "int8", "int32", "int64"}:
        return port
    item = Array(item_of(port).shape, dtype=dtype)
    return Sequence(port.length, item) if isinstance(port, Sequence) else item
