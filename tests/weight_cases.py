"""Nets, and what another library computed with the same weights, for tests of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

ROWS, STEPS, WIDTH, SIZE = 2, 4, 3, 2
VECTORS = mxt.Sequence("t", mxt.Vector(WIDTH))


def entries(library: str, kind: str) -> dict[str, NDArray[Any]]:
    """Returns the arrays of one kind from the file of a library, by the names that it has for them."""
    with np.load(Path(__file__).parent / "data" / f"{library}.npz") as file:
        start = f"{kind}/"
        return {name[len(start) :]: file[name] for name in file.files if name.startswith(start)}


def net_of(port: mxt.Sequence | mxt.Array | mxt.Index, *layers: Any) -> mxt.NetGraph:
    return mxt.NetChain(list(layers), inputs={"Input": port})


def output_of(net: mxt.NetGraph, x: NDArray[Any]) -> NDArray[Any]:
    """Returns what the net gives for a batch, not in training."""
    plan = mxt.compile_plan(net, {"Output": 0.0})
    executor = mxt.instantiate(plan, len(x), {"t": STEPS} if plan.lengths else None, training=False, arrays=net)
    executor.forward({"Input": x})
    found: NDArray[Any] = executor.outputs["Output"].asnumpy()
    return found


def filled(net: mxt.NetGraph) -> mxt.NetGraph:
    """Returns the net with a random value for every array."""
    rng = np.random.default_rng(3)
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    specs = [*plan.parameters.values(), *plan.auxiliary.values()]
    return net.with_arrays({spec.path: rng.uniform(0.5, 1.5, spec.shape).astype("float32") for spec in specs})
