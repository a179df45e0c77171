"""One graph bound to its arrays, and the passes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import ArrayLike

from .._mxnet import mx
from ..arrays import ArraySpec
from ..errors import Error, StepError
from ..mappings import FrozenMapping
from ..plans.lowering import ROW_MASK
from .binding import bind
from .blueprint import Blueprint, Bucket
from .capi import backward_of, forward_of
from .carried import Carried
from .checked import CheckedBatch
from .graph_memory import GraphMemory, memory_of
from .handles import ArrayHandle, Clock, InputGradientHandle, OutputHandle, output_handles
from .heads import HeadGradients
from .indices import IndexCheck, check_indices
from .kernels import usable
from .loaded import Loaded
from .staging import InputBuffers, Staging
from .state_table import Places, StateTable
from .store import ParameterStore
from .threads import setting, threads_for


@dataclass
class Shared:
    """What the graphs of one executor share.

    Attributes:
        store: Parameters, gradients and auxiliary arrays.
        clock: Counts the passes.
        buffers: The memory of inputs.
        input_gradients: Input ports whose gradients are wanted.
        table: The states that are carried from pass to pass, if any are.
        rows: The largest batch size of all graphs, where it is known, by which the number of threads is chosen.
        one_thread: Whether operators use one thread, whatever their size.
    """

    store: ParameterStore
    clock: Clock
    buffers: InputBuffers
    input_gradients: tuple[str, ...] = ()
    table: StateTable | None = None
    rows: int | None = None
    one_thread: bool = False

    def blueprint(self, bucket: Bucket) -> Blueprint:
        """Return the graph for a bucket, and the shapes of its arrays."""
        carry = {} if self.table is None else self.table.carry
        return Blueprint(self.store.plan, bucket, carry, self.store.frozen, self.input_gradients)

    def bound(self, bucket: Bucket) -> Bound:
        """Return a graph of its own for a bucket."""
        return Bound(self.blueprint(bucket), self)


class Bound:
    """A graph bound to its arrays.

    Args:
        blueprint: The graph.
        shared: The arrays that it shares with others.
        neighbour: Another graph whose memory for outputs and everything in between it uses too, or None.

    Attributes:
        bucket: What it is bound for.
        blueprint: The graph.
        plan: The plan.
        store: Parameters, gradients and auxiliary arrays.
        lengths: The number of steps by length name, padding included.
        ports: The input ports that it reads.
        input_gradients: The gradients of inputs that were asked for, by port.
        raw: MXNet's executor.
        carried: The way of carried states into it and out of it, where it has all of them.
        batch: The batch of the last pass.
        index_checks: The checks of indices of the last pass.

    Raises:
        ArgumentError: An array would have more elements than MXNet can hold.
        Error: MXNet cannot bind it.
    """

    def __init__(self, blueprint: Blueprint, shared: Shared, neighbour: Bound | None = None) -> None:
        """Bind."""
        store = shared.store
        self.blueprint = blueprint
        self.bucket = bucket = blueprint.bucket
        self.plan = plan = store.plan
        self.lengths, self.ports = blueprint.lengths, blueprint.ports
        self.store = store
        self.clock = shared.clock
        self._lowered = blueprint.lowered
        rows = 0 if shared.one_thread else shared.rows or bucket.batch_size
        threads = threads_for(plan, rows) if usable(store.context) else None
        before = [] if threads is None else [setting(threads)]
        self._staging = Staging(blueprint.wanted, blueprint.carry, shared.buffers, before)
        self.input_gradients = {
            port: shared.buffers.device(port, blueprint.wanted[port], "gradient") for port in blueprint.input_gradients
        }
        self._mask = None
        if self._lowered.masked:
            self._mask = mx.nd.ones((bucket.batch_size,), ctx=store.context, dtype=plan.dtype)
        self._masked_rows = bucket.batch_size
        gradients = self._gradients()
        self._has_gradients = bool(gradients)
        self.raw: Any = bind(
            self._lowered,
            self._arguments(),
            gradients,
            store.context,
            str(bucket),
            None if neighbour is None else neighbour.raw,
        )
        self._outputs: list[Any] = self.raw.outputs  # MXNet makes new NDArrays of the same memory at each access
        self._run_forward = forward_of(self.raw)
        self._run_backward: tuple[list[Any], Callable[[], None]] = [], lambda: None
        lengths = {name: self._staging.arrays[f"length:{name}"] for name in self.lengths if bucket.padded}
        self.carried: Carried | None = None
        if blueprint.carry and shared.table is not None:
            begin = len(self._lowered.heads) + len(self._lowered.moved)
            outputs = self.raw_outputs()
            states = {port: outputs[output] for port, output in blueprint.carry.items()}
            middle = begin + len(self._lowered.handed)
            states.update(zip(self._lowered.handed, self._outputs[begin:middle]))
            begun = dict(zip(self._lowered.begun, self._outputs[middle:]))
            self.carried = Carried(shared.table, self._staging, states, begun)
        self._heads = HeadGradients(plan, self._lowered, bucket.batch_size, self.lengths, lengths, store.context)
        self._weights = {name: loss.weight for name, loss in plan.losses.items()}
        self._failure: StepError | None = None
        self.index_checks: tuple[IndexCheck, ...] = ()
        self.batch = CheckedBatch()
        self._went_back = False

    # What the graph is bound to

    def _arguments(self) -> dict[str, Any]:
        arguments = {name: self._staging.arrays[wanted] for name, wanted in self.blueprint.staged.items()}
        arguments.update({name: self.store.argument(*paths) for name, paths in self._lowered.arrays.items()})
        if self._mask is not None:
            arguments[ROW_MASK] = self._mask
        return arguments

    def _gradients(self) -> dict[str, Any]:
        gradients = {name: self.store.gradient(*paths) for name, paths in self.blueprint.trained.items()}
        for name, port in self._lowered.inputs.items():
            if port in self.input_gradients:
                gradients[name] = self.input_gradients[port]
        return gradients

    # One pass

    def load(self, batch: CheckedBatch) -> Loaded:
        """Copy a checked batch privately, and queue its way to the device.

        The caller knows that all outputs of as many passes ago as there are slots are done.
        """
        slot = self._staging.load(batch)
        indices = [port for port in batch.device if port in self.ports and self.ports[port].count is not None]
        return Loaded(batch, tuple(self._index_check(port, batch) for port in indices), slot, self._staging)

    def take_back(self, loaded: Loaded) -> None:
        """Let the batch that was loaded last not have been loaded."""
        self._staging.take_back(loaded.slot)

    def set_threads(self) -> None:
        """Queue what comes before the batch that was loaded last, once more: someone else's may have come since."""
        self._staging.set_threads()

    def feed(self, loaded: Loaded, places: Places) -> None:
        """Queue the carried states that the batch that was loaded last leaves out."""
        assert self.carried is not None  # its table has given the places
        carry = self.carried.table.carry
        self.carried.feed(loaded.slot, places, tuple(port for port in loaded.batch.left_out if port in carry))

    def take(self, port: str, rows: Any) -> None:
        """Queue a copy of an NDArray, ``(rows, *item)``, to where the batch that was loaded last left a port out.

        Rows that are missing keep the initial values that `load` has filled the port with.
        """
        self._staging.forget(port)
        rows.copyto(self._staging.arrays[port][: rows.shape[0]])

    def forward(self, loaded: Loaded) -> None:
        """Queue the forward pass of the batch that was loaded last."""
        self._seed(self.clock.now + 1)
        self.clock.tick()
        self._forward(loaded)

    def forward_piece(self, loaded: Loaded, number: int) -> None:
        """Queue the forward pass of what was loaded last, a piece of a pass that has been counted.

        Pieces are segments of its sequences, or rows for several devices; random nodes draw other numbers in each.
        """
        self._seed(self.clock.now, number)
        self._forward(loaded)

    def _forward(self, loaded: Loaded) -> None:
        self.batch = loaded.batch
        self._went_back = False
        self.index_checks = loaded.index_checks
        self._set_rows(self.batch.rows)
        self._run_forward()

    def _seed(self, step: int, segment: int | None = None) -> None:
        if self.bucket.training and self.plan.random_nodes:
            seed = step_seed(self.store.seed, step, self.clock.part, segment, self.clock.worker)
            mx.random.seed(seed, ctx=self.store.context)

    @property
    def goes_back(self) -> bool:
        """Whether the backward pass has been queued, or is being queued, since the last forward pass."""
        return self._went_back

    @property
    def trained_ports(self) -> tuple[str, ...]:
        """The output ports that gradients come back through."""
        return tuple(head.name for head in self._lowered.heads if head.gradient)

    @property
    def moved(self) -> dict[str, Any]:
        """The new values of the auxiliary arrays that the last pass moves, NDArrays by path."""
        return dict(zip(self._lowered.moved, self._outputs[len(self._lowered.heads) :]))

    def move(self) -> None:
        """Queue the move of the auxiliary arrays to their new values."""
        for path, new in self.moved.items():
            new.copyto(self.store.argument(path))
            self.store.touch()

    def wait_for_inputs(self) -> None:
        """Wait until the last batch is in the input arrays."""
        self._staging.wait(self.ports)

    def _index_check(self, port: str, batch: CheckedBatch) -> IndexCheck:
        spec = self.ports[port]
        true = self._staging.arrays.get(f"length:{spec.length}")
        return IndexCheck.of(spec, batch.device[port][: batch.rows], None if true is None else true[: batch.rows])

    def _set_rows(self, rows: int) -> None:
        if self._mask is not None and rows != self._masked_rows:
            self._mask[:rows] = 1  # these are queued, where copying a numpy array would wait
            if rows < self.bucket.batch_size:
                self._mask[rows:] = 0
            self._masked_rows = rows

    def backward(self, gradients: Mapping[str, ArrayLike] | None = None) -> None:
        """Queue the backward pass, by default of the mean of the losses over the true rows, with the plan's weights.

        MXNet's backward pass overwrites what the forward pass has kept for it: a second one gives wrong numbers.

        Args:
            gradients: Head gradients of one's own, by output port.

        Raises:
            Error: There was one since the forward pass.
            BatchError: A head gradient does not fit its port.
            UnknownNameError: A port is unknown.
        """
        if self._went_back:
            raise Error("there was a backward pass already: each one needs a forward pass of its own before it")
        if gradients is None:
            self.backward_mean(self._weights, 1.0)
        else:
            self._backward(self._heads.of(gradients, self.batch))

    def backward_mean(self, weights: Mapping[str, float], factor: float, whole: CheckedBatch | None = None) -> None:
        """Queue the backward pass of the weighted mean of the losses over the true rows.

        Args:
            weights: The weights of losses, a mapping that never changes.
            factor: What the weighted mean is multiplied by.
            whole: The batch that the mean is over, where this one is a part of it.
        """
        self._backward(self._heads.of_mean(self.batch, weights, factor, self.batch if whole is None else whole))

    def backward_segment(self, gradients: Mapping[str, Any]) -> None:
        """Queue the backward pass, given the gradient of each head that takes one, NDArrays of the graph's own shape.

        They are read when the pass runs.
        """
        self._backward(self._heads.of_arrays(gradients))

    def _backward(self, heads: list[Any]) -> None:
        self._went_back = True
        if self._has_gradients:
            prepared, run = self._run_backward
            if heads is not prepared:
                if len(heads) != len(prepared) or any(head is not other for head, other in zip(heads, prepared)):
                    run = backward_of(self.raw, heads)
                self._run_backward = heads, run
            run()

    # What came out

    def collect(self) -> None:
        """Wait for the last pass.

        MXNet tells of a failure once, and gives out stale numbers from then on; so it is asked for here, before any
        number is read, and told again by every later read.

        Raises:
            StepError: The pass failed, after which the graph is of no more use; or indices in an NDArray were out of
                range.
        """
        if self._failure is None:
            try:
                for array in self._outputs:
                    array.wait_to_read()
                if self._has_gradients and self.store.gradients.array is not None:
                    self.store.gradients.array.wait_to_read()
            except mx.MXNetError as error:
                now = self.clock.now
                self._failure = StepError(f"pass {now} failed on the device: {error}", now, error)
        if self._failure is not None:
            raise self._failure
        check_indices(self.index_checks, "pass", self.clock.now)

    def raw_outputs(self) -> dict[str, Any]:
        """Return the NDArrays of the heads, which the next pass overwrites."""
        return {head.name: array for head, array in zip(self._lowered.heads, self._outputs)}

    def handles(self, kind: str, collect: Callable[[], None]) -> FrozenMapping[OutputHandle]:
        """Return handles on the outputs of the last pass.

        Args:
            kind: What errors call a pass.
            collect: What waits for the pass, and raises if it failed.
        """
        return output_handles(self.plan, self.raw_outputs(), self.batch, self.clock, kind, collect)

    def input_gradient_handles(self, collect: Callable[[], None]) -> dict[str, ArrayHandle]:
        """Return handles on the gradients of inputs of the last pass, ``(rows, *item)`` or ``(rows, t, *item)``."""
        found: dict[str, ArrayHandle] = {}
        for port, array in self.input_gradients.items():
            longest = self.batch.longest
            shape = self.plan.inputs[port].shape(self.batch.rows, longest)
            found[port] = InputGradientHandle(ArraySpec(port, shape, self.plan.dtype, None), array, collect, self.clock)
        return found

    # What it takes

    @property
    def bytes_inputs(self) -> int:
        """The input arrays and the host memory in front of them."""
        return self._staging.bytes

    @cached_property
    def memory(self) -> GraphMemory:
        """What it takes beside the arrays that graphs share."""
        return memory_of(self.blueprint, self.raw.debug_str())[0]


def step_seed(seed: int, step: int, part: int = 0, piece: int | None = None, worker: int = 0) -> int:
    """Return MXNet's seed of a pass of a step, or of a piece of it: a function of these alone.

    So a run that is resumed draws the same numbers, and a segment that is run again too.
    """
    place = f"{step}{f' {part}' if part else ''}{'' if piece is None else f' segment {piece}'}"
    place += f" worker {worker}" if worker else ""
    digest = hashlib.sha256(f"{seed}\n{place}".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
