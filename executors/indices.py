"""Checks of indices that come in NDArrays: queued with the pass, read when the pass is waited for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .._mxnet import mx
from ..errors import StepError
from ..plans.plan import PortSpec


class IndexCheck(NamedTuple):
    """How many indices of a port are out of range, on the device.

    Attributes:
        port: The input port.
        limit: Indices are below this.
        wrong: ``(1,)``: the number of those that are not from 0 to below the limit.
    """

    port: str
    limit: int
    wrong: Any

    @staticmethod
    def of(spec: PortSpec, array: Any, steps: Any = None) -> IndexCheck:
        """Queue the count over an NDArray, or over its true steps if their numbers are given; does not wait."""
        assert spec.count is not None  # asked of ports of indices only
        array = array.astype("int64")  # the limit is cast to the array's own dtype
        if steps is not None:
            array = mx.nd.SequenceMask(array, steps, use_sequence_length=True, axis=1)
        return IndexCheck(spec.name, spec.count, ((array < 0) + (array >= spec.count)).sum())


def check_indices(checks: Iterable[IndexCheck], kind: str, number: int) -> None:
    """Wait for the counts of a pass, of this kind and number.

    Raises:
        StepError: Some indices were out of range: MXNet has taken the nearest one instead of each.
    """
    for check in checks:
        wrong = int(check.wrong.asscalar())
        if wrong:
            raise StepError(
                f'{kind} {number}: port "{check.port}": expected indices from 0 to {check.limit - 1}, '
                f"found {wrong} others in its NDArray",
                number,
            )
