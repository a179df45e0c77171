"""Ports of this machine that no other program gets before those for whom they are."""

from __future__ import annotations

import contextlib
import socket

LOOPBACK = "127.0.0.1"


class Ports:
    """Free ports, held until it is closed; those who know them can listen on them meanwhile.

    A port that is bound, with the right to be bound again, is given to nobody who asks for any; ZeroMQ, by which MXNet
    listens, binds with that right.

    Args:
        count: How many.
        address: The address of this machine at which they are.

    Attributes:
        numbers: The ports, in ascending order.
    """

    def __init__(self, count: int, address: str = LOOPBACK) -> None:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in held:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((address, 0))
            self.numbers = sorted(one.getsockname()[1] for one in held)
            self._held = stack.pop_all()

    def close(self) -> None:
        """Give them back."""
        self._held.close()
