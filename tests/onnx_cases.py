"""Small ONNX models for tests of what is read from them, and what onnxruntime says that they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

import mxtrainer as mxt

Arrays = dict[str, NDArray[Any]]


def write(folder: Path, text: str, constants: Arrays, opset: int) -> str:
    """Write the model of a graph in ONNX's own notation, ``(float[batch, 3] x) => (float y) {y = Relu(x)}``."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> tested {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(found, name) for name, found in constants.items())
    for port in model.graph.output:
        if not port.type.tensor_type.shape.dim:  # the text need not say it
            port.ClearField("type")
    model = onnx.shape_inference.infer_shapes(model)
    path = str(folder / "model.onnx")
    onnx.save(model, path)
    return path


def expected(path: str, feeds: Arrays) -> Arrays:
    """Return what onnxruntime says."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def found(net: mxt.NetGraph, feeds: Arrays) -> Arrays:
    """Return what a net with arrays gives."""
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    batch = {port: feeds[port] for port in plan.inputs}
    lengths = {port.length: batch[name].shape[1] for name, port in net.inputs.items() if isinstance(port, mxt.Sequence)}
    rows = len(next(iter(batch.values())))
    executor = mxt.instantiate(plan, rows, lengths, training=False, arrays=net)
    executor.forward(batch)
    return {name: executor.outputs[name].asnumpy() for name in plan.outputs}
