"""Passes of batches whose rows are split over several devices, each with a copy of the arrays.

Each device takes its rows forward and back. The first one, whose arrays are the trainer's own, adds up the gradients in
the order of the devices, and has all outputs; before the next pass the others copy its arrays.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import ArraySpec
from ..mappings import FrozenMapping
from ..plans.lowering import Head
from .blueprint import Bucket
from .bound import Bound, Shared
from .capi import prepared
from .carried import ANEW, BEGINS, ENDS, Keeping, wanted
from .checked import CheckedBatch
from .executor import Executor
from .handles import ArrayHandle, InputGradientHandle, OutputHandle, output_handles
from .host_memory import zeros
from .indices import IndexCheck
from .loaded import Loaded
from .shares import Share, SharesKept, cut
from .staging import InputBuffers, Staging
from .state_table import Places, StateTable
from .store import ParameterStore

Calls = list[Callable[[], None]]


class Traffic(NamedTuple):
    """What goes between the first device and another one at each pass.

    Attributes:
        arrays: Queues copies of the first one's parameters and auxiliary arrays to the other one.
        gradients: Queues the sum of both ones' gradients, which the first one has then.
    """

    arrays: Calls
    gradients: Calls

    @staticmethod
    def between(first: ParameterStore, other: ParameterStore) -> Traffic:
        """Prepare it, with memory on the first device for the other one's gradients."""
        pairs = [(first.parameters.array, other.parameters.array), (first.auxiliary.array, other.auxiliary.array)]
        arrays = [prepared("_copyto", [own], [theirs]) for own, theirs in pairs if own is not None]
        own, theirs = first.gradients.array, other.gradients.array
        copy = zeros(own.shape, own.context, np.dtype(own.dtype).name)
        adding = prepared("elemwise_add", [own, copy], [own])
        return Traffic(arrays, [prepared("_copyto", [theirs], [copy]), adding])


