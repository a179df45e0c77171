"""Long sequences in segments: exact gradients, in the memory of one segment and of the states between them.

The forward pass runs each segment from the states that the one before it left, and keeps these states alone. The
backward pass runs the segments again, the last one first, each with the gradients of the states that it leaves, which
are those of the states that the one behind it began with.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import BatchError
from ..mappings import FrozenMapping
from ..plans.plan import Plan
from .bound import Bound
from .cache import Cache
from .carried import Keeping
from .checked import CheckedBatch
from .handles import ArrayHandle, OutputHandle
from .host_memory import zeros
from .loaded import AsGiven, Loaded
from .segment_buckets import SegmentBuckets
from .segment_sums import GradientSum, OutputSums
from .segments import Segment, piece_of
from .state_table import Places


class Segmented:
    """Passes of long sequences through the graphs of their segments.

    A segment is loaded when its turn comes, from where the caller has it, while the device works on the one before it:
    `queue` and `backward_mean` return once the last one of their pass has been loaded.

    Args:
        cache: Binds graphs.
        buckets: What these are for.

    Attributes:
        bucket: What the last batch has been run for.
        plan: The plan.
        carried: The way of carried states into their table.
        input_gradients: None: they would be as long as the sequence.
        moved: None: no auxiliary array moves.
    """

    def __init__(self, cache: Cache, buckets: SegmentBuckets) -> None:
        """Allocate what goes from segment to segment."""
        shared, rows = cache.shared, buckets.rows
        store, self._clock = shared.store, shared.clock
        self.plan = plan = store.plan
        self.input_gradients: dict[str, Any] = {}
        self.moved: dict[str, Any] = {}
        self._cache, self._buckets = cache, buckets
        self._states = buckets.parts.states
        self._sequences = frozenset(port for port, spec in plan.inputs.items() if spec.length is not None)
        self._between: dict[int, dict[str, Any]] = {}  # the states that each segment begins with, by input port
        self._sums = OutputSums(shared, buckets.parts, buckets.heads, rows)
        self._gradients = GradientSum(store.gradients.array)
        shapes = {port: plan.inputs[port].shape(rows, {}) for port in self._states}
        self._back = {port: zeros(shape, store.context, plan.dtype) for port, shape in shapes.items()}
        self.carried: Keeping | None = None
        if shared.table is not None:
            begun = {port: zeros(shapes[port], store.context, plan.dtype) for port in shared.table.carry}
            states = {port: self._sums.others[output] for port, output in shared.table.carry.items()}
            ends, anew = (zeros((1, rows), store.context, "int32") for _ in range(2))
            self.carried = Keeping(shared.table, states, begun, ends, anew)
        self._batch = CheckedBatch()
        self._segments: list[Segment] = []
        self._pads = False
        self._places: Places | None = None
        self._loading: Callable[[], Bound | None] = lambda: None  # a graph may be released meanwhile
        self.bucket = buckets.whole([])

    @property
    def trained_ports(self) -> tuple[str, ...]:
        """The losses that gradients come back through."""
        return tuple(self._sums.head_gradients)

    # One pass

    def load(self, batch: CheckedBatch) -> Loaded:
        """Take a checked batch; nothing of it is copied yet but NDArrays, which may be outputs of the pass before."""
        batch = replace(batch, device={port: array.copy() for port, array in batch.device.items()})
        self._batch, self._places = batch, None
        self._segments = self._buckets.cut(batch)
        self._pads = any(segment.pads(self._buckets.steps(segment)) for segment in self._segments)
        self.bucket = self._buckets.whole(self._segments)
        return Loaded(batch, (), 0, AsGiven())

    def take_back(self, loaded: Loaded) -> None:
        """Do nothing: no slot was taken."""

    def set_threads(self) -> None:
        """Do nothing: each segment does."""

    def feed(self, loaded: Loaded, places: Places) -> None:
        """Note where the carried states are that the batch leaves out."""
        self._places = places

    def queue(self, _: object, loaded: Loaded) -> None:
        """Count a pass, and queue its forward pass; waits until all segments but the last have been loaded.

        Raises:
            MXNetError: Something that is queued has failed.
        """
        self._clock.tick()
        self._between.clear()
        for segment in self._segments[:-1]:
            self._go_forward(segment)

    def backward_mean(self, weights: Mapping[str, float], factor: float) -> None:
        """Queue the backward pass of the weighted mean of the losses; waits until the first segment has been loaded.

        Args:
            weights: The weights of losses.
            factor: What the weighted mean is multiplied by.

        Raises:
            MXNetError: Something that is queued has failed.
        """
        self._sums.begin()
        for back in self._back.values():
            back[:] = 0
        for segment in reversed(self._segments):
            self._go_back(segment, weights, factor)
        self._batch = CheckedBatch(self._batch.rows, self._batch.lengths)  # the rest is the caller's

    def _go_forward(self, segment: Segment) -> None:
        bound = self._run(segment, goes_back=False)
        self._between[segment.number + 1] = self._states_after(segment, bound)

    def _go_back(self, segment: Segment, weights: Mapping[str, float], factor: float) -> None:
        bound = self._run(segment, goes_back=True)
        self._sums.add(bound.raw_outputs(), self._batch.rows)
        self._sums.weigh_gradients(self._batch, weights, factor)
        back = {output: self._back[port] for port, output in self._states.items()}
        bound.backward_segment({**self._sums.head_gradients, **back})
        for port, array in self._back.items():
            bound.input_gradients[port].copyto(array)
        self._gradients.add(first=segment.last, last=not segment.number)
        self._between.pop(segment.number, None)
        if not segment.number:
            self._keep_places(bound)

    def _run(self, segment: Segment, goes_back: bool) -> Bound:
        """Queue the forward pass of a segment, with what the backward pass needs or without."""
        bound = self._cache.bound(self._buckets.of_segment(segment, goes_back), self._buckets.largest(self._pads))
        before = self._loading()
        if before is not None:
            before.wait_for_inputs()
        self._sums.wait()
        self._loading = weakref.ref(bound)
        self._sums.weigh(segment, self._cache.shared.buffers.turn)
        loaded = bound.load(self._piece(segment))
        if not segment.number and self._places is not None and bound.carried is not None:
            if self.carried is not None:
                bound.carried.begins_anew = self.carried.begins_anew
            bound.feed(loaded, self._places)
        bound.forward_piece(loaded, segment.number)
        self._cache.count(bound)
        return bound

    def _piece(self, segment: Segment) -> CheckedBatch:
        """Return a segment as a batch, with the states that it begins with."""
        piece = piece_of(self._batch, segment, self._buckets.length, self._sequences, self._states)
        if segment.number:
            states = self._between[segment.number]
            if not segment.goes_on.all():
                states = {port: self._sums.repeated(array) for port, array in states.items()}
            piece.device.update(states)
        return piece

    def bind(self, longest: int) -> None:
        """Bind the graphs for batches whose examples all have a length, those that take most first."""
        for bucket in self._buckets.of_length(longest):
            self._cache.bound(bucket)

    @property
    def bytes(self) -> int:
        """What the last step has kept between its segments."""
        longest = self._batch.longest.get(self._buckets.length, 0)
        return self._buckets.bytes_between(longest, self._cache.shared.store.gradients.bytes)

    def _states_after(self, segment: Segment, bound: Bound) -> dict[str, Any]:
        """Return the states after a segment, of rows that have ended those at their end."""
        outputs = bound.raw_outputs()
        if segment.goes_on.all():
            return {port: outputs[output].copy() for port, output in self._states.items()}
        before = self._between[segment.number]
        return {port: self._sums.going_on(outputs[output], before[port]) for port, output in self._states.items()}

    def _keep_places(self, bound: Bound) -> None:
        """Queue a copy of what the graph of the first segment knows of carried states."""
        if self.carried is None or bound.carried is None:
            return
        bound.carried.ends.copyto(self.carried.ends)
        if self.carried.begins_anew:
            bound.carried.anew.copyto(self.carried.anew)
            for port, array in self.carried.begun.items():
                bound.carried.begun[port].copyto(array)

    # What came out

    def raw_outputs(self) -> dict[str, Any]:
        """Return the NDArrays of the losses of all steps, and of what is known at the end."""
        return {**self._sums.losses, **self._sums.others}

    def handles(self, kind: str, collect: Callable[[], None]) -> FrozenMapping[OutputHandle]:
        """Return handles on losses, and on what is known at the end of the last pass.

        Args:
            kind: What errors call a pass.
            collect: What waits for the pass, and raises if it failed.
        """
        rows, clock = self._batch.rows, self._clock
        lengths = FrozenMapping(self._batch.lengths, "length", "the batch")
        found = {}
        for name, array in self.raw_outputs().items():
            shape = (rows, *array.shape[1:])
            found[name] = OutputHandle(name, clock.now, shape, lengths, None, array, clock, clock.ticket, kind, collect)
        return FrozenMapping(found, "output", f"a {kind} in segments, where no sequence is kept,")

    def input_gradient_handles(self, collect: Callable[[], None]) -> dict[str, ArrayHandle]:
        """Return none."""
        return {}


def check_in_segments(plan: Plan, batch: CheckedBatch) -> None:
    """Check that a batch can be run in segments.

    Raises:
        BatchError: It cannot.
    """
    problems = [
        f'port "{port}": what is run in segments is read piece by piece; give a numpy array, array.asnumpy()'
        for port in batch.device
        if plan.inputs[port].length is not None or plan.inputs[port].count is not None
    ]
    if batch.loss_from is not None or batch.carry_at is not None:
        problems.append("windows that overlap are not run in segments: take stream(..., overlap=0), or shorter windows")
    if problems:
        raise BatchError("the batch does not fit:\n  " + "\n  ".join(problems))
