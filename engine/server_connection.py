"""The connection of a worker to the parameter servers: one a process, made once, ended with the script."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakMethod

from .._mxnet import mx
from ..errors import ArgumentError, Error
from .launch.channel import Channel, current

MOST_SHOWN = 500  # characters of a text in an error
MODES = ("sync", "async")
START = "python -m mxtrainer.launch -n 4 script.py"


class Connection:
    """The servers, as a worker sees them.

    Args:
        channel: The line to the launcher.
        mode: "sync": what is pushed under a key is summed over the workers. "async": it is added at once to what the
            servers hold.

    Attributes:
        channel: The line to the launcher.
        mode: The mode.
        store: MXNet's KVStore.
        endings: Methods that are called at the end of the script, of objects that live by then.

    Raises:
        Error: The workers want different modes, or the servers do not do what they should.
    """

    def __init__(self, channel: Channel, mode: str) -> None:
        self.channel, self.mode = channel, mode
        self._keys = 0
        self.endings: list[WeakMethod[Any]] = []
        agree(channel, "the way in which workers work together", mode)
        channel.begin()
        with channel.waiting():
            self.store: Any = mx.kv.create(f"dist_{mode}")
            self._check()
            if mode == "async":
                self._let_servers_add()
        channel.end()
        channel.settle = mx.nd.waitall
        channel.tell("joined", mode=mode)

    def _check(self) -> None:
        found = self.store.rank, self.store.num_workers
        if found != (self.channel.rank, self.channel.workers):
            raise Error(
                f"MXNet's servers have made this worker {found[0]} of {found[1]}, and it was started as "
                f"{self.channel.rank} of {self.channel.workers}: another program has taken a port; start again"
            )

    def _let_servers_add(self) -> None:
        if self.channel.rank == 0:
            # w - 1 * (-1 * d): a class of MXNet's, which servers can import; others would be ignored without an error
            self.store.set_optimizer(mx.optimizer.SGD(learning_rate=1.0, wd=0.0, rescale_grad=-1.0))
        self.store._barrier()  # noqa: SLF001 - it has no public name
        probe = mx.nd.ones((1,))
        (key,) = self.new_keys(1)
        self.store.init(key, probe)
        self.store.push(key, probe)
        self.barrier()
        self.store.pull(key, out=probe)
        if probe.asscalar() != 1 + self.channel.workers:
            raise Error(f"the servers do not add: 1 for each worker, to 1, has given {probe.asscalar():g}")

    def new_keys(self, count: int) -> list[int]:
        """Return keys that were not used before."""
        first, self._keys = self._keys, self._keys + count
        return list(range(first, self._keys))

    def barrier(self) -> None:
        """Wait until all workers have come here, and all that they had queued has run."""
        mx.nd.waitall()
        self.store._barrier()  # noqa: SLF001 - it has no public name

    def close(self) -> None:
        """Take part in the common end; waits for all workers. What is queued later fails."""
        if self.store is None:
            return
        self.channel.tell_state()
        self.channel.tell("left")
        with self.channel.waiting():
            self.barrier()
            self.store = None  # the last reference: MXNet leaves the servers, which end with the last worker


_connection: Connection | None = None


def connect(mode: str) -> Connection:
    """Return the connection of this process, which is made at the first call; waits for all workers then.

    Raises:
        ArgumentError: There is no such mode.
        Error: No launcher has started this process; or another mode is in use.
    """
    global _connection  # noqa: PLW0603 - MXNet has one connection a process
    if mode not in MODES:
        raise ArgumentError(f'distributed must be "sync" or "async", got {mode!r}')
    channel = current()
    if channel is None:
        raise Error(f'distributed="{mode}" is for a script that is started as several workers: {START}')
    if _connection is None:
        _connection = Connection(channel, mode)
    if _connection.mode != mode:
        raise Error(f'distributed="{mode}": this process works with "{_connection.mode}" already, and servers with one')
    if _connection.store is None:
        raise Error(f'distributed="{mode}": the connection to the servers was closed')
    return _connection


def disconnect() -> None:
    """Close the connection of this process, if there is one; waits for all workers.

    Raises:
        StepError: A step failed, and the script has not looked.
    """
    if _connection is not None:
        for method in _connection.endings:
            alive = method()
            if alive is not None:
                alive()
        _connection.close()


def agree(channel: Channel, name: str, text: str) -> None:
    """Compare a text with that of the other workers; waits for all.

    Raises:
        Error: Not all are the same.
    """
    shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
    digest = hashlib.sha256(text.encode()).hexdigest()  # messages stay short
    found = channel.ask(name, digest + shown)
    if len(set(found)) == 1:
        return
    ranks: dict[tuple[str, str], list[str]] = {}
    for rank, pair in enumerate(found):
        ranks.setdefault(pair, []).append(str(rank))
    parts = []
    for (asked, answer), numbers in ranks.items():
        what = answer[len(digest) :] if asked == name else f"asks for {asked}"
        parts.append(f"worker{'s' * (len(numbers) > 1)} {', '.join(numbers)}: {what}")
    raise Error(f"the workers differ in {name}: {'; '.join(parts)}")
