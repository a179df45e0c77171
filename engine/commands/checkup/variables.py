"""Variables of the environment that change how MXNet runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from ....executors.binding import MIRROR
from .finding import OK, PROBLEM, WARNING, Finding


class _Variable(NamedTuple):
    usual: frozenset[str]
    state: str
    effect: str


VARIABLES = {
    MIRROR: _Variable(
        frozenset({"", "0"}), PROBLEM, "every bind is refused, as operators would run again that must not"
    ),
    "MXNET_ENGINE_TYPE": _Variable(
        frozenset({"", "ThreadedEnginePerDevice"}),
        WARNING,
        "steps may not overlap with your loop, and small nets do not get a thread of their own",
    ),
    "MXNET_CPU_WORKER_NTHREADS": _Variable(
        frozenset({"", "1"}), WARNING, "no net can be given the number of threads that suits it"
    ),
    "MXNET_MKLDNN_ENABLED": _Variable(
        frozenset({"", "1"}), WARNING, "operators run without oneDNN, with other rounding than it is tested with"
    ),
    "OMP_WAIT_POLICY": _Variable(
        frozenset({"", "active", "ACTIVE"}),
        WARNING,
        "threads sleep between operators, which made small nets 12 times slower",
    ),
}


def look_at_variables() -> Iterator[Finding]:
    """Yield the variables that are set to something that hurts, or one finding that there are none."""
    set_ones = {name: os.environ[name] for name in VARIABLES if os.environ.get(name, "") not in VARIABLES[name].usual}
    for name, found in set_ones.items():
        yield Finding(name, found, VARIABLES[name].state, f"{VARIABLES[name].effect}: unset it")
    if not set_ones:
        yield Finding("variables", "none that changes MXNet for the worse", OK)
