"""The guard: one small graph a step that decides, on the device, whether the step may move anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from .binding import bind_plain
from .bound import Bound
from .capi import forward_of, prepared
from .host_memory import host_slot
from .kernels import copying, usable
from .snapshot import Snapshot
from .store import FlatArray, ParameterStore

STAMPS = 2**22  # numbers of passes are counted modulo this, so that a float32 holds each exactly
HEAD = 6  # numbers in a result before the losses
FINITE = 3  # which of them says whether all was finite


class Chain:
    """What links the guarded passes of one trainer on the device.

    MXNet tells of a failure once, to whoever reads first, and then runs what is queued behind it on stale numbers. So a
    pass moves nothing unless the one before it has passed, which is known from numbers and not from MXNet's errors:
    each that passes leaves its number, the last thing that it does.

    Args:
        context: The device.
        dtype: The dtype of parameters.
        slots: How many passes may be unread.

    Attributes:
        passed: ``(1,)``: the number of the last pass that has passed.
        due: ``(1,)``: the number of the pass before the one that is queued next.
        wrong: ``(1,)``: how many indices of the pass are out of range, of those that came in NDArrays.
        sound: ``(1,)``: whether all passes so far were finite of a step in parts that may be skipped; else 1.
    """

    def __init__(self, context: Any, dtype: str, slots: int) -> None:
        """Start before the first pass."""
        self.passed, self.due, self.wrong = (mx.nd.zeros((1,), ctx=context, dtype=dtype) for _ in range(3))
        self.sound = mx.nd.ones((1,), ctx=context, dtype=dtype)
        self._counted = False
        self._set_passed, self._set_wrong, self._set_sound = (
            prepared("_set_value", [], [array], ["src"]) for array in (self.passed, self.wrong, self.sound)
        )
        slot = [host_slot(1, dtype) for _ in range(slots)]
        self._due = [(host, copying([(array, self.due)], [array], [self.due])) for host, array in slot]

    def expect(self, number: int, counts: list[Any]) -> None:
        """Queue the number of the pass before this one, and the sum of its counts of wrong indices."""
        host, copy = self._due[number % len(self._due)]
        host[0] = (number - 1) % STAMPS
        copy()
        if counts:
            mx.nd.add_n(*(count.astype(self.wrong.dtype) for count in counts)).copyto(self.wrong)
        elif self._counted:
            self._set_wrong(0.0)
        self._counted = bool(counts)

    @property
    def arrays(self) -> list[Any]:
        """What it holds on the device."""
        return [self.passed, self.due, self.wrong, self.sound]

    def forget(self) -> None:
        """Queue the end of a step in parts: the next one starts sound."""
        self._set_sound(1.0)

    def restart(self, number: int) -> None:
        """Set the last pass that has passed; nothing is queued, and what failed has been waited for."""
        self._set_passed(float(number % STAMPS))


class Verdict(NamedTuple):
    """What a pass came to.

    Attributes:
        known: Whether these are its numbers: not where it failed, and someone else was told.
        passed: Whether it has moved what it was to move, or was passed over as `on_nan` has it.
        finite: Whether its losses, gradients and carried states were finite.
        norm: The norm of the gradient of all arrays that it looked at.
        wrong: How many indices that came in NDArrays were out of range.
        losses: The losses of all rows by port.
    """

    known: bool
    passed: bool
    finite: bool
    norm: float
    wrong: int
    losses: dict[str, NDArray[Any]]


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


class Guard:
    """The guard of one graph, or of a move without a pass before it.

    It reads all gradients, losses and carried states, and an element of every other output, so that whatever fails in
    forward or backward reaches it. Losses of weight 0 may be infinite.

    Args:
        store: The arrays.
        bound: The graph, in training mode; None: there is none.
        chain: What links the passes.
        watch: What it does.
        slots: How many passes may be unread.
        snapshot: What is taken at the end of a pass that moves, if anything.

    Attributes:
        paths: The arrays whose gradients it looks at.
        scale: ``(1,)``: the factor of gradients, 1 or what clips their norm; NaN or 0 where arrays may not move.
        go: ``(1,)``: 1 where anything may move, 0 elsewhere.
        move: What queues the move that it holds back; for who makes it to keep it here.
    """

    def __init__(
        self,
        store: ParameterStore,
        bound: Bound | None,
        chain: Chain,
        watch: Watch,
        slots: int,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Bind it to what the graph gives."""
        self._store = store
        self._chain = chain
        self._watch = watch
        self.paths = watch.paths
        self.move: Any = None
        self._carried = None if bound is None else bound.carried
        outputs = {} if bound is None else bound.raw_outputs()
        losses = {} if bound is None else {port: outputs[port] for port in bound.plan.loss_ports}
        moved = {} if bound is None else bound.moved
        others = [array for port, array in outputs.items() if port not in losses]
        others += [] if bound is None else bound.input_gradients.values()
        states = {} if self._carried is None else self._carried.states
        self._shapes = {port: array.shape for port, array in losses.items()}
        self._auxiliary = {path: store.argument(path).reshape((1, -1)) for path in moved}
        arguments = {
            **{f"loss:{port}": array for port, array in losses.items()},
            **{f"other:{number}": array.reshape((-1,))[:1] for number, array in enumerate(others)},
            **{f"state:{port}": array for port, array in states.items()},
            **{f"new:{path}": array.reshape((1, -1)) for path, array in moved.items()},
            **{f"old:{path}": array for path, array in self._auxiliary.items()},
            **{f"gradient:{number}": array for number, array in enumerate(_gradients(store.gradients, watch.paths))},
            "passed": chain.passed,
            "due": chain.due,
            "wrong": chain.wrong,
            **({"sound": chain.sound} if watch.on_nan == "skip" and (bound is None or not watch.moves) else {}),
        }
        trained = [] if bound is None else [port for port in losses if port in bound.trained_ports]
        symbol = _graph({name: mx.sym.var(name) for name in arguments}, trained, list(moved), watch)
        self._raw = bind_plain(symbol, arguments, store.context)
        self._packed, self.scale, self.go, self._skipped, *self._selected = self._raw.outputs
        self._run = forward_of(self._raw)
        # the result waits for the parameters, which is why one of them is in it
        self._seen, self._results = _results(slots, self._packed.size + 1, store.context, store.plan.dtype)
        self._finish = [self._finishing(result, snapshot) for result in self._results]

    def _finishing(self, result: Any, snapshot: Snapshot | None) -> list[Callable[[], None]]:
        """Return what is queued at the end of a pass.

        MXNet skips an operator whose inputs have failed, but not those behind it once someone has been told. So what
        lets a pass move is taken back at its end: if the next guard is skipped, nothing of an earlier one says go.
        """
        keeping = []
        if self._carried is not None:
            keeping = self._carried.keeping(self.go)
            if self._watch.on_nan == "skip":
                keeping += self._carried.beginning(self._skipped)
        moving = []
        if self._selected:
            pairs = list(zip(self._selected, self._auxiliary.values()))
            moving = [copying(pairs, self._selected, [self._store.auxiliary.array])]
        taking = [] if snapshot is None else snapshot.taking(self.go)
        return [*keeping, *moving, *taking, *self._ending(result)]

    def _ending(self, result: Any) -> list[Callable[[], None]]:
        """Return what hands over the result, once the parameters have moved, and takes back what said go."""
        parameters, size = self._store.parameters.array, self._packed.size
        spent = [self.go, self._skipped, self.scale]
        pairs = [(self._packed, result[:size]), (self._packed[:1], self._chain.passed)]
        writes = [self._chain.passed, *spent]
        if self._watch.on_nan == "skip" and not self._watch.moves:
            pairs.append((self._packed[FINITE : FINITE + 1], self._chain.sound))
            writes.append(self._chain.sound)
        if usable(self._store.context):
            zero = mx.nd.zeros((1,), ctx=self._store.context, dtype=self._store.plan.dtype)
            pairs += [(zero, array) for array in spent]
            reads = [self._packed, zero, *([parameters] if self._watch.moves else [])]
            return [copying(pairs, reads, [result, *writes])]
        # not by Concat: it uses scratch memory that operators of the whole process share, and their failures with it
        calls = [prepared("_copyto", [source], [target]) for source, target in pairs]
        if self._watch.moves:
            calls.insert(0, prepared("_copyto", [parameters[:1]], [result[size:]]))
        return [*calls, *(prepared("_set_value", [], [array], src=0.0) for array in spent)]

    def judge(self) -> None:
        """Queue the verdict on the pass."""
        self._run()

    def has_finished(self, slot: int, number: int) -> bool:
        """Tell whether a pass has passed, as far as the host can see without waiting."""
        return bool(self._seen) and float(self._seen[slot][0]) == number % STAMPS

    def is_judged(self, slot: int, number: int) -> bool:
        """Tell whether there is a verdict on a pass, as far as the host can see without waiting."""
        return bool(self._seen) and float(self._seen[slot][1]) == number % STAMPS

    @property
    def can_be_seen(self) -> bool:
        """Whether the host can look at results without waiting: they are in its own memory."""
        return bool(self._seen)

    def finish(self, slot: int) -> None:
        """Queue the result, and the move of the auxiliary arrays, once the parameters have moved."""
        for call in self._finish[slot]:
            call()

    def verdict(self, slot: int, number: int) -> Verdict:
        """Return what a pass came to; waits.

        Raises:
            MXNetError: Something failed, and nobody has been told so far.
        """
        if self._seen:
            self._results[slot].wait_to_read()
            numbers = self._seen[slot].copy()
        else:
            numbers = self._results[slot].asnumpy()
        stamp, found, square, finite, wrong, _ = numbers[:HEAD].tolist()
        losses, begin = {}, HEAD
        for port, shape in self._shapes.items():
            end = begin + math.prod(shape)
            losses[port] = numbers[begin:end].reshape(shape)
            begin = end
        due = number % STAMPS
        return Verdict(found == due, stamp == due, bool(finite), float(np.sqrt(square)), int(wrong), losses)


