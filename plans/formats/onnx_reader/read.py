"""`from_onnx`: a net of our layers from an ONNX file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....arguments import as_array, as_path
from ....errors import ArgumentError, Error, FileFormatError, NetError, unknown
from ....values import UNREADABLE
from ...graph import Source
from ...net import NO_ENTRIES, InputTypes, NetGraph
from ...types import PortType, check_port_type
from .builder import Builder, Call
from .constants import fold
from .file import FileNode, OnnxFile, read_file
from .inputs import Inputs, Needs
from .operators import OPERATORS
from .values import Stack, Tensor, Value

LEAST, COPIES = 2**20, 16  # numbers that any file may make, and how many from each that it has


def from_onnx(
    path: str | os.PathLike[str], *, inputs: InputTypes = NO_ENTRIES, arrays: Mapping[str, ArrayLike] = NO_ENTRIES
) -> NetGraph:
    """Return the net in an ONNX file, of layers of this package, with its arrays; runs no code of the file.

    Ports have the names of the file, with "_" in place of dots. They are batch first, ``(batch, [t,] *item)``,
    whatever the order of axes in the file, and without the axes of extent 1 that only ONNX needs, as that of an LSTM's
    directions. Lengths come with each batch, in place of an input ``sequence_lens``; initial states that are inputs of
    the file are states of the net.

    Args:
        path: The file; its operators are of version 7 to 22, and its tensors in the file itself.
        inputs: Types of inputs, where the file leaves them open or says something else: ``{"X": Sequence("t",
            Vector(10))}``. Otherwise the first axis is the batch, unless a recurrent layer reads it as the second; the
            time is what a recurrent layer reads as such, or the one axis without a fixed extent; integers that choose
            among rows of a constant are an Index.
        arrays: Values for inputs of the file that are to be constants or parameters.

    Returns:
        The net, to be compiled, or run by `NetState` and others as it is.

    Raises:
        FileFormatError: The file is not there, is none, or is damaged.
        NetError: It has an operator, or a use of one, that no layer stands for; the text names the node.
        UnknownNameError: The file has no such input.
        ArgumentError: An argument is not usable.
        MissingExtraError: The library onnx is not installed.

    Example:
        >>> import tempfile, numpy, onnx
        >>> from onnx import TensorProto, helper, numpy_helper
        >>> graph = helper.make_graph(
        ...     [helper.make_node("Gemm", ["x", "w"], ["y"], name="linear")],
        ...     "example",
        ...     [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        ...     [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        ...     [numpy_helper.from_array(numpy.ones((2, 3), "float32"), "w")],
        ... )
        >>> model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     onnx.save(model, f"{folder}/linear.onnx")
        ...     net = from_onnx(f"{folder}/linear.onnx")
        >>> net, net.inputs, tuple(net.arrays)
        (NetGraph(x -> y, 1 layer), {'x': Vector(2)}, ('linear.Weights',))
    """
    name = as_path(path, "path")
    given = _checked_inputs(inputs)
    values = _checked_arrays(arrays)
    file = read_file(name)
    for what, names in (("inputs", given), ("arrays", values)):
        for entry in names:
            if entry not in file.inputs:
                raise unknown("input", entry, file.inputs, f"{what}: the file")
    both = next((entry for entry in given if entry in values), None)
    if both is not None:
        raise ArgumentError(f'"{both}" is in inputs= and in arrays=: it is either an input of the net, or a constant')
    try:
        return _Reading(file, given, values).net()
    except (ArgumentError, NetError) as error:
        raise type(error)(f"{name!r}: {error}") from error
    except FileFormatError:
        raise
    except UNREADABLE as error:
        raise FileFormatError(f"{name!r} cannot be read: {_text(error)}") from error


def _checked_inputs(inputs: object) -> dict[str, PortType]:
    if not isinstance(inputs, Mapping):
        raise ArgumentError(f'inputs must map inputs to types, as in {{"X": Vector(3)}}, got {inputs!r}')
    return {name: check_port_type(port, f'inputs: "{name}"') for name, port in inputs.items()}


def _checked_arrays(arrays: object) -> dict[str, NDArray[Any]]:
    if not isinstance(arrays, Mapping):
        raise ArgumentError(f"arrays must map inputs to arrays, got {type(arrays).__name__}")
    found = {}
    for name, given in arrays.items():
        try:
            found[name] = as_array(given)
        except ArgumentError as error:
            raise ArgumentError(f'arrays: "{name}" {error}') from None
        if found[name].dtype.kind not in "fiub":
            raise ArgumentError(f'arrays: "{name}" holds {found[name].dtype}, and not numbers')
    return found


def _numbers(file: OnnxFile, values: Mapping[str, NDArray[Any]]) -> int:
    return sum(array.size for array in (*file.constants.values(), *values.values()))


class _Reading:
    """A file on its way to a net."""

    def __init__(self, file: OnnxFile, given: Mapping[str, PortType], values: Mapping[str, NDArray[Any]]) -> None:
        self._file = file
        self._shown = _port_names((*file.inputs, *file.outputs))
        self._build = Builder(set(self._shown.values()), LEAST + COPIES * _numbers(file, values))
        self._values: dict[str, Value | None] = {**file.constants, **values}
        self._readers = Counter((*(name for node in file.nodes for name in node.inputs), *file.outputs))
        self._ports: dict[str, PortType] = {}
        made = Inputs(Needs(file, _constants(file, values)), given, self._build.fixed)
        for name, port in file.inputs.items():
            if name not in values and name in self._readers:
                tensor = made.tensor(name, port, self._shown[name])
                self._keep(name, tensor)
                self._build.types[tensor.source] = tensor.port
                self._ports[self._shown[name]] = made.type_of(name, tensor, port)

    def net(self) -> NetGraph:
        """Return the net.

        Raises:
            NetError: There is no layer for a node.
            FileFormatError: A node is wrong.
        """
        for node in self._file.nodes:
            for name, value in zip(node.outputs, self._outputs(node)):
                self._keep(name, value)
        outputs = {self._shown[name]: self._output(name) for name in self._file.outputs}
        return self._build.net(self._ports, outputs)

    def _keep(self, name: str, value: Value | None) -> None:
        if self._readers[name] != 1 and isinstance(value, Tensor):
            value = replace(value, private=False)
        elif self._readers[name] != 1 and isinstance(value, Stack):
            value = replace(value, parts=tuple(replace(part, private=False) for part in value.parts))
        self._values[name] = value

    def _outputs(self, node: FileNode) -> list[Value | None]:
        used = frozenset(place for place, name in enumerate(node.outputs) if self._readers[name])
        try:
            call = Call(self._build, node, self._file.opset, tuple(map(self._value, node.inputs)), used)
            return _run(call)
        except NetError as error:
            raise NetError(f"{node}: {error}") from error
        except (*UNREADABLE, MemoryError) as error:
            raise FileFormatError(f"{self._file.path!r}: {node}: {_text(error)}") from error

    def _value(self, name: str) -> Value | None:
        return self._values[name] if name else None

    def _output(self, name: str) -> Source:
        """Return what gives an output of the net; our own axes are in our own order."""
        value = self._values[name]
        call = Call(self._build, FileNode(name, "output", (), (name,), {}), self._file.opset, (value,), frozenset({0}))
        try:
            tensor = call.tensor()
        except NetError as error:
            raise NetError(f'its output "{name}": {error}') from error
        if tensor.source.node is not None:
            return tensor.source
        raise NetError(f'its output "{name}" is its input "{tensor.source.port}" itself, without a layer between them')


def _run(call: Call) -> list[Value | None]:
    """Return the outputs of a node."""
    found = fold(call)
    if found is None and call.node.operator not in OPERATORS:
        raise NetError(f"this operator is not read; those that are: {', '.join(sorted(OPERATORS))}")
    found = OPERATORS[call.node.operator](call) if found is None else found
    if max(call.used, default=0) >= len(found) or any(found[place] is None for place in call.used):
        raise NetError("has an output that something reads and that is not read here")
    return found


def _port_names(names: Iterable[str]) -> dict[str, str]:
    """Return the name that each port has in the net: without dots, and none twice."""
    shown: dict[str, str] = {}
    for name in names:
        plain = "".join(letter if letter.isprintable() and letter != "." else "_" for letter in name)
        shown[name] = plain if plain not in shown.values() else f"{plain}_{len(shown)}"
    return shown


def _constants(file: OnnxFile, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what is known to be constant before any node is read."""
    nodes = {node.outputs[0]: node.attributes.get("value") for node in file.nodes if node.operator == "Constant"}
    known = {name: found for name, found in nodes.items() if isinstance(found, np.ndarray)}
    return {**known, **file.constants, **values}


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
