"""A batch on its way to a graph, and where what came with it can be read."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .checked import CheckedBatch, Steps
from .indices import IndexCheck


class Keeper(Protocol):
    """Who has what came with a batch."""

    def kept(self, turn: int, batch: CheckedBatch, name: str) -> NDArray[Any]:
        """Return a copy of what came for a port; waits for NDArrays.

        Raises:
            MXNetError: It was an output of a pass that failed.
        """


class AsGiven:
    """Keeps nothing: what came with a batch is read where the caller has it, as it is by then."""

    def kept(self, turn: int, batch: CheckedBatch, name: str) -> NDArray[Any]:
        """Return a copy of what came for a port; waits for NDArrays.

        Raises:
            MXNetError: It was an output of a pass that failed.
        """
        if name in batch.device:
            given: NDArray[Any] = batch.device[name][: batch.rows].asnumpy()
            return given
        found = batch.host[name]
        if not isinstance(found, Steps):
            return found.copy()
        dense = np.zeros((len(found), int(found.lengths.max()), *found.values.shape[1:]), found.values.dtype)
        found.dense(dense)
        return dense


class Loaded(NamedTuple):
    """A batch on its way to the input arrays of a graph.

    Attributes:
        batch: The batch.
        index_checks: The checks of indices that came in NDArrays.
        slot: The slot with its private copy.
        keeper: Who has what came with it.
    """

    batch: CheckedBatch
    index_checks: tuple[IndexCheck, ...]
    slot: int
    keeper: Keeper

    def kept(self, port: str) -> NDArray[Any]:
        """Return what came for a port, as long as the slot has not been loaded again; waits for NDArrays.

        Raises:
            MXNetError: It was an output of a pass that failed.
        """
        return self.keeper.kept(self.slot, self.batch, port)
