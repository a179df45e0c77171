"""Test-mode passes over the arrays of a training, which move nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import names
from ..errors import ArgumentError, BatchError, Error, StepError, unknown
from ..executors.blueprint import Bucket
from ..executors.bound import Bound, Shared
from ..executors.bucketed import bucket_of, most_rows
from ..executors.buckets import Cut, Policy
from ..executors.cache import Cache
from ..executors.checked import CheckedBatch
from ..executors.handles import Clock, zero_padding
from ..executors.inputs import Beside, Limits, check_batch
from ..executors.segmented import check_in_segments
from ..executors.staging import InputBuffers
from ..executors.state_table import StateTable
from ..executors.store import ParameterStore
from ..mappings import FrozenMapping
from ..plans.lowering import Head
from ..plans.plan import Plan
from .long_evaluation import LongEvaluation
from .losses import Losses, LossSums
from .streams import Streams


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave.

    Attributes:
        losses: The losses over all rows.
        outputs: The outputs by name, ``(rows, *item)``, or ``(rows, t, *item)`` with the steps of the longest example
            of all, zero over padding.
        lengths: The true number of steps of each example, ``(rows,)``, by length name.
    """

    losses: Losses
    outputs: FrozenMapping[NDArray[Any]]
    lengths: FrozenMapping[NDArray[np.int64]]
    _length_of: Mapping[str, str | None]

    def ragged(self, name: str) -> list[NDArray[Any]]:
        """Return an output that is a sequence as one array ``(steps, *item)`` an example.

        Raises:
            UnknownNameError: There is no such output.
            ArgumentError: It is no sequence.
        """
        array, length = self.outputs[name], self._length_of[name]
        if length is None:
            raise ArgumentError(f'output "{name}" is no sequence; outputs["{name}"] gives it')
        return [row[:steps] for row, steps in zip(array, self.lengths[length])]


class _Pass(NamedTuple):
    """One slice of a batch, and what came out."""

    batch: CheckedBatch
    values: dict[str, NDArray[Any]]

    @property
    def rows(self) -> int:
        return self.batch.rows

    @property
    def lengths(self) -> Mapping[str, NDArray[np.int64]]:
        return self.batch.lengths


def head_of(plan: Plan, name: str) -> Head:
    """Return what computes an output port of the plan, or a layer's, as "lstm" or "lstm.State".

    Raises:
        UnknownNameError: There is none.
    """
    graph = plan.graph_of_nodes
    if name in graph.outputs:
        return Head(name, graph.outputs[name], plan.losses[name].example_weights)
    found = graph.source_of(name)
    if found is None:
        raise unknown("output or layer", name, [*graph.outputs, *graph.nets, *graph.nodes], "the plan")
    return Head(name, found)


