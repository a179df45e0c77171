"""What a report says of the machine: what its figures depend on, and nothing that names it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def describe() -> dict[str, str]:
    """Return processor, cores, memory and Python."""
    processor = _found(r"^model name\s*: (.*)$", Path("/proc/cpuinfo")) or platform.machine()
    flags = _found(r"^flags\s*: (.*)$", Path("/proc/cpuinfo")).split()
    memory = _found(r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo"))
    vectors = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")
    return {
        "processor": f"{processor}{f' ({vectors.upper()})' if vectors else ''}",
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory) / 2**20:.0f} GiB" if memory else "unknown",
        "Python": platform.python_version(),
    }


def _found(pattern: str, path: Path) -> str:
    match = re.search(pattern, path.read_text() if path.exists() else "", re.MULTILINE)
    return match[1] if match else ""
