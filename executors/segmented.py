"""Long sequences in segments: exact gradients, in the memory of one segment and of the states between them.

The forward pass runs each segment from the states that the one before it left, and keeps these states alone. The
backward pass runs the segments again, the last one first, each with the gradients of the states that it leaves, which
are those of the states that the one behind it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import BatchError
from ..mappings import FrozenMapping
from ..plans.lowering import Head, training_heads
from ..plans.plan import Plan
from ..plans.segmentation import Kind, Segmentation, segmentation
from .blueprint import Bucket
from .bound import Bound
from .buckets.cut import Cut
from .cache import Cache
from .carried import Keeping
from .checked import CheckedBatch
from .handles import ArrayHandle, OutputHandle
from .host_memory import zeros
from .loaded import AsGiven, Loaded
from .segment_sums import GradientSum, OutputSums
from .segments import Segment, piece_of, segments_of
from .state_table import Places, bytes_of_states


class Segmented:
    """Passes of long sequences through the graphs of their segments.

    A segment is loaded when its turn comes, from where the caller has it, while the device works on the one before it:
    `queue` and `backward` return once the last one of their pass has been loaded.

    Args:
        cache: Binds graphs.
        policy: How long segments are.
        rows: The number of rows.
        heads: What a training step computes; None: what the plan's own weights ask for.

    Attributes:
        bucket: What the last batch has been run for.
        plan: The plan.
        carried: The way of carried states into their table.
        input_gradients: None: they would be as long as the sequence.
        moved: None: no auxiliary array moves.
    """

    def __init__(self, cache: Cache, policy: Cut, rows: int, heads: tuple[Head, ...] | None = None) -> None:
        """Allocate what goes from segment to segment."""
        shared = cache.shared
        store, self._clock = shared.store, shared.clock
        self.plan = plan = store.plan
        self.input_gradients: dict[str, Any] = {}
        self.moved: dict[str, Any] = {}
        self._cache, self._policy, self._rows = cache, policy, rows
        parts = segmentation(plan)
        self._length, self._states = parts.length, parts.states
        self._sequences = frozenset(port for port, spec in plan.inputs.items() if spec.length is not None)
        self._heads = _heads_of(heads or training_heads(plan), parts)
        self._between: dict[int, dict[str, Any]] = {}  # the states that each segment begins with, by input port
        self._sums = OutputSums(shared, parts, self._heads, rows)
        self._gradients = GradientSum(store.gradients.array)
        shapes = {port: plan.inputs[port].shape(rows, {}) for port in self._states}
        self._back = {port: zeros(shape, store.context, plan.dtype) for port, shape in shapes.items()}
        self.carried: Keeping | None = None
        if shared.table is not None:
            begun = {port: zeros(shapes[port], store.context, plan.dtype) for port in shared.table.carry}
            states = {port: self._sums.others[output] for port, output in shared.table.carry.items()}
            ends, anew = (zeros((1, rows), store.context, "int32") for _ in range(2))
            self.carried = Keeping(shared.table, states, begun, ends, anew)
        self._batch: CheckedBatch = CheckedBatch()
        self._segments: list[Segment] = []
        self._pads = False
        self._places: Places | None = None
        self._loading: Bound | None = None
        self.bucket = self._whole()

    @property
    def trained_ports(self) -> tuple[str, ...]:
        """The losses that gradients come back through."""
        return tuple(self._sums.head_gradients)

    # One pass

    def load(self, batch: CheckedBatch) -> Loaded:
        """Take a checked batch; nothing of it is copied yet but NDArrays, which may be outputs of the pass before."""
        batch = replace(batch, device={port: array.copy() for port, array in batch.device.items()})
        self._batch, self._places = batch, None
        self._segments = segments_of(batch, self._length, self._policy.segment)
        self._pads = any(segment.pads(self._steps(segment)) for segment in self._segments)
        self.bucket = self._whole()
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
            bound = self._run(segment, goes_back=False)
            self._between[segment.number + 1] = self._states_after(segment, bound)

    def backward(self, gradients: None = None, weights: Mapping[str, float] | None = None, factor: float = 1.0) -> None:
        """Queue the backward pass of the weighted mean of the losses; waits until the first segment has been loaded.

        Args:
            gradients: None: no others are taken.
            weights: The weights of losses; None: those of the plan.
            factor: What the weighted mean is multiplied by.

        Raises:
            MXNetError: Something that is queued has failed.
        """
        known = {name: loss.weight for name, loss in self.plan.losses.items()} if weights is None else weights
        self._sums.begin()
        for back in self._back.values():
            back[:] = 0
        for segment in reversed(self._segments):
            bound = self._run(segment, goes_back=True)
            self._sums.add(bound.raw_outputs(), self._batch.rows)
            self._sums.weigh_gradients(self._batch, known, factor)
            back = {output: self._back[port] for port, output in self._states.items()}
            bound.backward_segment({**self._sums.head_gradients, **back})
            for port, array in self._back.items():
                bound.input_gradients[port].copyto(array)
            self._gradients.add(first=segment.last, last=not segment.number)
            self._between.pop(segment.number, None)
        self._keep_places(bound)
        self._batch = CheckedBatch(self._batch.rows, self._batch.lengths)  # the rest is the caller's

    def _run(self, segment: Segment, goes_back: bool) -> Bound:
        """Queue the forward pass of a segment, with what the backward pass needs or without."""
        piece = self._piece(segment)
        largest = self._bucket(segment, True)._replace(
            lengths=((self._length, self._policy.segment),), padded=self._pads
        )
        bound = self._cache.bound(self._bucket(segment, goes_back), largest)
        if self._loading is not None:
            self._loading.wait_for_inputs()
            self._sums.wait()
        self._loading = bound
        loaded = bound.load(piece)
        if not segment.number and self._places is not None and bound.carried is not None:
            if self.carried is not None:
                bound.carried.begins_anew = self.carried.begins_anew
            bound.feed(loaded, self._places)
        self._sums.weigh(segment, loaded.slot)
        bound.forward_segment(loaded, segment.number)
        self._cache.count(bound)
        return bound

    def _piece(self, segment: Segment) -> CheckedBatch:
        piece = piece_of(self._batch, segment, self._length, self._sequences)
        if segment.number:
            piece.host = {port: found for port, found in piece.host.items() if port not in self._states}
            piece.device.update(self._between[segment.number])
            piece.left_out = ()
        return piece

    def _bucket(self, segment: Segment, goes_back: bool) -> Bucket:
        """Return what the graph of a segment is for; where nothing goes back, without its losses.

        Not where the plan draws numbers: what is left out would have changed which ones the rest draws.
        """
        steps = self._steps(segment)
        padded = segment.pads(steps)
        bucket = Bucket(self._rows, ((self._length, steps),), padded, True, self._heads, segment=self._policy.segment)
        return bucket if goes_back or self.plan.random_nodes else _for_states(self.plan, bucket)

    def buckets(self, batch: CheckedBatch) -> list[Bucket]:
        """Return what the graphs are for that a batch goes through, once each, those for gradients first."""
        segments = segments_of(batch, self._length, self._policy.segment)
        both = {self._bucket(segment, True) for segment in segments} | {
            self._bucket(one, False) for one in segments[:-1]
        }
        return sorted(both, key=lambda bucket: (not bucket.training, bucket.padded))

    def bind(self, longest: int) -> None:
        """Bind the graphs for batches of this longest length, those with masks first, which take more."""
        for bucket in reversed(buckets_of_segments(self.plan, self._policy, self._rows, longest)):
            if bucket.training:
                self._cache.bound(bucket)

    @property
    def bytes(self) -> int:
        """What the last step has kept between its segments."""
        longest, gradients = self._batch.longest.get(self._length, 0), self._cache.shared.store.gradients.bytes
        return bytes_between(self.plan, self._policy, self._rows, longest, gradients)

    def _steps(self, segment: Segment) -> int:
        return self._policy.steps_for(self._length, segment.end - segment.begin)

    def steps(self, segments: list[Segment]) -> int:
        """Return how many steps segments have with their padding."""
        return sum(map(self._steps, segments))

    def _whole(self) -> Bucket:
        steps = self.steps(self._segments)
        return Bucket(self._rows, ((self._length, steps),), True, True, self._heads, segment=self._policy.segment)

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


def buckets_of_segments(plan: Plan, policy: Cut, rows: int, longest: int) -> list[Bucket]:
    """Return what the graphs are bound for that batches of this longest length go through, if all examples have it."""
    length, most = segmentation(plan).length, policy.segment
    whole = Bucket(rows, ((length, most),), heads=_heads_of(training_heads(plan), segmentation(plan)), segment=most)
    found, rest = [whole], longest % most
    if rest:
        steps = policy.steps_for(length, rest)
        found.append(whole._replace(lengths=((length, steps),), padded=steps > rest))
    if not plan.random_nodes:
        found.append(_for_states(plan, whole))
    return found


def bytes_between(plan: Plan, policy: Cut, rows: int, longest: int, bytes_gradients: int) -> int:
    """Return what a step keeps between its segments: states, their gradients, and the sum of all gradients."""
    segments = -(-longest // policy.segment)
    return bytes_of_states(plan, plan.states) * rows * (segments + 1) + bytes_gradients


def _for_states(plan: Plan, bucket: Bucket) -> Bucket:
    """Return what the graph is bound for that gives the states of a segment alone."""
    outputs = plan.graph_of_nodes.outputs
    return bucket._replace(training=False, heads=tuple(Head(name, outputs[name]) for name in plan.states.values()))


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


def _heads_of(heads: tuple[Head, ...], parts: Segmentation) -> tuple[Head, ...]:
    """Return what a segment computes: no sequences, and states that gradients come back through."""
    states = parts.states.values()
    return tuple(
        head._replace(gradient=True) if head.name in states else head
        for head in heads
        if parts.kinds[head.source] is not Kind.STEPS
    )