def _gradients(flat: FlatArray, paths: tuple[str, ...]) -> list[Any]:
    """Return the gradients of some arrays, as few views as they can be."""
    numbers = [number for number, path in enumerate(flat.specs) if path in paths]
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    ordered = list(flat.specs)
    return [flat.view(*(ordered[number] for number in run)).reshape((-1,)) for run in runs]


def _results(slots: int, size: int, context: Any, dtype: str) -> tuple[list[NDArray[Any]], list[Any]]:
    """Return NDArrays, and the memory behind them where it is the host's: to look at it does not wait."""
    if context.device_type == "cpu":
        pairs = [host_slot(size, dtype) for _ in range(slots)]
        return [host for host, _ in pairs], [array for _, array in pairs]
    return [], [mx.nd.zeros((size,), ctx=context, dtype=dtype) for _ in range(slots)]


def _graph(inputs: Mapping[str, Any], trained: list[str], moved: list[str], watch: Watch) -> Any:
    """Return the graph: the packed numbers, scale, go, skipped, and the selected value of each auxiliary array."""
    on_nan = watch.on_nan
    losses = [symbol for name, symbol in inputs.items() if name.startswith("loss:")]
    others = [symbol for name, symbol in inputs.items() if name.startswith("other:")]
    watched = [inputs[f"loss:{port}"] for port in trained]
    watched += [symbol for name, symbol in inputs.items() if name.startswith("state:")]
    gradients = [symbol for name, symbol in inputs.items() if name.startswith("gradient:")]
    if on_nan is None and watch.clip_norm is None:  # to depend on the gradients costs nothing, to look at them does
        gradients = [mx.sym.slice_axis(symbol, axis=0, begin=0, end=1) for symbol in gradients]
    square = mx.sym.add_n(*(mx.sym.dot(symbol, symbol) for symbol in gradients))
    unsound = mx.sym.add_n(square * 0, *(mx.sym.sum(symbol * 0) for symbol in watched))  # 0, or NaN
    finite = mx.sym.broadcast_equal(unsound, unsound)
    sound = mx.sym.broadcast_equal(inputs["passed"], inputs["due"]) * (inputs["wrong"] == 0)
    if "sound" in inputs:  # a step in parts is skipped from its first pass on that is not finite
        finite = finite * inputs["sound"]
    go = sound if on_nan in {"ignore", None} else sound * finite
    passed = go if on_nan == "raise" else sound
    number = (inputs["due"] + 1) % STAMPS
    stamp = mx.sym.where(passed, number, inputs["passed"])
    flat = [mx.sym.reshape(loss, shape=(-1,)) for loss in losses]
    packed = mx.sym.concat(stamp, number, square, finite, inputs["wrong"], go, *flat, *others, dim=0)
    # read back from there, so that nothing says go where the numbers are not: the graph is not one operator to MXNet
    go = mx.sym.slice_axis(packed, axis=0, begin=HEAD - 1, end=HEAD)
    stamp, number = (mx.sym.slice_axis(packed, axis=0, begin=place, end=place + 1) for place in (0, 1))
    skipped = mx.sym.broadcast_equal(stamp, number) * (1 - go)
    selected = [mx.sym.where(go, inputs[f"new:{path}"], inputs[f"old:{path}"]) for path in moved]
    scale = mx.sym.ones_like(go) if on_nan is None else go / go
    if watch.clip_norm is not None:
        scale = scale * _clipping(square, watch.clip_norm)
    return mx.sym.Group([packed, scale, go, skipped, *selected])


def _clipping(square: Any, limit: float) -> Any:
    """Return the factor that makes a norm no larger than a limit; 1 where it is not finite."""
    factor = mx.sym.minimum(limit / mx.sym.sqrt(square), 1.0)  # 1 for a norm of 0, which gives infinity
    return mx.sym.where(mx.sym.broadcast_equal(square * 0, square * 0), factor, mx.sym.ones_like(factor))
