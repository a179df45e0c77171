"""What a training ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...extras import require
from ...plans.net import NetGraph
from ...tables import Part, Printed, Table
from .history import Curve, History
from .plot import plot

REASONS = {
    "rounds": "all rounds are done",
    "batches": "the iterator gave no more batches",
    "steps": "the last step was taken",
    "seconds": "time was up",
    "patience": "validation did not get better",
    "each": "the function given as each= said so",
    "interrupted": "Ctrl-C",
    "error": "an error",
}


@dataclass(frozen=True, eq=False)
class TrainResult(Printed):
    """A trained net, and how it came about; prints as a short table.

    Attributes:
        net: The net as the last step left it. None in the `result` of an error: the trainer has its arrays.
        best_net: The net at the lowest validation loss; None: there was none.
        best_loss: That loss; None: there was none.
        best_step: The step after which it was.
        best_round: The round that it ended, or was in; the first is 1.
        history: All losses.
        reason: Why the training ended: "rounds", "batches", "steps", "seconds", "patience", "each", "interrupted"; or
            "error".
        seconds: How long it took, validations and all else included.
        initial_learning_rate: That of the first step.
        final_learning_rate: That which a next step would have.
    """

    net: NetGraph | None
    best_net: NetGraph | None
    best_loss: float | None
    best_step: int | None
    best_round: int | None
    history: History
    reason: str
    seconds: float
    initial_learning_rate: float
    final_learning_rate: float

    @property
    def steps(self) -> int:
        """The number of steps whose losses are known: those that this training has taken."""
        return len(self.history.steps)

    @property
    def rounds(self) -> int:
        """The number of rounds that ended in this training."""
        return len(self.history.rounds)

    @property
    def examples(self) -> int:
        """The number of examples that this training has taken."""
        return int(self.history.examples.sum())

    @property
    def examples_per_second(self) -> float:
        """The mean over all of the time."""
        return self.examples / self.seconds if self.seconds else 0.0

    @property
    def steps_per_second(self) -> float:
        """The mean over all of the time."""
        return self.steps / self.seconds if self.seconds else 0.0

    def plot(self, port: str | None = None, *, ax: Any = None) -> Any:
        """Draw the losses over the steps, those of validations, and the best of these; needs the extra "plots".

        Args:
            port: The loss; None: the weighted sum.
            ax: Axes of matplotlib to draw into; None: new ones, of a figure of their own.

        Returns:
            The axes; ``result.plot().figure.savefig("run.png")`` writes a file, also where there is no display.

        Raises:
            UnknownNameError: There is no such loss.
            MissingExtraError: matplotlib is not installed.
        """
        return plot(self, port, ax)

    def to_frame(self, by: str = "step") -> Any:
        """Return the losses as a DataFrame of pandas; needs the extra "frames".

        Args:
            by: "step" for a row a step, or "round" for a row a round.

        Returns:
            A frame with the step, or the round, as its index, and the columns "round" or "step", "loss", "validation",
            and "loss/PORT", "validation/PORT" for each loss. "validation" is the weighted sum of the last validation up
            to the end of the round, or of that at the step; NaN: there was none. By step there are "examples" too; by
            round "learning_rate" and "seconds".

        Raises:
            ArgumentError: `by` is neither.
            MissingExtraError: pandas is not installed.
        """
        if by not in {"step", "round"}:
            raise ArgumentError(f'to_frame: by must be "step" or "round", got {by!r}')
        pandas = require("pandas", "frames", "to_frame()")
        history = self.history
        curve = history.steps if by == "step" else history.rounds
        other = "round" if by == "step" else "step"
        columns = {by: getattr(curve, by), other: getattr(curve, other), **_losses(curve, "loss")}
        validated = _losses(history.validation, "validation")
        places = _places(curve, history.validation, by)
        columns.update({name: np.append(found, np.nan)[places] for name, found in validated.items()})
        if by == "step":
            columns["examples"] = history.examples
        else:
            columns.update(learning_rate=history.learning_rate, seconds=history.seconds)
        return pandas.DataFrame(columns).set_index(by)

    def _parts(self) -> list[Part]:
        """Show what was done, why it ended, and the first, the last and the best losses."""
        rounds = f"{self.rounds:,} round{'' if self.rounds == 1 else 's'}, "
        done = f"{rounds}{self.steps:,} steps, {self.examples:,} examples in {self.seconds:.1f} s"
        speed = f"{done}, {self.examples_per_second:,.0f} a second"
        parts: list[Part] = [speed, f"ended by {self.reason}: {REASONS[self.reason]}"]
        bad = int((~np.isfinite(self.history.validation.total)).sum())
        if bad:
            parts.append(f"validation was not finite, {bad} of {len(self.history.validation)} times")
        return [*parts, Table(["", "training", "validation"], self._rows())] if self.steps else parts

    def _rows(self) -> list[list[str]]:
        history = self.history
        ends = history.rounds if len(history.rounds) else history.steps
        kind = "round" if len(history.rounds) else "step"
        places = [0, len(ends) - 1] if len(ends) > 1 else [0]
        validated = np.append(history.validation.total, np.nan)[_places(ends, history.validation, kind)]
        rows = [
            [f"{kind} {getattr(ends, kind)[place]:,}", _number(ends.total[place]), _number(validated[place])]
            for place in places
        ]
        if self.best_loss is not None:
            at = np.flatnonzero(ends.step == self.best_step)
            training = _number(ends.total[at[0]]) if len(at) else ""
            validation = history.validation.total[history.validation.step == self.best_step]
            best = validation[-1] if len(validation) else self.best_loss  # of a training before this one
            rows.append([f"best: round {self.best_round:,}", training, _number(best)])
        return rows


def _losses(curve: Curve, what: str) -> dict[str, Any]:
    return {what: curve.total, **{f"{what}/{port}": found for port, found in curve.losses.items()}}


def _places(curve: Curve, validation: Curve, by: str) -> list[int]:
    """Return which validation belongs to each entry: that of its step, or the last of its round; -1: there was none."""
    last = {int(key): place for place, key in enumerate(getattr(validation, by))}
    return [last.get(int(key), -1) for key in getattr(curve, by)]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"
