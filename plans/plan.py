"""The plan: a net with its losses and its dtype, compiled; it holds no device, no batch size and no array."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..arrays import ArraySpec
from ..errors import FileFormatError
from ..mappings import FrozenMapping
from ..pictures import Picture
from ..tables import Part, Printed, Table
from ..values import UNREADABLE, canonical_json, open_json
from .graph import Graph, Types, shared_lines
from .net import NetGraph
from .types import Index, PortType, Sequence, item_of, length_of

if TYPE_CHECKING:
    from collections.abc import Sequence as SequenceOf

    from ..engine.explanation import Explanation
    from ..engine.optimizers import Optimizer
    from ..executors.buckets import Policy
    from ..executors.memory import MemoryReport

FORMAT, VERSION = "mxtrainer-plan", 1


@dataclass(frozen=True)
class PortSpec:
    """An input or an output of a plan.

    Attributes:
        name: The port.
        type: Its type.
        dtype: The dtype on the device.
        transfer_dtype: The dtype in which an input travels to the device.
        initial: What an input is where a batch leaves it out: a number, or the path of the parameter that has learned
            it; None: it may not be left out.
    """

    name: str
    type: PortType
    dtype: str
    transfer_dtype: str
    initial: float | str | None = None

    def shape(self, batch_size: int, lengths: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape for a batch size and lengths: ``(batch, *item)`` or ``(batch, t, *item)``.

        Example:
            >>> from mxtrainer import Sequence, Vector
            >>> PortSpec("Input", Sequence("t", Vector(3)), "float32", "float32").shape(2, {"t": 5})
            (2, 5, 3)
        """
        steps = (lengths[self.type.length],) if isinstance(self.type, Sequence) else ()
        return (batch_size, *steps, *item_of(self.type).shape)

    @cached_property
    def rank(self) -> int:
        """The number of axes, batch and steps included."""
        return 1 + len(item_of(self.type).shape) + (self.length is not None)

    @cached_property
    def length(self) -> str | None:
        """The name of its length, None where it is no sequence."""
        return length_of(self.type)

    @cached_property
    def count(self) -> int | None:
        """The number of different indices, None where it is real."""
        item = item_of(self.type)
        return item.count if isinstance(item, Index) else None


@dataclass(frozen=True)
class LossSpec:
    """How an output port takes part in the training.

    Attributes:
        weight: The factor of its gradient; its value is untouched.
        example_weights: The input port with a weight per example, or None.
        length: The length over whose steps the mean goes: of a loss with ``average="steps"``, or of a sequence that is
            no loss; else None.
        is_loss: Whether it is the port of a loss layer.
        trained: Whether a gradient can come back through it; not through a measure such as an error rate.
    """

    weight: float
    example_weights: str | None
    length: str | None
    is_loss: bool
    trained: bool = True


@dataclass(frozen=True)
class PlanNode:
    """A layer at its place, and whose arrays it uses.

    Attributes:
        path: Its path.
        arrays: The path of each of its arrays; a shared one has its owner's.
        packs: The groups of its arrays that lie side by side and that an operator takes as one vector.
    """

    path: str
    arrays: FrozenMapping[str]
    packs: tuple[tuple[str, ...], ...]


