"""The way of carried states into one graph and out of it, on the device and inside the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._mxnet import mx
from .capi import prepared
from .staging import Staging, Want
from .state_table import INITIAL, SPARE, Places, StateTable

BEGINS, ENDS, ANEW = ".begins", ".ends", ".anew"  # arrays beside those of ports, which no port can be named like


def wanted(rows: int) -> dict[str, Want]:
    """Return the arrays that say where rows begin and end."""
    return {BEGINS: Want((rows,), "int32"), ENDS: Want((1, rows), "int32"), ANEW: Want((1, rows), "int32")}


class Keeping:
    """The way of carried states into the table.

    Args:
        table: Where they are between steps.
        states: What is to be carried, by input port.
        begun: What rows have started at, by input port.
        ends: ``(1, rows)``: where each row's state goes.
        anew: ``(1, rows)``: the same for rows that start anew, and nowhere for others.

    Attributes:
        table: As given.
        states: As given.
        begun: As given.
        ends: As given.
        anew: As given.
        begins_anew: Whether `anew` is read.
    """

    def __init__(
        self, table: StateTable, states: Mapping[str, Any], begun: Mapping[str, Any], ends: Any, anew: Any
    ) -> None:
        """Prepare nothing yet."""
        self.table = table
        self.states = dict(states)
        self.begun = dict(begun)
        self.ends, self.anew = ends, anew
        self.begins_anew = False

    def keeping(self, go: Any) -> list[Callable[[], None]]:
        """Return what queues the way of the new states into the table, if `go` ``(1,)`` is not 0, and else nowhere.

        It uses no scratch memory, by which other failures could keep it from running. `go` is asked by operators on
        places alone, which are taken back at the end: if it is skipped, the next one goes nowhere too.
        """
        return self._writing(go, self.ends, self.states)

    def beginning(self, skipped: Any) -> list[Callable[[], None]]:
        """Return what queues the states that rows began with into the table, if `skipped` ``(1,)`` is not 0.

        A row that begins at a step that is skipped has begun all the same: its place may hold what someone else left.
        """
        self.begins_anew = True
        return self._writing(skipped, self.anew, self.begun)

    def _writing(self, flag: Any, places: Any, states: Mapping[str, Any]) -> list[Callable[[], None]]:
        spare = mx.nd.full(places.shape, SPARE, ctx=places.context, dtype="int32")
        chosen = spare.copy()
        choosing = prepared("where", [flag, places, spare], [chosen])
        return [choosing, *self._scattering(chosen, states), prepared("_set_value", [], [chosen], src=float(SPARE))]

    def keep(self) -> None:
        """Queue the way of the new states into the table."""
        for call in self._scattering(self.ends, self.states):
            call()

    def _scattering(self, places: Any, states: Mapping[str, Any]) -> list[Callable[[], None]]:
        return [
            prepared("_scatter_set_nd", [array, states[port], places], [array], shape=array.shape)
            for port, array in self.table.arrays.items()
        ]


class Carried(Keeping):
    """The carried states of one graph.

    Args:
        table: Where they are between steps.
        staging: The graph's input arrays.
        states: What the graph gives to be carried, by input port.
        begun: What the graph starts at, by input port, for ports whose initial states are learned.
    """

    def __init__(
        self, table: StateTable, staging: Staging, states: Mapping[str, Any], begun: Mapping[str, Any]
    ) -> None:
        """Prepare nothing yet."""
        arrays = staging.arrays
        started = {port: begun.get(port, arrays[port]) for port in states}
        super().__init__(table, states, started, arrays[ENDS], arrays[ANEW])
        self._staging = staging
        self._arrays: dict[str, Any] = {}
        self._taking: dict[str, Callable[[], None]] = {}

    def feed(self, slot: int, places: Places, ports: tuple[str, ...]) -> None:
        """Queue the states of some input ports on their way into the graph."""
        staging = self._staging
        staging.place(BEGINS, slot, places.begins, places)
        staging.place(ENDS, slot, places.ends, places)
        if self.begins_anew:
            staging.place(ANEW, slot, places.anew, places)
        for port in ports:
            array = self.table.arrays[port]
            if self._arrays.get(port) is not array:  # the table has grown
                taken = [array, staging.arrays[BEGINS]]
                self._taking[port] = prepared("take", taken, [staging.arrays[port]], axis=0, mode="clip")
                self._arrays[port] = array
            staging.forget(port)
            self._taking[port]()
            if port in self.table.learned:
                staging.place(f"begins:{port}", slot, places.begins == INITIAL, places)
