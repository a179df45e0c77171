"""The one place where mxnet is imported, after repairing what a retired library no longer repairs.

MXNet 1.9.1 reads `numpy.bool`, which numpy dropped in 1.24; it takes half of the processors as OpenMP threads,
which can be changed only before its first import; and it prints a line for every graph it binds.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import numpy as np

IMPORTED_BEFORE = "mxnet" in sys.modules
THREADS_GIVEN = "OMP_NUM_THREADS" in os.environ
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


def physical_cores() -> int:
    """Count the physical cores that this process may run on; the logical ones where Linux does not tell."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        try:
            with (
                open(_TOPOLOGY.format(cpu, "physical_package_id")) as package,
                open(_TOPOLOGY.format(cpu, "core_id")) as core,
            ):
                cores.add((package.read(), core.read()))
        except OSError:
            return len(usable)
    return len(cores)


def _import_mxnet() -> Any:
    if IMPORTED_BEFORE:
        warnings.warn(
            "mxnet was imported before mxtrainer, so its number of threads is already fixed, at half of the "
            "processors unless OMP_NUM_THREADS was set. Import mxtrainer first.",
            RuntimeWarning,
            stacklevel=4,
        )
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if not threads.strip().isdecimal():  # MXNet would end the process
        raise ImportError(f"the variable OMP_NUM_THREADS is {threads!r}, and must be a number of threads")
    if "bool" not in np.__dict__:  # hasattr would emit numpy's own FutureWarning
        np.bool = np.bool_  # type: ignore[attr-defined]  # numpy 1.24 removed it, mxnet 1.9.1 needs it
    os.environ.setdefault("OMP_NUM_THREADS", str(physical_cores()))
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    with warnings.catch_warnings():  # the import reads deprecated names, and would fail under -W error
        warnings.simplefilter("ignore")
        import mxnet
    return mxnet


mx = _import_mxnet()
