"""The state table: the carried states of many streams, on the device, one row of it a stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..arrays import MOST_ELEMENTS
from ..errors import ArgumentError
from ..plans.plan import Plan
from .store import ParameterStore

INITIAL, SPARE = 0, 1  # the place that holds what streams start at, and the one for what is not to be kept
RESERVED = 2


@dataclass(frozen=True, eq=False)  # compared by identity: the same places need not travel again
class Places:
    """Where in the table the rows of one batch begin and end.

    Attributes:
        begins: The place of each row's state before the step, ``(batch_size,)``; `INITIAL` for those that start anew,
            and for missing rows.
        ends: The place of each row's state after it, ``(batch_size,)``; `SPARE` for missing rows.
    """

    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    @property
    def rows(self) -> int:
        """The number of rows that are there."""
        return int((self.ends != SPARE).sum())

    @property
    def anew(self) -> NDArray[np.int32]:
        """The end of each row that starts anew, ``(batch_size,)``; `SPARE` for the others."""
        return np.where(self.begins == INITIAL, self.ends, np.int32(SPARE))


def bytes_of_states(plan: Plan, ports: Iterable[str]) -> int:
    """Return the size in memory of one stream's states."""
    return sum(math.prod(plan.inputs[port].shape(1, {})) for port in ports) * np.dtype(plan.dtype).itemsize


class StateTable:
    """The carried states by place.

    Args:
        store: The arrays that learned initial states are in.
        carry: The output port of each carried input port.
        places: How many streams it holds at first.

    Attributes:
        carry: As given.
        arrays: ``(places, *item)`` by input port.
        learned: The path of the parameter that a port's state starts at, for ports that have one.
    """

    def __init__(self, store: ParameterStore, carry: Mapping[str, str], places: int) -> None:
        """Fill it with initial states.

        Raises:
            ArgumentError: An array would be too large for MXNet.
        """
        self._store = store
        self._plan: Plan = store.plan
        self.carry = dict(carry)
        initial = {port: self._plan.inputs[port].initial for port in carry}
        self.learned = {port: found for port, found in initial.items() if isinstance(found, str)}
        self._constants = {port: found if isinstance(found, float) else 0.0 for port, found in initial.items()}
        self.arrays = {port: self._new(port, RESERVED + places) for port in carry}

    def _new(self, port: str, places: int) -> Any:
        shape = self._plan.inputs[port].shape(places, {})
        if math.prod(shape) > MOST_ELEMENTS:
            raise ArgumentError(
                f'the carried states of "{port}": {shape} has more than the {MOST_ELEMENTS:,} elements that MXNet can '
                f"hold; take a smaller batch size, or a smaller state_capacity="
            )
        return mx.nd.full(shape, self._constants[port], ctx=self._store.context, dtype=self._plan.dtype)

    @property
    def places(self) -> int:
        """How many streams it holds."""
        return int(next(iter(self.arrays.values())).shape[0]) - RESERVED

    @property
    def dtype(self) -> str:
        """The dtype of all states."""
        return self._plan.dtype

    def shape(self, port: str, streams: int) -> tuple[int, ...]:
        """Return the shape of a port's states of so many streams, ``(streams, *item)``."""
        return self._plan.inputs[port].shape(streams, {})

    @property
    def bytes_per_stream(self) -> int:
        """The size of one stream's states in memory."""
        return bytes_of_states(self._plan, self.carry)

    def grow(self, places: int) -> None:
        """Move to larger arrays; queued, does not wait. Nothing that could fail is queued before it."""
        for port, old in self.arrays.items():
            self.arrays[port] = self._new(port, RESERVED + places)
            old.copyto(self.arrays[port][: old.shape[0]])

    def read(self, begins: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """Return the states at some places, ``(rows, *item)`` by input port; waits."""
        found = {port: array.asnumpy()[begins] for port, array in self.arrays.items()}
        for port, path in self.learned.items():
            found[port][begins == INITIAL] = self._store.argument(path).asnumpy()
        return found

    def read_one(self, place: int) -> dict[str, NDArray[Any]]:
        """Return the states at one place, ``item`` by input port; waits."""
        found = {
            port: array[place : place + 1].asnumpy().reshape(array.shape[1:]) for port, array in self.arrays.items()
        }
        if place == INITIAL:
            found.update({port: self._store.argument(path).asnumpy() for port, path in self.learned.items()})
        return found

    def write_all(self, places: list[int], states: Mapping[str, NDArray[Any]]) -> None:
        """Set states at some places, ``(places, *item)`` by input port; waits."""
        for port, found in states.items():
            whole = self.arrays[port].asnumpy()
            whole[places] = found
            self.arrays[port][:] = whole

    def write(self, place: int, states: Mapping[str, NDArray[Any]]) -> None:
        """Set states at a place; waits."""
        for port, found in states.items():
            self.arrays[port][place : place + 1] = found.reshape((1, *found.shape))
