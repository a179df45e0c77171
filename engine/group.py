"""The workers of one training, as each of them sees it: sums over all, and agreement."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakMethod

import numpy as np

from .._mxnet import mx
from ..errors import ArgumentError, Error
from ..executors.capi import pull_of, push_of
from .group_sums import Sum, cut
from .server_connection import Connection, agree, connect


class Group:
    """The workers that a launcher has started together; made by `Group.join`.

    All workers make the same calls in the same order. The launcher ends all of them where one dies, or leaves while
    another waits for it.
    """

    def __init__(self, connection: Connection, reproducible: bool) -> None:
        self._connection = connection
        self._channel = connection.channel
        self._reproducible = reproducible
        self._sums: dict[int, Sum] = {}
        self._shared: dict[int, tuple[Any, list[int]]] = {}
        self._additions: dict[tuple[int, int], tuple[Callable[[], None], Callable[[], None], Any]] = {}

    @classmethod
    def join(cls, mode: str = "sync", *, reproducible: bool = True) -> Group:
        """Join the other workers; waits for all of them.

        Args:
            mode: "sync": `sum` adds up over the workers. "async": `add` changes what the servers hold.
            reproducible: Whether sums of 3 workers and more are taken in one order, and so have the same bits in every
                run; it takes more traffic. Those of 2 workers always have.

        Raises:
            ArgumentError: There is no such mode.
            Error: No launcher has started this process, or the workers do not fit together.
        """
        return cls(connect(mode), reproducible)

    @property
    def rank(self) -> int:
        """The number of this worker, from 0."""
        return self._channel.rank

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return self._channel.workers

    @property
    def mode(self) -> str:
        """The mode, "sync" or "async"."""
        return self._connection.mode

    def agree(self, name: str, text: str) -> None:
        """Compare a text with that of all other workers; waits for them.

        Args:
            name: What it is, as the object of a sentence: "the plan".
            text: What all must have alike.

        Raises:
            Error: Not all have the same; it is raised in every worker, and says who has what.
        """
        agree(self._channel, name, text)

    def at_end(self, method: Callable[[], object]) -> None:
        """Have a method called at the end of the script, before this worker leaves, as long as its object lives."""
        self._connection.endings.append(WeakMethod(method))

    def answers(self, question: str, answer: str) -> list[str]:
        """Return the answers of all workers to a question, by rank; waits for them."""
        return [given for _, given in self._channel.ask(question, answer)]

    def share(self, array: Any) -> None:
        """Give all workers the numbers of worker 0, bit for bit; waits for them.

        With mode "async" the servers hold them from now on, for `add`.

        Args:
            array: ``(elements,)``, float32, an NDArray of the host; all workers have the same number.

        Raises:
            ArgumentError: It is no such array.
            Error: The workers have different numbers of elements.
        """
        check_array(array, "share")
        self.agree("what is shared", f"{array.size} elements")
        store, parts = self._store(), cut(array)
        keys = self._connection.new_keys(len(parts))
        self._channel.begin()
        with self._channel.waiting():
            store.init(keys, parts)
            pull_of(store, keys, parts)()
            self._connection.barrier()  # before anybody changes what the servers hold
        self._channel.end()
        self._shared[id(array)] = array, keys
        self._additions = {key: found for key, found in self._additions.items() if key[1] != id(array)}  # of old keys

    def sum(self, array: Any) -> None:
        """Queue the sum over all workers of an array, in its place; does not wait, but for the first with this array.

        Args:
            array: ``(elements,)``, float32, an NDArray of the host of which no other array is a view. It is kept.

        Raises:
            ArgumentError: It is no such array, or the mode is not "sync".
            Error: The workers have different numbers of elements.
        """
        found = self._sums.get(id(array))
        if found is None:
            found = self._sums[id(array)] = self._prepared(array)
        self._store()
        self._channel.begin()
        found()
        self._channel.end()

    def _prepared(self, array: Any) -> Sum:
        if self.mode != "sync":
            raise ArgumentError('sum is for workers with mode "sync"; those with "async" have add')
        check_array(array, "sum")
        self.agree("what is summed", f"{array.size} elements")
        self._channel.begin()
        with self._channel.waiting():
            made = Sum(self._connection, array, self._reproducible)
        self._channel.end()
        return made

    def add(self, change: Any, array: Any) -> None:
        """Queue the addition of a change to what the servers hold, and read what they then have; does not wait.

        Others' changes are in it as they happen to have come.

        Args:
            change: As large as the array, float32. It is overwritten, and kept.
            array: An array that was shared; it is written.

        Raises:
            ArgumentError: The array was not shared, the change does not fit it, or the mode is not "async".
        """
        found = self._additions.get((id(change), id(array)))
        if found is None:
            found = self._additions[id(change), id(array)] = self._addition(change, array)
        self._store()
        found[0]()
        found[1]()

    def _addition(self, change: Any, array: Any) -> tuple[Callable[[], None], Callable[[], None], Any]:
        if self.mode != "async":
            raise ArgumentError('add is for workers with mode "async"; those with "sync" have sum')
        check_array(change, "add")
        if id(array) not in self._shared:
            raise ArgumentError("add takes an array that was shared before, by share(array)")
        if change.shape != array.shape or change is array:
            raise ArgumentError(
                f"add takes a change of its own array, {array.shape} as what it is added to, got {change.shape}"
            )
        store, keys = self._store(), self._shared[id(array)][1]
        return push_of(store, keys, cut(change)), pull_of(store, keys, cut(array)), (change, array)

    def barrier(self) -> None:
        """Wait until all workers have come here, and all that they had queued has run."""
        self._store()
        self._channel.begin()
        with self._channel.waiting():
            self._connection.barrier()
        self._channel.end()

    def waiting(self) -> AbstractContextManager[None]:
        """Return a block in which this worker says that it waits for others, for `--stall` to name the right one."""
        return self._channel.waiting()

    def note_step(self, number: int) -> None:
        """Say at which step this worker is; the launcher names it when something ends."""
        self._channel.step = number

    def close(self) -> None:
        """Wait for what is queued, and let go of all arrays; the connection stays until the script's end."""
        mx.nd.waitall()
        self._sums.clear()
        self._shared.clear()
        self._additions.clear()

    def _store(self) -> Any:
        if self._connection.store is None:
            raise Error("the connection to the servers was closed")
        return self._connection.store


def check_array(array: Any, what: str) -> None:
    """Refuse what servers would change in silence, or end at: they hold vectors of float32.

    Raises:
        ArgumentError: It is no flat NDArray of float32 in the host's memory.
    """
    if not isinstance(array, mx.nd.NDArray):
        raise ArgumentError(f"{what} takes an NDArray, got {type(array).__name__}")
    if array.context.device_type != "cpu" or array.stype != "default":
        raise ArgumentError(f"{what} takes a dense array of the host, got a {array.stype} one on {array.context}")
    if array.dtype != np.float32:
        raise ArgumentError(f"{what} takes float32, got {np.dtype(array.dtype)}: servers hold float32 only")
    if array.ndim != 1 or not array.size:
        raise ArgumentError(f"{what} takes a vector of at least one number, got the shape {array.shape}")
