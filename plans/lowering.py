"""From a plan to the MXNet graph of one bucket and one mode."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .._mxnet import mx
from ..arguments import positive_int
from ..errors import ArgumentError, Error, NetError, nearest
from ..mappings import FrozenMapping
from .graph import Source
from .layers.base import MismatchError, Node, Symbol, as_vector, check_padding, per_row
from .plan import Plan
from .types import item_of

ROW_MASK = "rows"
FEW = 3  # of eight gradients MXNet adds some in place, which kernels cannot; a layer uses its input up to three times
SKIPPED = ".skipped"  # the argument that says how many first steps of each example have no loss


class Split(NamedTuple):
    """Where carried states are taken before the end of a window, as the next one begins there.

    Attributes:
        at: After how many steps.
        outputs: The output port of each carried input port, whose final value it would be.
    """

    at: int
    outputs: Mapping[str, str]


class Head(NamedTuple):
    """An output of the graph.

    Attributes:
        name: The port of the net, or whatever the reader is to find it by.
        source: The layer's port that it shows.
        example_weights: The input port that multiplies it, or None.
        gradient: Whether a gradient comes back through it; where not, it is a BlockGrad, so that nothing of it can
            reach the parameters (a factor of 0 would let ``0 * inf`` through).
    """

    name: str
    source: Source
    example_weights: str | None = None
    gradient: bool = False


@dataclass(frozen=True)
class Lowered:
    """An MXNet graph and what its arguments and outputs mean.

    Attributes:
        symbol: The graph; its outputs are the heads, then the new values of the moved arrays, then the states that are
            handed over, then those that learned ones have begun.
        heads: The heads in order.
        moved: The auxiliary arrays that get a new value, in order.
        handed: The carried input ports whose states are taken before the end, in order.
        begun: The input ports whose initial states are learned, in order; what is shown of each is what it starts at.
        inputs: The input port of each argument.
        arrays: The arrays of each argument: one, or several that lie side by side.
        lengths: The length name of each argument that takes the true number of steps of each example.
        begins: The input port of each argument that says which rows of it start at what was learned: ``(batch,)``, 1
            for those, 0 for the others.
        masked: Whether there is an argument `ROW_MASK`.
        skips: Whether there is an argument `SKIPPED`.
    """

    symbol: Symbol
    heads: tuple[Head, ...]
    moved: tuple[str, ...]
    handed: tuple[str, ...]
    begun: tuple[str, ...]
    inputs: FrozenMapping[str]
    arrays: FrozenMapping[tuple[str, ...]]
    lengths: FrozenMapping[str]
    begins: FrozenMapping[str]
    masked: bool
    skips: bool


def check_lengths(plan: Plan, lengths: Mapping[str, int]) -> dict[str, int]:
    """Return the number of steps of every length of the plan.

    Raises:
        ArgumentError: One is missing, unknown, or not a positive integer.
    """
    if not isinstance(lengths, Mapping):
        raise ArgumentError(f'lengths must map length names to numbers of steps, as in {{"t": 64}}, got {lengths!r}')
    for name in lengths:
        if name not in plan.lengths:
            known = ", ".join(plan.lengths) or "none"
            raise ArgumentError(
                f'lengths: the plan has no length "{name}"{nearest(name, plan.lengths)}; known: {known}'
            )
    missing = [name for name in plan.lengths if name not in lengths]
    if missing:
        raise ArgumentError(f'lengths: the number of steps of "{missing[0]}" is missing, as in {{"{missing[0]}": 64}}')
    return {name: positive_int(lengths[name], f'lengths: "{name}"') for name in plan.lengths}


def training_heads(plan: Plan, weights: Mapping[str, float] | None = None) -> tuple[Head, ...]:
    """Return the heads of a training step: every output port, open to gradients where its weight is not 0.

    Args:
        plan: The plan.
        weights: The weights of ports; None, and of other ports: those of the plan.
    """
    known = {name: loss.weight for name, loss in plan.losses.items()} | dict(weights or {})
    return tuple(
        Head(name, plan.graph_of_nodes.outputs[name], loss.example_weights, known[name] != 0.0)
        for name, loss in plan.losses.items()
    )


def lower(
    plan: Plan,
    lengths: Mapping[str, int],
    heads: tuple[Head, ...],
    *,
    training: bool,
    padded: bool,
    skips: bool = False,
    split: Split | None = None,
    frozen: Collection[str] = (),
) -> Lowered:
    """Return the MXNet graph that computes the heads, for any batch size.

    Args:
        plan: The plan.
        lengths: The number of steps of every length, padding included.
        heads: What to compute; nothing else is in the graph.
        training: With dropout and the batch's own statistics, or without.
        padded: Whether examples may have fewer steps; their true lengths are then arguments.
        skips: Whether first steps of examples may have no loss; how many is then an argument.
        split: Where carried states are taken; None: at the end.
        frozen: Parameters that get no gradient, and so are never part of one vector with others.

    Raises:
        Error: A layer does not say what it does over padding, or cannot give its state before the end.
    """
    with mx.name.NameManager():  # a count of its own, so that names do not depend on what was lowered before
        return _Lowering(plan, lengths, training, padded, skips=skips, split=split, frozen=frozen).run(heads)


class _Lowering:
    """The state of one lowering."""

    def __init__(
        self,
        plan: Plan,
        lengths: Mapping[str, int],
        training: bool,
        padded: bool,
        *,
        skips: bool,
        split: Split | None,
        frozen: Collection[str],
    ) -> None:
        self.plan = plan
        self.frozen = frozen
        self.lengths = lengths
        self.training = training
        self.variables: dict[str, Symbol] = {}
        self.true_lengths = {name: mx.sym.var(f"length:{name}") for name in lengths} if padded else {}
        self.skipped = mx.sym.var(SKIPPED) if skips else None
        outputs = {} if split is None else split.outputs
        self.split_at = 0 if split is None else split.at
        self.handing = {port: plan.graph_of_nodes.outputs[output] for port, output in outputs.items()}
        self.handed: dict[Source, Symbol] = {}
        self.uses: Counter[Source | str] = Counter(
            source for node in plan.graph_of_nodes.nodes.values() for source in node.feeds.values()
        )
        self.uses.update(path for node in plan.nodes.values() for path in node.arrays.values())
        self.used: set[Source] = set()
        self.inputs: dict[str, str] = {}
        self.arrays: dict[str, tuple[str, ...]] = {}
        self.moved: dict[str, Symbol] = {}
        self.values: dict[Source, Symbol] = {}
        self.begun: dict[str, Symbol] = {}

    def run(self, heads: tuple[Head, ...]) -> Lowered:
        graph = self.plan.graph_of_nodes
        paths = graph.needed_by(tuple(head.source for head in heads))
        self.used = {head.source for head in heads}.union(*(graph.nodes[path].feeds.values() for path in paths))
        for path in paths:
            node = _LoweringNode(self, path)
            check_padding(path, graph.nodes[path].layer, node)
            with mx.name.Prefix(f"{path}."):  # MXNet's own messages then name the user's layer
                try:
                    outputs = graph.nodes[path].layer.lower(node)
                except MismatchError as mismatch:  # with these lengths
                    raise NetError(f'layer "{path}" ({graph.nodes[path].layer!r}): {mismatch}') from None
            self.values.update({Source(path, port): symbol for port, symbol in outputs.items()})
        shown = [self._head(head) for head in heads]
        moved = [mx.sym.BlockGrad(symbol, name=f"moved:{path}") for path, symbol in self.moved.items()]
        handed = [self._hand(port) for port in self.handing]
        begun = [mx.sym.BlockGrad(symbol, name=f"begun:{port}") for port, symbol in self.begun.items()]
        symbol = mx.sym.Group([*shown, *moved, *handed, *begun])
        arguments = set(symbol.list_arguments())
        return Lowered(
            symbol=symbol,
            heads=heads,
            moved=tuple(self.moved),
            handed=tuple(self.handing),
            begun=tuple(self.begun),
            inputs=FrozenMapping(self.inputs),
            arrays=FrozenMapping(self.arrays),
            lengths=FrozenMapping(
                {f"length:{name}": name for name in self.true_lengths if f"length:{name}" in arguments}
            ),
            begins=FrozenMapping(
                {name: name.partition(":")[2] for name in self.variables if name.startswith("begins:")}
            ),
            masked=ROW_MASK in self.variables,
            skips=SKIPPED in arguments,
        )

    def _hand(self, port: str) -> Symbol:
        source = self.handing[port]
        if source not in self.handed:
            raise Error(
                f'the state "{port}" is carried from step {self.split_at} of a window that overlaps the next one, and '
                f'its source, "{source}", is known at the end of a window only: stream(..., overlap=0) goes without'
            )
        return mx.sym.BlockGrad(self.handed[source], name=f"handed:{port}")

    def _head(self, head: Head) -> Symbol:
        symbol = self.value(head.source)
        if head.example_weights is not None:
            symbol = symbol * self.input(head.example_weights)
        kind = mx.sym.identity if head.gradient else mx.sym.BlockGrad
        return kind(symbol, name=f"output:{head.name}")

    def value(self, source: Source) -> Symbol:
        return self.input(source.port) if source.node is None else self.values[source]

    def variable(self, name: str) -> Symbol:
        if name not in self.variables:
            self.variables[name] = mx.sym.var(name)
        return self.variables[name]

    def input(self, port: str) -> Symbol:
        name = f"input:{port}"
        self.inputs[name] = port
        spec = self.plan.inputs[port]
        symbol = self.variable(name)
        if spec.transfer_dtype != spec.dtype:
            symbol = mx.sym.cast(symbol, dtype=spec.dtype)
        return symbol if not isinstance(spec.initial, str) else self._begun(port, symbol, spec.initial)

    def _begun(self, port: str, symbol: Symbol, initial: str) -> Symbol:
        """Return a state, in rows that begin the one that was learned."""
        if port not in self.begun:
            learned = per_row(self.array(initial), item_of(self.plan.inputs[port].type), symbol)
            self.begun[port] = mx.sym.where(self.variable(f"begins:{port}"), learned, symbol)
        return self.begun[port]

    def array(self, *paths: str) -> Symbol:
        """Return the arrays at these paths, which lie side by side, as one argument."""
        if paths[0] in self.moved:
            return self.moved[paths[0]]
        name = f"array:{'+'.join(paths)}"
        self.arrays[name] = paths
        return self.variable(name)


class _LoweringNode(Node):
    """What one layer sees."""

    def __init__(self, lowering: _Lowering, path: str) -> None:
        feeds = lowering.plan.graph_of_nodes.nodes[path].feeds
        self._lowering = lowering
        self._node = lowering.plan.nodes[path]
        self.ports = lowering.plan.types.nodes[path]
        self.inputs = {port: lowering.value(source) for port, source in feeds.items()}
        self.training = lowering.training
        self.dtype = lowering.plan.dtype
        self.lengths = lowering.lengths
        self.true_lengths = lowering.true_lengths
        self.skipped = lowering.skipped
        read: list[Source | str] = [*feeds.values(), *self._node.arrays.values()]
        self.kernels = self.dtype == "float32" and all(lowering.uses[source] <= FEW for source in read)
        self.split_at = lowering.split_at if path in {source.node for source in lowering.handing.values()} else None
        self._path = path
        self.used = frozenset(source.port for source in lowering.used if source.node == path)

    def array(self, name: str) -> Symbol:
        return self._lowering.array(self._node.arrays[name])

    def packed(self, names: tuple[str, ...]) -> Symbol:
        paths = tuple(self._node.arrays[name] for name in names)
        alike = len({path in self._lowering.frozen for path in paths}) == 1
        if alike and any(_is_run(paths, pack) for pack in self._node.packs):
            return self._lowering.array(*paths)
        columns = math.gcd(*(self._lowering.plan.parameters[path].size for path in paths))
        return as_vector(*(self._lowering.array(path) for path in paths), columns=columns)

    def row_mask(self) -> Symbol:
        return self._lowering.variable(ROW_MASK)

    def hand_over(self, state: str, symbol: Symbol) -> None:
        self._lowering.handed[Source(self._path, state)] = symbol

    def move(self, name: str, new: Symbol) -> None:
        self._lowering.moved[self._node.arrays[name]] = new


def _is_run(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Tell whether a tuple stands in another one, in one piece."""
    return any(whole[begin : begin + len(part)] == part for begin in range(len(whole)))