class DataParallel:
    """Passes of batches through the graphs of one bucket on several devices.

    Args:
        shared: What the graphs of the first device share, which has the trainer's own arrays.
        traffic: What goes between it and each of the others.
        executors: The executor of the bucket on each device; on the first ones where it has fewer rows than devices.
        heads: What they compute; None: all outputs of the plan.
        table: The states that are carried from pass to pass, on the first device, if any are.

    Attributes:
        bucket: What the last batch has been run for.
        plan: The plan.
        carried: The way of carried states into their table.
        input_gradients: The gradients of inputs that were asked for, by port.
        moved: The new values of the auxiliary arrays: the mean of those of the devices, by rows.
    """

    def __init__(
        self,
        shared: Shared,
        traffic: Sequence[Traffic],
        executors: Sequence[Executor],
        heads: tuple[Head, ...] | None,
        table: StateTable | None,
    ) -> None:
        """Allocate nothing that depends on a graph yet."""
        self._traffic, self._executors = traffic, executors
        self._heads, self._table = heads, table
        self._store, self._clock = shared.store, shared.clock
        self.plan = shared.store.plan
        self._rows = sum(executor.batch_size for executor in executors)
        self._lengths = executors[0].lengths
        self.bucket = Bucket(self._rows, tuple(self._lengths.items()), heads=heads)
        self.carried: Keeping | None = None
        self.input_gradients: dict[str, Any] = {}
        self.moved: dict[str, Any] = {}
        self.trained_ports: tuple[str, ...] = ()
        self._outputs: dict[str, Any] = {}
        self._begun: dict[str, Any] = {}
        self._taking: dict[str, tuple[Any, Callable[[], None]]] = {}  # by port, with the array of the table
        self._places: Staging | None = None
        self._slots, self._turn = shared.buffers.slots, 0
        self._shares: list[Share] = []  # of the batch that was loaded last
        self._bounds: list[weakref.ref[Bound]] = []  # that have run last: a graph may be released meanwhile
        self._batch = CheckedBatch()
        self._forms: weakref.WeakKeyDictionary[Any, list[object]] = weakref.WeakKeyDictionary()  # of shares
        self._gathering: weakref.WeakKeyDictionary[Bound, dict[int, Calls]] = weakref.WeakKeyDictionary()

    def prepare(self, batch: CheckedBatch) -> None:
        """Bind the graphs for a batch, those that are not there."""
        bounds = [self._graph_for(part, number) for number, (_, part) in enumerate(self._cut(batch))]
        if not self._outputs:
            self._allocate(bounds[0])

    def _graph_for(self, part: CheckedBatch, number: int) -> Bound:
        bound = self._executors[number].bound_for(part, True, self._heads)
        self._gathering.setdefault(bound, {})
        return bound

    @property
    def has_graphs(self) -> bool:
        """Whether a graph of it is there, or a batch on its way through some."""
        return bool(self._shares or self._gathering)

    def _allocate(self, bound: Bound) -> None:
        """Allocate what the shares come together in."""
        context = self._store.context

        def whole(array: Any) -> Any:
            return zeros((self._rows, *array.shape[1:]), context, np.dtype(array.dtype).name)

        self._outputs = {name: whole(array) for name, array in bound.raw_outputs().items()}
        self.input_gradients = {port: whole(array) for port, array in bound.input_gradients.items()}
        self.moved = {path: zeros(array.shape, context, self.plan.dtype) for path, array in bound.moved.items()}
        self.trained_ports = bound.trained_ports
        if self._table is not None:
            carry = self._table.carry
            self._places = Staging(wanted(self._rows), (), InputBuffers(context, self._slots))
            shapes = {port: self.plan.inputs[port].shape(self._rows, {}) for port in carry}
            self._begun = {port: zeros(shape, context, self.plan.dtype) for port, shape in shapes.items()}
            states = {port: self._outputs[output] for port, output in carry.items()}
            ends, anew = (self._places.arrays[name] for name in (ENDS, ANEW))
            self.carried = Keeping(self._table, states, self._begun, ends, anew)

    # One pass

    def _cut(self, batch: CheckedBatch) -> list[tuple[int, CheckedBatch]]:
        """Return the rows of each device that has some, and where they begin."""
        found = cut(batch, len(self._executors))
        if batch.form is not None:
            forms = self._forms.get(batch.form)
            if forms is None:
                forms = self._forms[batch.form] = [object() for _ in found]
            for (_, part), form in zip(found, forms):
                part.form = form
        return found

    def load(self, batch: CheckedBatch) -> Loaded:
        """Copy a checked batch privately, and queue its way to the devices."""
        found: list[Share] = []
        for number, (begin, part) in enumerate(self._cut(batch)):
            bound = self._graph_for(part, number)
            part.device = {port: array.as_in_context(bound.store.context) for port, array in part.device.items()}
            found.append(Share(number, begin, bound, bound.load(part)))
        self._shares = found
        self.bucket = Bucket.holding(batch, self._rows, self._lengths, True, self._heads)
        lengths = {port: spec.length for port, spec in self.plan.inputs.items()}
        keeper = SharesKept([share.loaded for share in found], lengths)
        return Loaded(batch, self._index_checks(found), 0, keeper)

    def _index_checks(self, found: Sequence[Share]) -> tuple[IndexCheck, ...]:
        """Return the checks of all shares, with their counts where the first device adds them up."""
        context = self._store.context
        checks = [check for share in found for check in share.loaded.index_checks]
        return tuple(check._replace(count=check.count.as_in_context(context)) for check in checks)

    def take_back(self, loaded: Loaded) -> None:
        """Let the batch that was loaded last not have been loaded."""
        for share in self._shares:
            share.bound.take_back(share.loaded)
        self._shares = []

    def set_threads(self) -> None:
        """Queue what comes before the batch that was loaded last, once more."""
        for share in self._shares:
            share.bound.set_threads()

    def feed(self, loaded: Loaded, places: Places) -> None:
        """Queue the carried states that the batch that was loaded last leaves out."""
        staging = self._places
        assert staging is not None  # as for all that carry
        assert self._table is not None  # which has given the places
        slot, self._turn = self._turn, (self._turn + 1) % self._slots
        staging.place(BEGINS, slot, places.begins, places)
        staging.place(ENDS, slot, places.ends, places)
        if self.carried is not None and self.carried.begins_anew:
            staging.place(ANEW, slot, places.anew, places)
        for port, begun in self._begun.items():
            if port in loaded.batch.left_out:
                self._take(port, self._table.arrays[port], begun)
                for share in self._shares:
                    share.bound.take(port, begun[share.begin : share.begin + share.loaded.batch.rows])

    def _take(self, port: str, table: Any, begun: Any) -> None:
        """Queue the states that rows begin with, out of the table."""
        known, take = self._taking.get(port, (None, None))
        if take is None or known is not table:  # the table has grown
            assert self._places is not None  # as for all that carry
            take = prepared("take", [table, self._places.arrays[BEGINS]], [begun], axis=0, mode="clip")
            self._taking[port] = table, take
        take()

    def queue(self, _: object, loaded: Loaded) -> None:
        """Count a pass, and queue its forward pass on all devices."""
        self._clock.tick()
        self._batch = loaded.batch
        self._bounds = [weakref.ref(share.bound) for share in self._shares]
        for share in self._shares:
            if share.number:
                for call in self._traffic[share.number - 1].arrays:
                    call()
            share.bound.forward_piece(share.loaded, share.number)
            self._executors[share.number].count(share.bound)
            for call in self._gather(share):
                call()
        last = self._shares[-1]
        for array in self._outputs.values():  # what an earlier batch has left behind the rows of this one
            end = last.begin + last.bound.bucket.batch_size
            if end < self._rows:
                array[end:] = 0

    def _gather(self, share: Share) -> Calls:
        """Return what brings the outputs of a share together with those of the others.

        All rows of a graph are copied, also missing ones: the share behind it then writes over these.
        """
        known = self._gathering[share.bound]
        calls = known.get(share.begin)
        if calls is None:
            end = share.begin + share.bound.bucket.batch_size
            outputs = share.bound.raw_outputs()
            known[share.begin] = calls = [
                prepared("_copyto", [outputs[name]], [whole[share.begin : end]])
                for name, whole in self._outputs.items()
            ]
        return calls

    def backward_mean(self, weights: Mapping[str, float], factor: float) -> None:
        """Queue the backward pass of the weighted mean of the losses over the true rows, times a factor."""
        for share in self._shares:
            share.bound.backward_mean(weights, factor, self._batch)
            end = share.begin + share.loaded.batch.rows
            for port, whole in self.input_gradients.items():
                share.bound.input_gradients[port][: end - share.begin].copyto(whole[share.begin : end])
            self._move_auxiliary(share)
            if share.number:
                for call in self._traffic[share.number - 1].gradients:
                    call()
        self._shares = []  # graphs may be released from now on

    def _move_auxiliary(self, share: Share) -> None:
        part = share.loaded.batch.rows / self._batch.rows
        for path, new in share.bound.moved.items():
            own = new.as_in_context(self._store.context) * part
            if share.number:
                own = own + self.moved[path]
            own.copyto(self.moved[path])

    # What came out

    def raw_outputs(self) -> dict[str, Any]:
        """Return the NDArrays of the outputs of all rows, which the next pass overwrites."""
        return self._outputs

    def is_bound(self) -> bool:
        """Tell whether the graphs of the last pass are there."""
        return all(found() is not None for found in self._bounds)

    def handles(self, kind: str, collect: Callable[[], None]) -> FrozenMapping[OutputHandle]:
        """Return handles on the outputs of the last pass."""
        return output_handles(self.plan, self._outputs, self._batch, self._clock, kind, collect)

    def input_gradient_handles(self, collect: Callable[[], None]) -> dict[str, ArrayHandle]:
        """Return handles on the gradients of inputs of the last pass, ``(rows, *item)`` or ``(rows, t, *item)``."""
        found: dict[str, ArrayHandle] = {}
        for port, array in self.input_gradients.items():
            spec = ArraySpec(
                port, self.plan.inputs[port].shape(self._batch.rows, self._batch.longest), self.plan.dtype, None
            )
            found[port] = InputGradientHandle(spec, array, collect, self._clock)
        return found
