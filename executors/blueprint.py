"""What a graph is bound for, and the shapes of what it is to be bound to, before there is any array."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ..mappings import FrozenMapping
from ..plans.lowering import ROW_MASK, SKIPPED, Head, Split, lower, training_heads
from ..plans.plan import Plan
from . import carried
from .checked import CheckedBatch
from .staging import Want, check_elements

NOTHING: Mapping[str, str] = FrozenMapping()


class Bucket(NamedTuple):
    """What a graph is bound for.

    Attributes:
        batch_size: The number of rows.
        lengths: The number of steps by length name, as pairs.
        padded: Whether examples may be shorter; a graph for full ones is faster.
        training: With gradients, dropout and the batch's own statistics, or with none of them.
        heads: What it computes; None: all outputs of the plan.
        skips: Whether first steps of examples may have no loss.
        carry_at: After how many steps carried states are taken; None: at the end.
        segment: How many steps the segments have that longer sequences are cut into, 0 where none are. The graph of a
            segment gives the gradients of the states that it begins with.
    """

    batch_size: int
    lengths: tuple[tuple[str, int], ...]
    padded: bool = False
    training: bool = True
    heads: tuple[Head, ...] | None = None
    skips: bool = False
    carry_at: int | None = None
    segment: int = 0

    @staticmethod
    def holding(
        batch: CheckedBatch,
        batch_size: int,
        lengths: Mapping[str, int],
        training: bool = True,
        heads: tuple[Head, ...] | None = None,
        segment: int = 0,
    ) -> Bucket:
        """Return what a graph of this size is bound for, so that it does what a batch needs and no more."""
        at = batch.carry_at
        if at is not None and at >= max(lengths.values()):
            at = None  # no example goes on after that
        padded, skips = batch.pads(lengths), batch.loss_from is not None
        return Bucket(batch_size, tuple(lengths.items()), padded, training, heads, skips, at, segment)

    @property
    def described(self) -> str:
        """Its size, and what else tells it from others of this size."""
        beside = [", masked" if self.padded else "", "" if self.training else ", forward alone"]
        return f"{self}{''.join(beside)}"

    def __str__(self) -> str:
        """Show the size and the lengths."""
        steps = "".join(f", {name}={count}" for name, count in self.lengths)
        return f"(batch_size={self.batch_size}{steps})"


class Blueprint:
    """A graph, and the shapes of its arrays.

    Args:
        plan: The plan.
        bucket: What it is for.
        carry: The output port of each carried input port, where states are carried.
        frozen: Paths of parameters that get no gradient.
        input_gradients: Input ports whose gradients are wanted.

    Attributes:
        plan: As given.
        bucket: As given.
        lowered: The graph.
        lengths: The number of steps by length name, padding included.
        ports: The input ports that it reads.
        carry: As given, empty where the graph does not have all of these outputs.
        wanted: The input arrays by port; true lengths are under "length:" and their name, and which rows of a port
            start at what was learned under "begins:" and its name.
        input_gradients: The ports of `ports` whose gradients are wanted.
        repeated: How much of the forward pass runs again in the backward pass, as a share of its time, about.
    """

    def __init__(
        self,
        plan: Plan,
        bucket: Bucket,
        carry: Mapping[str, str] = NOTHING,
        frozen: Collection[str] = (),
        input_gradients: Collection[str] = (),
    ) -> None:
        """Lower the plan.

        Raises:
            ArgumentError: An input array would have more elements than MXNet can hold.
            Error: A layer does not say what it does over padding, or cannot give its state before the end.
        """
        self.plan = plan
        self.bucket = bucket
        self.lengths = dict(bucket.lengths)
        heads = bucket.heads or training_heads(plan)
        self.carry = dict(carry) if {head.name for head in heads}.issuperset(carry.values()) else {}
        self.lowered = lower(
            plan,
            self.lengths,
            heads,
            training=bucket.training,
            padded=bucket.padded,
            skips=bucket.skips,
            split=Split(bucket.carry_at, self.carry) if self.carry and bucket.carry_at is not None else None,
            frozen=frozen,
        )
        read = set(self.lowered.inputs.values())
        self.ports = {name: spec for name, spec in plan.inputs.items() if name in read}
        self.wanted = self._wanted()
        for name, want in self.wanted.items():
            check_elements(name, want)
        wants_gradients = tuple(plan.states) if bucket.segment else input_gradients
        self.input_gradients = tuple(port for port in wants_gradients if bucket.training and port in self.wanted)
        self.repeated = 0.0
        self._frozen = frozen

    def _wanted(self) -> dict[str, Want]:
        rows, dtype = self.bucket.batch_size, self.plan.dtype
        wanted = {f"length:{name}": Want((rows,), dtype) for name in self.lengths} if self.bucket.padded else {}
        for name, spec in self.ports.items():
            initial = spec.initial if isinstance(spec.initial, float) else 0.0
            wanted[name] = Want(spec.shape(rows, self.lengths), spec.transfer_dtype, spec.length, initial)
        wanted.update({name: Want((rows,), dtype) for name in self.lowered.begins})
        if self.lowered.skips:
            wanted[SKIPPED] = Want((rows,), dtype)
        if self.carry:
            wanted.update(carried.wanted(rows))
        return wanted

    @property
    def staged(self) -> dict[str, str]:
        """The input array of each argument that is one, by the name that it has in `wanted`."""
        own = [*self.lowered.lengths, *self.lowered.begins, *([SKIPPED] if self.lowered.skips else [])]
        return {**self.lowered.inputs, **{name: name for name in own}}

    def argument_of(self, port: str) -> str:
        """Return the argument that an input port is."""
        return next(name for name, found in self.lowered.inputs.items() if found == port)

    @property
    def trained(self) -> dict[str, tuple[str, ...]]:
        """The arrays of each argument that gets a gradient."""
        if not self.bucket.training:
            return {}
        known = self.plan.parameters
        return {
            name: paths
            for name, paths in self.lowered.arrays.items()
            if paths[0] in known and paths[0] not in self._frozen
        }

    @property
    def arguments(self) -> dict[str, Want]:
        """The shape and dtype of every argument."""
        specs = {**self.plan.parameters, **self.plan.auxiliary}
        found = {name: self.wanted[port] for name, port in self.staged.items()}
        for name, paths in self.lowered.arrays.items():
            shape = specs[paths[0]].shape if len(paths) == 1 else (sum(specs[path].size for path in paths),)
            found[name] = Want(shape or (1,), self.plan.dtype)
        if self.lowered.masked:
            found[ROW_MASK] = Want((self.bucket.batch_size,), self.plan.dtype)
        return found

    @property
    def bytes_inputs(self) -> int:
        """The input arrays on the device."""
        return sum(want.bytes for want in self.wanted.values())

    @property
    def bytes_heads(self) -> int:
        """The gradients that come back through outputs, which MXNet has memory for beside ours."""
        rows, itemsize = self.bucket.batch_size, np.dtype(self.plan.dtype).itemsize
        open_heads = [head.name for head in self.lowered.heads if head.gradient and head.name in self.plan.outputs]
        return sum(math.prod(self.plan.outputs[name].shape(rows, self.lengths)) * itemsize for name in open_heads)
