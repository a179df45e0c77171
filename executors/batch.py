"""A batch with what belongs to it beside its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..errors import BatchError
from ..mappings import FrozenMapping


class Batch(Mapping[str, Any]):
    """A frozen mapping of input ports to arrays, with the true lengths of padded arrays.

    Every call that takes a batch takes one of these, or a plain mapping.

    Args:
        ports: Arrays by input port, as for `Trainer.update`.
        lengths: The true number of steps of each row, by length name, where sequences come as padded arrays.
        streams: The stream of each row, strings or integers, whose state a trainer carries on.
        reset: One boolean a row: whether it begins a sequence.
        carry_at: After how many steps the states are taken that the next windows begin with, where those overlap with
            these; None: at the end.
        loss_from: One integer a row: how many first steps have no loss, as an earlier window has it; None: all have.
        position: Where it stands in what it comes from, such as ``(round, batches)`` of `Batches`.

    Attributes:
        lengths: As given; None where rows are full, or sequences come as lists.
        streams: As given.
        reset: As given.
        carry_at: As given.
        loss_from: As given.
        position: As given.

    Raises:
        BatchError: An argument is no mapping.

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
        carry_at: int | None = None,
        loss_from: ArrayLike | None = None,
        position: tuple[int, ...] | None = None,
    ) -> None:
        """Keep the arrays themselves; nothing is copied."""
        if not isinstance(ports, Mapping):
            raise BatchError(f"Batch takes a mapping from input ports to arrays, got {type(ports).__name__}")
        if lengths is not None and not isinstance(lengths, Mapping):
            raise BatchError(
                f'Batch: lengths must map length names to the lengths of rows, as in {{"t": [7, 29]}}, got {lengths!r}'
            )
        self._ports = dict(ports)
        self.lengths = None if lengths is None else FrozenMapping(lengths, "length", "the batch")
        self.streams = streams
        self.reset = reset
        self.carry_at = carry_at
        self.loss_from = loss_from
        self.position = position

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
        more = "".join(
            f", {name}={found!r}"
            for name, found in (
                ("lengths", self.lengths),
                ("streams", self.streams),
                ("reset", self.reset),
                ("position", self.position),
            )
            if found is not None
        )
        return f"Batch({', '.join(self._ports)}{more})"
