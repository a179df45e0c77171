"""The loop of a Fold: what runs inside of it and what does not, unrolled or as one operator."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Callable, NamedTuple

from ..._mxnet import mx
from ..graph import Graph, Source
from ..types import PortType, Sequence, item_of
from .base import Node, Symbol, flat_size, per_row, side_by_side
from .inner import Frame, Inside, NetLayer, all_steps

#: Up to so many layers times steps, the loop is unrolled; above, it is one operator, MXNet's foreach. Unrolled, a
#: training step takes less time, at best half (8 rows of 32 units, 100 steps: 8 against 16 ms with a tanh cell, 19
#: against 39 with an LSTM of 17 layers; 32 rows of 128 units, 300 steps: 76 against 112, and 250 against 305), and
#: updates return sooner: foreach issues its operators one by one in the calling thread (that LSTM, 100 steps: after 29
#: of 100 ms, against 3 of 80). But the bind grows with the length (bind and first step of that LSTM, 8 rows of 32
#: units: 24 ms for 5 steps, 130 for 100, 391 for 300; with foreach 18, 60 and 148).
#: benchmarks/folds.py measures it.
LARGEST_UNROLLED = 4000
#: Operators that foreach does not run right, and random ones: inside of it the gradients of RNN, say, are wrong.
UNLOOPED = {"RNN", "Custom", "Dropout"}


class Phases(NamedTuple):
    """When the layers of a fold's net run, each in order.

    Attributes:
        once: What depends on constants alone.
        ahead: What depends on the sequences alone, on all steps at once.
        looped: What runs step by step.
        after: What no state depends on, on all steps at once.
    """

    once: tuple[str, ...]
    ahead: tuple[str, ...]
    looped: tuple[str, ...]
    after: tuple[str, ...]


def phases(layer: NetLayer, inside: Inside, paths: Iterable[str]) -> Phases:
    """Return when each of these layers runs, which come in the order of the net."""
    graph = inside.graph
    constant = {Source(None, port) for port in layer.unchanged()}
    stepped = {Source(None, port) for port in layer.stepped}
    once, ahead, rest = [], [], []
    for path in paths:
        node = graph.nodes[path]
        sources = {Source(path, port) for port in node.layer.output_ports()}
        if constant.issuperset(node.feeds.values()) and not node.layer.random:
            once.append(path)
            constant |= sources
        elif stepped.issuperset(node.feeds.values()) and _of_items(inside, path):
            ahead.append(path)
            stepped |= sources
        else:
            rest.append(path)
    after = _after(layer, inside, rest, constant)
    return Phases(tuple(once), tuple(ahead), tuple(path for path in rest if path not in after), after)


def _after(layer: NetLayer, inside: Inside, paths: list[str], constant: set[Source]) -> tuple[str, ...]:
    graph = inside.graph
    kept = set(graph.needed_by(tuple(graph.outputs[port] for port in layer.loops())))
    found: list[str] = []
    for path in reversed(paths):
        feeds = set(graph.nodes[path].feeds.values())
        of_steps = not feeds & constant and not any(
            feed == Source(None, port) for feed in feeds for port in layer.states
        )
        if path not in kept and of_steps and _of_items(inside, path):
            found.append(path)
        else:
            kept.update(feed.node for feed in feeds if feed.node is not None)
    return tuple(reversed(found))


def _of_items(inside: Inside, path: str) -> bool:
    ports = inside.types.nodes[path]
    return not any(isinstance(port, Sequence) for port in (*ports.inputs.values(), *ports.outputs.values()))


class Scan:
    """A fold that is being lowered.

    `run` may be called for consecutive parts of the steps, each from the states that the one before it left.
    """

    def __init__(self, layer: NetLayer, node: Node) -> None:
        """Lower what runs before the loop."""
        self.layer = layer
        self.port = node.ports.input(layer.stepped[0])
        self.steps = node.steps(self.port)
        self.inside = layer.inside(node.ports)
        graph = self.inside.graph
        becomes = {state: graph.outputs[output] for output, state in layer.loops().items()}
        self.fed = [becomes[state] for state in layer.states]
        self.shown = {port: graph.outputs[port] for port in layer.emitted if port in node.used}
        self.phases = phases(layer, self.inside, graph.needed_by((*self.shown.values(), *self.fed)))
        self.seen = node.step_mask(self.port)
        self.node = node
        self.merged = all_steps(node, self.port)
        self.once = {Source(None, port): node.inputs[port] for port in layer.unchanged()}
        self.whole = {
            Source(None, port): node.merge(node.inputs[port], node.ports.input(port)) for port in layer.stepped
        }
        self.inside.lower(self.phases.once, self.once, Frame(node, None))
        self.inside.lower(self.phases.ahead, self.whole, self.merged)
        self.read, self.emitted = self._crossings(graph)
        self.loop_node = _LoopNode(node, copies=True)
        self.unrolled = self.steps * len(self.phases.looped) <= LARGEST_UNROLLED or not self._can_loop()
        if self.unrolled:
            self.loop_node = _LoopNode(node, copies=False)

    def _can_loop(self) -> bool:
        """Tell whether one operator can be the loop, by a step that is thrown away; it also meets all arrays.

        The operator wants something to run over and every state to be read, and runs none right that has a state of
        its own or draws numbers.
        """
        names = [f"part:{number}" for number in range(len(self.read) + (self.seen is not None))]
        states = [f"state:{state}" for state in self.layer.states]
        emitted, after = self._step([mx.sym.var(name) for name in names], [mx.sym.var(name) for name in states])
        step = mx.sym.Group([*emitted, *after])
        operators = {node["op"] for node in json.loads(step.tojson())["nodes"]}
        random = any(self.inside.graph.nodes[path].layer.random for path in self.phases.looped)
        return (
            len(names) > 0
            and not UNLOOPED & operators
            and set(step.list_arguments()).issuperset([*names, *states])
            and not (random and self.node.training)
        )

    def _crossings(self, graph: Graph) -> tuple[list[Source], list[Source]]:
        """Return what the loop reads of all steps, and what is read of its steps."""
        feeds = [feed for path in self.phases.looped for feed in graph.nodes[path].feeds.values()]
        read = dict.fromkeys(feed for feed in (*feeds, *self.fed) if feed in self.whole)
        later = [feed for path in self.phases.after for feed in graph.nodes[path].feeds.values()]
        made_after = set(self.phases.after)
        wanted = (*later, *self.shown.values())
        return list(read), list(
            dict.fromkeys(feed for feed in wanted if feed not in self.whole and feed.node not in made_after)
        )

    def start(self) -> list[Symbol]:
        """Return the states before the first step, initial ones where nothing feeds them."""
        first = mx.sym.slice_axis(self.node.inputs[self.layer.stepped[0]], axis=1, begin=0, end=1)
        return [self._start(state, mx.sym.BlockGrad(first)) for state in self.layer.states]

    def _start(self, state: str, like: Symbol) -> Symbol:
        if state in self.node.inputs:
            return self.node.inputs[state]
        value, item = self.layer.initial_of(state), item_of(self.node.ports.input(state))
        if isinstance(value, str):
            return per_row(self.node.array(value), item, like)
        return per_row(mx.sym.full(shape=(1, *item.shape), val=value, dtype=self.node.dtype), item, like)

    def run(self, states: list[Symbol], begin: int, end: int) -> tuple[list[Symbol], list[Symbol]]:
        """Run the steps from one number up to another.

        Args:
            states: ``(batch, *item)``, before the first of these steps.
            begin: The first step, from 0.
            end: The step after the last.

        Returns:
            What the rest reads of the steps, ``(batch, end - begin, *item)``, and the states after them.
        """
        symbols = [self._split(source) for source in self.read] + ([] if self.seen is None else [self.seen])
        parts = [mx.sym.slice_axis(symbol, axis=1, begin=begin, end=end) for symbol in symbols]
        return (self._unrolled if self.unrolled else self._looped)(parts, states, end - begin)

    def _split(self, source: Source) -> Symbol:
        return mx.sym.reshape(self.whole[source], shape=(-4, -1, self.steps, -2))

    def _step(self, parts: list[Symbol], states: list[Symbol]) -> tuple[list[Symbol], list[Symbol]]:
        """Run one step; over padding, states stand still."""
        seen = None if self.seen is None else parts[-1]
        values = {source: self.loop_node.keep(source, partial(self.once.get, source)) for source in self.once}
        values.update(zip(self.read, parts))
        values.update({Source(None, state): symbol for state, symbol in zip(self.layer.states, states)})
        self.inside.lower(self.phases.looped, values, Frame(self.loop_node, seen))
        after = [values[source] for source in self.fed]
        if seen is not None:
            after = [mx.sym.where(seen, new, old) for new, old in zip(after, states)]
        return [values[source] for source in self.emitted], after

    def _unrolled(self, parts: list[Symbol], states: list[Symbol], count: int) -> tuple[list[Symbol], list[Symbol]]:
        cut = [mx.sym.SliceChannel(part, num_outputs=count, axis=1, squeeze_axis=True) for part in parts]
        made = []
        for number in range(count):
            emitted, states = self._step([part[number] for part in cut], states)
            made.append(emitted)
        return [self._joined(source, symbols) for source, symbols in zip(self.emitted, zip(*made))], states

    def _joined(self, source: Source, symbols: tuple[Symbol, ...]) -> Symbol:
        """Return ``(batch, t, *item)`` of the steps."""
        item = item_of(self._type(source))
        joined = side_by_side(*((symbol, flat_size(item)) for symbol in symbols))
        return mx.sym.reshape(joined, shape=(-1, len(symbols), *item.shape))

    def joined(self, first: list[Symbol], second: list[Symbol], at: int) -> list[Symbol]:
        """Return what `run` gives for all steps, of what it gave for those up to one, and for those after it."""
        return [self._join_two(*parts, at) for parts in zip(self.emitted, first, second)]

    def _join_two(self, source: Source, first: Symbol, second: Symbol, at: int) -> Symbol:
        item = item_of(self._type(source))
        size = flat_size(item)
        both = side_by_side((first, at * size), (second, (self.steps - at) * size))
        return mx.sym.reshape(both, shape=(-1, self.steps, *item.shape))

    def _type(self, source: Source) -> PortType:
        found = self.inside.types.of(source)
        assert found is not None  # all types are known when a layer is lowered
        return found

    def _looped(self, parts: list[Symbol], states: list[Symbol], count: int) -> tuple[list[Symbol], list[Symbol]]:
        """Run one operator.

        Inside of it every input is copied first. Where a gradient passes to two inputs unchanged, as by a sum, foreach
        otherwise gives one of them wrong, or MXNet refuses the graph.
        """
        turned = [mx.sym.swapaxes(part, dim1=0, dim2=1) for part in parts]

        def step(parts: list[Symbol], states: list[Symbol]) -> tuple[list[Symbol], list[Symbol]]:
            return self._step(*([mx.sym.identity(symbol) for symbol in symbols] for symbols in (parts, states)))

        emitted, states = mx.sym.contrib.foreach(step, turned, [mx.sym.identity(state) for state in states])
        return [mx.sym.swapaxes(symbol, dim1=0, dim2=1) for symbol in emitted], states

    def outputs(self, emitted: list[Symbol]) -> dict[str, Symbol]:
        """Return the sequences that are read, given what `run` has returned for all steps."""
        values = dict(self.whole)
        values.update({source: mx.sym.reshape(made, shape=(-3, -2)) for source, made in zip(self.emitted, emitted)})
        self.inside.lower(self.phases.after, values, self.merged)
        return {
            port: self.node.split(values[source], self.node.ports.output(port)) for port, source in self.shown.items()
        }


class _LoopNode(Node):
    """A node that asks for everything once, however many steps there are.

    Args:
        outer: The node.
        copies: Whether to give copies, each of a copy that is kept, as one operator that is the loop needs them: it
            must not share a variable with what is around it, nor let a gradient pass unchanged to an input of its own.
    """

    def __init__(self, outer: Node, copies: bool) -> None:
        self._outer = outer
        self._own = mx.sym.identity if copies else lambda symbol: symbol
        self._kept: dict[object, Symbol] = {}
        self.ports = outer.ports
        self.inputs = outer.inputs
        self.used = outer.used
        self.training = outer.training
        self.dtype = outer.dtype
        self.lengths = outer.lengths
        self.true_lengths = {name: self._own(steps) for name, steps in outer.true_lengths.items()}

    def keep(self, key: object, make: Callable[[], Symbol | None]) -> Symbol:
        """Return what was made for this key, or make it."""
        if key not in self._kept:
            made = make()
            self._kept[key] = None if made is None else self._own(made)
        kept = self._kept[key]
        return None if kept is None else self._own(kept)

    def array(self, name: str) -> Symbol:
        return self.keep(("array", name), lambda: self._outer.array(name))

    def packed(self, names: tuple[str, ...]) -> Symbol:
        return self.keep(("packed", names), lambda: self._outer.packed(names))

    def row_mask(self) -> Symbol:
        return self.keep("rows", self._outer.row_mask)

    def step_mask(self, port: PortType) -> Symbol | None:
        return self.keep(("steps", port), lambda: self._outer.step_mask(port))
