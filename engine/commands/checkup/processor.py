"""Cores, threads, what other processes leave of them, and free memory."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil

from ...._mxnet import IMPORTED_BEFORE, THREADS_GIVEN, physical_cores
from ....executors.free_memory import free_bytes
from .finding import Finding, judged

SECONDS = 0.3  # for which other processes are watched
LITTLE = 2**29  # bytes
QUOTAS = (  # files of a container's limit of processor time: its microseconds of each period, and the period
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def look_at_processor() -> Iterator[Finding]:
    """Yield cores, threads, load and memory."""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores, quota, threads = physical_cores(), _quota(), _threads()
    limit = "" if quota is None else f", of which the container may use {quota:.1f}"
    yield Finding("processor", _model())
    yield Finding("cores", f"{cores} physical, {logical} logical for this process{limit}")
    yield _judged_threads(threads, cores, logical, quota)
    busy = psutil.cpu_percent(interval=SECONDS) / 100 * (os.cpu_count() or 1)
    crowded = threads > 1 and busy + threads > (os.cpu_count() or 1) + 0.5
    yield judged(
        "other processes",
        f"use {busy:.1f} of {os.cpu_count()} processors",
        "OpenMP's threads wait for each other by spinning, so beside busy processes steps may take many times as "
        "long: set OMP_NUM_THREADS to the number of cores that are free"
        if crowded
        else None,
    )
    free, all_of_it = free_bytes(), psutil.virtual_memory().total
    warning = "close other processes, or give the container more" if free < LITTLE else None
    yield judged("memory", f"{free / 2**30:.1f} GB free of {all_of_it / 2**30:.1f} GB", warning)


def _judged_threads(threads: int, cores: int, logical: int, quota: float | None) -> Finding:
    by = "as OMP_NUM_THREADS says" if THREADS_GIVEN else "one for each physical core"
    found, warning = f"{threads} of OpenMP, {by}", None
    if IMPORTED_BEFORE:
        found = f"{threads} of OpenMP, as mxnet was imported before mxtrainer"
        warning = "the number is fixed then: import mxtrainer first, or set OMP_NUM_THREADS"
    elif quota is not None and threads > max(quota, 1) + 0.5:
        warning = f"the container may use less: set OMP_NUM_THREADS={max(int(quota), 1)}"
    elif threads > logical:
        warning = f"threads beyond the processors wait for one another: set OMP_NUM_THREADS={cores}"
    return judged("threads", found, warning)


def _model() -> str:
    """Return the name of the processor, and its widest vectors, which choose the code of products."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    except OSError:
        lines = {}
    known = {name.strip(): found.strip() for name, found in lines.items()}
    flags = known.get("flags", "").split()
    vectors = next((f" ({name.upper()})" for name in ("avx512f", "avx2", "avx") if name in flags), "")
    return known.get("model name", platform.machine()) + vectors


def _threads() -> int:
    """Return how many threads OpenMP takes by itself, as MXNet has set it up."""
    try:
        return int(ctypes.CDLL("libgomp.so.1").omp_get_max_threads())
    except (OSError, AttributeError):
        return int(os.environ.get("OMP_NUM_THREADS", "1").partition(",")[0])


def _quota() -> float | None:
    """Return how many processors the container may use in all; None: as many as there are."""
    for names in QUOTAS:
        try:
            quota, period = " ".join(Path(name).read_text() for name in names).split()
            return None if quota in {"max", "-1"} else int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
