"""How much memory this process may still take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from ..arguments import byte_count
from ..errors import ArgumentError, MemoryBudgetError

GROUPS = Path("/sys/fs/cgroup")
_NAMES = {  # of a control group's files: its limit, what it uses, and what of that the system would give back
    "v2": ("memory.max", "memory.current", "inactive_file"),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_bytes() -> int:
    """Return how many bytes this process may still take: what the machine has free, or its container leaves it.

    Example:
        >>> free_bytes() > 0
        True
    """
    return min([int(psutil.virtual_memory().available), *_left_by_groups()])


def check_free(needed: int, what: str) -> None:
    """Check that so many bytes are free.

    Raises:
        MemoryBudgetError: They are not: the system would end the process once they are used.
    """
    if needed > 0 and needed > (free := free_bytes()):
        raise MemoryBudgetError(
            f"{what} would take {needed:,} bytes more, and {free:,} are free: take fewer rows, shorter sequences, "
            f"or a memory_budget, within which operators run again instead of being kept; plan.memory(...) tells before"
        )


def budget_of(value: object, what: str = "bytes") -> int:
    """Return a number of bytes: given as one, as text such as "2GB", or as a fraction of what is free.

    Raises:
        ArgumentError: It is none of them.

    Example:
        >>> budget_of("1KB"), 0 < budget_of(0.5) <= free_bytes()
        (1024, True)
    """
    if isinstance(value, (float, np.floating)) and 0.0 < value < 1.0:
        return max(int(value * free_bytes()), 1)
    try:
        return byte_count(value, what)
    except ArgumentError as error:
        raise ArgumentError(f"{error}; a fraction of what is free is a number above 0 and below 1, as 0.5") from None


def resident_bytes() -> int:
    """Return how much memory this process holds, all of it.

    Example:
        >>> resident_bytes() > 0
        True
    """
    return int(psutil.Process().memory_info().rss)


def _left_by_groups() -> Iterator[int]:
    """Yield what each control group that holds this process leaves it, as containers have them; on Linux alone."""
    for folder, version in _folders():
        limit, used, given_back = _NAMES[version]
        try:
            most = (folder / limit).read_text().strip()
            if most == "max":
                continue
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            now = int((folder / used).read_text()) - int(statistics.get(given_back, 0))
            yield max(int(most) - now, 0)
        except (OSError, ValueError):
            continue


def _folders() -> Iterator[tuple[Path, str]]:
    """Yield the folders of the control groups of this process, up to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, version = GROUPS, "v2"
        elif "memory" in controllers.split(","):
            top, version = GROUPS / "memory", "v1"
        else:
            continue
        inner = top / path.lstrip("/")
        for folder in (inner, *inner.parents):
            yield folder, version
            if folder == top:
                break
