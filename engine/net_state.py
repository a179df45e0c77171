"""A net that keeps its state from call to call: step by step prediction and generation."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_array, names, positive_int
from ..errors import ArgumentError, BatchError, Error, NetError, StepError, unknown
from ..executors.batch import Batch
from ..executors.blueprint import Bucket
from ..executors.bound import Shared
from ..executors.bucketed import BYTES_KEPT
from ..executors.cache import Cache
from ..executors.checked import CheckedBatch
from ..executors.forms import Forms
from ..executors.handles import Clock, zero_padding
from ..executors.inputs import Limits, check_batch
from ..executors.staging import InputBuffers
from ..executors.state_table import INITIAL, StateTable
from ..executors.store import ParameterStore
from ..plans.formats.outputs import plan_of
from ..plans.layers.losses import Loss
from ..plans.net import NetGraph
from ..plans.plan import Plan
from .evaluation import head_of
from .state import carry_of

UNHEEDED = ("streams", "reset", "carry_at", "loss_from")  # what a Batch may have beside its ports


class NetState:
    """A net with arrays that keeps its state from call to call, in test mode.

    It computes in the dtype of the net's arrays, in float32 unless all of them are float64.

    It takes one example without a batch axis: ``(t, *item)`` for a sequence, whose number of steps may differ from call
    to call. With `batch_size` it takes so many rows at once. It returns numpy arrays by output, and so waits.

    Args:
        net: The net, as `Trainer.net` gives it. Recurrent states become ports by themselves.
        outputs: Ports of the net, or any layer's, as "linear" or "lstm.State". None: the outputs of the net that are no
            losses; what a loss layer gets, where there are only losses.
        batch_size: How many rows each call has. None: one example, without a batch axis.
        carry: Which states go on: all, or a mapping of input ports to output ports.
        device: "cpu", "gpu:0", or a context of MXNet.

    Raises:
        NetError: The net has no arrays or no states.
        ArgumentError: An argument is not usable.
        UnknownNameError: An output is unknown.

    Example:
        >>> from mxtrainer import GRU, NetChain, Sequence, Vector
        >>> net = NetChain([GRU(2)], inputs={"Input": Sequence("t", Vector(1))})
        >>> arrays = {f"gru.{kind}Weights": [[1.0, 0.0][:width]] * 6 for kind, width in (("Input", 1), ("State", 2))}
        >>> state = NetState(net.with_arrays({**arrays, "gru.InputBiases": [0.0] * 6, "gru.StateBiases": [0.0] * 6}))
        >>> whole = state([[0.5], [1.0]])["Output"]
        >>> state.reset()
        >>> steps = [state([x])["Output"][0] for x in ([0.5], [1.0])]
        >>> bool((whole == steps).all())
        True
    """

    def __init__(
        self,
        net: NetGraph,
        outputs: Sequence[str] | None = None,
        *,
        batch_size: int | None = None,
        carry: bool | Mapping[str, str] = True,
        device: object = "cpu",
    ) -> None:
        """Copy the arrays."""
        self._size = None if batch_size is None else positive_int(batch_size, "batch_size")
        self._plan = plan = _plan_of(net)
        if carry is True and not plan.states:
            raise NetError(
                "the net has no state to keep: no recurrent layer whose state nothing feeds; name a pair of ports, as "
                'in carry={"StateIn": "StateOut"}, or evaluate it without, by trainer.evaluate or instantiate'
            )
        self._carry = carry_of(plan, carry)
        if not self._carry:
            raise ArgumentError("carry=False keeps no state; trainer.evaluate, or instantiate(...), does without")
        missing = [path for path in (*plan.parameters, *plan.auxiliary) if path not in net.arrays]
        if missing:
            raise NetError(f'the net has no values for "{missing[0]}"; give a net with arrays, as trainer.net() does')
        self._outputs = _outputs_of(plan, outputs, self._carry)
        self._heads = {name: head_of(plan, name) for name in (*self._outputs, *self._carry.values())}
        used = plan.graph_of_nodes.inputs_of(tuple(head.source for head in self._heads.values()))
        clock = Clock()
        self._limits = replace(Limits.of(plan, self._size or 1, clock, used, self._carry), carries=False)
        needed = {port for port in used if plan.inputs[port].initial is None} - set(self._carry)
        self._inputs = tuple(port for port in plan.inputs if port in needed)
        store = ParameterStore(plan, device, arrays=net.arrays)
        self._initial = StateTable(store, self._carry, 0)
        self._cache = Cache(Shared(store, clock, InputBuffers(store.context, 1)), BYTES_KEPT)
        self._states: dict[str, NDArray[Any]] = {}  # with a batch axis; empty at the beginning

    def __call__(self, inputs: Any) -> dict[str, NDArray[Any]]:
        """Run the net on from where it is; return the outputs by name.

        Args:
            inputs: Arrays by input port, or the array alone where there is one port: one example, or `batch_size` rows.
                A state port that is given wins for this call.

        Raises:
            BatchError: It does not fit; the state is as before.
            Error: It failed on the device; the state is as before.
        """
        batch = self._batch_of(inputs)
        bucket = Bucket.holding(batch, batch.rows, dict.fromkeys(self._plan.lengths, 1) | batch.longest, False)
        bound = self._cache.bound(bucket._replace(heads=tuple(self._heads.values())))
        bound.forward(bound.load(batch))
        try:
            bound.collect()
        except StepError as error:
            self._cache.clear()  # MXNet would tell of this failure again
            raise Error(f"the net failed on the device: {error}") from error
        found = {name: array.asnumpy() for name, array in bound.raw_outputs().items()}
        self._states = {port: found[output] for port, output in self._carry.items()}
        return {name: self._shown(name, found[name], batch) for name in self._outputs}

    def _batch_of(self, inputs: Any) -> CheckedBatch:
        if not isinstance(inputs, Mapping):
            if len(self._inputs) != 1:
                raise BatchError(
                    f"the net has the inputs {', '.join(self._inputs)}: give a mapping of them, as in "
                    f'{{"{self._inputs[0]}": x}}, got {type(inputs).__name__}'
                )
            inputs = {self._inputs[0]: inputs}
        beside = [name for name in UNHEEDED if getattr(inputs, name, None) is not None]
        if beside:
            raise BatchError(f"the batch has {', '.join(beside)}, which a NetState does not heed: give dict(batch)")
        ports = inputs if self._size is not None else {port: _one_row(port, value) for port, value in inputs.items()}
        whole = Batch({**self._states, **ports}, getattr(inputs, "lengths", None))
        batch = self._checked(whole, self._limits)
        self._check_rows(batch)
        return batch

    def _checked(self, batch: Mapping[str, Any], limits: Limits) -> CheckedBatch:
        try:
            return check_batch(batch, limits)
        except BatchError as error:
            if self._size is not None:
                raise
            raise BatchError(
                f"{error}\n  (a NetState without batch_size= takes one example without a batch axis, and adds one of 1)"
            ) from None

    def _check_rows(self, batch: CheckedBatch) -> None:
        if batch.rows != (self._size or 1):
            raise BatchError(f"the batch does not fit:\n  it has {batch.rows} rows, and the state is of {self._size}")

    def _shown(self, name: str, array: NDArray[Any], batch: CheckedBatch) -> NDArray[Any]:
        length = getattr(self._plan.types.of(self._heads[name].source), "length", None)
        if length is not None:
            array = zero_padding(array[:, : batch.longest[length]], batch.lengths[length])
        return array if self._size is not None else array[0]

    @property
    def states(self) -> dict[str, NDArray[Any]]:
        """Copies of the states by input port, ``item`` or ``(batch_size, *item)``."""
        rows = np.full(self._size or 1, INITIAL, np.int32)
        states = self._states or self._initial.read(rows)
        return {port: state.copy() if self._size is not None else state[0].copy() for port, state in states.items()}

    def reset(self, states: Mapping[str, Any] | None = None) -> None:
        """Begin anew: at the initial states, or at those that are given by input port, as `states` has them.

        Raises:
            BatchError: A state does not fit; nothing has changed.
        """
        if states is None:
            self._states = {}
            return
        if not isinstance(states, Mapping):
            raise BatchError(f"reset takes states by input port, as .states has them, got {type(states).__name__}")
        for port in states:
            if port not in self._carry:
                raise unknown("state", port, self._carry, "the net")
        rows = _one_row if self._size is None else _rows
        given = {port: rows(port, state) for port, state in states.items()}
        ports = {port: self._plan.inputs[port] for port in given}
        batch = self._checked(given, Limits(ports, ports, (), frozenset(), None, Forms(ports)))
        self._check_rows(batch)
        begin = self._initial.read(np.full(batch.rows, INITIAL, np.int32))
        self._states = {**begin, **{port: np.array(state, self._plan.dtype) for port, state in given.items()}}

    def copy(self) -> NetState:
        """Return another one in the same state, which goes its own way from here; arrays and graphs are shared."""
        other = NetState.__new__(NetState)
        vars(other).update(vars(self))
        other._states = dict(self._states)  # noqa: SLF001 - of the same class
        return other

    def __repr__(self) -> str:
        """Show inputs, outputs and states."""
        return f"NetState({', '.join(self._inputs)} -> {', '.join(self._outputs)}; {', '.join(self._carry)})"


def _plan_of(net: object) -> Plan:
    """Return the plan of a net, with its recurrent states as ports."""
    if isinstance(net, NetGraph):
        with contextlib.suppress(NetError):  # they are ports already, or it has none
            net = net.with_states()
    return plan_of(net, "NetState")


def _loss_layers(net: NetGraph) -> dict[str, str]:
    """Return the path of the loss layer of each output port that is a loss."""
    found = {port: source.node for port, source in net.graph.outputs.items()}
    return {port: path for port, path in found.items() if path and isinstance(net.graph.nodes[path].layer, Loss)}


def _outputs_of(plan: Plan, outputs: Sequence[str] | None, carry: Mapping[str, str]) -> tuple[str, ...]:
    if outputs is not None:
        wanted = names(outputs, "outputs")
        if not wanted:
            raise ArgumentError("outputs names nothing that the net is to give")
        return tuple(dict.fromkeys(wanted))
    losses = _loss_layers(plan.net)
    states = {*carry.values(), *plan.states.values()}
    shown = [port for port in plan.outputs if port not in losses and port not in states]
    if not shown:
        sources = [plan.graph_of_nodes.nodes[path].feeds["Input"] for path in losses.values()]
        shown = [plan.graph_of_nodes.name_of(source) for source in sources if source.node is not None]
    return tuple(dict.fromkeys(shown)) or tuple(carry.values())


def _one_row(port: str, value: Any) -> NDArray[Any]:
    """Return one example as a batch of one row."""
    row: NDArray[Any] = _rows(port, value)[None]
    return row


def _rows(port: str, value: Any) -> NDArray[Any]:
    try:
        return as_array(value)
    except ArgumentError as error:
        raise BatchError(f'the batch does not fit:\n  port "{port}" {error}') from None
