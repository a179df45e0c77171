"""Damaged ONNX files: other bytes, or a model that is wrong in a few places."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from fuzz_mutations import Generator, changed_bytes

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import exported_cases as cases  # noqa: E402 - the nets lie beside the tests, which are no package

import mxtrainer as mxt  # noqa: E402

NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 100, 10**6, 2**31, 2**62)
OPERATORS = (
    "Add", "Cast", "Concat", "Conv", "Expand", "Flatten", "GRU", "Gather", "Gemm", "Identity", "LSTM", "Loop", "MatMul",
    "RNN", "Range", "Reshape", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    "Where", "Nothing",
)  # fmt: skip


def models() -> list[bytes]:
    """Return the files of PyTorch that the tests have, and some of ours."""
    found = [path.read_bytes() for path in sorted((ROOT / "tests" / "data").glob("*.onnx"))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        for net in cases.NETS.values():
            mxt.to_onnx(cases.with_values(net), path)
            found.append(path.read_bytes())
    return found


def damaged_model(generator: Generator, data: bytes) -> bytes:
    """Return the file with other bytes, or with one to three changes that leave it a model."""
    if generator.random() < 0.3:
        return changed_bytes(generator, data)
    model = onnx.ModelProto.FromString(data)
    for _ in range(generator.integers(1, 4)):
        _change(generator, model.graph)
    return bytes(model.SerializeToString())


def _change(generator: Generator, graph: Any) -> None:
    ways = [_operator, _wiring, _attribute, _tensor, _input]
    ways[int(generator.integers(len(ways)))](generator, graph)


def _one(generator: Generator, items: Any) -> Any:
    return items[int(generator.integers(len(items)))] if len(items) else None


def _number(generator: Generator) -> int:
    return int(_one(generator, NUMBERS))


def _operator(generator: Generator, graph: Any) -> None:
    _one(generator, graph.node).op_type = _one(generator, OPERATORS)


def _wiring(generator: Generator, graph: Any) -> None:
    """Feed a node something else, nothing, or less."""
    node, other = _one(generator, graph.node), _one(generator, graph.node)
    if node.input:
        place = int(generator.integers(len(node.input)))
        names = ["", *other.output, *other.input]
        node.input[place] = _one(generator, names)
        if generator.random() < 0.3:
            del node.input[place]


def _attribute(generator: Generator, graph: Any) -> None:
    nodes = [node for node in graph.node if node.attribute]
    if not nodes:
        return
    node = _one(generator, nodes)
    attribute = _one(generator, node.attribute)
    if generator.random() < 0.3:
        node.attribute.remove(attribute)
    elif attribute.ints:
        attribute.ints[int(generator.integers(len(attribute.ints)))] = _number(generator)
    else:
        attribute.i = _number(generator)


def _tensor(generator: Generator, graph: Any) -> None:
    """Give a constant another shape, dtype, or fewer bytes."""
    tensor = _one(generator, graph.initializer)
    if tensor is None:
        return
    way = generator.integers(4)
    if way == 0 and tensor.dims:
        tensor.dims[int(generator.integers(len(tensor.dims)))] = _number(generator)
    elif way == 1:
        tensor.data_type = int(generator.integers(0, 24))
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: int(generator.integers(len(tensor.raw_data) + 1))]
    else:
        tensor.dims.append(_number(generator))


def _input(generator: Generator, graph: Any) -> None:
    """Give an input another shape, or another dtype."""
    kind = _one(generator, graph.input).type.tensor_type
    if kind.shape.dim and generator.random() < 0.7:
        _one(generator, kind.shape.dim).dim_value = _number(generator)
    else:
        kind.elem_type = int(generator.integers(0, 24))


def load_model(path: Path) -> None:
    """Read it as a net, and compile that."""
    net = mxt.from_onnx(path)
    mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
