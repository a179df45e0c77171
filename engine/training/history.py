"""What a training has come to, step by step and round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import unknown
from ...mappings import FrozenMapping
from .columns import Columns, Mean


@dataclass(frozen=True, eq=False)
class Curve:
    """Losses at some steps; its length is their number.

    Attributes:
        step: The steps, ``(n,)``, int64.
        round: The round of each, ``(n,)``, int64; the first is 1.
        total: The weighted sums of the losses, ``(n,)``, float64.
        losses: Each loss, without weights, ``(n,)``, float64, by output port.
    """

    step: NDArray[np.int64]
    round: NDArray[np.int64]
    total: NDArray[np.float64]
    losses: FrozenMapping[NDArray[np.float64]]

    def __len__(self) -> int:
        """Count the entries."""
        return len(self.step)

    def of(self, port: str | None) -> NDArray[np.float64]:
        """Return a loss, ``(n,)``; None: the weighted sum.

        Raises:
            UnknownNameError: There is no such loss.
        """
        if port is None:
            return self.total
        if port not in self.losses:
            raise unknown("loss", port, self.losses, "the training")
        return self.losses[port]


@dataclass(frozen=True, eq=False)
class History:
    """All losses of a training, as arrays that cannot be written to.

    Attributes:
        steps: Every step, in the training pass, before its own move.
        rounds: Every whole round, at its last step: means over its examples, of steps whose losses are finite. Of a
            training that went on in mid-round, the first has the steps from there on.
        validation: Every validation.
        examples: The examples of each step, ``(steps,)``, int64.
        learning_rate: After each round, ``(rounds,)``, float64.
        seconds: From the beginning to the end of each round, ``(rounds,)``, float64.
    """

    steps: Curve
    rounds: Curve
    validation: Curve
    examples: NDArray[np.int64]
    learning_rate: NDArray[np.float64]
    seconds: NDArray[np.float64]


class Mark(NamedTuple):
    """The end of a round, or a validation."""

    step: int
    round: int
    rate: float
    seconds: float
    mean: Mean | None = None  # of a validation


def history_of(columns: Columns, ends: Sequence[Mark], validations: Sequence[Mark], last_round: int) -> History:
    """Return the history; a round that has not ended is that of the steps behind the last end."""
    step = np.array(columns.step, np.int64)
    places = np.searchsorted(step, [mark.step for mark in ends], side="right").tolist()
    means = [columns.mean(begin, end) for begin, end in zip([0, *places], places)]
    numbers = np.array([*(mark.round for mark in ends), last_round], np.int64)
    of_steps = numbers[np.searchsorted([mark.step for mark in ends], step, side="left")]
    losses = {port: np.array(found, np.float64) for port, found in columns.losses.items()}
    return History(
        steps=_curve(step, of_steps, np.array(columns.total, np.float64), losses),
        rounds=_curve_of(ends, means, columns.losses),
        validation=_curve_of(validations, [mark.mean for mark in validations if mark.mean], columns.losses),
        examples=_frozen(np.array(columns.examples, np.int64)),
        learning_rate=_frozen(np.array([mark.rate for mark in ends], np.float64)),
        seconds=_frozen(np.array([mark.seconds for mark in ends], np.float64)),
    )


def _curve_of(marks: Sequence[Mark], means: Sequence[Mean], ports: Mapping[str, Any]) -> Curve:
    return _curve(
        np.array([mark.step for mark in marks], np.int64),
        np.array([mark.round for mark in marks], np.int64),
        np.array([mean.total for mean in means], np.float64),
        {port: np.array([mean.losses[port] for mean in means], np.float64) for port in ports},
    )


def _curve(
    step: NDArray[np.int64],
    number: NDArray[np.int64],
    total: NDArray[np.float64],
    losses: Mapping[str, NDArray[np.float64]],
) -> Curve:
    by_port = FrozenMapping({port: _frozen(found) for port, found in losses.items()}, "loss", "the training")
    return Curve(_frozen(step), _frozen(number), _frozen(total), by_port)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
