"""MXNet's graph of forward and backward together, read from how it prints it: what takes memory beside its plan."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..plans.layers.base import Symbol
from ..plans.recompute import ALIASES, Entry
from .staging import Want

MIRRORED = "_mirror"  # what MXNet adds to the name of an operator that runs again
_ARGUMENT = re.compile(r"\targ\[\d+\]=(.*)\((\d+)\)")
_OUTPUT = re.compile(r"\toutput\[\d+\]=(.*)\((\d+)\)")
_BACKWARD_OF = re.compile(r"\tcdep\[0\]=(.*)\n")
# Operators of oneDNN that give images in an order of their own, and those that hand it on.
ORDERING = frozenset({"Convolution", "Deconvolution", "_backward_Convolution", "_backward_Deconvolution"})
FOLLOWING = frozenset(
    {"Pooling", "LeakyReLU", "Activation", "elemwise_add", "add_n"}
    | {"_backward_Pooling", "_backward_LeakyReLU", "_backward_Activation", "_backward_add", "_grad_add"}
)
# Operators that do not compute the gradients that nobody reads; others do.
SPARING = frozenset(
    {
        "_backward_FullyConnected",
        "_backward_Convolution",
        "_backward_RNN",
        "_backward_reshape",
        "SwapAxis",
        "_backward_SwapAxis",
    }
)
AGAIN = frozenset({"elemwise_add", "LeakyReLU"})  # that get a copy where they run again
READING = ORDERING | FOLLOWING | {"Reshape", "FullyConnected", "_backward_FullyConnected", "Concat", "_copy"}


class Operation(NamedTuple):
    """An operator of the whole graph.

    Attributes:
        kind: The operator, such as "FullyConnected".
        name: Its name, unique in the forward pass.
        inputs: What it reads.
        of: The operator of the forward pass that it is the backward pass of; empty where it is none.
    """

    kind: str
    name: str
    inputs: tuple[Entry, ...]
    of: str


def operations(debug_text: str) -> list[Operation]:
    """Return the operators of an executor's `debug_str`, in the order in which they run.

    Example:
        >>> from mxtrainer._mxnet import mx
        >>> net = mx.sym.tanh(mx.sym.var("x"), name="net.tanh0")
        >>> operations(net.debug_str())
        [Operation(kind='tanh', name='net.tanh0', inputs=(('x', 0),), of='')]
    """
    found = []
    for block in debug_text.split("--------------------\nOp:")[1:]:
        head, _, rest = block.partition("\n")
        kind, _, name = head.partition(", Name=")
        inputs = tuple((source, int(index)) for source, index in _ARGUMENT.findall(rest))
        backward_of = _BACKWARD_OF.search(rest)
        found.append(Operation(kind, name, inputs, backward_of[1] if backward_of else ""))
    return found


class Loop(NamedTuple):
    """An operator that runs a graph of its own once a step.

    Attributes:
        body: That graph, as MXNet's JSON has it.
        steps: How many steps.
        shapes: The shape of each input of the body.
        itemsize: The bytes of one element.
    """

    body: Mapping[str, Any]
    steps: int
    shapes: dict[str, tuple[int, ...]]
    itemsize: int


class FullGraph:
    """What is in memory while the operators of a graph run.

    Args:
        symbol: The graph of the forward pass.
        arguments: The shape and dtype of each of its arguments.
        debug_text: What MXNet prints of its executor.

    Attributes:
        shapes: The shapes of its arguments, and of what the operators of the forward pass give.
        sizes: The same in bytes.
        operations: All operators in the order in which they run.
    """

    def __init__(self, symbol: Symbol, arguments: Mapping[str, Want], debug_text: str) -> None:
        """Infer all shapes."""
        names = symbol.list_arguments()
        internals = symbol.get_internals()
        _, shapes, _ = internals.infer_shape(**{name: arguments[name].shape for name in names})
        _, dtypes, _ = internals.infer_type(**{name: arguments[name].dtype for name in names})
        self.shapes: dict[Entry, tuple[int, ...]] = {}
        self.sizes: dict[Entry, int] = {}
        index, before = 0, ""
        for one, shape, dtype in zip(internals, shapes, dtypes):
            index = index + 1 if one.name == before else 0
            before = one.name
            self.shapes[before, index] = shape
            self.sizes[before, index] = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self.operations = operations(debug_text)
        self._symbol = symbol
        self._arguments = set(names)
        self._outputs = {(name, int(number)) for name, number in _OUTPUT.findall(debug_text)}

    @cached_property
    def kept(self) -> set[Entry]:
        """What the backward pass reads of the forward pass, arguments left out."""
        memory: dict[Entry, Entry] = {}  # of which other entry, where an operator gives back what it got
        found: set[Entry] = set()
        for one in self.operations:
            entry = one.name, 0
            if entry in self.sizes:
                if one.kind in ALIASES:
                    memory[entry] = memory.get(one.inputs[0], one.inputs[0])
                continue
            found.update(memory.get(read, read) for read in one.inputs)
        return {entry for entry in found if entry in self.sizes and entry[0] not in self._arguments}

    @property
    def bytes_kept(self) -> int:
        """The size of `kept`."""
        return sum(self.sizes[entry] for entry in self.kept)

    def _gradient_sizes(self) -> dict[Entry, int]:
        """Return the sizes of what the operators of the backward pass give, as far as they are known."""
        inputs = {one.name: one.inputs for one in self.operations if (one.name, 0) in self.sizes}
        found: dict[Entry, int] = {}
        for one in self.operations:
            if (one.name, 0) in self.sizes:
                continue
            for number, read in enumerate(inputs.get(one.of, ())):
                found[one.name, number] = self.sizes[read]
            if not one.of and one.inputs:  # a sum of gradients
                found[one.name, 0] = max(found.get(read, self.sizes.get(read, 0)) for read in one.inputs)
        return found

    @cached_property
    def bytes_unused(self) -> int:
        """What MXNet plans for gradients that nobody reads, at the very end, and that nobody computes either."""
        sizes = self._gradient_sizes()
        read = {entry for one in self.operations for entry in one.inputs} | self._outputs
        total = 0
        for one in reversed(self.operations):
            own = [entry for entry in sizes if entry[0] == one.name]
            if not own:
                break
            if one.kind in SPARING:
                total += sum(sizes[entry] for entry in own if entry not in read)
            if any(entry in read and entry not in self._outputs for entry in own):
                break  # what came before may use the memory again
        return total

    @property
    def bytes_through(self) -> int:
        """The size of the largest input of a linear layer, or of its output where that is smaller; not of arguments."""
        linear = [one for one in self.operations if one.kind == "FullyConnected" and (one.name, 0) in self.sizes]
        inner = [one for one in linear if one.inputs[0][0] not in self._arguments]
        return max((min(self.sizes[one.name, 0], self.sizes[one.inputs[0]]) for one in inner), default=0)

    @property
    def bytes_turned(self) -> int:
        """The copies in plain order that operators keep which read images in oneDNN's."""
        return self._images[0]

    @property
    def bytes_largest_image(self) -> int:
        """The size of the largest of what comes in oneDNN's order."""
        return self._images[1]

    @cached_property
    def _images(self) -> tuple[int, int]:
        sizes = {**self.sizes, **self._gradient_sizes()}
        sizes.update({(name + MIRRORED, number): size for (name, number), size in self.sizes.items()})
        ordered: set[Entry] = set()
        turned = largest = 0
        for one in self.operations:
            reads = [sizes.get(entry, 0) for entry in one.inputs if entry in ordered]
            ordered.discard((one.name, 0))  # of another operator of that name
            if one.kind in ORDERING or (one.kind in FOLLOWING and one.inputs and one.inputs[0] in ordered):
                ordered.add((one.name, 0))
                largest = max(largest, sizes.get((one.name, 0), 0))
            if one.kind not in READING:
                turned += sum(reads)
            elif one.kind in AGAIN and one.name.endswith(MIRRORED) and ordered:
                turned += sizes.get(one.inputs[0], 0)  # measured: one copy for each that runs again
        return turned, largest

    def loops(self) -> Iterator[Loop]:
        """Yield the loops of the forward pass."""
        text = self._symbol.tojson()
        if '"_foreach"' not in text:
            return
        nodes = json.loads(text)["nodes"]
        for node in nodes:
            if node["op"] == "_foreach":
                read = [(nodes[source]["name"], index) for source, index, *_ in node["inputs"]]
                body, attributes = node["subgraphs"][0], node["attrs"]
                stepped, states, rest = (
                    json.loads(attributes[key]) for key in ("in_data_locs", "in_state_locs", "remain_locs")
                )
                names = [body["nodes"][place]["name"] for place in body["arg_nodes"]]
                shapes = {names[place]: self.shapes[entry] for place, entry in zip([*stepped, *states, *rest], read)}
                shapes.update({names[place]: self.shapes[entry][1:] for place, entry in zip(stepped, read)})
                size, count = self.sizes[read[0]], math.prod(self.shapes[read[0]])
                yield Loop(body, self.shapes[read[0]][0], shapes, size // count)
