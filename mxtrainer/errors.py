"""Every exception that mxtrainer raises on purpose.

```
Error
├── NetError           the net or the plan is wrong
├── ArgumentError      an argument is wrong                     (also a ValueError)
│   └── BatchError     the batch in hand is wrong; nothing has changed
├── UnknownNameError   no such port, array, layer or bucket     (also a KeyError)
├── StepError          an earlier step failed on the device
├── StaleHandleError   an output was overwritten by a later step
├── MemoryBudgetError  it does not fit into the memory that there is, or that it may take
├── FileFormatError    a file or a JSON text is not what it should be
└── MissingExtraError  a library is not installed               (also an ImportError)
```
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class Error(Exception):
    """The base of all exceptions of this package."""


class NetError(Error):
    """A net or a plan cannot be what was asked for; names the layer and the port."""


class ArgumentError(Error, ValueError):
    """An argument is not usable; says what was expected and what was found."""


class BatchError(ArgumentError):
    """The batch in hand does not fit the plan; nothing has changed."""


class UnknownNameError(Error, KeyError):
    """A name is not among the known ones; offers the nearest."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would quote the whole sentence.
        return str(self.args[0]) if self.args else ""


class StepError(Error):
    """A step failed on the device after `update` had returned, or gave numbers that are not finite.

    Attributes:
        step: The number of the step that failed.
        cause: The exception of MXNet, or of a callback of yours; None where numbers are wrong.
        batch: The batch of that step, a private copy of it; None where it is not known.
        bucket: Its number of steps by length name, padding included.
        node: The layer that failed, or that first gave numbers that are not finite; None where it is none of them.
        port: The port of that layer, or the input port whose numbers are wrong; None where it is not known.
        dropped: What was queued behind it and had no effect: pairs of step and batch.
    """

    def __init__(
        self,
        message: str,
        step: int,
        cause: BaseException | None = None,
        *,
        batch: Mapping[str, Any] | None = None,
        bucket: Mapping[str, int] | None = None,
        node: str | None = None,
        port: str | None = None,
        dropped: tuple[tuple[int, Mapping[str, Any]], ...] = (),
    ) -> None:
        super().__init__(message)
        self.step = step
        self.cause = cause
        self.batch = batch
        self.bucket = bucket
        self.node = node
        self.port = port
        self.dropped = dropped

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all of it."""
        return type(self), (*self.args, self.step, self.cause), self.__dict__


class StaleHandleError(Error):
    """An output handle was read after a later pass had overwritten it."""


class MemoryBudgetError(Error):
    """Something does not fit into the memory that it may take, or that there is; nothing was allocated."""


class FileFormatError(Error):
    """A file or a JSON text is truncated, foreign, damaged, or of a newer version."""


class MissingExtraError(Error, ImportError):
    """A library that only this call needs is not installed; names the extra that brings it."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``; did you mean "x"?`` for the most similar known name, or an empty text.

    Example:
        >>> nearest("Inptu", ["Input", "Target"])
        '; did you mean "Input"?'
        >>> nearest("Zebra", ["Input", "Target"])
        ''
    """
    names = list(known)
    folded = {candidate.lower(): candidate for candidate in reversed(names)}
    matches = difflib.get_close_matches(str(name).lower(), folded, n=1)
    return f'; did you mean "{folded[matches[0]]}"?' if matches else ""


def unknown(kind: str, name: object, known: Iterable[str], owner: str) -> UnknownNameError:
    """Return the error for a name that `owner` does not have.

    Example:
        >>> print(unknown("array", "linear.Weight", ["linear.Weights"], "the plan"))
        the plan has no array "linear.Weight"; did you mean "linear.Weights"? Known: linear.Weights
    """
    names = list(known)
    hint = nearest(name, names)
    listing = ", ".join(names) if names else "none"
    return UnknownNameError(f'{owner} has no {kind} "{name}"{hint or "."} Known: {listing}')
