"""The command line of the launcher."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .cores import share_cores
from .hosts import start_on
from .job import Job
from .part import start_here


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python -m mxtrainer.launch",
        description="Runs a script as several workers, with the servers between them, and ends all where one dies.",
        allow_abbrev=False,
    )
    made.add_argument("-n", "--workers", type=_count, required=True, help="how many workers run the script")
    made.add_argument("-s", "--servers", type=_count, default=1, help="how many servers add up; by default 1")
    made.add_argument(
        "--hosts", type=_hosts, help="machines that run them, by ssh, such as a,b; by default this one does"
    )
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


def _hosts(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if not name or name.startswith("-") or name.split() != [name]:
            raise argparse.ArgumentTypeError(f"expected names with commas between them, such as a,b, got {text!r}")
        if names.count(name) > 1:
            raise argparse.ArgumentTypeError(f"{name!r} is there twice")
    return names


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
    made = parser()
    options = made.parse_args(given)
    what = {
        "script": options.script,
        "arguments": options.arguments,
        "counts": (options.workers, options.servers),
    }
    if options.hosts is None:
        share_cores(options.workers, "mxtrainer.launch", given)
        start = partial(start_here, **what)
    else:
        if len(options.hosts) > options.workers:
            made.error(f"argument --hosts: {len(options.hosts)} hosts are more than {options.workers} workers")
        if shutil.which("ssh") is None:
            made.error("argument --hosts: there is no program ssh on this machine")
        start = partial(start_on, hosts=options.hosts, **what)
    job = Job(start, stall=options.stall, grace=options.grace)
    try:
        return job.run()
    except BrokenPipeError:  # nobody reads the output any more; all have ended by now
        return 128 + signal.SIGPIPE
