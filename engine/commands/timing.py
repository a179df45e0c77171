"""How long the updates of a trainer take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from ..trainer import Trainer

WARM_UP = 3  # steps that are not counted: the first binds a graph
PREPARED = 8  # batches that take turns
SECONDS = 0.3  # of a round, where no number of steps is given


@dataclass(frozen=True)
class Timing:
    """What was measured.

    Attributes:
        rounds: Seconds a step, of each round: from the first `update` to the last step's loss.
        seconds_host: How long `update` checked, copied and queued, in seconds a step.
        share_blocked: How much of the time the host waited for the device, from 0 to 1.
    """

    rounds: tuple[float, ...]
    seconds_host: float
    share_blocked: float

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds a step."""
        return statistics.median(self.rounds)


def timed(trainer: Trainer, batches: Iterator[Mapping[str, Any]], steps: int | None, rounds: int) -> Timing:
    """Return how long updates take.

    Args:
        trainer: The trainer.
        batches: Batches, of which the first few take turns.
        steps: How many steps a round has; None: as many as take about a third of a second.
        rounds: How many rounds there are.

    Raises:
        StepError: A step failed.
    """
    turns = cycle(islice(batches, PREPARED))
    _round(trainer, turns, WARM_UP)
    if steps is None:
        steps = max(1, round(SECONDS / _round(trainer, turns, WARM_UP)))
    before = trainer.stats()
    seconds = tuple(_round(trainer, turns, steps) for _ in range(rounds))
    after = trainer.stats()
    host = after.seconds_staging + after.seconds_queueing - before.seconds_staging - before.seconds_queueing
    blocked = after.seconds_blocked - before.seconds_blocked
    return Timing(seconds, host / (steps * rounds), min(blocked / (steps * sum(seconds)), 1.0))


def _round(trainer: Trainer, turns: Iterator[Mapping[str, Any]], steps: int) -> float:
    begin = time.perf_counter()
    for batch in islice(turns, steps):
        trainer.update(batch)
    trainer.current_loss()
    return (time.perf_counter() - begin) / steps
