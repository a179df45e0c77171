"""How many bytes an executor's arrays take."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from ..errors import Error
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
        bytes_planned: What MXNet plans for outputs and everything in between; a fused recurrent operator's own
            memory is not in it.
    """

    bucket: str
    bytes_parameters: int
    bytes_gradients: int
    bytes_auxiliary: int
    bytes_inputs: int
    bytes_input_gradients: int
    bytes_planned: int

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
