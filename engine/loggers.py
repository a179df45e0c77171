"""Loggers: what writes the records of a training to files; users have them as `mxtrainer.loggers`.

A logger is any function that takes a record. If it has ``start``, that is called before a training, with the step that
is done by then; if it has ``close``, that is called after it, whatever happens.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ..arguments import as_path
from ..errors import ArgumentError, FileFormatError
from ..extras import require
from ..whole_files import write_whole
from .training.record import Cell, TrainRecord


class LineFile(ABC):
    """The base of `CSV` and `JSONLines`: a file that gets one line a record, at once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open nothing yet."""
        self._path = Path(as_path(path, "path")).absolute()
        self._file: IO[str] | None = None

    def start(self, step: int) -> None:
        """Open the file to go on after a step: lines of later steps are dropped, and one that is not whole.

        Raises:
            ArgumentError: The file cannot be read or written.
            FileFormatError: What is there is no such log; it is left as it is.
        """
        self.close()
        found = self._read()
        kept = self._kept(found.splitlines(keepends=True), step)
        if kept != found:
            write_whole(self._path, [kept.encode()])
        try:
            self._file = self._path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise ArgumentError(f"{str(self._path)!r} cannot be written: {error}") from error

    def _read(self) -> str:
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                return file.read()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise self._foreign() from None
        except OSError as error:
            raise ArgumentError(f"{str(self._path)!r} cannot be read: {error}") from error

    def _foreign(self) -> FileFormatError:
        kind = type(self).__name__
        return FileFormatError(
            f"{str(self._path)!r} is there, and was not written by loggers.{kind}: give another path"
        )

    def __call__(self, record: TrainRecord) -> None:
        """Write a record; returns when the system has it.

        Raises:
            ArgumentError: The file cannot be written.
            FileFormatError: The file has other columns.
        """
        if self._file is None:
            self.start(record.step - 1)
        assert self._file is not None  # it was opened
        try:
            self._file.write(self._line(record.as_row()))
            self._file.flush()
        except OSError as error:
            raise ArgumentError(f"{str(self._path)!r} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file; a next record, or training, opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @abstractmethod
    def _kept(self, lines: list[str], step: int) -> str:
        """Return the lines that stay: of steps up to one.

        Raises:
            FileFormatError: They are of something else.
        """

    @abstractmethod
    def _line(self, row: Mapping[str, Cell]) -> str:
        """Return a line.

        Raises:
            FileFormatError: It does not go with those before it.
        """

    def __repr__(self) -> str:
        """Show the path."""
        return f"{type(self).__name__}({str(self._path)!r})"


class CSV(LineFile):
    """Writes records to a file of comma-separated values, with a header; a cell is empty where there is no value.

    Lines of steps behind that where a training starts are of another training, or of one that has gone back to a
    checkpoint, and are dropped; so a training that goes on has each step once.

    Args:
        path: The file; made if it is not there.

    Raises:
        ArgumentError: It is no path.

    Example:
        >>> import tempfile
        >>> import mxtrainer as mxt
        >>> net = mxt.NetChain([mxt.Linear(2), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(2)})
        >>> batch = {"Input": [[1.0, 2.0]], "Target": [[0.0, 1.0]]}
        >>> trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = mxt.train(trainer, [batch] * 3, rounds=2, loggers=[CSV(f"{folder}/run.csv")])
        ...     with open(f"{folder}/run.csv") as file:
        ...         print(*(line.split(",")[:2] for line in file))
        ['step', 'round'] ['3', '1'] ['6', '2']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open nothing yet."""
        super().__init__(path)
        self._columns: list[str] = []

    def _kept(self, lines: list[str], step: int) -> str:
        header, *rows = lines or [""]
        self._columns = next(csv.reader([header]), [])
        if header and self._columns[:2] != ["step", "round"]:
            raise self._foreign()
        try:
            kept = [row for row in rows if row.endswith("\n") and int(row.split(",", 1)[0]) <= step]
        except ValueError:
            raise self._foreign() from None
        if not kept:
            self._columns = []
            return ""
        return header + "".join(kept)

    def _line(self, row: Mapping[str, Cell]) -> str:
        lines: list[list[Any]] = [list(row.values())]
        if not self._columns:
            self._columns = list(row)
            lines.insert(0, self._columns)
        if self._columns != list(row):
            raise FileFormatError(
                f"{str(self._path)!r} has the columns {', '.join(self._columns)}, and this training has "
                f"{', '.join(row)}: give another path"
            )
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        return text.getvalue()


class JSONLines(LineFile):
    """Writes records to a file of one JSON object a line; null where there is no value, or none that is finite.

    What is of later steps is dropped as by `CSV`.

    Args:
        path: The file; made if it is not there.

    Raises:
        ArgumentError: It is no path.

    Example:
        >>> import json, tempfile
        >>> import mxtrainer as mxt
        >>> net = mxt.NetChain([mxt.Linear(2), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(2)})
        >>> batch = {"Input": [[1.0, 2.0]], "Target": [[0.0, 1.0]]}
        >>> trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = mxt.train(trainer, [batch] * 3, rounds=2, loggers=[JSONLines(f"{folder}/run.jsonl")])
        ...     with open(f"{folder}/run.jsonl") as file:
        ...         print([json.loads(line)["step"] for line in file])
        [3, 6]
    """

    def _kept(self, lines: list[str], step: int) -> str:
        try:
            whole = [line for line in lines if line.endswith("\n")]
            return "".join(line for line in whole if int(json.loads(line)["step"]) <= step)
        except (ValueError, TypeError, KeyError):
            raise self._foreign() from None

    def _line(self, row: Mapping[str, Cell]) -> str:
        finite = {
            name: None if isinstance(found, float) and not math.isfinite(found) else found
            for name, found in row.items()
        }
        return json.dumps(finite) + "\n"


class TensorBoard:
    """Writes records to a folder for TensorBoard; needs the extra "tensorboard".

    Curves are "total/training" and "total/validation", "Loss/training" and "Loss/validation" for each port, and
    "learning_rate" and "examples_per_second". A training that goes on replaces what there was of later steps.

    Args:
        folder: The folder of this training; made if it is not there.

    Raises:
        ArgumentError: It is no path.
        MissingExtraError: tensorboardX is not installed.

    Example:
        >>> TensorBoard("runs/first")  # then: tensorboard --logdir runs
        TensorBoard('runs/first')
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Write nothing yet."""
        self._folder = as_path(folder, "folder")
        self._library = require("tensorboardX", "tensorboard", "loggers.TensorBoard")
        self._writer: Any = None

    def start(self, step: int) -> None:
        """Begin a file for what comes after a step.

        Raises:
            ArgumentError: The folder cannot be written.
        """
        self.close()
        try:
            self._writer = self._library.SummaryWriter(
                self._folder,
                purge_step=step + 1,
                filename_suffix=f".{step:010d}",  # else two files of one second are one
            )
        except OSError as error:
            raise ArgumentError(f"the folder {self._folder!r} cannot be written: {error}") from error

    def __call__(self, record: TrainRecord) -> None:
        """Hand a record to the thread that writes."""
        if self._writer is None:
            self.start(record.step - 1)
        scalars = {"total/training": record.loss, "learning_rate": record.learning_rate}
        scalars["examples_per_second"] = record.examples_per_second
        scalars.update({f"{port}/training": found for port, found in record.losses.items()})
        if record.validation is not None:
            scalars["total/validation"] = record.validation.total
            scalars.update({f"{port}/validation": found for port, found in record.validation.items()})
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, record.step)

    def close(self) -> None:
        """Wait until all is in the file, and close it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __repr__(self) -> str:
        """Show the folder."""
        return f"TensorBoard({self._folder!r})"
