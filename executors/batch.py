"""A batch with what belongs to it beside its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..errors import BatchError
from ..mappings import FrozenMapping

BESIDE = ("lengths", "streams", "reset", "position", "carry_at", "loss_from")  # what a batch knows beside its arrays


class Batch(Mapping[str, Any]):
    """A frozen mapping of input ports to arrays, with the true lengths of padded arrays, and whose state each row is.

    Every call that takes a batch takes one of these, or a plain mapping.

    Args:
        ports: Arrays by input port, as for `Trainer.update`.
        lengths: The true number of steps of each row, by length name, where sequences come as padded arrays.
        streams: One id a row, a string or an integer: the row goes on with the state that is kept under it.
        reset: One boolean a row: whether a sequence begins there.
        position: Where it stands in what it comes from, such as ``(round, batches)`` of `Batches`.
        carry_at: After how many steps the state is taken that the next window starts from; None: after the last. A
            row with fewer steps is the last window of its sequence.
        loss_from: One number a row: so many of its first steps have no loss. None: all steps have one.

    Attributes:
        lengths: As given; None where rows are full, or sequences come as lists.
        streams: As given.
        reset: As given.
        position: As given.
        carry_at: As given.
        loss_from: As given.

    Raises:
        BatchError: An argument is no mapping, or has no entries by row.

    Example:
        >>> Batch({"Input": [[1.0, 2.0], [3.0, 0.0]]}, lengths={"t": [2, 1]}).lengths
        {'t': [2, 1]}
    """

    def __init__(
        self,
        ports: Mapping[str, Any],
        lengths: Mapping[str, Sequence[int]] | None = None,
        streams: Sequence[str | int] | None = None,
        reset: ArrayLike | None = None,
        *,
        position: tuple[int, ...] | None = None,
        carry_at: int | None = None,
        loss_from: ArrayLike | None = None,
    ) -> None:
        """Keep the arrays themselves; nothing is copied."""
        if not isinstance(ports, Mapping):
            raise BatchError(f"Batch takes a mapping from input ports to arrays, got {type(ports).__name__}")
        if lengths is not None and not isinstance(lengths, Mapping):
            raise BatchError(
                f'Batch: lengths must map length names to the lengths of rows, as in {{"t": [7, 29]}}, got {lengths!r}'
            )
        for what, rows, such in (
            ("streams", streams, '["a", "b"]'),
            ("reset", reset, "[True, False]"),
            ("loss_from", loss_from, "[0, 8]"),
        ):
            if rows is not None and (isinstance(rows, (str, bytes, Mapping)) or not hasattr(rows, "__len__")):
                raise BatchError(f"Batch: {what} must have one entry a row, as in {such}, got {rows!r}")
        self._ports = dict(ports)
        self.lengths = None if lengths is None else FrozenMapping(lengths, "length", "the batch")
        self.streams = streams
        self.reset: Any = reset
        self.position = position
        self.carry_at = carry_at
        self.loss_from: Any = loss_from

    def __getitem__(self, port: str) -> Any:
        """Return the array of a port."""
        return self._ports[port]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ports."""
        return iter(self._ports)

    def __len__(self) -> int:
        """Count the ports."""
        return len(self._ports)

    def __repr__(self) -> str:
        """Show the ports, and what else it knows."""
        known = {name: getattr(self, name) for name in BESIDE}
        more = "".join(f", {name}={found!r}" for name, found in known.items() if found is not None)
        return f"Batch({', '.join(self._ports)}{more})"
