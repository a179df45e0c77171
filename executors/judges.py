"""Who gives the verdict of a guard: a kernel, or a small graph of MXNet's operators where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._mxnet import mx
from .binding import bind_plain
from .capi import address_of, forward_of, prepared
from .host_memory import zeros
from .kernels import Stage, Task, block_of, copying

STAMPS = 2**22  # numbers of passes are counted modulo this, so that a float32 holds each exactly
HEAD = 6  # numbers in a result before the losses
FINITE = 3  # which of them says whether all was finite


class Watch(NamedTuple):
    """What a guard does.

    Attributes:
        on_nan: What a pass comes to whose losses, gradients or carried states are not finite: "raise": it moves
            nothing, nor do those behind it; "skip": it moves nothing; "ignore": it moves. None: the guard looks for
            failures alone, and holds nothing back.
        paths: The arrays whose gradients it looks at, which are those that move.
        moves: Whether these move, or only what moves with the forward pass: states and auxiliary arrays.
        clip_norm: The largest norm of these gradients together; None: any.
    """

    on_nan: str | None
    paths: tuple[str, ...]
    moves: bool = True
    clip_norm: float | None = None

    @property
    def measures(self) -> bool:
        """Whether it looks at all numbers of the gradients."""
        return self.on_nan is not None or self.clip_norm is not None


class Seen(NamedTuple):
    """What a guard looks at, NDArrays.

    Attributes:
        losses: The losses by port.
        trained: The ports of those losses that are to be finite.
        states: The carried states, which are to be finite.
        others: What else the pass gives, of any dtype; it is only to have been computed.
        gradients: Views of the gradients, vectors.
        flat: What these are views of.
        auxiliary: The new value and the place of each auxiliary array that moves with the pass.
        places: What these places are views of; None: there are none.
        passed: ``(1,)``: the number of the last pass that has passed.
        wrong: ``(1,)``: how many indices are out of range.
        sound: ``(1,)``: whether the step has been finite so far; None: that does not matter.
    """

    losses: Mapping[str, Any]
    trained: list[str]
    states: list[Any]
    others: list[Any]
    gradients: list[Any]
    flat: Any
    auxiliary: list[tuple[Any, Any]]
    places: Any
    passed: Any
    wrong: Any
    sound: Any


class KernelJudge:
    """Gives verdicts by a kernel, which moves the auxiliary arrays as well.

    What comes out of a graph is copied first, by one operator: its memory is MXNet's, which may share it with other
    graphs, has perhaps not allocated it yet, and may keep images in it in an order of its own.

    Args:
        seen: What it looks at.
        watch: What it does.
        slots: How many passes may be unread.

    Attributes:
        packed: ``(6 + losses,)``: the pass that has passed, this one's number, the square of the norm, finite or not,
            wrong indices, go, and all losses.
        scale: ``(1,)``: the factor of gradients, 1 or what clips their norm; NaN or 0 where arrays may not move.
        go: ``(1,)``: 1 where anything may move, 0 elsewhere.
        skipped: ``(1,)``: 1 where the pass moves nothing and the next one goes on.
    """

    def __init__(self, seen: Seen, watch: Watch, slots: int) -> None:
        """Lay out what the kernel is given, once for each slot."""
        from . import guard_kernel as kernel  # numba takes its time to be imported

        context, dtype = seen.passed.context, np.dtype(seen.passed.dtype).name
        given = [*seen.losses.values(), *seen.states, *(new for new, _ in seen.auxiliary)]
        copies = [zeros(array.shape, context, dtype) for array in given]
        self._copies = _copying_out(given, copies)
        losses, states = dict(zip(seen.losses, copies)), copies[len(seen.losses) :][: len(seen.states)]
        auxiliary = list(zip(copies[len(losses) + len(states) :], (place for _, place in seen.auxiliary)))
        watched = [*(losses[port] for port in seen.trained), *states]
        size = HEAD + sum(loss.size for loss in losses.values())
        self.packed, self.scale, self.go, self.skipped = (zeros((n,), context, dtype) for n in (size, 1, 1, 1))
        gradients = seen.gradients if watch.measures else []
        rows = [(array, None) for array in (*gradients, *watched, *losses.values())] + auxiliary
        words = np.zeros(kernel.HEADER + kernel.ROW * len(rows), np.int64)
        modes = {None: kernel.NOTHING, "ignore": kernel.FAILURES, "raise": kernel.ALL, "skip": kernel.ALL_AND_SKIPS}
        words[kernel.HOLDS] = modes[watch.on_nan]
        words.view(np.float64)[kernel.LIMIT] = np.inf if watch.clip_norm is None else watch.clip_norm
        arrays = [seen.passed, seen.wrong, seen.sound, self.packed, self.scale, self.go, self.skipped]
        words[kernel.PASSED : kernel.GRADIENTS] = [0 if array is None else address_of(array) for array in arrays]
        words[kernel.GRADIENTS : kernel.HEADER] = [len(found) for found in (gradients, watched, losses, auxiliary)]
        for at, (array, place) in zip(range(kernel.HEADER, len(words), kernel.ROW), rows):
            words[at : at + kernel.ROW] = address_of(array), array.size, 0 if place is None else address_of(place)
        self._due_at = kernel.DUE
        self._blocks = [block_of(words) for _ in range(slots)]
        reads = [*copies, *seen.others]
        reads += [array for array in (seen.flat, seen.passed, seen.wrong, seen.sound) if array is not None]
        writes = [self.packed, self.scale, self.go, self.skipped]
        writes += [] if seen.places is None or not seen.auxiliary else [seen.places]
        self._tasks = [
            Task(kernel.judge_kernel(dtype, STAMPS, HEAD), block, tuple(reads), tuple(writes))
            for _, block in self._blocks
        ]

    def expect(self, number: int, slot: int) -> None:
        """Say which pass comes next in a slot."""
        self._blocks[slot][0][self._due_at] = (number - 1) % STAMPS

    def stages(self, slot: int) -> list[Stage]:
        """Return what gives the verdict."""
        return [*self._copies, self._tasks[slot]]

    @property
    def moving(self) -> list[Stage]:
        """What moves the auxiliary arrays behind the verdict: nothing is left to do."""
        return []


def _copying_out(given: list[Any], copies: list[Any]) -> list[Stage]:
    """Return what copies some arrays of one dtype, by no operator that uses scratch memory."""
    if len(given) > 1 and given[0].dtype == np.float32:  # the only dtype that it takes
        return [prepared("amp_multicast", given, copies, num_outputs=len(given))]
    return [prepared("_copyto", [array], [copy]) for array, copy in zip(given, copies)]


class GraphJudge:
    """Gives verdicts by MXNet's operators; arguments and attributes are those of `KernelJudge`."""

    def __init__(self, seen: Seen, watch: Watch, slots: int) -> None:
        """Bind the graph."""
        context = seen.passed.context
        self._due = mx.nd.zeros((1,), ctx=context, dtype=seen.passed.dtype)
        self._set_due = prepared("_set_value", [], [self._due], ["src"])
        pairs = [(new.reshape((1, -1)), place.reshape((1, -1))) for new, place in seen.auxiliary]
        inputs: dict[str, list[Any]] = {
            "loss": list(seen.losses.values()),
            "watched": [*(seen.losses[port] for port in seen.trained), *seen.states],
            "other": [array.reshape((-1,))[:1] for array in seen.others],
            "gradient": seen.gradients,
            "new": [new for new, _ in pairs],
            "old": [place for _, place in pairs],
            "passed": [seen.passed],
            "wrong": [seen.wrong],
            "due": [self._due],
            "sound": [] if seen.sound is None else [seen.sound],
        }
        arguments = {f"{kind}:{n}": array for kind, arrays in inputs.items() for n, array in enumerate(arrays)}
        symbols = {kind: [mx.sym.var(f"{kind}:{n}") for n in range(len(arrays))] for kind, arrays in inputs.items()}
        symbols["other"] = [mx.sym.cast(symbol, dtype=np.dtype(seen.passed.dtype).name) for symbol in symbols["other"]]
        raw = bind_plain(_graph(symbols, watch), arguments, context)
        self.packed, self.scale, self.go, self.skipped, *selected = raw.outputs
        self._run = forward_of(raw)
        self.moving: list[Stage] = []
        if selected:
            self.moving = [copying(list(zip(selected, (place for _, place in pairs))), selected, [seen.places])]

    def expect(self, number: int, slot: int) -> None:
        """Queue the number of the pass before the one that comes next."""
        self._set_due(float((number - 1) % STAMPS))

    def stages(self, slot: int) -> list[Stage]:
        """Return what gives the verdict."""
        return [self._run]


