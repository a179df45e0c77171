"""Cores that are shared out among the workers of a machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..._mxnet import physical_cores

VARIABLE = "OMP_NUM_THREADS"


def share_cores(workers: int, module: str, arguments: Sequence[str]) -> None:
    """Start this program again where workers would each take all cores, unless the user has said how many.

    OpenMP reads its variable as MXNet is imported, which has set it by now; so it is read where programs cannot write.

    Args:
        workers: How many workers there are on this machine.
        module: The module that this program runs.
        arguments: Its arguments.
    """
    share = str(max(1, physical_cores() // workers))
    if VARIABLE in given_variables() or os.environ.get(VARIABLE) == share:
        return
    os.environ[VARIABLE] = share
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - this very program


def given_variables() -> dict[str, str]:
    """Return the variables that this process was started with, whatever was set in it since."""
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)
