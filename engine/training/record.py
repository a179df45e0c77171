"""What loggers and functions of a user are told while a training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from ..losses import Losses

Cell = Union[int, float, bool, None]


@dataclass(frozen=True)
class TrainRecord:
    """Where a training stands after a step.

    Attributes:
        step: The step, as the trainer counts them.
        round: The round that the step is in; the first is 1.
        loss: The weighted sum of the losses, a mean over the examples since the last record, of steps whose losses are
            finite.
        losses: The same of each loss, by output port, without weights.
        validation: The losses of the validation at this step; None: there was none.
        validation_loss: The one that decides: that of `monitor`, or the weighted sum; None: there was no validation.
        best: Whether it is the lowest so far.
        learning_rate: That of the next step.
        examples: How many examples this training has taken.
        examples_per_second: Since the last record, what was done between steps included.
        seconds: The time since this training began.
    """

    step: int
    round: int
    loss: float
    losses: Mapping[str, float]
    validation: Losses | None
    validation_loss: float | None
    best: bool
    learning_rate: float
    examples: int
    examples_per_second: float
    seconds: float

    def as_row(self) -> dict[str, Cell]:
        """Return all of it as one flat mapping, always with the same names; ports as "loss/Loss", "validation/Loss"."""
        validation: Mapping[str, float] = {} if self.validation is None else self.validation
        return {
            "step": self.step,
            "round": self.round,
            "loss": self.loss,
            "validation_loss": self.validation_loss,
            "best": self.best,
            "learning_rate": self.learning_rate,
            "examples": self.examples,
            "examples_per_second": self.examples_per_second,
            "seconds": self.seconds,
            **{f"loss/{port}": found for port, found in self.losses.items()},
            **{f"validation/{port}": validation.get(port) for port in self.losses},
        }


Listener = Callable[[TrainRecord], Any]
