"""The command line of the launcher."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ..._mxnet import physical_cores
from .job import Job

VARIABLE = "OMP_NUM_THREADS"


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python -m mxtrainer.launch",
        description="Runs a script as several workers, with the servers between them, and ends all where one dies.",
        allow_abbrev=False,
    )
    made.add_argument("-n", "--workers", type=_count, required=True, help="how many workers run the script")
    made.add_argument("-s", "--servers", type=_count, default=1, help="how many servers add up; by default 1")
    made.add_argument("--stall", type=_seconds, help="end all when no worker has taken a step for so many seconds")
    made.add_argument(
        "--grace", type=_seconds, default=30.0, help="seconds to stop in, after Ctrl-C or SIGTERM; by default 30"
    )
    made.add_argument("script", type=_script, help="the path of a Python script")
    made.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return made


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")
    return seconds


def _script(text: str) -> str:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the code to end with."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    share = max(1, physical_cores() // options.workers)
    _share_cores(share, given)
    job = Job(
        options.workers,
        options.servers,
        options.script,
        options.arguments,
        stall=options.stall,
        grace=options.grace,
    )
    try:
        return job.run()
    except BrokenPipeError:  # nobody reads the output any more; all have ended by now
        return 128 + signal.SIGPIPE


def _share_cores(share: int, arguments: Sequence[str]) -> None:
    """Start this program again where workers would each take all cores, unless the user has said how many.

    OpenMP reads its variable as MXNet is imported, which has set it by now; so it is read where programs cannot write.
    """
    given = any(entry.startswith(f"{VARIABLE}=".encode()) for entry in _environment())
    if given or os.environ.get(VARIABLE) == str(share):
        return
    os.environ[VARIABLE] = str(share)
    os.execv(sys.executable, [sys.executable, "-m", "mxtrainer.launch", *arguments])  # noqa: S606 - this very program


def _environment() -> list[bytes]:
    """Return the variables that this process was started with."""
    return Path("/proc/self/environ").read_bytes().split(b"\0")
