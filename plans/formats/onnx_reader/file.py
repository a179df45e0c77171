"""The file itself: what an ONNX model holds, checked before anything is made of it. No file is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from ....errors import FileFormatError, NetError
from ....extras import require
from ....values import UNREADABLE

OLDEST, NEWEST = 7, 22  # versions of the operators that are known here
Extent = Union[int, str, None]
#: Elements of tensors by ONNX's number of their dtype, and the field that holds them where there are no raw bytes.
DTYPES = {
    1: ("float32", "float_data"),
    2: ("uint8", "int32_data"),
    3: ("int8", "int32_data"),
    4: ("uint16", "int32_data"),
    5: ("int16", "int32_data"),
    6: ("int32", "int32_data"),
    7: ("int64", "int64_data"),
    9: ("bool", "int32_data"),
    10: ("float16", "int32_data"),
    11: ("float64", "double_data"),
    12: ("uint32", "uint64_data"),
    13: ("uint64", "uint64_data"),
}


@dataclass(frozen=True)
class Input:
    """What a file says of an input: its dtype, and its extents: a number, a name, or None."""

    dtype: str
    shape: tuple[Extent, ...]


@dataclass(frozen=True)
class FileNode:
    """A node of the file, with its attributes as Python values and arrays."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        """Show as error texts do."""
        shown = self.name or next((output for output in self.outputs if output), "")
        return f'node "{shown}" ({self.operator})'


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read.

    Attributes:
        path: Its name.
        opset: The version of its operators.
        nodes: Its nodes, each after those that feed it.
        inputs: Its inputs by name, without those that have a value in the file.
        outputs: The names of its outputs.
        constants: The values that are in the file.
    """

    path: str
    opset: int
    nodes: tuple[FileNode, ...]
    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]


def read_file(path: str) -> OnnxFile:
    """Read a file.

    Raises:
        FileFormatError: It is not there, or is no ONNX model, or is damaged.
        NetError: There is something in it that is not read here.
        MissingExtraError: The library onnx is not installed.
    """
    onnx = require("onnx", "onnx", "from_onnx")
    decode_error = require("google.protobuf.message", "onnx", "from_onnx").DecodeError
    checker = require("onnx.checker", "onnx", "from_onnx")
    try:
        model = onnx.load_model_from_string(Path(path).read_bytes())
        _refuse_the_foreign(model, path)
        checker.check_model(model)
        return _opened(model, path)
    except (FileFormatError, NetError):
        raise
    except (decode_error, checker.ValidationError, OSError, RuntimeError, MemoryError, *UNREADABLE) as error:
        raise FileFormatError(f"{path!r} cannot be read as an ONNX model: {error}") from error


def _refuse_the_foreign(model: Any, path: str) -> None:
    """Refuse what the checker would follow, and what is not in the form of plain nodes."""
    graph = model.graph
    for found, what in (
        (model.functions, "functions of its own"),
        (model.training_info, "training information"),
        (graph.sparse_initializer, "sparse tensors"),
        (graph.quantization_annotation, "quantized tensors"),
    ):
        if len(found):
            raise NetError(f"{path!r} has {what}, which are not read here; export the model without them")
    for tensor in graph.initializer:
        _check_tensor(tensor, path)
    for node in graph.node:
        shown = f'node "{node.name or ", ".join(node.output)}" ({node.op_type})'
        if node.domain not in {"", "ai.onnx"}:
            raise NetError(
                f'{path!r}: {shown}: its operator is of the domain "{node.domain}", not one of ONNX; only operators of '
                f"ONNX itself are read"
            )
        for attribute in node.attribute:
            if attribute.HasField("g") or len(attribute.graphs):
                raise NetError(f"{path!r}: {shown}: has a graph of its own; loops, scans and branches are not read")
            if attribute.HasField("t"):
                _check_tensor(attribute.t, path)


def _check_tensor(tensor: Any, path: str) -> None:
    """Refuse a tensor that is not all here: its size must be that of the bytes that the file has for it."""
    if tensor.data_location or len(tensor.external_data):
        raise NetError(
            f'{path!r}: the tensor "{tensor.name}" lies in another file; save the model in one, as by '
            f"onnx.save(model, path)"
        )
    if tensor.data_type not in DTYPES:
        raise NetError(f'{path!r}: the tensor "{tensor.name}" is of a dtype (number {tensor.data_type}) not read here')
    dtype, field = DTYPES[tensor.data_type]
    if min(tensor.dims, default=0) < 0:
        raise FileFormatError(f'{path!r}: the tensor "{tensor.name}" has the shape {tuple(tensor.dims)}')
    expected = math.prod(tensor.dims)
    itemsize = np.dtype(dtype).itemsize
    found = len(tensor.raw_data) / itemsize if tensor.HasField("raw_data") else len(getattr(tensor, field))
    if found != expected:
        raise FileFormatError(
            f'{path!r}: the tensor "{tensor.name}" of shape {tuple(tensor.dims)} has {expected} elements, the file '
            f"has {found:g}"
        )


def _opened(model: Any, path: str) -> OnnxFile:
    array_of = require("onnx.numpy_helper", "onnx", "from_onnx").to_array
    graph = model.graph
    constants = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    inputs = {port.name: _input(port, path) for port in graph.input if port.name not in constants}
    return OnnxFile(
        path=path,
        opset=_opset(model, path),
        nodes=tuple(_node(node, array_of) for node in graph.node),
        inputs=inputs,
        outputs=tuple(port.name for port in graph.output),
        constants=constants,
    )


def _opset(model: Any, path: str) -> int:
    found = next((int(entry.version) for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
    if not OLDEST <= found <= NEWEST:
        raise NetError(
            f"{path!r}: its operators are of version {found}, and those of {OLDEST} to {NEWEST} are read; export it "
            f"with one of these as its opset"
        )
    return found


def _input(port: Any, path: str) -> Input:
    tensor = port.type.tensor_type
    if not port.type.HasField("tensor_type") or not tensor.HasField("shape") or tensor.elem_type not in DTYPES:
        raise NetError(f'{path!r}: its input "{port.name}" is no tensor of numbers with a known number of axes')
    extents = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim]
    if any(isinstance(extent, int) and extent < 1 for extent in extents):
        raise FileFormatError(f'{path!r}: its input "{port.name}" has the shape {tuple(extents)}')
    return Input(DTYPES[tensor.elem_type][0], tuple(extents))


def _node(node: Any, array_of: Any) -> FileNode:
    attributes = {attribute.name: _attribute(attribute, array_of) for attribute in node.attribute}
    return FileNode(node.name, node.op_type, tuple(node.input), tuple(node.output), attributes)


def _attribute(attribute: Any, array_of: Any) -> Any:
    """Return a number, a text, an array, or a tuple of numbers or texts; None for what is none of these."""
    kinds = attribute.AttributeType
    if attribute.type == kinds.TENSOR:
        return array_of(attribute.t)
    if attribute.type == kinds.STRING:
        return attribute.s.decode()
    if attribute.type == kinds.STRINGS:
        return tuple(text.decode() for text in attribute.strings)
    numbers = {kinds.FLOATS: "floats", kinds.INTS: "ints"}
    if attribute.type in numbers:
        return tuple(getattr(attribute, numbers[attribute.type]))
    number = {kinds.FLOAT: "f", kinds.INT: "i"}
    return getattr(attribute, number[attribute.type]) if attribute.type in number else None
