"""Damaged files of MXNet: a graph and its arrays, which are loaded, bound and run."""

from __future__ import annotations

import contextlib
import json
import math
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import Generator, as_text, changed_bytes, changed_json

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import exported_cases as cases  # noqa: E402 - the nets lie beside the tests, which are no package

import mxtrainer as mxt  # noqa: E402
from mxtrainer._mxnet import mx  # noqa: E402
from mxtrainer.plans.operators import ALLOWED, LOSSES  # noqa: E402
from mxtrainer.plans.symbols import Operation, signature  # noqa: E402

OPERATORS = sorted(ALLOWED | LOSSES)
PARAMETERS = ["axis", "shape", "dtype", "num_args", "use_sequence_length", "kernel", "stride", "num_group", "mode"]
REQUIRED = ["num_hidden", "num_filter", "kernel", "shape", "axis", "scalar", "num_outputs", "reps", "sections", "a_min"]
VALUES = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "(0,)",
    "(1, 1)",
    "(2, 2)",
    "(-1, 0)",
    "()",
    "True",
    "None",
    "1e30",
    "nan",
    "x",
    "9" * 9,
]


def pair(symbol: bytes, params: bytes) -> bytes:
    """Return both files as one."""
    return struct.pack("<Q", len(symbol)) + symbol + params


def apart(data: bytes) -> tuple[bytes, bytes]:
    """Undo `pair`."""
    size = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + size], data[8 + size :]


def symbols() -> list[bytes]:
    """Return nets of ours and symbols of MXNet's own kind, with output layers, as files."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder, "net")
        for net in cases.NETS.values():
            mxt.to_mxnet(cases.with_values(net), prefix, lengths=cases.lengths_of(net))
            found.append(pair(Path(f"{prefix}-symbol.json").read_bytes(), Path(f"{prefix}-0000.params").read_bytes()))
        for symbol, shape in _own():
            shapes, _, moved = symbol.infer_shape(data=shape)
            names = zip(symbol.list_arguments() + symbol.list_auxiliary_states(), shapes + moved)
            arrays = {f"arg:{name}": mx.nd.ones(size) for name, size in names if name != "data" and "label" not in name}
            symbol.save(f"{prefix}-symbol.json")
            mx.nd.save(f"{prefix}-0000.params", arrays)
            found.append(pair(Path(f"{prefix}-symbol.json").read_bytes(), Path(f"{prefix}-0000.params").read_bytes()))
    return found


def _own() -> list[tuple[Any, tuple[int, ...]]]:
    data = mx.sym.var("data")
    images = mx.sym.BatchNorm(mx.sym.Convolution(data, kernel=(3, 3), num_filter=2, name="conv"), name="norm")
    pooled = mx.sym.Pooling(mx.sym.Activation(images, act_type="relu"), kernel=(2, 2), stride=(2, 2), pool_type="max")
    scores = mx.sym.FullyConnected(mx.sym.Dropout(pooled, p=0.2), num_hidden=3, name="fc")
    hidden = mx.sym.Embedding(data, input_dim=9, output_dim=4, name="embedding")
    run = mx.sym.RNN(
        mx.sym.swapaxes(hidden, dim1=0, dim2=1), mx.sym.var("rnn_parameters"), mx.sym.zeros((1, 0, 3)),
        state_size=3, num_layers=1, mode="gru",
    )  # fmt: skip
    parts = mx.sym.SliceChannel(mx.sym.mean(run, axis=0), num_outputs=3, axis=1)
    joined = mx.sym.concat(parts[0], mx.sym.expand_dims(parts[2], axis=1).reshape((0, -1)), dim=1)
    return [
        (mx.sym.SoftmaxOutput(scores, name="softmax"), (2, 1, 8, 8)),
        (mx.sym.LogisticRegressionOutput(joined, name="out"), (2, 5)),
    ]


def symbol_plan() -> mxt.Plan:
    """Return a plan with graphs of MXNet in it, and with a loss of MXNet's."""
    symbol, shape = _own()[0]
    return mxt.compile_plan(mxt.from_symbol(symbol, {"data": mxt.Array(shape[1:])}))


def damaged_symbol(generator: Generator, data: bytes) -> bytes:
    """Return the files with other bytes, other JSON, or a graph that is wrong in one place."""
    symbol, params = apart(data)
    way = generator.random()
    if way < 0.1:
        return pair(changed_bytes(generator, symbol), params)
    if way < 0.3:
        return pair(symbol, changed_bytes(generator, params))
    if way < 0.5:
        return pair(as_text(generator, changed_json(generator, json.loads(symbol))).encode(), params)
    graph = json.loads(symbol)
    for _ in range(generator.integers(1, 4)):
        _change_node(generator, graph)
    return pair(json.dumps(graph).encode(), params)


def _change_node(generator: Generator, graph: Any) -> None:
    """Give a node another operator, input or parameter."""
    nodes = graph["nodes"]
    node = nodes[int(generator.integers(len(nodes)))]
    way = generator.integers(6)
    attributes, inputs = node.setdefault("attrs", {}), node["inputs"]
    if way <= 1:
        _exchange(generator, node)
    elif way == 2 and inputs:
        entry = inputs[int(generator.integers(len(inputs)))]
        entry[int(generator.integers(2))] = int(generator.choice([-1, 0, 1, 2, 7, len(nodes) - 1, 2**31, 2**40]))
    elif way == 3 and inputs:
        inputs.insert(0, inputs.pop())
    elif way == 4 and inputs:
        inputs.pop()
    else:
        names = [*attributes, *PARAMETERS]
        attributes[names[int(generator.integers(len(names)))]] = VALUES[int(generator.integers(len(VALUES)))]


def _exchange(generator: Generator, node: Any) -> None:
    """Give a node another operator, with as many inputs as it takes, and one of its parameters."""
    operator = OPERATORS[int(generator.integers(len(OPERATORS)))]
    attributes = {} if generator.random() < 0.7 else dict(node["attrs"])
    for name in REQUIRED:
        if generator.random() < 0.3:
            attributes[name] = VALUES[int(generator.integers(len(VALUES)))]
    with contextlib.suppress(mx.base.MXNetError):
        count = signature(Operation(operator, "x", tuple(attributes.items()))).inputs
        if node["inputs"]:
            node["inputs"] = (node["inputs"] * count)[:count]
    node.update(op=operator, attrs=attributes)


def load_symbol(path: Path) -> None:
    """Read them as a net, and run it on a batch."""
    symbol, params = apart(path.read_bytes())
    prefix = path.with_name("net")
    Path(f"{prefix}-symbol.json").write_bytes(symbol)
    Path(f"{prefix}-0000.params").write_bytes(params)
    types = {"data": mxt.Array((1, 8, 8)) if b'"conv"' in symbol else mxt.Vector(5)} if b'"data"' in symbol else {}
    net = mxt.from_mxnet(prefix, types)
    plan = mxt.compile_plan(net, {port: 1.0 for port in net.outputs if "oss" not in port})
    mxt.Plan.from_json(plan.to_json())
    lengths = dict.fromkeys(plan.lengths, 3)
    executor = mxt.instantiate(plan, 2, lengths, arrays=net.arrays)
    for value in (1.0, math.nan, -1.0, 1e30):
        executor.forward({name: _filled(spec, lengths, value) for name, spec in plan.inputs.items()})
        executor.backward()
        for output in executor.outputs.values():
            output.asnumpy()


def _filled(spec: Any, lengths: dict[str, int], value: float) -> Any:
    return np.full(spec.shape(2, lengths), 0 if spec.count is not None else value)
