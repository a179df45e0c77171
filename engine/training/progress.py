"""A line that shows how a training is going."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

from ...errors import ArgumentError, MissingExtraError
from ...extras import require

SECONDS = 5.0  # over which the speed is taken
REFRESH = 0.1  # seconds, at least, between two refreshes
FORM = "{desc}{percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}"
FORM_WITHOUT_END = "{desc}{n:,} steps, {elapsed}{postfix}"


class Progress:
    """A bar of tqdm: rounds, time, losses, examples a second; where there is little room, the end is cut off.

    Args:
        first: The steps that have been taken before.
        number: The first round.
        total: The number of the last step; None: nobody knows.
        rounds: How many rounds there are; None: nobody knows.

    Raises:
        MissingExtraError: tqdm is not installed.
    """

    def __init__(self, first: int, number: int, total: int | None, rounds: int | None) -> None:
        """Show it."""
        tqdm = require("tqdm.auto", "progress", "progress=True").tqdm
        self._rounds = "" if rounds is None else f"/{rounds}"
        self._loss = self._validation = self._speed = self._best = ""
        self._seen: deque[tuple[float, int]] = deque()  # when there were how many examples
        form = FORM_WITHOUT_END if total is None else FORM
        self._bar = tqdm(
            desc=self._title(number),
            total=total,
            initial=first,
            bar_format=form,
            mininterval=REFRESH,
            miniters=0,
            dynamic_ncols=True,
        )

    def _title(self, number: int) -> str:
        return f"round {number}{self._rounds} "

    def show(self, step: int, number: int, loss: float, examples: int, now: float) -> None:
        """Show where the training stands: step, round, loss, and examples so far; now, in seconds."""
        self._seen.append((now, examples))
        while now - self._seen[0][0] > SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        if now > since:
            self._speed = f"{(examples - before) / (now - since):,.0f} ex/s"
        self._loss = f"loss {loss:.4g}"
        self._bar.set_description_str(self._title(number), refresh=False)
        self._write(step - self._bar.n)

    def validating(self) -> None:
        """Say that a validation begins."""
        self._validation = "validating ..."
        self._write(0)

    def validated(self, loss: float, best: float) -> None:
        """Note a validation, and the best so far."""
        self._validation, self._best = f"validation {loss:.4g}", f"best {best:.4g}"

    def _write(self, steps: int) -> None:
        parts = (self._loss, self._validation, self._speed, self._best)
        self._bar.set_postfix_str("  ".join(part for part in parts if part), refresh=False)
        self._bar.update(steps)

    def close(self) -> None:
        """Leave the line as it is."""
        self._bar.close()


def is_shown(progress: object) -> bool:
    """Tell whether progress is to be shown; None: where tqdm is installed, on a terminal or in a notebook.

    Raises:
        ArgumentError: It is neither True, False nor None.
        MissingExtraError: It is True, and tqdm is not installed.
    """
    if not isinstance(progress, bool) and progress is not None:
        raise ArgumentError(f"progress must be True, False, or None for where there is a terminal, got {progress!r}")
    if progress is None and not (sys.stderr.isatty() or _in_notebook()):
        return False
    if progress is False:
        return False
    try:
        require("tqdm.auto", "progress", "progress=True")
    except MissingExtraError:
        if progress:
            raise
        return False
    return True


def _in_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
