"""How many threads of OpenMP the operators of a graph use: one where there is too little to share.

OpenMP's threads wait for one another at every operator, which takes longer than a small operator itself. MXNet has one
number of threads for the process; but a number holds for the thread that sets it, and MXNet's engine has one thread for
operators, so a kernel in its queue can set it.
"""

from __future__ import annotations

import ctypes
import math
import os
from functools import lru_cache
from typing import Any

from ..plans.layers import Embedding
from ..plans.plan import Plan
from ..plans.types import item_of
from .capi import pushed
from .kernels import Task, block_of, usable

LEAST = 2_000_000  # arithmetic operations of the largest operator, from which two threads are faster than one
_ONE_WORKER = {  # values of variables with which the engine has one thread for operators
    "MXNET_CPU_WORKER_NTHREADS": {"", "1"},
    "MXNET_ENGINE_TYPE": {"", "ThreadedEnginePerDevice"},
}


def threads_for(plan: Plan, batch_size: int) -> int | None:
    """Return the number of threads for graphs of a plan, the same for all lengths; None: there is nothing to choose.

    Example:
        >>> from mxtrainer import Linear, NetChain, Vector, compile_plan
        >>> plan = compile_plan(NetChain([Linear(2)], inputs={"Input": Vector(3)}), losses={"Output": 1.0})
        >>> threads_for(plan, 4) in {None, 1}
        True
    """
    openmp = _openmp()
    if openmp is None:
        return None
    return 1 if batch_size * _largest(plan) < LEAST else openmp[1]


@lru_cache(None)
def setting(number: int) -> Task:
    """Return what sets the number of threads of operators behind it in the queue."""
    from .threads_kernel import threads_kernel

    openmp = _openmp()
    assert openmp is not None  # `threads_for` has given the number
    return Task(threads_kernel(), block_of([openmp[0], number])[1], (), ())


def use_one_thread(context: Any) -> None:
    """Let operators on a device of the host use one thread from now on.

    Where two of MXNet's threads for operators use several of OpenMP's each, they wait for one another for ever.
    """
    if _openmp() is not None and usable(context):
        kernel, block, *_ = setting(1)
        pushed(kernel, block, [], [], "threads", None, device=context.device_id)()


@lru_cache(None)
def _openmp() -> tuple[int, int] | None:
    """Return the address of what sets the number of threads, and how many there are; None where one is all."""
    if any(os.environ.get(name, "") not in usual for name, usual in _ONE_WORKER.items()):
        return None
    try:
        library: Any = ctypes.CDLL("libgomp.so.1")  # which MXNet has loaded
        most = int(library.omp_get_max_threads())
        address = ctypes.cast(library.omp_set_num_threads, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
    return None if address is None or most < 2 else (address, most)


def _largest(plan: Plan) -> int:
    """Return about how many operations the largest operator of one step of one example takes."""
    found = 1
    for path, node in plan.nodes.items():
        shapes = [item_of(port).shape for port in plan.types.nodes[path].outputs.values() if port is not None]
        elements = max(math.prod(shape) for shape in shapes)
        places = max(math.prod(shape[1:]) for shape in shapes)  # that a convolution's arrays are used at
        used = 0
        if not isinstance(plan.graph_of_nodes.nodes[path].layer, Embedding):  # which only looks rows up
            used = sum(plan.parameters[array].size for array in node.arrays.values() if array in plan.parameters)
        found = max(found, elements, 2 * used * places)
    return found
