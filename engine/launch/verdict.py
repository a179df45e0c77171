"""Why a job ends, in words."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from .process import Process


def end_of(child: Process) -> str:
    """Say how a process has ended, and where it was.

    Example:
        >>> from mxtrainer.engine.launch.child import Child
        >>> child = Child("worker 1", 1234, None, [])
        >>> child.status, child.state = 9, {"step": 12}
        >>> end_of(child)
        'worker 1 (process 1234) was killed by signal 9 (SIGKILL) at step 12'
    """
    assert child.status is not None
    code = os.waitstatus_to_exitcode(child.status)
    if code < 0:
        how = f"was killed by signal {named(-code)}"
    elif code == 0 and child.joined:
        how = "ended with code 0 and without taking leave of the others"
    else:
        how = f"ended with code {code}"
    return f"{who(child)} {how}{_step(child)}"


def who(child: Process) -> str:
    """Name a process."""
    return f"{child.name} (process {child.pid})"


def named(number: int) -> str:
    """Return a signal's number and name.

    Example:
        >>> named(15)
        '15 (SIGTERM)'
    """
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _step(child: Process) -> str:
    return f" at step {child.state['step']}" if child.state["step"] else ""


def early_leaver(workers: Sequence[Process]) -> str | None:
    """Say which worker has come to its end before another, which waits for it; None: none has."""
    last = max(workers, key=lambda child: int(child.state["calls"]))
    for child in workers:
        gone = child.left or child.status is not None
        if gone and child.state["calls"] < last.state["calls"]:
            return (
                f"{who(child)} has come to the end of its script{_step(child)}, and {last.name} goes on{_step(last)}: "
                f"all workers must take the same number of steps"
            )
    return None


def stalled(workers: Sequence[Process], seconds: float) -> str:
    """Say that nothing moves, who is the cause as far as that is seen, and where all are."""
    running = [child for child in workers if child.status is None]
    most = max(int(child.state["calls"]) for child in workers)
    late = [child for child in running if child.state["calls"] < most]
    late = late or [child for child in running if child.state["phase"] != "wait"]
    cause = (
        f"; the others wait for {' and '.join(child.name for child in late)}" if 0 < len(late) < len(running) else ""
    )
    places = "".join(
        f"\n  {who(child)}{_step(child)}: {child.whereabouts or 'it does not answer'}" for child in running
    )
    return f"no worker has taken a step for {seconds:g} seconds{cause}{places}"
