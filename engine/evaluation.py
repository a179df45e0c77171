"""Test-mode passes over the arrays of a training, which move nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import names
from ..errors import BatchError, Error, StepError, unknown
from ..executors.executor import Executor
from ..executors.handles import Clock
from ..executors.inputs import CheckedBatch, Limits, check_batch
from ..executors.store import ParameterStore
from ..mappings import FrozenMapping
from ..plans.graph import Source
from ..plans.lowering import Head
from ..plans.plan import Plan
from .losses import Losses, LossSums, loss_ports


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
        heads, losses_too = self._heads(outputs, one)
        sums = LossSums(self._plan)
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in self._shown(heads, outputs, one)}
        for batch in [batches] if one else batches:  # type: ignore[attr-defined]  # iterable by the check above
            for rows, lengths, values in self._passes(batch, heads):
                sums.add({port: values[port] for port in loss_ports(self._plan) if losses_too}, rows, lengths)
                for name, collected in parts.items():
                    collected.append(values[name])
        return Evaluation(sums.losses("mean"), _joined(parts))

    def _heads(self, outputs: Sequence[str] | None, one: bool) -> tuple[tuple[Head, ...], bool]:
        """Return what to compute, and whether the losses are in it."""
        plan = self._plan
        ports = {name: Head(name, source, plan.losses[name].example_weights) for name, source in _sources(plan).items()}
        if outputs is None:
            wanted = ports if one else {name: ports[name] for name in loss_ports(plan)}
            return tuple(wanted.values()), True
        wanted_names = names(outputs, "outputs")
        named = [ports[name] if name in ports else Head(name, self._source(name)) for name in wanted_names]
        if one and named:
            return tuple(named), set(loss_ports(plan)) <= set(outputs)
        losses = [ports[name] for name in loss_ports(plan) if name not in outputs]
        return (*named, *losses), True

    @staticmethod
    def _shown(heads: tuple[Head, ...], outputs: Sequence[str] | None, one: bool) -> list[str]:
        if outputs is not None:
            return list(outputs)
        return [head.name for head in heads] if one else []

    def _source(self, name: str) -> Source:
        """Return the layer's port of a name such as "lstm", "lstm.State" or "encoder.lstm.State"."""
        nodes = self._plan.graph_of_nodes.nodes
        if name in nodes:
            return Source(name, nodes[name].layer.output_ports()[0])
        path, _, port = name.rpartition(".")
        if path in nodes and port in nodes[path].layer.output_ports():
            return Source(path, port)
        raise unknown("output or layer", name, [*self._plan.outputs, *nodes], "the plan")

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
            raise Error(f"the evaluation failed on the device: {error.cause}") from error

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


def _sources(plan: Plan) -> Mapping[str, Source]:
    return plan.graph_of_nodes.outputs


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
