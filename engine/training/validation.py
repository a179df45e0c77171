"""Validation while a training goes on: what is best so far, and whether it still gets better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...arguments import number_within, positive_int
from ...errors import ArgumentError, BatchError, unknown
from ...plans.net import NetGraph
from ...plans.plan import Plan
from ..losses import Losses

if TYPE_CHECKING:
    from ..trainer import Trainer

NOTHING: Any = object()


class Best(NamedTuple):
    """The lowest validation loss, and where it was."""

    loss: float
    step: int
    round: int
    net: NetGraph


class Validation:
    """Evaluates on what is held out, and keeps the best net.

    Args:
        plan: The plan that is trained.
        data: A batch, or batches that can be iterated over again and again.
        monitor: The loss that decides; None: the weighted sum.
        every: Every how many steps; None: after each round.
        patience: After how many validations without a better loss training is to end; None: never.
        min_delta: By how much a loss must be lower to be better, for `patience`.

    Attributes:
        every: As given.
        best: The lowest loss so far; None: there was none.

    Raises:
        ArgumentError: An argument is not usable.
        UnknownNameError: There is no such loss.
    """

    def __init__(
        self, plan: Plan, data: Any, *, monitor: str | None, every: int | None, patience: int | None, min_delta: float
    ) -> None:
        """Evaluate nothing yet."""
        if not isinstance(data, Iterable):
            raise ArgumentError(f"validation must be a batch, or batches to iterate over, got {type(data).__name__}")
        if isinstance(data, Iterator):
            raise ArgumentError(
                "validation is an iterator, which is used up by the first validation: give a batch, a list, "
                "mxt.Batches(...) or mxt.stream(...)"
            )
        if monitor is not None and monitor not in plan.loss_ports:
            raise unknown("loss", monitor, plan.loss_ports, "the plan")
        self._data: Any = data
        self._monitor = monitor
        self.every = None if every is None else positive_int(every, "validate_every")
        self._patience = None if patience is None else positive_int(patience, "patience")
        self._delta = number_within(min_delta, "min_delta", least=0.0)
        self.best: Best | None = None
        self._mark = math.inf  # the loss that is to be improved on
        self._waited = 0  # validations since it was set

    def go_on_from(self, best: Best, step: int, rounds: int) -> None:
        """Take over what was best before the training stopped, after a step, and so many whole rounds."""
        self.best, self._mark = best, best.loss
        waited = rounds - best.round if self.every is None else step // self.every - best.step // self.every
        self._waited = max(0, waited)

    def is_due(self, step: int, ended: bool) -> bool:
        """Tell whether to validate after a step, which may have ended a round."""
        return ended if self.every is None else step % self.every == 0

    def check(self, trainer: Trainer) -> None:
        """Evaluate the first batch, so that what is wrong with it is told before the first step; waits.

        Raises:
            ArgumentError: There is none.
            BatchError: It does not fit.
        """
        data = self._again()
        first: Any = data if isinstance(data, Mapping) else next(iter(data), NOTHING)
        if first is NOTHING:
            raise ArgumentError("validation gives no batches")
        try:
            trainer.evaluate(first, [])
        except BatchError as error:
            raise BatchError(f"validation: {error}") from error

    def _again(self) -> Any:
        """Return the data from its beginning, in the same order each time."""
        again = hasattr(self._data, "round") and not isinstance(self._data, Mapping)
        return self._data.round(0) if again else self._data

    def run(self, trainer: Trainer, number: int) -> tuple[Losses, float, bool]:
        """Evaluate, in a round; return the losses, the one that decides, and whether it is the lowest so far; waits.

        Raises:
            BatchError: A batch does not fit.
            StepError: A step failed.
        """
        data = self._again()
        losses = trainer.evaluate(data, [] if isinstance(data, Mapping) else None).losses
        loss = losses.total if self._monitor is None else losses[self._monitor]
        better = loss < (math.inf if self.best is None else self.best.loss)
        if better:
            self.best = Best(loss, trainer.step, number, trainer.net())
        self._waited += 1
        if loss < self._mark - self._delta:
            self._mark, self._waited = loss, 0
        return losses, loss, better

    @property
    def is_hopeless(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self._waited >= self._patience
