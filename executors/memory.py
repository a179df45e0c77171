"""How many bytes an executor's arrays take."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from ..errors import Error
from ..plans.layers import Bidirectional, Layer, Ports
from ..plans.layers.inner import NetLayer
from ..plans.layers.recurrent import Recurrent
from ..plans.layers.scan import phases
from ..plans.plan import Plan
from ..plans.types import PortType, length_of
from ..tables import table


@dataclass(frozen=True)
class MemoryReport:
    """The memory of an executor, in bytes; parameters, gradients and auxiliary arrays may be shared with others.

    Attributes:
        bucket: Batch size and lengths.
        bytes_parameters: The flat array of parameters.
        bytes_gradients: The flat array of gradients.
        bytes_auxiliary: The flat array of auxiliary arrays.
        bytes_inputs: The input arrays and the host memory in front of them.
        bytes_input_gradients: The gradients of inputs that were asked for.
        bytes_planned: What MXNet plans for outputs and everything in between.
        bytes_recurrent: What recurrent operators keep for themselves in training, about.
    """

    bucket: str
    bytes_parameters: int
    bytes_gradients: int
    bytes_auxiliary: int
    bytes_inputs: int
    bytes_input_gradients: int
    bytes_planned: int
    bytes_recurrent: int = 0

    @property
    def bytes_total(self) -> int:
        """The sum of the parts."""
        return sum(int(getattr(self, field.name)) for field in fields(self) if field.name.startswith("bytes_"))

    def __str__(self) -> str:
        """Show the parts as a table."""
        parts = [(field.name[len("bytes_") :], getattr(self, field.name)) for field in fields(self)[1:]]
        rows = [[name.replace("_", " "), f"{found:,}"] for name, found in [*parts, ("total", self.bytes_total)]]
        return table([self.bucket, "bytes"], rows)


def planned_bytes(debug_text: str) -> int:
    """Return what MXNet's `debug_str` of an executor says it allocates, in bytes.

    Raises:
        Error: The text is not MXNet's.

    Example:
        >>> planned_bytes("Total 3 MB allocated")
        3145728
    """
    found = re.search(r"Total (\d+) MB allocated", debug_text)
    if found is None:
        raise Error("MXNet's report on its executor has no line on the memory allocated")
    return int(found[1]) * 2**20


def recurrent_bytes(plan: Plan, batch_size: int, lengths: Mapping[str, int]) -> int:
    """Return about how many bytes the recurrent operators of a plan keep for themselves in training.

    They are in no plan of MXNet. Measured over 12 shapes: so many elements for each element of the output, whatever
    the input's width up to the layer's own.
    """
    nodes = plan.graph_of_nodes.nodes.items()
    total = sum(_recurrent_elements(node.layer, plan.types.nodes[path], lengths) for path, node in nodes)
    return int(total * batch_size * np.dtype(plan.dtype).itemsize)


def _recurrent_elements(layer: Layer, ports: Ports, lengths: Mapping[str, int]) -> float:
    """Return how many elements these are for one example of a layer."""
    if isinstance(layer, Bidirectional):
        return 2 * _recurrent_elements(layer.layer, ports, lengths)
    if isinstance(layer, Recurrent):
        return layer.reserve * layer.size * _steps(ports.output(), lengths)
    if not isinstance(layer, NetLayer):
        return 0.0
    inside = layer.inside(ports)
    once = phases(layer, inside, inside.graph.order).once
    steps = _steps(ports.input(layer.stepped[0]), lengths)
    return sum(
        (1 if path in once else steps) * _recurrent_elements(node.layer, inside.types.nodes[path], lengths)
        for path, node in inside.graph.nodes.items()
    )


def _steps(port: PortType, lengths: Mapping[str, int]) -> int:
    name = length_of(port)
    assert name is not None  # asked of sequences only
    return lengths[name]


def return_freed() -> None:
    """Give freed memory back to the system, where the C library can: glibc keeps 38 to 160 MB otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
