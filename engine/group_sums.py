"""A sum over workers, prepared once: an array in slices, which servers add up under keys."""

from __future__ import annotations

from typing import Any

from .._mxnet import mx
from ..executors.capi import prepared, pull_of, push_of
from .server_connection import Connection

SLICE = 2**18  # elements: 1 MB


def cut(array: Any) -> list[Any]:
    """Return views of an array: its slices, each of which has a key of its own."""
    if array.size <= SLICE:
        return [array]
    return [array[begin : begin + SLICE] for begin in range(0, array.size, SLICE)]


class Sum:
    """The sum of one array over all workers, in its place; a call queues it.

    Servers add in the order in which numbers come. Two numbers have the same sum in either order, and zeros change
    nothing; so where the bits are to be the same in every run, each pair of workers has keys of its own, under which
    the others push zeros, and every worker adds up the pairs' sums in order.

    Args:
        connection: The connection to the servers.
        array: ``(elements,)``, float32.
        reproducible: Whether three workers and more add up by pairs.
    """

    def __init__(self, connection: Connection, array: Any, reproducible: bool) -> None:
        """Make the keys known to the servers; waits for all workers."""
        pairs = (connection.channel.workers + 1) // 2 if reproducible and connection.channel.workers > 2 else 1
        self._array = array  # its identity is what this sum is found by
        parts = cut(array)
        own = connection.channel.rank // 2
        self._before: list[Any] = []
        self._after: list[Any] = []
        slots: list[Any] = []
        for part in parts:
            if pairs == 1:
                slots.append(part)
                continue
            made = [mx.nd.zeros_like(part) for _ in range(pairs)]
            slots += made
            for number, slot in enumerate(made):
                if number == own:
                    self._before.append(prepared("_copy", [part], [slot]))
                else:
                    self._before.append(prepared("_zeros", [], [slot], shape=slot.shape))
            self._after.append(prepared("add_n", made, [part], num_args=pairs))
        keys = connection.new_keys(len(slots))
        connection.store.init(keys, slots)
        self._push = push_of(connection.store, keys, slots)
        self._pull = pull_of(connection.store, keys, slots)

    def __call__(self) -> None:
        """Queue it."""
        for call in self._before:
            call()
        self._push()
        self._pull()
        for call in self._after:
            call()
