"""How far what other libraries compute is from what the engine computes, for each format, both ways.

Run: python benchmarks/interop.py

MXNet, Gluon, safetensors, and ONNX by onnxruntime (the extra test). PyTorch and Keras have no part here: the tests hold
what they gave (tests/data).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import mxtrainer as mxt  # noqa: E402
from mxtrainer._mxnet import mx  # noqa: E402

ROWS, STEPS, WIDTH = 8, 50, 16
SERIES = {"Input": mxt.Sequence("t", mxt.Vector(WIDTH))}
NETS = {
    "MLP": mxt.NetChain([mxt.Linear(256), mxt.Elementwise("relu"), mxt.Linear(10)], inputs={"Input": mxt.Vector(784)}),
    "convolution": mxt.NetChain(
        [mxt.Convolution(16, 3), mxt.BatchNorm(), mxt.Elementwise("relu"), mxt.Pooling(2), mxt.Linear(10)],
        inputs={"Input": mxt.Array((3, 32, 32))},
    ),
    "LSTM": mxt.NetChain([mxt.LSTM(128), mxt.Linear(10)], inputs=SERIES),
    "GRU": mxt.NetChain([mxt.GRU(128), mxt.Linear(10)], inputs=SERIES),
    "bidirectional": mxt.NetChain([mxt.Bidirectional(mxt.LSTM(64)), mxt.Linear(10)], inputs=SERIES),
}


def engine(net: mxt.NetGraph, data: Any) -> Any:
    """Return what the engine gives for a batch, in test mode."""
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    lengths = dict.fromkeys(plan.lengths, STEPS)
    executor = mxt.instantiate(plan, ROWS, lengths, arrays=net.arrays, training=False)
    executor.forward({next(iter(plan.inputs)): data})
    return next(iter(executor.outputs.values())).asnumpy()


def module(net: mxt.NetGraph, data: Any, lengths: dict[str, int] | None, folder: str) -> Any:
    """Return what MXNet's Module gives for the files."""
    mxt.to_mxnet(net, f"{folder}/net", lengths=lengths)
    symbol, arguments, auxiliary = mx.model.load_checkpoint(f"{folder}/net", 0)
    found = mx.mod.Module(symbol, data_names=["Input"], label_names=None)
    found.bind([("Input", data.shape)], for_training=False)
    found.set_params(arguments, auxiliary)
    found.forward(mx.io.DataBatch([mx.nd.array(data)]))
    return found.get_outputs()[0].asnumpy()


def onnx(net: mxt.NetGraph, data: Any, _: dict[str, int] | None, folder: str) -> Any:
    """Return what onnxruntime gives for the file."""
    mxt.to_onnx(net, f"{folder}/net.onnx")
    session = onnxruntime.InferenceSession(f"{folder}/net.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"Input": data})[0]


def block(net: mxt.NetGraph, data: Any, lengths: dict[str, int] | None, _: str) -> Any:
    """Return what Gluon gives for the block."""
    return mxt.to_gluon(net, lengths=lengths)(mx.nd.array(data)).asnumpy()


def mxnet_again(_: mxt.NetGraph, data: Any, __: dict[str, int] | None, folder: str) -> Any:
    """Return what the engine gives for the files that `module` has written."""
    return engine(mxt.from_mxnet(f"{folder}/net"), data)


def onnx_again(_: mxt.NetGraph, data: Any, __: dict[str, int] | None, folder: str) -> Any:
    """Return what the engine gives for the file that `onnx` has written."""
    return engine(mxt.from_onnx(f"{folder}/net.onnx"), data)


def gluon_again(net: mxt.NetGraph, data: Any, lengths: dict[str, int] | None, _: str) -> Any:
    """Return what the engine gives for a block of the net."""
    types = {"Input": mxt.Array(data.shape[1:])}
    return engine(mxt.from_gluon(mxt.to_gluon(net, lengths=lengths), types), data)


def saved_again(net: mxt.NetGraph, data: Any, _: dict[str, int] | None, folder: str) -> Any:
    """Return what the engine gives for a net that was a safetensors file."""
    mxt.to_safetensors(net, f"{folder}/net.safetensors")
    return engine(mxt.from_safetensors(f"{folder}/net.safetensors"), data)


WAYS: dict[str, Callable[..., Any]] = {
    "to_mxnet, in Module": module,
    "from_mxnet": mxnet_again,
    "to_gluon, a SymbolBlock": block,
    "from_gluon": gluon_again,
    "to_onnx, in onnxruntime": onnx,
    "from_onnx": onnx_again,
    "to_ and from_safetensors": saved_again,
}


def main() -> None:
    """Print the largest deviation of each way and net, relative to the largest output."""
    print(f"{'':26}" + "".join(f"{name:>15}" for name in NETS))
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for net in NETS.values():
        plan = mxt.compile_plan(net, {"Output": 1.0})
        shape = plan.inputs["Input"].shape(ROWS, dict.fromkeys(plan.lengths, STEPS))
        data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder, mxt.Trainer(plan, mxt.SGD(), ROWS, seed=0) as trainer:
            whole = trainer.net()
            wanted = engine(whole, data)
            for way, run in WAYS.items():
                given = run(whole, data, dict.fromkeys(plan.lengths, STEPS) or None, folder)
                found[way].append(float(np.abs(given - wanted).max() / np.abs(wanted).max()))
    for way, deviations in found.items():
        print(f"{way:26}" + "".join(f"{deviation:15.1e}" for deviation in deviations))


if __name__ == "__main__":
    main()
