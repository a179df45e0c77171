"""Checkpoints in a folder: written as training goes on, the newest few kept, and the best."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import as_path, number_within, positive_int, real_number
from ..errors import ArgumentError, FileFormatError
from ..tensor_file import TensorFile
from ..whole_files import remove_left_over, replacing
from .checkpoint import KEY, Description
from .stop_signals import StopSignals

if TYPE_CHECKING:
    from .trainer import Trainer

NAME = re.compile(r"step-(\d{10})\.safetensors")
BEST = "best.safetensors"
MEASURE = "measure"  # of the text in a file's metadata


class Checkpoints:
    """Writes checkpoints of one training into a folder of its own, and keeps the newest few, and the best.

    Args:
        folder: The folder; made if it is not there.
        every: Every how many steps `step` writes one.
        seconds: After how many seconds `step` writes one. With neither, only `save` does.
        keep: How many of the newest are kept.

    Raises:
        ArgumentError: A number is not usable, or the folder cannot be made.

    Example:
        >>> import tempfile
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(folder, every=2, keep=2)
        ...     with Trainer(compile_plan(net), SGD(0.1), batch_size=2) as trainer:
        ...         for _ in range(7):
        ...             step = trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
        ...             written = checkpoints.step(trainer)
        ...     print(*(path.name for path in checkpoints.paths()))
        ...     print(Trainer.load(checkpoints.newest()).step)
        step-0000000004.safetensors step-0000000006.safetensors
        6
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int | None = None,
        seconds: float | None = None,
        keep: int = 3,
    ) -> None:
        """Make the folder."""
        self._folder = Path(as_path(folder, "folder")).absolute()
        self._every = None if every is None else positive_int(every, "every")
        self._seconds = None if seconds is None else number_within(seconds, "seconds", above=0.0)
        self._keep = positive_int(keep, "keep")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"the folder {str(self._folder)!r} cannot be made: {error}") from error
        self._last_step, self._last_time = 0, time.monotonic()
        self._checked = False
        self._signals: StopSignals | None = None

    @contextlib.contextmanager
    def on_signals(self, trainer: Trainer, *signals: int) -> Iterator[None]:
        """Let a signal leave a checkpoint behind: a context manager around the loop.

        A signal within it is held back until the next call of `step`, or the end of the loop. Then a checkpoint is
        written, and the signal has its usual effect: SIGTERM ends the process, Ctrl-C raises KeyboardInterrupt. A
        second one has it at once. If the loop ends in an error, that goes its way.

        Args:
            trainer: The trainer.
            signals: The signals; by default SIGTERM and SIGINT, which is Ctrl-C.

        Raises:
            ArgumentError: It is not the main thread, or one is no signal; and, where a signal has come, what `save`
                raises.

        Example:
            >>> import tempfile
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     checkpoints = Checkpoints(folder, every=1000)
            ...     with Trainer(compile_plan(net), SGD(0.1), batch_size=2) as trainer, checkpoints.on_signals(trainer):
            ...         for _ in range(3):
            ...             step = trainer.update({"Input": [1.0, 2.0], "Target": [2.0, 4.0]})
            ...             written = checkpoints.step(trainer)
        """
        if not hasattr(trainer, "save"):
            raise ArgumentError(f"on_signals takes a trainer, got {trainer!r}")

        def leave() -> None:
            self.save(trainer)

        with StopSignals(leave, *(signals or (signal.SIGTERM, signal.SIGINT))) as self._signals:
            try:
                yield
            finally:
                self._signals = None  # noqa: PLW2901 - the block is over

    def step(self, trainer: Trainer) -> bool:
        """Write a checkpoint if one is due, behind the back of the loop; call it once a step. Returns whether.

        Raises:
            ArgumentError: The last one could not be written.
            StepError: A step is known to have failed.
            KeyboardInterrupt: Ctrl-C has come within `on_signals`; the checkpoint is written.
        """
        if trainer.step < self._last_step:  # it has gone back
            self._last_step = 0
        due = self._every is not None and trainer.step % self._every == 0 and trainer.step != self._last_step
        due = due or (self._seconds is not None and time.monotonic() - self._last_time >= self._seconds)
        if self._signals is not None:
            self._signals.deliver()
        if due:
            self.save(trainer, wait=False)
        return due

    def save(self, trainer: Trainer, measure: float | None = None, *, wait: bool = True) -> Path:
        """Write a checkpoint now, and let go of older ones; return its path.

        Those of later steps go too: the training has gone back to before them.

        Args:
            trainer: The trainer.
            measure: A number that is to be small, such as a loss on what was held out. The checkpoint with the smallest
                so far is kept as `best`.
            wait: As for `Trainer.save`.

        Raises:
            ArgumentError: It, or the last one, could not be written, or not all that follows could be done; the measure
                is no number; or all checkpoints in the folder are of later steps, as of another training.
            StepError: A step failed.
            Error: A step has been begun by `compute` or `accumulate`.
        """
        found = None if measure is None else real_number(measure, "measure")
        self._check_course(trainer.step)
        path = self._folder / f"step-{trainer.step:010d}.safetensors"
        more = {} if found is None else {MEASURE: repr(found)}
        trainer._save(path, wait, more, partial(self._after, path, trainer.step, found))  # noqa: SLF001 - made for it
        self._last_step, self._last_time = trainer.step, time.monotonic()
        return path

    def _after(self, path: Path, step: int, measure: float | None) -> None:
        """Keep what is to be kept, once a file is on the disk.

        Raises:
            ArgumentError: Not all of it could be done.
        """
        try:
            if measure is not None and measure < self._best_so_far():
                self._keep_as_best(path)
            self._remove_older(step)
        except (OSError, FileFormatError) as error:
            raise ArgumentError(
                f"{str(path)!r} is written, but {BEST!r}, or what older ones are kept, may not be as it should: {error}"
            ) from error

    def _keep_as_best(self, path: Path) -> None:
        with replacing(self._folder / BEST) as new:
            try:
                os.link(path, new)
            except OSError:  # a file system without links
                with path.open("rb") as file, new.open("xb") as copy:
                    shutil.copyfileobj(file, copy)
                    copy.flush()
                    os.fsync(copy.fileno())

    def _remove_older(self, step: int) -> None:
        """Keep the newest few; of killed processes nothing."""
        remove_left_over(self._folder, f"({NAME.pattern}|{re.escape(BEST)})")
        numbers = sorted(self._numbers())
        kept = [number for number in numbers if number <= step][-self._keep :]
        for number in set(numbers).difference(kept):
            with contextlib.suppress(OSError):  # another process may have been faster
                self._path(number).unlink()

    def _best_so_far(self) -> float:
        """Return the smallest measure; a checkpoint that is damaged makes room.

        Raises:
            FileFormatError: It cannot be read now, and may be whole.
        """
        try:
            found = self.best_measure()
        except FileFormatError as error:
            if isinstance(error.__cause__, OSError):
                raise
            found = None
        return math.inf if found is None else found

    def _check_course(self, step: int) -> None:
        """Check once that the training can be that of the folder: what is in it is not to be lost to another one.

        Raises:
            ArgumentError: All checkpoints are of later steps.
        """
        if self._checked:
            return
        known = sorted(self._numbers())
        best = self.best()
        if known and known[0] > step and (best is None or _step_of(best) > step):
            raise ArgumentError(
                f"{str(self._folder)!r} has checkpoints of the steps {known[0]} to {known[-1]}, and this training is "
                f"at step {step}: go on from one of them, as in Trainer.load(checkpoints.newest()), or take another "
                f"folder"
            )
        self._checked = True

    def _path(self, number: int) -> Path:
        return self._folder / f"step-{number:010d}.safetensors"

    def _numbers(self) -> list[int]:
        try:
            found = [NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        except OSError as error:
            raise ArgumentError(f"the folder {str(self._folder)!r} cannot be read: {error}") from error
        return [int(match[1]) for match in found if match is not None]

    def paths(self) -> list[Path]:
        """Return the checkpoints that there are, the oldest first."""
        return [self._path(number) for number in sorted(self._numbers())]

    def newest(self) -> Path | None:
        """Return the newest checkpoint, None where there is none."""
        return max(self.paths(), default=None)

    def best(self) -> Path | None:
        """Return the checkpoint with the smallest measure, None where none has one."""
        path = self._folder / BEST
        return path if path.exists() else None

    def best_measure(self) -> float | None:
        """Return the smallest measure, None where there is none."""
        path = self.best()
        if path is None:
            return None
        with TensorFile(path, "a checkpoint") as file:
            try:
                return float(file.metadata[MEASURE])
            except (KeyError, ValueError) as error:
                raise FileFormatError(f"{str(path)!r}: its measure cannot be read") from error

    def __repr__(self) -> str:
        """Show the folder, and how many there are."""
        return f"Checkpoints({str(self._folder)!r}: {len(self._numbers())})"


def _step_of(path: Path) -> int:
    """Return the step of a checkpoint."""
    with TensorFile(path, "a checkpoint") as file:
        return Description.from_text(file.metadata.get(KEY), file.name).step
