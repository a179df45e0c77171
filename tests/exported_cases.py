"""Nets that tests write to the files of other libraries, with values for their arrays, and a batch for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

ROWS, STEPS = 3, 5
SEQUENCE = {"Input": mxt.Sequence("t", mxt.Vector(4))}
NETS: dict[str, mxt.NetGraph] = {
    "mlp": mxt.NetChain(
        [mxt.Linear(5), mxt.Elementwise("gelu"), mxt.LayerNorm(), mxt.Linear(3), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Vector(4)},
    ),
    "convolution": mxt.NetChain(
        [mxt.Convolution(4, 3), mxt.BatchNorm(), mxt.Elementwise("relu"), mxt.Pooling(2), mxt.Flatten(), mxt.Linear(3)],
        inputs={"Input": mxt.Array((2, 8, 8))},
    ),
    "embedding": mxt.NetChain(
        [mxt.Embedding(4), mxt.Dropout(0.5), mxt.LSTM(3), mxt.SequenceLast(), mxt.Linear(2), mxt.Softmax()],
        inputs={"Input": mxt.Sequence("t", mxt.Index(7))},
    ),
    "lstm": mxt.NetChain([mxt.LSTM(3), mxt.Linear(2)], inputs=SEQUENCE),
    "gru": mxt.NetChain([mxt.GRU(3, initial="learned"), mxt.Linear(2)], inputs=SEQUENCE),
    "rnn": mxt.NetChain([mxt.BasicRecurrent(3), mxt.Linear(2)], inputs=SEQUENCE),
    "bidirectional": mxt.NetChain([mxt.Bidirectional(mxt.GRU(3)), mxt.Linear(2)], inputs=SEQUENCE),
    "mean": mxt.NetChain([mxt.LSTM(4), mxt.Aggregate("mean"), mxt.Linear(2)], inputs=SEQUENCE),
}


def with_values(net: mxt.NetGraph) -> mxt.NetGraph:
    """Return the net with random arrays."""
    plan = mxt.compile_plan(net, {port: 0.0 for port in net.outputs if port != "Loss"})
    generator = np.random.default_rng(0)
    arrays = {
        path: generator.uniform(0.3, 0.9, spec.shape).astype(np.float32)
        for path, spec in [*plan.parameters.items(), *plan.auxiliary.items()]
    }
    return net.with_arrays(arrays)


def data_of(net: mxt.NetGraph, rows: int = ROWS) -> NDArray[Any]:
    port = net.inputs["Input"]
    assert port is not None
    outer = (rows, STEPS) if isinstance(port, mxt.Sequence) else (rows,)
    item = port.item if isinstance(port, mxt.Sequence) else port
    generator = np.random.default_rng(1)
    if isinstance(item, mxt.Index):
        return generator.integers(0, item.count, outer)
    return generator.standard_normal((*outer, *item.shape)).astype(np.float32)


def lengths_of(net: mxt.NetGraph) -> dict[str, int] | None:
    return {"t": STEPS} if isinstance(net.inputs["Input"], mxt.Sequence) else None


def engine_output(net: mxt.NetGraph, data: NDArray[Any], port: str = "Output") -> NDArray[Any]:
    """Return what this engine gives, in test mode; of a net that ends in a loss, what goes into that."""
    if "Loss" in net.outputs:
        net = net.take({"Output": "linear_2"})
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    executor = mxt.instantiate(plan, len(data), dict.fromkeys(plan.lengths, STEPS), arrays=net.arrays, training=False)
    executor.forward({next(iter(plan.inputs)): data})
    return executor.outputs[port].asnumpy()
