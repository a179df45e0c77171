"""What every step is told: the learning rate, which arrays move, and how much each loss counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..arguments import names, positive_int
from ..errors import ArgumentError, NetError
from ..plans.plan import Plan
from .loss_weights import LossWeights
from .optimizers import Optimizer
from .rules import RuleTable, matching, no_match, resolve
from .schedules import Rate, check_schedule, check_total, rate_at
from .steps import Order


class Recipe:
    """What the steps of one trainer are told.

    Args:
        plan: The plan.
        optimizer: The optimizer.
        total_steps: How many steps there will be, for schedules that need to know; None: nobody knows.

    Attributes:
        optimizer: As given.
        rules: What is done with each array.
        paths: The arrays that are not frozen.
        loss_weights: The weights of the losses.

    Raises:
        ArgumentError: A rule matches no array, or the schedule needs to know how many steps there will be.
        NetError: All arrays are frozen.
    """

    def __init__(self, plan: Plan, optimizer: Optimizer, total_steps: int | None) -> None:
        """Resolve the rules."""
        self.optimizer = optimizer
        self.rules: RuleTable = resolve(optimizer.pairs, optimizer.settings, tuple(plan.parameters))
        self.paths = tuple(path for path, settings in self.rules.items() if not settings.frozen)
        if not self.paths:
            raise NetError("the rules of the optimizer freeze all arrays, so there is nothing to train")
        self._total = None if total_steps is None else positive_int(total_steps, "total_steps")
        self.set_rate(optimizer.learning_rate)
        self._chosen: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.loss_weights = LossWeights(plan)

    @property
    def frozen(self) -> set[str]:
        """The arrays that stay as they are."""
        return set(self.rules).difference(self.paths)

    @property
    def schedule(self) -> Rate:
        """The schedule of the learning rate as it is now."""
        return self._schedule

    def rate(self, step: int) -> float:
        """Return the learning rate of a step.

        Raises:
            ArgumentError: The schedule gives no rate.
        """
        return rate_at(self._schedule, step, self._total)

    def set_rate(self, rate: Rate) -> None:
        """Put another schedule, or a number, in place of the one that there is.

        Raises:
            ArgumentError: It is none, or needs to know how many steps there will be.
        """
        schedule = check_schedule(rate, "learning_rate")
        check_total(schedule, self._total)
        self._schedule: Rate = schedule

    def order(
        self,
        step: int | None,
        only: str | Sequence[str] | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> Order:
        """Return what a step is told.

        Args:
            step: The number of the step, whose learning rate is asked for; None: it does not move yet.
            only: Patterns of the arrays that move; None: all that are not frozen.
            losses: The weights of this step's losses, where others have 0; None: those of `loss_weights`.

        Raises:
            ArgumentError: A pattern matches nothing that could move, a weight is not usable, or the schedule gives no
                rate.
            UnknownNameError: There is no such loss.
        """
        paths = self.paths if only is None else self._paths_of(only)
        weights, heads = self.loss_weights.all, self.loss_weights.heads_now
        if losses is not None:
            weights = self.loss_weights.alone(losses)
            heads = self.loss_weights.heads(weights)
        return Order(weights, heads, paths, 0.0 if step is None else self.rate(step))

    def _paths_of(self, only: str | Sequence[str]) -> tuple[str, ...]:
        patterns = (only,) if isinstance(only, str) else names(only, "only")
        if patterns not in self._chosen:
            found = {path for pattern in patterns for path in self._moving(pattern)}
            if not found:
                raise ArgumentError("only: there must be at least one pattern")
            self._chosen[patterns] = tuple(path for path in self.paths if path in found)
        return self._chosen[patterns]

    def _moving(self, pattern: str) -> list[str]:
        found = matching(pattern, self.paths)
        if not found:
            if matching(pattern, self.rules):
                raise ArgumentError(f'only: the rules of the optimizer freeze all arrays that "{pattern}" matches')
            raise ArgumentError(f"only: {no_match(pattern, tuple(self.rules))}")
        return found
