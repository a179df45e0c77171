"""What a trainer says of itself: what it is made of, what it takes, and what becomes of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from ..errors import ArgumentError
from ..executors.bucketed import Buckets
from ..executors.buckets import Cut
from ..executors.free_memory import free_bytes
from ..executors.graph_memory import GraphMemory
from ..executors.inputs import Beside, check_batch
from ..executors.memory import MemoryReport, report_of
from ..executors.room import Room
from ..executors.store import ParameterStore
from ..plans.plan import Plan
from ..tables import Table, html_of
from .optimizers import Optimizer
from .saved import Saved
from .trainer_explanation import BatchExplanation, TrainerExplanation, explained


class Described(Saved):
    """The part of a trainer that says what it is.

    Args:
        devices: The devices that rows are split over.
        batch_size: The largest number of rows of a batch; None where the buckets have sizes of their own.
        room: What all of it must fit into; None: what is free.
        parts: What the rest is made of.
    """

    def __init__(self, devices: Sequence[Any], batch_size: int | None, room: Room | None, *parts: Any) -> None:
        """Take them."""
        super().__init__(*parts)
        self._devices = tuple(devices)
        self._batch_size = batch_size
        self._room = room

    # What it is

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self._store.plan

    @property
    def optimizer(self) -> Optimizer:
        """How parameters move."""
        return self._recipe.optimizer

    @property
    def batch_size(self) -> int | None:
        """The largest number of rows of a batch; None where the buckets have sizes of their own."""
        return self._batch_size

    @property
    def buckets(self) -> Buckets:
        """The executors by bucket: their policy, and a report on each."""
        return self._bucketed

    @property
    def device(self) -> Any:
        """MXNet's context of the device, the first one if there are several."""
        return self._store.context

    @property
    def devices(self) -> tuple[Any, ...]:
        """MXNet's contexts of all devices that rows are split over."""
        return self._devices

    @property
    def rank(self) -> int:
        """The number of this worker, from 0; 0 where it is alone."""
        return self._steps.rank

    @property
    def workers(self) -> int:
        """How many workers train together."""
        return self._steps.workers

    @property
    def seed(self) -> int:
        """The seed, given or drawn."""
        return self._store.seed

    @property
    def store(self) -> ParameterStore:
        """The parameters, gradients and auxiliary arrays; `instantiate` can share them."""
        return self._store

    # What it takes

    def memory(self) -> MemoryReport:
        """Return what the trainer takes now, as far as its graphs are bound; does not wait.

        `Plan.memory` says it before. What evaluations take comes beside it.

        Raises:
            Error: The trainer is closed.

        Example:
            >>> from mxtrainer import Adam, Linear, MeanSquaredLoss, NetChain, Trainer, Vector, compile_plan
            >>> plan = compile_plan(NetChain([Linear(64), MeanSquaredLoss()], inputs={"Input": Vector(64)}))
            >>> trainer = Trainer(plan, Adam(), batch_size=32)
            >>> trainer.memory().bytes_total == plan.memory(32, optimizer=Adam()).bytes_total
            True
        """
        self._check_open()
        rows = f"batch_size={'by bucket' if self._batch_size is None else self._batch_size}"
        graphs = self._bucketed.graphs()
        title = f"the trainer, {rows}, {len(graphs)} graphs"
        return self._report(title, graphs, self._bucketed.bytes_inputs, self._bucketed.bytes_segments)

    def _report(self, title: str, graphs: Sequence[GraphMemory], inputs: int, between: int) -> MemoryReport:
        return report_of(
            title,
            graphs,
            bytes_parameters=self._store.parameters.bytes,
            bytes_auxiliary=self._store.auxiliary.bytes,
            bytes_gradients=self._store.gradients.bytes,
            bytes_inputs=inputs,
            bytes_segments=between,
            **self._steps.bytes_beside(),
        )

    @overload
    def explain(self) -> TrainerExplanation: ...

    @overload
    def explain(self, batch: Mapping[str, Any], *, lengths: Mapping[str, Any] | None = None) -> BatchExplanation: ...

    def explain(
        self, batch: Mapping[str, Any] | None = None, *, lengths: Mapping[str, Any] | None = None
    ) -> TrainerExplanation | BatchExplanation:
        """Say what becomes of a batch, and why: its bucket or segments, padding, memory; or of all of it so far.

        Nothing is run, and no graph is bound for it; does not wait.

        Args:
            batch: A batch, as for `update`. None: what was decided, what there is, and what went through each bucket.
            lengths: As for `update`.

        Raises:
            BatchError: The batch does not fit.
            Error: The trainer is closed.

        Example:
            >>> from mxtrainer import (
            ...     GRU,
            ...     MeanSquaredLoss,
            ...     NetChain,
            ...     SGD,
            ...     Sequence,
            ...     Trainer,
            ...     Vector,
            ...     buckets,
            ...     compile_plan,
            ... )
            >>> net = NetChain([GRU(2), MeanSquaredLoss()], inputs={"Input": Sequence("t", Vector(1))})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=4, buckets=buckets.Multiple(4))
            >>> series = [[[1.0]], [[1.0], [2.0], [3.0], [4.0], [5.0]]]
            >>> found = trainer.explain({"Input": series, "Target": [[[0.0, 0.0]] * 1, [[0.0, 0.0]] * 5]})
            >>> dict(found.bucket), found.longest, found.padding
            ({'t': 8}, {'t': (1, 5)}, 0.8125)
        """
        self._check_open()
        if batch is None:
            if lengths is not None:
                raise ArgumentError("lengths= belongs to a batch: explain(batch, lengths=...)")
            cut = self._bucketed.policy
            segment = cut.segment if isinstance(cut, Cut) else None
            budget = None if self._room is None else self._room.total
            return TrainerExplanation(self._batch_size, segment, budget, self.memory(), self._bucketed.report())
        checked = check_batch(batch, self._limits, Beside(lengths))
        way = self._bucketed.way(checked, self._recipe.loss_weights.heads_now)
        inputs = max(graph.bytes_inputs for graph in way.graphs) * (2 + self._options["depth"])
        report = self._report("the trainer, with this alone", way.graphs, inputs, way.bytes_segments)
        limit = self.memory().bytes_total + free_bytes() if self._room is None else self._room.total
        return explained(checked, way, report, limit)

    def __repr__(self) -> str:
        """Show plan, optimizer, batch size, device and step."""
        return (
            f"Trainer({self.plan!r}, {self.optimizer!r}, batch_size={self.batch_size}, device={str(self.device)!r}, "
            f"step={self.step})"
        )

    def _repr_html_(self) -> str:
        """Show the same in a notebook, and what has been counted; does not wait."""
        rows: list[list[object]] = [
            ["plan", repr(self.plan)],
            ["optimizer", repr(self.optimizer)],
            ["batch size", "by bucket" if self.batch_size is None else self.batch_size],
            ["buckets", repr(self._bucketed.policy)],
            ["device", str(self.device)],
            ["step", self.step],
            ["so far", str(self._steps.recorder.stats(0))],
        ]
        return html_of([Table(["Trainer", ""], rows)])
