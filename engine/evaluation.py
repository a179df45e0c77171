"""Test-mode passes over the arrays of a training, which move nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import names
from ..errors import BatchError, Error, StepError, unknown
from ..executors.executor import Executor
from ..executors.handles import Clock
from ..executors.inputs import CheckedBatch, Limits, check_batch
from ..executors.store import ParameterStore
from ..mappings import FrozenMapping
from ..plans.lowering import Head
from .losses import Losses, LossSums


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave.

    Attributes:
        losses: The losses over all rows.
        outputs: The outputs by name, ``(rows, *item)`` or ``(rows, t, *item)``.
    """

    losses: Losses
    outputs: FrozenMapping[NDArray[Any]]


class Evaluator:
    """Runs batches of any number of rows in test mode, in slices of the batch size.

    Args:
        store: The arrays.
        batch_size: The number of rows of a slice.
        lengths: The number of steps by length name, where fixed.
        clock: The clock whose output handles may come in.
    """

    def __init__(self, store: ParameterStore, batch_size: int, lengths: Mapping[str, int], clock: Clock) -> None:
        """Bind nothing yet."""
        self._store = store
        self._plan = store.plan
        self._batch_size = batch_size
        self._lengths = lengths
        self._clock = clock
        self._executors: dict[tuple[tuple[Head, ...], tuple[tuple[str, int], ...]], Executor] = {}

    def run(self, batches: object, outputs: Sequence[str] | None) -> Evaluation:
        """Return losses and outputs of a batch, or of an iterable of batches; waits.

        Raises:
            BatchError: A batch does not fit.
            ArgumentError: `outputs` is no sequence of names.
            UnknownNameError: An output is unknown.
        """
        one = isinstance(batches, Mapping)
        if not one and not isinstance(batches, Iterable):
            raise BatchError(f"evaluate takes a batch or an iterable of batches, got {type(batches).__name__}")
        heads = self._heads(outputs, one)
        losses = [head.name for head in heads if head.name in self._plan.loss_ports]
        sums = LossSums(self._plan)
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in self._shown(heads, outputs, one)}
        for batch in [batches] if one else batches:  # type: ignore[attr-defined]  # iterable by the check above
            for rows, lengths, values in self._passes(batch, heads):
                sums.add({port: values[port] for port in losses}, rows, lengths)
                for name, collected in parts.items():
                    collected.append(values[name])
        if not sums.examples:
            raise BatchError("evaluate got an iterable without any batch (a generator that had been used up?)")
        return Evaluation(sums.losses("mean"), _joined(parts))

    def clear(self) -> None:
        """Let go of the executors."""
        self._executors.clear()

    def _heads(self, outputs: Sequence[str] | None, one: bool) -> tuple[Head, ...]:
        """Return what to compute: outputs, and the losses unless only outputs of one batch are asked for."""
        plan = self._plan
        if outputs is None:
            return tuple(self._head(name) for name in (plan.outputs if one else plan.loss_ports))
        wanted = dict.fromkeys(names(outputs, "outputs"))
        if not one or not wanted:
            wanted.update(dict.fromkeys(plan.loss_ports))
        return tuple(self._head(name) for name in wanted)

    def _head(self, name: str) -> Head:
        graph = self._plan.graph_of_nodes
        if name in graph.outputs:
            return Head(name, graph.outputs[name], self._plan.losses[name].example_weights)
        found = graph.source_of(name)
        if found is None:
            raise unknown("output or layer", name, [*graph.outputs, *graph.nets, *graph.nodes], "the plan")
        return Head(name, found)

    @staticmethod
    def _shown(heads: tuple[Head, ...], outputs: Sequence[str] | None, one: bool) -> list[str]:
        if outputs is not None:
            return list(outputs)
        return [head.name for head in heads] if one else []

    def _passes(
        self, batch: object, heads: tuple[Head, ...]
    ) -> Iterable[tuple[int, Mapping[str, int], dict[str, NDArray[Any]]]]:
        checked = check_batch(batch, self._limits(heads))
        lengths = {**self._lengths, **checked.lengths}
        executor = self._executor(heads, {name: lengths.get(name, 1) for name in self._plan.lengths})  # 1: not needed
        for begin in range(0, checked.rows, self._batch_size):
            piece = _rows(checked, begin, min(begin + self._batch_size, checked.rows))
            executor.queue_forward(piece)
            self._collect(executor)
            yield (
                piece.rows,
                lengths,
                {name: array.asnumpy()[: piece.rows] for name, array in executor.raw_outputs().items()},
            )

    def _collect(self, executor: Executor) -> None:
        try:
            executor.collect()
        except StepError as error:
            self._executors.clear()  # MXNet would tell of this failure again
            raise Error(f"the evaluation failed on the device: {error}") from error

    def _limits(self, heads: tuple[Head, ...]) -> Limits:
        plan = self._plan
        used = plan.graph_of_nodes.inputs_of(tuple(head.source for head in heads))
        used |= {head.example_weights for head in heads if head.example_weights is not None}
        return Limits.of(plan, None, self._lengths, self._clock, used)

    def _executor(self, heads: tuple[Head, ...], lengths: Mapping[str, int]) -> Executor:
        key = (heads, tuple(sorted(lengths.items())))
        if key not in self._executors:
            self._executors[key] = Executor(
                self._store, self._batch_size, lengths, training=False, heads=heads, clock=Clock(), slots=1
            )
        return self._executors[key]


def _rows(batch: CheckedBatch, begin: int, end: int) -> CheckedBatch:
    return CheckedBatch(
        rows=end - begin,
        lengths=batch.lengths,
        host={name: array[begin:end] for name, array in batch.host.items()},
        device={name: array[begin:end] for name, array in batch.device.items()},
        left_out=batch.left_out,
    )


def _joined(parts: Mapping[str, list[NDArray[Any]]]) -> FrozenMapping[NDArray[Any]]:
    joined = {}
    for name, collected in parts.items():
        shapes = {part.shape[1:] for part in collected}
        if len(shapes) > 1:
            raise BatchError(
                f'output "{name}" has a different shape in each batch {sorted(shapes)}; evaluate them one by one'
            )
        if collected:
            joined[name] = collected[0] if len(collected) == 1 else np.concatenate(collected)
    return FrozenMapping(joined, "output", "the evaluation")