class Evaluator:
    """Runs batches of any number of rows in test mode, in slices of the batch size.

    Args:
        store: The arrays.
        policy: How lengths become buckets.
        batch_size: The number of rows of a slice, where the policy has none.
        clock: The clock whose output handles may come in.
        bytes_kept: How many bytes graphs may hold, about; None: any.
        carry: The output port of each input port whose state goes from batch to batch of one call.
    """

    def __init__(
        self,
        store: ParameterStore,
        policy: Policy,
        batch_size: int | None,
        clock: Clock,
        bytes_kept: int | None,
        carry: Mapping[str, str],
    ) -> None:
        """Bind nothing yet."""
        self._plan = store.plan
        self._policy = policy
        self._batch_size = batch_size
        self._clock = clock
        self._long = LongEvaluation(store.plan, policy) if isinstance(policy, Cut) else None
        self._carry = carry
        table = StateTable(store, carry, batch_size or 1) if carry else None
        self._streams = None if table is None else Streams(table)
        # outputs of a training step stay what they are: memory is not shared with it
        rows = most_rows(policy, batch_size, self._plan)
        shared = Shared(store, Clock(), InputBuffers(store.context, 1), table=table, rows=rows)
        self._cache = Cache(shared, bytes_kept)

    def run(
        self, batches: object, outputs: Sequence[str] | None, lengths: object, weights: Mapping[str, float]
    ) -> Evaluation:
        """Return losses and outputs of a batch, or of an iterable of batches; waits.

        Args:
            batches: A batch, or an iterable of them.
            outputs: Which outputs; None: all of a batch, none of an iterable.
            lengths: The true lengths of the rows of one batch.
            weights: The weights of losses, by output port.

        Raises:
            BatchError: A batch does not fit.
            ArgumentError: `outputs` is no sequence of names.
            UnknownNameError: An output is unknown.
        """
        one = isinstance(batches, Mapping)
        if not one and not isinstance(batches, Iterable):
            raise BatchError(f"evaluate takes a batch or an iterable of batches, got {type(batches).__name__}")
        if not one and lengths is not None:
            raise BatchError("lengths= belongs to one batch; batches of an iterable bring their own, as a Batch does")
        heads = self._heads(outputs, one)
        if self._streams is not None:
            self._streams.clear()
        losses = [head.name for head in heads if head.name in self._plan.loss_ports]
        shown = self._shown(heads, outputs, one)
        sums, passes = LossSums(self._plan, weights), []
        source: Iterable[object] = [batches] if one else batches  # type: ignore[assignment]  # by the check above
        for number, batch in enumerate(source):
            for found in self._passes(batch, heads, lengths, None if one else number):
                sums.add({port: found.values[port] for port in losses}, found.batch)
                passes.append(found._replace(values={name: found.values[name] for name in shown}))
        if not passes:
            raise BatchError("evaluate got an iterable without any batch (a generator that had been used up?)")
        length_of = {head.name: self._length_of(head) for head in heads}
        return Evaluation(
            sums.losses("mean"),
            FrozenMapping(_joined(passes, shown, length_of), "output", "the evaluation"),
            FrozenMapping(_joined_lengths(passes), "length", "the evaluation"),
            length_of,
        )

    def _length_of(self, head: Head) -> str | None:
        port = self._plan.types.of(head.source)
        return getattr(port, "length", None)

    def clear(self) -> None:
        """Let go of the graphs."""
        self._cache.close()

    def _heads(self, outputs: Sequence[str] | None, one: bool) -> tuple[Head, ...]:
        """Return what to compute: outputs, and the losses unless only outputs of one batch are asked for."""
        plan = self._plan
        if outputs is None:
            wanted = dict.fromkeys(plan.outputs if one else plan.loss_ports)
        else:
            wanted = dict.fromkeys(names(outputs, "outputs"))
        if not one or not wanted:
            wanted.update(dict.fromkeys(plan.loss_ports))
        if not one:
            wanted.update(dict.fromkeys(self._carry.values()))
        return tuple(head_of(self._plan, name) for name in wanted)

    @staticmethod
    def _shown(heads: tuple[Head, ...], outputs: Sequence[str] | None, one: bool) -> list[str]:
        if outputs is not None:
            return list(dict.fromkeys(outputs))
        return [head.name for head in heads] if one else []

    def _passes(self, batch: object, heads: tuple[Head, ...], lengths: object, number: int | None) -> Iterator[_Pass]:
        """Yield the slices of a batch; its number is that in an iterable."""
        try:
            checked = check_batch(batch, self._limits(heads), Beside(lengths))
            self._check_length(checked)
        except BatchError as error:
            raise error if number is None else BatchError(f"batch {number} (the first is 0): {error}") from None
        size = self._batch_size
        if size is None:  # that of the bucket for all
            size = self._policy.batch_size(bucket_of(self._policy, checked, self._plan))
        assert size is not None  # by check_batch_size
        for begin in range(0, checked.rows, size):
            piece = checked.between(begin, min(begin + size, checked.rows))
            if self._long is not None and self._long.cuts(piece):
                yield _Pass(piece, self._in_segments(self._long, piece, size, heads))
            else:
                bucket = Bucket.holding(piece, size, bucket_of(self._policy, piece, self._plan), False, heads)
                bound = self._run(bucket, piece)
                yield _Pass(piece, {name: a.asnumpy() for name, a in bound.raw_outputs().items()})

    def _check_length(self, batch: CheckedBatch) -> None:
        """Check that every example has a bucket, before any is run.

        Raises:
            BatchError: One has none, or the batch cannot be run in segments.
        """
        if self._long is None or not self._long.cuts(batch):
            bucket_of(self._policy, batch, self._plan)
            return
        bucket_of(self._long.policy.policy, batch, self._plan)
        check_in_segments(self._plan, batch)

    def _run(self, bucket: Bucket, piece: CheckedBatch) -> Bound:
        """Run a slice, and carry its states; waits."""
        bound = self._cache.bound(bucket)
        loaded = bound.load(piece)
        if bound.carried is not None and self._streams is not None:
            bound.feed(loaded, self._streams.places_for(piece, bucket.batch_size, 0))
            bound.forward(loaded)
            bound.carried.keep()
            self._streams.settle(0)
        else:
            bound.forward(loaded)
        self._collect(bound)
        return bound

    def _in_segments(
        self, long: LongEvaluation, piece: CheckedBatch, size: int, heads: tuple[Head, ...]
    ) -> dict[str, NDArray[Any]]:
        """Run a slice in segments, and carry its states; waits."""
        places = None if self._streams is None else self._streams.places_for(piece, size, 0)

        def run(bucket: Bucket, segment: CheckedBatch, first: bool) -> Bound:
            bound = self._cache.bound(bucket)
            loaded = bound.load(segment)
            if first and places is not None and bound.carried is not None:
                bound.feed(loaded, places)
            bound.forward(loaded)
            self._collect(bound)
            return bound

        values, states = long.run(piece, size, heads, run)
        if self._streams is not None and places is not None and self._carry.keys() <= states.keys():
            for row, place in enumerate(places.ends[: piece.rows].tolist()):
                self._streams.table.write(place, {port: states[port][row] for port in self._carry})
            self._streams.settle(0)
        return values

    def _collect(self, bound: Bound) -> None:
        try:
            bound.collect()
        except StepError as error:
            self._cache.clear()  # MXNet would tell of this failure again
            raise Error(f"the evaluation failed on the device: {error}") from error

    def _limits(self, heads: tuple[Head, ...]) -> Limits:
        plan = self._plan
        used = plan.graph_of_nodes.inputs_of(tuple(head.source for head in heads))
        used |= {head.example_weights for head in heads if head.example_weights is not None}
        return Limits.of(plan, None, self._clock, used, self._carry)


def _joined(passes: list[_Pass], shown: list[str], length_of: Mapping[str, str | None]) -> dict[str, NDArray[Any]]:
    """Return the outputs of all passes as one array each; sequences get the steps of the longest example."""
    return {name: _join(passes, name, length_of[name]) for name in shown}


def _join(passes: list[_Pass], name: str, length: str | None) -> NDArray[Any]:
    if length is None:
        parts = [found.values[name][: found.rows] for found in passes]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    longest = max(int(found.lengths[length].max()) for found in passes)
    first = passes[0].values[name]
    joined = np.zeros((sum(found.rows for found in passes), longest, *first.shape[2:]), first.dtype)
    begin = 0
    for found in passes:
        steps = int(found.lengths[length].max())
        part = zero_padding(found.values[name][: found.rows, :steps], found.lengths[length])
        joined[begin : begin + found.rows, :steps] = part
        begin += found.rows
    return joined


def _joined_lengths(passes: list[_Pass]) -> dict[str, NDArray[np.int64]]:
    return {name: np.concatenate([found.lengths[name] for found in passes]) for name in passes[0].lengths}
