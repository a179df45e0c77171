"""Which operators of a graph run again in the backward pass, so that what they gave need not be kept until then.

A graph is cut into segments, and only what crosses a cut is kept: T. Chen, B. Xu, C. Zhang, C. Guestrin, Training Deep
Nets with Sublinear Memory Cost, 2016. Where to cut is chosen for a bound on what one segment keeps, so that the cuts
themselves keep the least; several bounds give several choices, of which whoever asks takes the fastest that fits.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .layers.base import Symbol

# Each of these gives the same bits when it runs again, in every layer that has it: the tests try all. Of others some do
# not in MXNet: LayerNorm, Embedding and pick give wrong gradients, what draws random numbers draws others, recurrent
# operators and loops take more memory, and callbacks end the process. Dropout is never run again: its mask is kept.
# fmt: off
EXACT = frozenset((
    "Activation", "BlockGrad", "Cast", "Concat", "Convolution", "FullyConnected", "LeakyReLU", "Reshape",
    "SequenceMask", "SliceChannel", "SwapAxis", "_contrib_gradientmultiplier", "_copy", "_div_scalar", "_maximum",
    "_minimum", "_minimum_scalar", "_minus_scalar", "_mul_scalar", "_plus_scalar", "_power", "_rminus_scalar",
    "abs", "batch_dot", "broadcast_add", "broadcast_div", "broadcast_like", "broadcast_mul", "broadcast_sub", "cos",
    "dot", "elemwise_add", "elemwise_div", "elemwise_mul", "elemwise_sub", "erf", "exp", "expand_dims", "expm1",
    "log", "log1p", "max", "mean", "negative", "reciprocal", "relu", "repeat", "reverse", "rsqrt", "sigmoid", "sin",
    "slice_axis", "softmax", "softsign", "sqrt", "square", "sum", "tanh", "transpose", "where",
))
# fmt: on
ALIASES = frozenset({"Reshape", "reshape", "_copy", "identity", "BlockGrad", "Flatten", "expand_dims", "squeeze"})
LINEAR = frozenset({"FullyConnected", "Convolution", "Deconvolution"})
MARK = "force_mirroring"
PRODUCTS = LINEAR | {"dot", "batch_dot"}
MOVED = 50.0  # about how many multiplications of a product take as long as to read and write one element
BOUNDS = 12  # on what a segment keeps, each 1.5 times the one before

Shapes = Mapping[tuple[str, int], tuple[int, ...]]
Entry = tuple[str, int]


class Choice(NamedTuple):
    """What could run again.

    Attributes:
        names: The operators.
        work: How long they take, as a share of the forward pass, about.
    """

    names: frozenset[str]
    work: float


@dataclass
class _Operator:
    """An operator of the forward pass, and what is known of it.

    Attributes:
        name: Its name.
        bytes: The size of what it gives, 0 where that is the memory of something else.
        kept: How much of it the backward pass reads.
        work: How long it takes, in multiplications.
        root: The number of the operator whose memory its output is; its own, as a rule; None: an argument's.
        again: Whether it may run again.
        product: Whether it is a product of matrices, or a convolution.
        last: The number of the last operator that reads it.
    """

    name: str
    bytes: int
    kept: int
    work: float
    root: int | None
    again: bool
    product: bool
    last: int


def choices(symbol: Symbol, shapes: Shapes, sizes: Mapping[Entry, int], kept: Collection[Entry]) -> list[Choice]:
    """Return what could run again, the fastest first; nothing at all is not among them.

    Args:
        symbol: The graph of the forward pass.
        shapes: The shape of everything that its operators give, and of its arguments.
        sizes: The same in bytes.
        kept: What the backward pass reads.
    """
    operators = _operators(symbol, shapes, sizes, set(kept))
    whole = sum(one.work for one in operators) or 1.0
    found = {_cheap(operators)}
    total = sum(one.kept for one in operators)
    bound = float(max((one.kept for one in operators), default=0))
    for _ in range(BOUNDS):
        if not 0 < bound < total:
            break
        found.add(_cut(operators, bound))
        bound *= 1.5
    work = {one.name: one.work for one in operators}
    ranked = [Choice(names, sum(work[name] for name in names) / whole) for name, names in enumerate(found) if names]
    return sorted(ranked, key=lambda choice: (choice.work, len(choice.names)))


def mark(symbol: Symbol, names: Collection[str]) -> None:
    """Note in a graph which of its operators run again, and that others do not."""
    for one in symbol.get_internals():
        if one.name in names or one.attr(MARK) is not None:
            # MXNet has no public way to change an attribute
            one._set_attr(**{MARK: str(one.name in names)})  # noqa: SLF001


def _operators(symbol: Symbol, shapes: Shapes, sizes: Mapping[Entry, int], kept: set[Entry]) -> list[_Operator]:
    nodes = json.loads(symbol.tojson())["nodes"]
    numbers: dict[int, int] = {}  # of operators, by the number of the node
    found: list[_Operator] = []
    for place, node in enumerate(nodes):
        if node["op"] == "null":
            continue
        name, kind = node["name"], node["op"]
        entries = [entry for index in range(_outputs(name, sizes)) if (entry := (name, index)) in sizes]
        own = numbers[place] = len(found)
        root: int | None = own
        if kind in ALIASES:
            source = node["inputs"][0][0]
            root = found[numbers[source]].root if source in numbers else None
        again = kind in EXACT
        size = sum(sizes[entry] for entry in entries) if root == own else 0
        read = sum(sizes[entry] for entry in entries if entry in kept) if root == own else 0
        inputs = [(nodes[source]["name"], index) for source, index, *_ in node["inputs"]]
        work, product = _work(kind, shapes, entries, inputs), kind in PRODUCTS
        found.append(_Operator(name, size, read, work, root, again, product, own))
        for source, *_ in node["inputs"]:
            before = numbers.get(source)
            if before is not None and found[before].root is not None:
                found[found[before].root].last = own  # type: ignore[index]  # by the line above
    return found


def _outputs(name: str, sizes: Mapping[Entry, int]) -> int:
    count = 0
    while (name, count) in sizes:
        count += 1
    return count


def _work(kind: str, shapes: Shapes, outputs: Sequence[Entry], inputs: Sequence[Entry]) -> float:
    """Return how many multiplications an operator takes, or as many as take as long."""
    if kind in ALIASES or not outputs:
        return 0.0
    out = float(sum(math.prod(shapes[entry]) for entry in outputs))
    if kind in LINEAR:
        weights = shapes[inputs[1]]
        return MOVED * out + out * math.prod(weights[1:])
    if kind in PRODUCTS:
        left, right = (math.prod(shapes[entry]) for entry in inputs[:2])
        times = shapes[inputs[0]][0] if kind == "batch_dot" else 1
        return MOVED * out + out * math.sqrt(left * right / (out * times))
    return MOVED * out


def _cheap(operators: Sequence[_Operator]) -> frozenset[str]:
    """Return what takes no longer than to read and write what it gives: all but products."""
    return _with_aliases(operators, {number for number, one in enumerate(operators) if one.again and not one.product})


def _with_aliases(operators: Sequence[_Operator], chosen: set[int]) -> frozenset[str]:
    """Return the names of the chosen ones: whatever gives back what another one gave goes with that."""
    return frozenset(one.name for one in operators if one.root in chosen)


def _cut(operators: Sequence[_Operator], bound: float) -> frozenset[str]:
    """Return what runs again if a segment keeps at most so many bytes, and the cuts the least.

    ``least[i]``, what is kept by cuts up to the one behind operator i, is what crosses that one and the least of
    ``least[j]`` over all j such that what lies between them is within the bound.
    """
    count = len(operators)
    crossing = _crossing(operators)
    least, before = [0.0] * (count + 1), [0] * (count + 1)  # number 0 is the beginning
    window: deque[int] = deque([0])  # candidates for the cut before, by rising `least`
    begin, inside = 0, 0.0
    for end in range(1, count + 1):
        inside += operators[end - 1].kept
        while inside > bound and begin < end - 1:
            inside -= operators[begin].kept
            begin += 1
        while window and window[0] < begin:
            window.popleft()
        if not window:
            window.append(begin)
        before[end] = window[0]
        least[end] = least[window[0]] + (crossing[end - 1] if end < count else 0.0)
        while window and least[window[-1]] >= least[end]:
            window.pop()
        window.append(end)
    cuts = []
    place = before[count]
    while place > 0:
        cuts.append(place)
        place = before[place]
    return _between(operators, sorted(cuts))


def _crossing(operators: Sequence[_Operator]) -> list[float]:
    """Return behind each operator the bytes of what came before and is still to be read."""
    count = len(operators)
    change = [0.0] * (count + 1)
    for number, one in enumerate(operators):
        change[number] += one.bytes
        change[max(one.last, number)] -= one.bytes
    found, now = [], 0.0
    for number in range(count):
        now += change[number]
        found.append(now)
    return found


def _between(operators: Sequence[_Operator], cuts: Sequence[int]) -> frozenset[str]:
    """Return what runs again: all that crosses no cut, but what lies behind the last, which is kept for no time."""
    if not cuts:
        return frozenset()
    stays: set[int] = set()
    for cut in cuts:
        stays.update(number for number, one in enumerate(operators[:cut]) if one.last >= cut)
    chosen = {number for number, one in enumerate(operators[: cuts[-1]]) if one.again and number not in stays}
    return _with_aliases(operators, chosen)
