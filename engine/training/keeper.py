"""Checkpoints of a training: into one file, or by `Checkpoints` into a folder."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...arguments import as_path
from ...errors import ArgumentError, FileFormatError
from ..checkpoints import Checkpoints
from .validation import Best

if TYPE_CHECKING:
    from ..trainer import Trainer


class OneFile:
    """A file that always holds the newest checkpoint, with the calls of `Checkpoints`.

    Args:
        path: The file.

    Raises:
        ArgumentError: It is no path, or its folder is not there.
    """

    def __init__(self, path: object) -> None:
        """Write nothing yet."""
        self._path = Path(as_path(path, "checkpoint")).absolute()
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise ArgumentError(
                f"checkpoint must be a file in a folder that is there, got {os.fspath(self._path)!r}; to keep several "
                f"give mxt.Checkpoints(folder)"
            )

    def step(self, trainer: Trainer) -> bool:
        """Do nothing: steps are no times to save."""
        return False

    def save(self, trainer: Trainer, measure: float | None = None, *, wait: bool = True) -> Path:
        """Write the file."""
        trainer.save(self._path, wait=wait)
        return self._path


class Keeper:
    """Writes checkpoints when a round ends, when a validation has been, and when the training ends.

    Args:
        checkpoint: A path, a `Checkpoints`, or None for none.

    Raises:
        ArgumentError: It is neither.
    """

    def __init__(self, checkpoint: object) -> None:
        """Write nothing yet."""
        self._target: OneFile | Checkpoints | None = None
        if checkpoint is not None:
            self._target = checkpoint if isinstance(checkpoint, Checkpoints) else OneFile(checkpoint)
        self._measure: tuple[int, float] | None = None
        self._finished_at = -1

    @property
    def saves(self) -> bool:
        """Whether there are to be any."""
        return self._target is not None

    def step(self, trainer: Trainer) -> None:
        """Let a `Checkpoints` write one that is due by its own `every` and `seconds`; call it once a step."""
        if self._target is not None:
            self._target.step(trainer)

    def note(self, step: int, measure: float) -> None:
        """Note the validation loss at a step, for the checkpoint of that step."""
        self._measure = (step, measure) if math.isfinite(measure) else None

    def save(self, trainer: Trainer) -> None:
        """Write one behind the back of the loop."""
        self._save(trainer, wait=False)

    def finish(self, trainer: Trainer) -> None:
        """Write the last one, and wait until it is on the disk."""
        if self._finished_at != trainer.step:
            self._save(trainer, wait=True)
            self._finished_at = trainer.step

    def _save(self, trainer: Trainer, wait: bool) -> None:
        if self._target is not None:
            noted = self._measure
            self._target.save(trainer, noted[1] if noted and noted[0] == trainer.step else None, wait=wait)

    def best_before(self, trainer: Trainer) -> Best | None:
        """Return the best of a folder, for a training that goes on from one of its checkpoints."""
        target = self._target
        if isinstance(target, Checkpoints) and trainer.step:
            with contextlib.suppress(FileFormatError):  # one that is damaged makes room, as for `Checkpoints`
                path, measure = target.best(), target.best_measure()
                if path is not None and measure is not None:
                    with type(trainer).load(path, optimizer=trainer.optimizer) as best:
                        if best.step <= trainer.step:
                            number = 0 if best.position is None else best.position[0] + 1
                            return Best(measure, best.step, number, best.net())
        return None
