"""The executor: a plan with a batch size, lengths and a device, and the arrays that these need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._mxnet import mx
from ..arguments import as_numbers, names, positive_int
from ..arrays import ArraySpec, as_context
from ..errors import ArgumentError, BatchError, Error, StepError, unknown
from ..mappings import FrozenMapping
from ..plans.lowering import ROW_MASK, Head, check_lengths, lower, training_heads
from ..plans.plan import Plan
from ..resources import Resource
from .binding import bind
from .handles import ArrayHandle, ArrayMapping, Clock, OutputHandle
from .indices import IndexCheck, check_indices
from .inputs import CheckedBatch, Limits, check_batch
from .memory import MemoryReport, planned_bytes
from .staging import Staging
from .store import ParameterStore


def instantiate(
    plan: Plan,
    batch_size: int,
    lengths: Mapping[str, int] | None = None,
    *,
    device: object = "cpu",
    training: bool = True,
    seed: int | None = 0,
    arrays: object = None,
    store: ParameterStore | None = None,
    input_gradients: tuple[str, ...] | list[str] = (),
) -> Executor:
    """Turn a plan into an executor, which owns the arrays.

    Args:
        plan: The plan.
        batch_size: The largest number of rows.
        lengths: The number of steps by length name, for plans that have lengths.
        device: "cpu", "gpu:0", or a context of MXNet.
        training: Whether it has gradients, and `Executor.forward` runs in training mode unless told otherwise.
        seed: Start values depend on (seed, path, shape) alone; random nodes on (seed, pass). None draws a seed.
        arrays: Start values, copied: a net with arrays, a mapping, or another executor's arrays; may be a part.
        store: Another executor's or trainer's store, whose NDArrays are then shared, with its device and its
            seed; excludes arrays.
        input_gradients: Input ports whose gradients are wanted.

    Raises:
        ArgumentError: An argument is not usable.
        NetError: A start value has no array in the plan, or another shape.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Scalar, compile_plan
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> executor = instantiate(compile_plan(net), batch_size=2, arrays={"linear.Weights": [[2.0]]})
        >>> executor.forward({"Input": [1.0, 2.0], "Target": [2.0, 5.0]})
        >>> executor.outputs["Loss"].asnumpy()
        array([0., 1.], dtype=float32)
        >>> executor.backward()
        >>> executor.gradients["linear.Biases"][:]
        array([-1.], dtype=float32)
    """
    if not isinstance(plan, Plan):
        raise ArgumentError(f"instantiate takes a plan (see compile_plan), got {plan!r}")
    if not isinstance(training, bool):
        raise ArgumentError(f"training must be True or False, got {training!r}")
    if store is None:
        store = ParameterStore(plan, device, seed, arrays)
    else:
        _check_shared(store, plan, device, seed, arrays)
    lengths = {} if lengths is None else lengths
    return Executor(
        store, batch_size, lengths, training=training, input_gradients=names(input_gradients, "input_gradients")
    )


def _check_shared(store: object, plan: Plan, device: object, seed: int | None, arrays: object) -> None:
    if not isinstance(store, ParameterStore):
        raise ArgumentError(f"store= takes the store of an executor or a trainer, got {store!r}")
    if store.plan != plan:
        raise ArgumentError(f"store= shares the arrays of the same plan, which is {store.plan!r}, got {plan!r}")
    if arrays is not None or seed not in (0, store.seed) or as_context(device) not in (mx.cpu(), store.context):
        raise ArgumentError("store= comes with its own arrays, device and seed: give none of them with it")


def check_input_gradients(plan: Plan, ports: tuple[str, ...]) -> tuple[str, ...]:
    """Return the input ports, each of which can have a gradient.

    Raises:
        UnknownNameError: There is no such port.
        ArgumentError: A port holds indices, or travels in another dtype than the plan's.
    """
    for port in ports:
        spec = plan.inputs[port]
        if spec.count is not None:
            raise ArgumentError(f'input_gradients: "{port}" holds indices, which have no gradient')
        if spec.transfer_dtype != plan.dtype:
            raise ArgumentError(
                f'input_gradients: "{port}" travels as {spec.transfer_dtype}, and has no gradient in that dtype'
            )
    return ports


class Executor(Resource):
    """A graph bound to its arrays; `instantiate` makes one.

    `forward` and `backward` queue their work and return; reading an output waits. One thread uses an executor.

    Attributes:
        plan: The plan.
        store: The parameters, gradients and auxiliary arrays, which several executors can share.
        batch_size: The largest number of rows.
        lengths: The number of steps by length name.
        training: Whether it has gradients.
    """

    def __init__(
        self,
        store: ParameterStore,
        batch_size: int,
        lengths: Mapping[str, int],
        *,
        training: bool = True,
        heads: tuple[Head, ...] | None = None,
        input_gradients: tuple[str, ...] = (),
        clock: Clock | None = None,
        slots: int = 2,
    ) -> None:
        """Lower and bind; `heads` are by default all outputs of the plan.

        Raises:
            ArgumentError: The batch size, a length or an input gradient is not usable.
            Error: MXNet cannot bind it.
        """
        self.plan = plan = store.plan
        self.store = store
        self.batch_size = positive_int(batch_size, "batch_size")
        self.lengths = FrozenMapping(check_lengths(plan, lengths), "length", "the executor")
        self.training = training
        self.clock = clock or Clock()
        self._lowered = lower(plan, self.lengths, heads or training_heads(plan), training)
        self._ports = {name: plan.inputs[name] for name in plan.inputs if name in set(self._lowered.inputs.values())}
        self._staging = Staging(self._ports, self.batch_size, self.lengths, store.context, slots)
        self._input_gradients = self._input_gradient_arrays(input_gradients) if training else {}
        self._mask = (
            mx.nd.ones((self.batch_size,), ctx=store.context, dtype=plan.dtype) if self._lowered.masked else None
        )
        settled = tuple(head.source for head in self._lowered.heads if self._is_settled(head))
        self._side_ports = set(self._ports) - plan.graph_of_nodes.inputs_of(settled) - set(self._example_weights())
        gradients = self._gradients()
        self._bound = bind(self._lowered, self._arguments(), gradients, store.context, self.bucket)
        self._has_gradients = bool(gradients)
        self._default_heads: dict[int, list[Any]] = {}
        self._twin: Executor | None = None
        self._rows = 0
        self._masked_rows = self.batch_size
        self._failure: StepError | None = None
        self.index_checks: tuple[IndexCheck, ...] = ()
        self._unused = mx.nd.zeros((1,), ctx=store.context, dtype=plan.dtype)
        self.limits = Limits.of(plan, self.batch_size, self.lengths, self.clock, self._ports)

    # What the graph is bound to

    def _is_settled(self, head: Head) -> bool:
        """Tell whether a trainer reads this head of a step before it reuses the step's memory."""
        return head.gradient or (head.name in self.plan.losses and self.plan.losses[head.name].is_loss)

    def _example_weights(self) -> list[str]:
        return [head.example_weights for head in self._lowered.heads if head.example_weights is not None]

    @property
    def bucket(self) -> str:
        """What tells this executor from others of its plan, as text."""
        steps = "".join(f", {name}={count}" for name, count in self.lengths.items())
        return f"(batch_size={self.batch_size}{steps})"

    def _arguments(self) -> dict[str, Any]:
        arguments = {name: self._staging.arrays[port] for name, port in self._lowered.inputs.items()}
        arguments.update({name: self.store.argument(*paths) for name, paths in self._lowered.arrays.items()})
        if self._mask is not None:
            arguments[ROW_MASK] = self._mask
        return arguments

    def _gradients(self) -> dict[str, Any]:
        if not self.training:
            return {}
        trained = {name: paths for name, paths in self._lowered.arrays.items() if paths[0] in self.plan.parameters}
        gradients = {name: self.store.gradient(*paths) for name, paths in trained.items()}
        for name, port in self._lowered.inputs.items():
            if port in self._input_gradients:
                gradients[name] = self._input_gradients[port]
        return gradients

    def _input_gradient_arrays(self, ports: tuple[str, ...]) -> dict[str, Any]:
        return {port: mx.nd.zeros_like(self._staging.arrays[port]) for port in check_input_gradients(self.plan, ports)}

    # One pass

    def forward(self, batch: Mapping[str, Any], training: bool | None = None) -> None:
        """Queue a forward pass.

        It returns once the batch has been copied; it waits only while two earlier batches are still on their way.

        Args:
            batch: Arrays by input port, ``(rows, *item)`` or ``(rows, t, *item)`` with up to `batch_size` rows.
            training: Dropout and batch statistics, or neither; by default as the executor was made.

        Raises:
            BatchError: The batch does not fit; nothing was queued.
            Error: Training mode is asked of an executor without gradients.
        """
        if training is True and not self.training:
            raise Error("this executor was made with training=False; instantiate another one to train")
        if training is False and self.training:
            self._forward_twin(batch)
            return
        checked = check_batch(batch, self.limits)
        self._staging.wait(self._ports)
        self.queue_forward(checked)

    def _forward_twin(self, batch: Mapping[str, Any]) -> None:
        if self._twin is None:
            self._twin = Executor(
                self.store, self.batch_size, self.lengths, training=False, heads=self._lowered.heads, clock=self.clock
            )
        self._twin.forward(batch)
        self._rows = 0

    def queue_forward(self, batch: CheckedBatch) -> None:
        """Queue the way of a checked batch to the device, and the forward pass.

        The caller knows that the losses, and the gradients, of as many passes ago as there are slots are done. Ports
        that these do not depend on are waited for here.
        """
        self._staging.wait(self._side_ports)
        self._staging.load(batch)
        self.index_checks = tuple(
            IndexCheck.of(self._ports[port], array)
            for port, array in batch.device.items()
            if self._ports[port].count is not None
        )
        self._set_rows(batch.rows)
        if self.training and self.plan.random_nodes:
            mx.random.seed(step_seed(self.store.seed, self.clock.now + 1), ctx=self.store.context)
        self.clock.now += 1
        self._bound.forward(is_train=True)
        outputs = self._bound.outputs
        for path, moved in zip(self._lowered.moved, outputs[len(self._lowered.heads) :]):
            moved.copyto(self.store.argument(path))
            self.store.touch()

    def _set_rows(self, rows: int) -> None:
        self._rows = rows
        if self._mask is not None and rows != self._masked_rows:
            self._mask[:rows] = 1  # these are queued, where copying a numpy array would wait
            if rows < self.batch_size:
                self._mask[rows:] = 0
            self._masked_rows = rows

    def backward(self, gradients: Mapping[str, ArrayLike] | None = None) -> None:
        """Queue the backward pass: the gradients of the weighted mean of the losses over the true rows.

        Args:
            gradients: Head gradients of one's own, ``(rows, *item)`` by output port; ports that are not named get 0.

        Raises:
            Error: There was no forward pass in training mode before.
            BatchError: A head gradient does not fit its port.
            UnknownNameError: A port is unknown.
        """
        if not self.training or self._rows == 0:
            raise Error("backward needs a forward pass in training mode before it: forward(batch)")
        self.queue_backward(self._heads(gradients))

    def queue_backward(self, heads: list[Any] | None = None) -> None:
        """Queue the backward pass with these head gradients, by default those of the weighted mean."""
        if self._has_gradients:
            self._bound.backward(heads if heads is not None else self._mean_heads())

    def _mean_heads(self) -> list[Any]:
        """Return the head gradients of the mean over the true rows; one that takes no gradient gets a dummy."""
        found = self._default_heads.get(self._rows)
        if found is None:
            if len(self._default_heads) >= 4:  # batches of ever other sizes must not collect
                self._default_heads.clear()
            found = [self._mean_head(head) for head in self._lowered.heads]
            found += [self._unused] * len(self._lowered.moved)
            self._default_heads[self._rows] = found
        return found

    def _mean_head(self, head: Head) -> Any:
        if not head.gradient:
            return self._unused
        shape = self.plan.outputs[head.name].shape(self.batch_size, self.lengths)
        value = mx.nd.zeros(shape, ctx=self.store.context, dtype=self.plan.dtype)
        value[: self._rows] = self.plan.losses[head.name].weight / self.count(head.name, self._rows)
        return value

    def count(self, port: str, rows: int) -> int:
        """Return over how many examples, or steps, the mean of an output port goes."""
        length = self.plan.losses[port].length
        return rows * (self.lengths[length] if length is not None else 1)

    def _heads(self, gradients: Mapping[str, ArrayLike] | None) -> list[Any] | None:
        if gradients is None:
            return None
        if not isinstance(gradients, Mapping):
            raise ArgumentError(
                f'backward takes head gradients by output port, as in {{"Output": g}}, got {type(gradients).__name__}'
            )
        trained = [head.name for head in self._lowered.heads if head.gradient]
        for name in gradients:
            if name not in trained:
                raise unknown("output with a weight that is not 0", name, trained, "the plan")
        heads = [self._own_head(head, gradients.get(head.name)) for head in self._lowered.heads]
        return heads + [self._unused] * len(self._lowered.moved)

    def _own_head(self, head: Head, gradient: ArrayLike | None) -> Any:
        if not head.gradient:
            return self._unused
        spec = self.plan.outputs[head.name]
        value = np.zeros(spec.shape(self.batch_size, self.lengths), self.plan.dtype)
        if gradient is not None:
            shape = spec.shape(self._rows, self.lengths)
            try:
                given = as_numbers(gradient, self.plan.dtype)
            except ArgumentError as error:
                raise BatchError(f'head gradient of "{head.name}": {error}') from None
            if given.shape != shape:
                raise BatchError(f'head gradient of "{head.name}": expected {shape}, found {given.shape}')
            value[: self._rows] = given
        return mx.nd.array(value, ctx=self.store.context, dtype=self.plan.dtype)

    # What came out

    def collect(self) -> None:
        """Wait for the last pass.

        MXNet tells of a failure once, and gives out stale numbers from then on; so it is asked for here, before any
        number is read, and told again by every later read.

        Raises:
            StepError: The pass failed, after which the executor is of no more use; or indices in an NDArray were out
                of range.
        """
        if self._failure is None:
            try:
                for array in self._bound.outputs:
                    array.wait_to_read()
                if self._has_gradients and self.store.gradients.array is not None:
                    self.store.gradients.array.wait_to_read()
            except mx.MXNetError as error:
                now = self.clock.now
                self._failure = StepError(f"pass {now} failed on the device: {error}", now, error)
        if self._failure is not None:
            raise self._failure
        check_indices(self.index_checks, "pass", self.clock.now)

    @property
    def outputs(self) -> FrozenMapping[OutputHandle]:
        """Handles on the outputs of the last pass; stale once the next pass has been queued."""
        if self._rows == 0:
            if self._twin is None:
                raise Error("there are no outputs yet: call forward(batch) first")
            return self._twin.outputs
        return self.handles("pass", self.collect)

    def handles(self, kind: str, collect: Callable[[], None]) -> FrozenMapping[OutputHandle]:
        """Return handles on the outputs of the last pass.

        Args:
            kind: What errors call a pass.
            collect: What waits for the pass, and raises if it failed.
        """
        now, clock = self.clock.now, self.clock
        found = {
            head.name: OutputHandle(
                head.name, now, (self._rows, *array.shape[1:]), self.lengths, array, clock, kind, collect
            )
            for head, array in zip(self._lowered.heads, self._bound.outputs)
        }
        return FrozenMapping(found, "output", "the plan")

    def raw_outputs(self) -> dict[str, Any]:
        """Return the NDArrays of the heads, which the next pass overwrites."""
        return {head.name: array for head, array in zip(self._lowered.heads, self._bound.outputs)}

    @property
    def arrays(self) -> ArrayMapping:
        """Live handles on parameters and auxiliary arrays."""
        return self.store.handles(self.collect)

    @property
    def gradients(self) -> ArrayMapping:
        """Live handles on the gradients of parameters, and of the inputs that were asked for.

        Raises:
            Error: The executor was made with training=False.
        """
        if not self.training:
            raise Error("an executor made with training=False has no gradients")
        parameters = self.store.gradient_handles(self.collect)
        return ArrayMapping({**parameters, **self.input_gradient_handles(self.collect)}, "gradient", "the plan")

    def input_gradient_handles(self, collect: Callable[[], None]) -> dict[str, ArrayHandle]:
        """Return live handles on the gradients of inputs, ``(rows, *item)``."""
        found = {port: array[: self._rows] for port, array in self._input_gradients.items()}
        return {
            port: ArrayHandle(ArraySpec(port, array.shape, self.plan.dtype, None), array, collect)
            for port, array in found.items()
        }

    def memory(self) -> MemoryReport:
        """Return how many bytes its arrays take, and what MXNet plans for everything between inputs and outputs."""
        return MemoryReport(
            bucket=self.bucket,
            bytes_parameters=self.store.parameters.bytes,
            bytes_gradients=self.store.gradients.bytes if self.training else 0,
            bytes_auxiliary=self.store.auxiliary.bytes,
            bytes_inputs=self._staging.bytes,
            bytes_input_gradients=sum(
                array.size * np.dtype(array.dtype).itemsize for array in self._input_gradients.values()
            ),
            bytes_planned=planned_bytes(self._bound.debug_str()),
        )

    def __repr__(self) -> str:
        """Show plan, bucket and mode."""
        return f"Executor({self.plan!r}, {self.bucket}, {'training' if self.training else 'evaluation'})"


def step_seed(seed: int, step: int) -> int:
    """Return MXNet's seed of a step: a function of (seed, step), so that a resumed run draws the same numbers."""
    digest = hashlib.sha256(f"{seed}\n{step}".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
