"""What tests of the ready loop share: batches of a linear net, and validations with given losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import drawn_batch

import mxtrainer as mxt
from mxtrainer.engine.training.validation import Validation

HELD_OUT = drawn_batch(99)


def batches_of(examples: int = 20) -> mxt.Batches:
    """Five batches a round."""
    generator = np.random.default_rng(3)
    return mxt.Batches({port: generator.normal(size=examples) for port in ("Input", "Target")}, batch_size=4)


def losses_given(monkeypatch: pytest.MonkeyPatch, *totals: float) -> None:
    """Let validations give these losses."""
    left = iter(totals)
    evaluate = mxt.Trainer.evaluate

    def given(trainer: mxt.Trainer, *arguments: Any) -> Any:
        found, total = evaluate(trainer, *arguments), next(left)
        object.__setattr__(found.losses, "values_by_port", dict.fromkeys(found.losses, total))
        return found

    monkeypatch.setattr(mxt.Trainer, "evaluate", given)
    monkeypatch.setattr(Validation, "check", lambda *_: None)  # which evaluates before the first step
