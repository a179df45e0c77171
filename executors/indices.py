"""Checks of indices that come in NDArrays: queued with the pass, read when the pass is waited for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .._mxnet import mx
from ..errors import StepError
from ..plans.plan import PortSpec
from .inputs import place_of


class IndexCheck(NamedTuple):
    """Which indices of a port are out of range, on the device.

    Attributes:
        port: The input port.
        limit: Indices are below this.
        wrong: ``(rows,)`` or ``(rows, t)``: 1 where one is not from 0 to below the limit, 0 elsewhere.
        count: ``(1,)``: how many there are.
    """

    port: str
    limit: int
    wrong: Any
    count: Any

    @staticmethod
    def of(spec: PortSpec, array: Any, steps: Any = None) -> IndexCheck:
        """Queue the count over an NDArray, or over its true steps if their numbers are given; does not wait."""
        assert spec.count is not None  # asked of ports of indices only
        array = array.astype("int64")  # the limit is cast to the array's own dtype
        if steps is not None:
            array = mx.nd.SequenceMask(array, steps, use_sequence_length=True, axis=1)
        wrong = (array < 0) + (array >= spec.count)
        return IndexCheck(spec.name, spec.count, wrong, wrong.sum())


def check_indices(checks: Iterable[IndexCheck], kind: str, number: int) -> None:
    """Wait for the counts of a pass, of this kind and number.

    Raises:
        StepError: Some indices were out of range: MXNet has taken the nearest one instead of each.
    """
    for check in checks:
        count = int(check.count.asscalar())
        if count:
            first = place_of(np.argwhere(check.wrong.asnumpy())[0])
            raise StepError(
                f'{kind} {number}: port "{check.port}": expected indices from 0 to {check.limit - 1} in its NDArray, '
                f"found {count} out of this range, the first in {first}",
                number,
            )