class Plan(Printed):
    """A compiled net: the same net gives the same plan, and the same bytes.

    `compile_plan` makes plans. A plan is frozen, hashable and picklable; executors and trainers are made from it.

    Attributes:
        net: The net, without arrays.
        losses: The weights of the output ports.
        loss_ports: The ports that count as losses: of loss layers, and those with a weight that is not 0.
        dtype: The dtype of all real arrays.
        inputs: The input ports, those of example weights last.
        outputs: The output ports.
        parameters: The arrays that are trained, in the order of the net's layers.
        auxiliary: The arrays that the forward pass moves.
        states: The output port of each state's input port.
        random_nodes: The layers that draw random numbers in training.
        lengths: The names of the lengths.
        content_hash: A hash of the description, 64 hexadecimal digits.
    """

    net: NetGraph
    losses: FrozenMapping[LossSpec]
    loss_ports: tuple[str, ...]
    dtype: str
    inputs: FrozenMapping[PortSpec]
    outputs: FrozenMapping[PortSpec]
    parameters: FrozenMapping[ArraySpec]
    auxiliary: FrozenMapping[ArraySpec]
    states: FrozenMapping[str]
    random_nodes: tuple[str, ...]
    lengths: tuple[str, ...]
    nodes: FrozenMapping[PlanNode]
    graph_of_nodes: Graph
    types: Types
    content_hash: str

    def __init__(self, **fields: Any) -> None:
        """Take the fields that `compile_plan` worked out."""
        vars(self).update(fields)
        vars(self)["content_hash"] = _hash(self._data())

    def __setattr__(self, name: str, found: object) -> None:
        """Refuse: a plan is a value."""
        raise AttributeError("a plan cannot be changed; compile another one")

    def __delattr__(self, name: str) -> None:
        """Refuse: a plan is a value."""
        raise AttributeError("a plan cannot be changed; compile another one")

    def _data(self) -> dict[str, Any]:
        return {
            "net": self.net.to_data(),
            "losses": {port: loss.weight for port, loss in self.losses.items()},
            "example_weights": {
                port: loss.example_weights for port, loss in self.losses.items() if loss.example_weights
            },
            "dtype": self.dtype,
        }

    def to_json(self) -> str:
        """Return the plan as JSON with a format version and a content hash.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Plan, Scalar, compile_plan
            >>> plan = compile_plan(
            ...     NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            ... )
            >>> Plan.from_json(plan.to_json()) == plan
            True
        """
        return canonical_json(
            {"format": FORMAT, "version": VERSION, "content_hash": self.content_hash, "plan": self._data()}
        )

    @staticmethod
    def from_json(text: str) -> Plan:
        """Return the plan in a JSON text; builds layers of this package only, and runs no other code.

        Raises:
            FileFormatError: The text is truncated, foreign, of a newer version, or does not match its hash.
        """
        from .compile import compile_plan  # compile_plan builds plans, so it lies above this file

        data = open_json(text, "plan", FORMAT, VERSION)
        body = data.get("plan")
        if not isinstance(body, dict) or not {"net", "losses", "example_weights", "dtype"} <= set(body):
            raise FileFormatError("plan: the description is incomplete")
        try:
            found = _hash(body)
        except UNREADABLE as error:
            raise FileFormatError(f"plan: the description is damaged: {error}") from error
        if found != data.get("content_hash"):
            raise FileFormatError(
                f"plan: the content hash does not match, expected {data.get('content_hash')!r}, found {found!r}: "
                f"the text was changed or damaged"
            )
        net = NetGraph.from_data(body["net"])
        try:
            plan = compile_plan(net, body["losses"], body["example_weights"], body["dtype"])
        except UNREADABLE as error:
            raise FileFormatError(f"plan: the description is no plan: {error}") from error
        if plan.content_hash != found:
            raise FileFormatError("plan: the description is not as this mxtrainer writes it, and may mean another plan")
        return plan

    def lowered(self, lengths: Mapping[str, int] | None = None, training: bool = True, padded: bool = False) -> str:
        """Return the MXNet graph for a bucket as text.

        Args:
            lengths: The number of steps by length name.
            training: The graph of a training step, or that of evaluation.
            padded: The graph for batches of which some examples are shorter, or the one for full batches.

        Raises:
            ArgumentError: A length is missing, unknown, or not a positive integer.
        """
        from .lowering import check_lengths, lower, training_heads  # above this file, as the import of compile

        checked = check_lengths(self, lengths or {})
        text = str(lower(self, checked, training_heads(self), training=training, padded=padded).symbol.debug_str())
        return re.sub(r"\binfo=[0-9a-f]+", "info=kernel", text)  # an address, which each process has its own

    def memory(
        self,
        batch_size: int | None,
        lengths: Mapping[str, int] | None = None,
        *,
        optimizer: Optimizer | None = None,
        buckets: Policy | None = None,
        depth: int = 2,
        guard: bool | int = True,
        carry: bool | Mapping[str, str] = False,
        input_gradients: SequenceOf[str] = (),
        segment: int | None = None,
    ) -> MemoryReport:
        """Return what a trainer with these arguments takes in memory, by a bind that allocates nothing.

        With `lengths` it is of batches whose every example has so many steps, with `buckets` of all buckets, with
        padding. What an evaluation takes comes beside it. Figures of what operators keep beside MXNet's plan are
        measured on its build for the CPU.

        Args:
            batch_size: As for `Trainer`.
            lengths: As for `Trainer`.
            optimizer: The optimizer; None: what an executor takes, without one.
            buckets: As for `Trainer`; a policy whose buckets are known.
            depth: As for `Trainer`.
            guard: As for `Trainer`.
            carry: As for `Trainer`.
            input_gradients: As for `Trainer`.
            segment: As for `Trainer`; of a step whose examples all have the largest number of steps.

        Raises:
            ArgumentError: An argument is not usable, or lengths are missing.
            NetError: There is nothing to train, an array would be too large for MXNet, a state cannot be carried, or
                the plan cannot be run in segments.

        Example:
            >>> from mxtrainer import Adam, Linear, MeanSquaredLoss, NetChain, Vector, compile_plan
            >>> plan = compile_plan(NetChain([Linear(64), MeanSquaredLoss()], inputs={"Input": Vector(64)}))
            >>> report = plan.memory(batch_size=32, optimizer=Adam())
            >>> report.bytes_parameters, report.bytes_optimizer
            (16640, 33280)
        """
        from ..engine.forecast import forecast  # the only way up: a trainer's memory is asked of its plan

        return forecast(
            self,
            batch_size,
            lengths,
            optimizer=optimizer,
            buckets=buckets,
            depth=depth,
            guard=guard,
            carry=carry,
            input_gradients=input_gradients,
            segment=segment,
        )

    def explain(self, batch_size: int | None, lengths: Mapping[str, int] | None = None, **trainer: Any) -> Explanation:
        """Return which layers take the memory of a trainer; prints as a table, the largest first.

        Args:
            batch_size: As for `memory`.
            lengths: As for `memory`.
            **trainer: What else `memory` takes.

        Raises:
            ArgumentError: As for `memory`.
            NetError: As for `memory`.

        Example:
            >>> from mxtrainer import Elementwise, Linear, MeanSquaredLoss, NetChain, Vector, compile_plan
            >>> layers = [Linear(64), Elementwise("tanh"), Linear(2), MeanSquaredLoss()]
            >>> plan = compile_plan(NetChain(layers, inputs={"Input": Vector(64)}))
            >>> for layer in plan.explain(batch_size=100).layers[:2]:
            ...     print(layer.path, layer.bytes_parameters, layer.bytes_kept)
            linear 16640 0
            elementwise 0 25600
        """
        from ..engine.forecast import check_options, explain

        check_options("explain", trainer)
        return explain(self, batch_size, lengths, **trainer)

    def max_batch(
        self,
        bytes: str | float,  # noqa: A002 - the word that a user would write
        lengths: Mapping[str, int] | None = None,
        **trainer: Any,
    ) -> int:
        """Return the largest batch size with which a trainer takes no more than so many bytes.

        Args:
            bytes: A number, text such as "2GB" (of 2**30 bytes), or a fraction of what is free, such as 0.5.
            lengths: As for `memory`.
            **trainer: What else `memory` takes.

        Raises:
            MemoryBudgetError: Not even one row fits.
            ArgumentError: An argument is not usable.
            NetError: As for `memory`.

        Example:
            >>> from mxtrainer import Adam, Linear, MeanSquaredLoss, NetChain, Vector, compile_plan
            >>> plan = compile_plan(NetChain([Linear(64), MeanSquaredLoss()], inputs={"Input": Vector(64)}))
            >>> largest = plan.max_batch("64MB", optimizer=Adam())
            >>> plan.memory(largest, optimizer=Adam()).bytes_total <= 2**26
            True
        """
        from ..engine.forecast import max_batch

        return max_batch(self, bytes, lengths, **trainer)

    def max_length(self, bytes: str | float, batch_size: int, **trainer: Any) -> int:  # noqa: A002 - as above
        """Return the largest number of steps with which a trainer takes no more than so many bytes.

        Args:
            bytes: As for `max_batch`.
            batch_size: As for `memory`.
            **trainer: What else `memory` takes, but buckets.

        Raises:
            MemoryBudgetError: Not even one step fits.
            ArgumentError: The plan has not one length, or an argument is not usable.
            NetError: As for `memory`.
        """
        from ..engine.forecast import max_length

        return max_length(self, bytes, batch_size, **trainer)

    def graph(self) -> str:
        """Return the plan as a graph in the DOT language, for graphviz: the text of `picture`.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Scalar, compile_plan
            >>> plan = compile_plan(
            ...     NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            ... )
            >>> plan.graph().splitlines()[0]
            'digraph plan {'
        """
        return self.picture().dot

    def picture(self) -> Picture:
        """Return the plan as a picture: its net with the types between layers, states, weights of losses.

        A notebook shows it where graphviz is installed. Dashed edges are states; dotted ones, arrays that are shared.

        Example:
            >>> from mxtrainer import LSTM, Linear, MeanSquaredLoss, NetChain, Scalar, Sequence, compile_plan
            >>> layers = [LSTM(16), Linear(()), MeanSquaredLoss()]
            >>> plan = compile_plan(NetChain(layers, inputs={"Input": Sequence("t", Scalar())}))
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     plan.picture().save(f"{folder}/plan.dot")  # or plan.svg, plan.png, plan.pdf
        """
        from .drawing import dot_of_plan

        return Picture(repr(self), dot_of_plan(self))

    def __eq__(self, other: object) -> bool:
        """Compare the descriptions."""
        return isinstance(other, Plan) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        """Hash the description."""
        return hash(self.content_hash)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the JSON text."""
        return Plan.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        """Show the ports and the hash."""
        ports = f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"
        return f"Plan({ports}, {self.dtype}, {self.content_hash[:12]})"

    def _parts(self) -> list[Part]:
        ports = [["input", name, spec.type, spec.transfer_dtype, ""] for name, spec in self.inputs.items()]
        ports += [
            ["output", name, spec.type, spec.dtype, f"weight {self.losses[name].weight:g}"]
            for name, spec in self.outputs.items()
        ]
        specs = [*self.parameters.values(), *self.auxiliary.values()]
        arrays = [
            [spec.path, spec.shape, spec.size, "auxiliary" if spec.auxiliary else repr(spec.initializer)]
            for spec in specs
        ]
        count = sum(spec.size for spec in self.parameters.values())
        return [
            repr(self),
            "",
            Table(["", "port", "type", "dtype", ""], ports),
            "",
            Table(["array", "shape", "elements", "initializer"], arrays),
            *shared_lines(self.graph_of_nodes.share),
            f"{count:,} elements to train",
        ]


def _hash(data: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