def _graph(inputs: Mapping[str, list[Any]], watch: Watch) -> Any:
    """Return the graph: the packed numbers, scale, go, skipped, and the selected value of each auxiliary array."""
    on_nan = watch.on_nan
    (passed_before,), (due,), (wrong,) = inputs["passed"], inputs["due"], inputs["wrong"]
    gradients = inputs["gradient"]
    if not watch.measures:  # to depend on the gradients costs nothing, to look at them does
        gradients = [mx.sym.slice_axis(symbol, axis=0, begin=0, end=1) for symbol in gradients]
    square = mx.sym.add_n(*(mx.sym.dot(symbol, symbol) for symbol in gradients))
    unsound = mx.sym.add_n(square * 0, *(mx.sym.sum(symbol * 0) for symbol in inputs["watched"]))  # 0, or NaN
    finite = mx.sym.broadcast_equal(unsound, unsound)
    sound = mx.sym.broadcast_equal(passed_before, due) * (wrong == 0)
    for so_far in inputs["sound"]:  # a step in parts is skipped from its first pass on that is not finite
        finite = finite * so_far
    go = sound if on_nan in {"ignore", None} else sound * finite
    passed = go if on_nan == "raise" else sound
    number = (due + 1) % STAMPS
    stamp = mx.sym.where(passed, number, passed_before)
    flat = [mx.sym.reshape(loss, shape=(-1,)) for loss in inputs["loss"]]
    # back from there, so that nothing says go where the numbers are not: the graph is not one operator to MXNet
    packed = mx.sym.concat(stamp, number, square, finite, wrong, go, *flat, *inputs["other"], dim=0)
    go = mx.sym.slice_axis(packed, axis=0, begin=HEAD - 1, end=HEAD)
    stamp, number = (mx.sym.slice_axis(packed, axis=0, begin=place, end=place + 1) for place in (0, 1))
    skipped = mx.sym.broadcast_equal(stamp, number) * (1 - go)
    selected = [mx.sym.where(go, new, old) for new, old in zip(inputs["new"], inputs["old"])]
    scale = mx.sym.ones_like(go) if on_nan is None else go / go
    if watch.clip_norm is not None:
        scale = scale * _clipping(square, watch.clip_norm)
    return mx.sym.Group([packed, scale, go, skipped, *selected])


def _clipping(square: Any, limit: float) -> Any:
    """Return the factor that makes a norm no larger than a limit; 1 where it is not finite."""
    factor = mx.sym.minimum(limit / mx.sym.sqrt(square), 1.0)  # 1 for a norm of 0, which gives infinity
    return mx.sym.where(mx.sym.broadcast_equal(square * 0, square * 0), factor, mx.sym.ones_like(factor))
