"""Test-mode passes of sequences that are longer than a segment: one segment after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..executors.blueprint import Bucket
from ..executors.bound import Bound
from ..executors.buckets import Cut
from ..executors.checked import CheckedBatch
from ..executors.segments import Segment, piece_of, segments_of
from ..plans.lowering import Head
from ..plans.plan import Plan
from ..plans.segmentation import Kind, segmentation

Values = dict[str, NDArray[Any]]


class LongEvaluation:
    """Runs batches of a plan in segments, and puts together what these give.

    Args:
        plan: The plan.
        policy: How long segments are.

    Attributes:
        policy: As given.
    """

    def __init__(self, plan: Plan, policy: Cut) -> None:
        """Find out what goes from segment to segment."""
        self._plan, self.policy = plan, policy
        self._segmentation = segmentation(plan)
        self._sequences = frozenset(port for port, spec in plan.inputs.items() if spec.length is not None)

    def cuts(self, batch: CheckedBatch) -> bool:
        """Tell whether an example of a batch is longer than a segment."""
        return self.policy.cuts(batch)

    def run(
        self,
        batch: CheckedBatch,
        rows: int,
        heads: tuple[Head, ...],
        run: Callable[[Bucket, CheckedBatch, bool], Bound],
    ) -> tuple[Values, Values]:
        """Return the values of the heads, and the states at the end by input port; waits.

        Args:
            batch: The batch, of a part of its rows.
            rows: The number of rows of graphs.
            heads: What to compute.
            run: Runs a batch through a bucket's graph, and waits; told whether it is the first segment.
        """
        length, states = self._segmentation.length, self._states(heads)
        asked = {head.name for head in heads}
        graph = self._plan.graph_of_nodes.outputs
        with_states = (*heads, *(Head(name, graph[name]) for name in states.values() if name not in asked))
        whole = _Whole({head.name: self._segmentation.kinds[head.source] for head in heads})
        now: Values = {}
        for segment in segments_of(batch, length, self.policy.segment):
            piece = piece_of(batch, segment, length, self._sequences, states)
            piece.host.update({port: found[segment.repeated] for port, found in now.items()})
            steps = {length: self.policy.steps_for(length, segment.end - segment.begin)}
            bucket = Bucket.holding(piece, rows, steps, False, with_states)
            bound = run(bucket, piece, not segment.number)
            values = {name: array.asnumpy()[: batch.rows] for name, array in bound.raw_outputs().items()}
            whole.add(segment, values)
            now = {port: _where(segment.goes_on, values[output], now.get(port)) for port, output in states.items()}
        return whole.values(), now

    def _states(self, heads: tuple[Head, ...]) -> dict[str, str]:
        """Return the states that the heads depend on: the output port of each input port."""
        needed = self._plan.graph_of_nodes.inputs_of(tuple(head.source for head in heads))
        return {port: output for port, output in self._segmentation.states.items() if port in needed}


class _Whole:
    """What the values of segments make up together."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._given: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}

    def add(self, segment: Segment, values: Values) -> None:
        for name, kind in self._kinds.items():
            found, parts = values[name], self._given[name]
            if kind is Kind.STEPS:
                parts.append(found[:, : segment.end - segment.begin])
                continue
            share = segment.shares(kind, len(found))
            if kind in (Kind.MEAN, Kind.SUM):
                with np.errstate(invalid="ignore"):  # what counts 0 may be infinite
                    term = np.where(share > 0, share * found, 0.0)
                parts[:] = [term if not parts else parts[0] + term]
            else:
                parts[:] = [_where(share > 0, found, parts[0] if parts else None)]

    def values(self) -> Values:
        return {
            name: np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0] for name, parts in self._given.items()
        }


def _where(chosen: NDArray[np.bool_], new: NDArray[Any], old: NDArray[Any] | None) -> NDArray[Any]:
    """Return new rows where they are chosen, and old ones elsewhere."""
    if old is None:
        return new.copy()
    found = old.copy()
    found[chosen] = new[chosen]
    return found
