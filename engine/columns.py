"""Columns of a data set: one entry an example, of which sequences may differ in length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_array
from ..errors import ArgumentError, BatchError, unknown
from ..executors.buckets.fitting import ONLY_LENGTH
from ..executors.ragged import Ragged
from ..plans.plan import Plan


class Column:
    """One port's data.

    Attributes:
        port: The port.
        length: The name of its length, None where it is no sequence.
        lengths: The number of steps of each example, None where it is no sequence.
    """

    def __init__(self, port: str, value: Any, length: str | None, plan: Plan | None) -> None:
        """Find out what the value is.

        Raises:
            ArgumentError: It is no column, or an example has no steps.
        """
        self.port = port
        self._array: NDArray[Any] | None = None
        self._rows: Any = None
        sequence = length is not None or plan is None
        if isinstance(value, Ragged):
            self._rows = value
        elif hasattr(value, "values") and hasattr(value, "offsets"):
            self._rows = Ragged(value.values, value.offsets)
        elif sequence and _is_list(value) and _is_ragged(value):
            self._rows = [_row(port, number, row) for number, row in enumerate(value)]
        else:
            self._array = _rectangle(port, value)
        ragged = self._rows is not None
        self.length = length if plan is not None else (ONLY_LENGTH if ragged else None)
        if ragged and self.length is None:
            raise ArgumentError(f'port "{port}": its examples differ in length, but the plan has no sequence there')
        self.lengths = self._lengths() if self.length is not None else None

    def _lengths(self) -> NDArray[np.int64]:
        if self._array is not None:
            if self._array.ndim < 2:
                raise ArgumentError(
                    f'port "{self.port}": expected sequences, (examples, t, ...), found {self._array.shape}'
                )
            found = np.full(len(self._array), self._array.shape[1])
        elif isinstance(self._rows, Ragged):
            found = self._rows.lengths
        else:
            found = np.array([_steps(self.port, number, row) for number, row in enumerate(self._rows)])
        if len(found) and found.min() < 1:
            raise ArgumentError(f'port "{self.port}": example {int(found.argmin())} is an empty sequence')
        return found

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._array if self._array is not None else self._rows)

    def take(self, rows: NDArray[np.int64]) -> Any:
        """Return some examples: an array, or a list of one array an example."""
        if self._array is not None:
            return self._array[rows]
        return [self._rows[row] for row in rows]


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object)


def _is_ragged(value: Any) -> bool:
    """Tell whether the entries differ in length, or are arrays of which they might."""
    if isinstance(value, np.ndarray) or any(isinstance(row, np.ndarray) and row.ndim for row in value):
        return True
    lengths = {len(row) if hasattr(row, "__len__") else None for row in value}
    return len(lengths) > 1


def _row(port: str, number: int, row: Any) -> NDArray[Any]:
    try:
        return as_array(row)
    except ArgumentError as error:
        raise ArgumentError(f'port "{port}": example {number} {error}') from None


def _steps(port: str, number: int, row: NDArray[Any]) -> int:
    if not row.ndim:
        raise ArgumentError(f'port "{port}": example {number} is a number, where others are sequences')
    return len(row)


def _rectangle(port: str, value: Any) -> NDArray[Any]:
    try:
        array = value if isinstance(value, np.ndarray) else as_array(value)
    except ArgumentError as error:
        raise ArgumentError(f'port "{port}": {error}') from None
    if not array.ndim:
        raise ArgumentError(f'port "{port}": expected one entry an example, found {array!r}')
    return array


def columns_of(data: object, plan: Plan | None) -> dict[str, Column]:
    """Return the columns of a data set.

    Raises:
        ArgumentError: It is no mapping, has no columns or examples, or they differ in the number of examples.
        UnknownNameError: The plan has no such port.
    """
    if not isinstance(data, Mapping) or not data:
        raise BatchError(f'data must map input ports to columns, as in {{"Input": list_of_arrays}}, got {data!r}')
    if getattr(data, "lengths", None) is not None:
        raise ArgumentError(
            "data is a Batch of padded arrays, whose lengths would be lost: give lists of arrays, each of true steps"
        )
    if plan is not None and not isinstance(plan, Plan):
        raise ArgumentError(f"plan must be a plan (see compile_plan), got {plan!r}")
    columns = {}
    for port, value in data.items():
        if plan is not None and port not in plan.inputs:
            raise unknown("input", port, plan.inputs, "the plan")
        columns[port] = Column(port, value, None if plan is None else plan.inputs[port].length, plan)
    counts = {port: len(column) for port, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise ArgumentError(f"all ports must have the same number of examples, found {counts}")
    if not next(iter(counts.values())):
        raise ArgumentError("data has no examples")
    return columns


def lengths_of(columns: Mapping[str, Column]) -> dict[str, NDArray[np.int64]]:
    """Return the lengths of all examples by length name.

    Raises:
        ArgumentError: Ports that share a length differ in an example.
    """
    found: dict[str, tuple[str, NDArray[np.int64]]] = {}
    for column in columns.values():
        if column.length is None or column.lengths is None:
            continue
        port, lengths = found.setdefault(column.length, (column.port, column.lengths))
        differs = np.flatnonzero(lengths != column.lengths)
        if len(differs):
            row = int(differs[0])
            raise ArgumentError(
                f'ports that share the length "{column.length}" must have the same number of steps, found '
                f'{lengths[row]} in "{port}" and {column.lengths[row]} in "{column.port}" for example {row}'
            )
    return {name: lengths for name, (_, lengths) in found.items()}
