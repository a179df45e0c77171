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
from .snapshot import Snapshot
from .staging import host_slot

STAMPS = 2**22  # numbers of steps are counted modulo this, so that a float32 holds each exactly
HEAD = 6  # numbers in a result before the losses


class Chain:
    """What links the guarded steps of one trainer on the device.

    MXNet tells of a failure once, to whoever reads first, and then runs what is queued behind it on stale numbers. So a
    step moves nothing unless the one before it has passed, which is known from numbers and not from MXNet's errors:
    each step that passes leaves its number, the last thing that it does.

    Attributes:
        passed: ``(1,)``: the number of the last step that has passed.
        due: ``(1,)``: the number of the step before the one that is queued next.
        wrong: ``(1,)``: how many indices of the step are out of range, of those that came in NDArrays.
    """

    def __init__(self, context: Any, dtype: str) -> None:
        """Start before the first step."""
        self.passed, self.due, self.wrong = (mx.nd.zeros((1,), ctx=context, dtype=dtype) for _ in range(3))
        self._counted = False
        self._set_passed, self._set_due, self._set_wrong = (
            prepared("_set_value", [], [array], ["src"]) for array in (self.passed, self.due, self.wrong)
        )

    def expect(self, step: int, counts: list[Any]) -> None:
        """Queue the number of the step before this one, and the sum of its counts of wrong indices."""
        self._set_due(float((step - 1) % STAMPS))
        if counts:
            mx.nd.add_n(*(count.astype(self.wrong.dtype) for count in counts)).copyto(self.wrong)
        elif self._counted:
            self._set_wrong(0.0)
        self._counted = bool(counts)

    def restart(self, step: int) -> None:
        """Set the last step that has passed; nothing is queued, and what failed has been waited for."""
        self._set_passed(float(step % STAMPS))


class Verdict(NamedTuple):
    """What a step came to.

    Attributes:
        known: Whether these are its numbers: not where it failed, and someone else was told.
        passed: Whether it has moved what it was to move, or was passed over as `on_nan` has it.
        finite: Whether its losses, gradients and carried states were finite.
        norm: The norm of its gradient.
        wrong: How many indices that came in NDArrays were out of range.
        losses: The losses of all rows by port.
    """

    known: bool
    passed: bool
    finite: bool
    norm: float
    wrong: int
    losses: dict[str, NDArray[Any]]


class Guard:
    """The guard of one graph.

    It reads all gradients, losses and carried states, and an element of every other output, so that whatever fails in
    forward or backward reaches it. Losses of weight 0 may be infinite.

    Args:
        bound: The graph, in training mode.
        chain: What links the steps.
        on_nan: What a step comes to whose losses, gradients or carried states are not finite: "raise": it moves
            nothing, nor do those behind it; "skip": it moves nothing; "ignore": it moves. None: it looks for failures
            alone, and holds nothing back.
        slots: How many steps may be unread.
        token: Where the move goes through a copy: 1, `go` and `number`, once the copy has been moved, and zeros between
            steps.
        snapshot: What is taken at the end of a step that moves, if anything.

    Attributes:
        go: ``(1,)``: 1 where the step may move, 0 elsewhere.
        scale: ``(1,)``: 1 where the step may move, NaN or 0 elsewhere.
        number: ``(1,)``: the step's number.
    """

    def __init__(
        self,
        bound: Bound,
        chain: Chain,
        on_nan: str | None,
        slots: int,
        token: Any = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Bind it to what the graph gives."""
        store, context, dtype = bound.store, bound.store.context, bound.plan.dtype
        outputs = bound.raw_outputs()
        losses = {port: outputs[port] for port in bound.plan.loss_ports}
        others = [array for port, array in outputs.items() if port not in losses]
        others += bound.input_gradients.values()
        self._chain = chain
        self._carried = bound.carried
        states = {} if bound.carried is None else bound.carried.states
        self._shapes = {port: array.shape for port, array in losses.items()}
        self._auxiliary = {path: store.argument(path).reshape((1, -1)) for path in bound.moved}
        arguments = {
            **{f"loss:{port}": array for port, array in losses.items()},
            **{f"other:{number}": array.reshape((-1,))[:1] for number, array in enumerate(others)},
            **{f"state:{port}": array for port, array in states.items()},
            **{f"new:{path}": array.reshape((1, -1)) for path, array in bound.moved.items()},
            **{f"old:{path}": array for path, array in self._auxiliary.items()},
            "gradients": store.gradients.array,
            "passed": chain.passed,
            "due": chain.due,
            "wrong": chain.wrong,
        }
        trained = [port for port in losses if bound.plan.losses[port].weight != 0.0]
        symbol = _graph({name: mx.sym.var(name) for name in arguments}, trained, list(bound.moved), on_nan)
        self._raw = bind_plain(symbol, arguments, context)
        self._packed, self.scale, self.go, self._skipped, *self._selected = self._raw.outputs
        self._skips = on_nan == "skip"
        self.number = self._packed[1:2]
        # what the result is to wait for, and be read with: the parameters, and the token if there is one
        self._ends = [store.parameters.array[:1]] if token is None else [store.parameters.array[:1], token[2:3]]
        size = self._packed.size + len(self._ends)
        self._seen, self._results = _results(slots, size, context, dtype)
        self._run = forward_of(self._raw)
        self._finish = [self._finishing(result, token, snapshot) for result in self._results]
        self._has_token = token is not None

    def _finishing(self, result: Any, token: Any, snapshot: Snapshot | None) -> list[Callable[[], None]]:
        """Return what is queued at the end of a step.

        MXNet skips an operator whose inputs have failed, but not those behind it once someone has been told. So what
        lets a step move is taken back at its end: if the next guard is skipped, nothing of an earlier step says go.
        """
        # not by Concat: it uses scratch memory that operators of the whole process share, and their failures with it
        packing = [
            prepared("_copyto", [end], [result[place : place + 1]])
            for place, end in enumerate(self._ends, self._packed.size)
        ]
        packing.append(prepared("_copyto", [self._packed], [result[: self._packed.size]]))
        stamp, passed = result[:1], self._chain.passed
        if token is None:
            go, passing = self.go, prepared("_copyto", [stamp], [passed])
        else:
            go, passing = token[1:2], prepared("where", [token[:1], stamp, passed], [passed])
        moves = [prepared("where", [go, new, old], [old]) for new, old in zip(self._selected, self._auxiliary.values())]
        keeping = []
        if self._carried is not None:
            keeping = self._carried.keeping(go)
            if self._skips:
                keeping += self._carried.beginning(self._skipped)
        taking = [] if snapshot is None else snapshot.taking(go)
        spent = [self.go, self._skipped, self.scale if token is None else token]
        return [
            *packing,
            *moves,
            *keeping,
            passing,
            *taking,
            *(prepared("_set_value", [], [array], src=0.0) for array in spent),
        ]

    def judge(self) -> None:
        """Queue the verdict on the pass."""
        self._run()

    def has_finished(self, slot: int, step: int) -> bool:
        """Tell whether a step has passed, as far as the host can see without waiting."""
        return bool(self._seen) and float(self._seen[slot][0]) == step % STAMPS

    def is_judged(self, slot: int, step: int) -> bool:
        """Tell whether there is a verdict on a step, as far as the host can see without waiting."""
        return bool(self._seen) and float(self._seen[slot][1]) == step % STAMPS

    @property
    def can_be_seen(self) -> bool:
        """Whether the host can look at results without waiting: they are in its own memory."""
        return bool(self._seen)

    def finish(self, slot: int) -> None:
        """Queue the result, and the move of the auxiliary arrays, once the parameters have moved."""
        for call in self._finish[slot]:
            call()

    def verdict(self, slot: int, step: int) -> Verdict:
        """Return what a step came to; waits.

        Raises:
            MXNetError: Something failed, and nobody has been told so far.
        """
        numbers = self._results[slot].asnumpy()
        stamp, number, square, finite, wrong, _ = numbers[:HEAD].tolist()
        losses, begin = {}, HEAD
        for port, shape in self._shapes.items():
            end = begin + math.prod(shape)
            losses[port] = numbers[begin:end].reshape(shape)
            begin = end
        due = step % STAMPS
        known = number == due and (not self._has_token or numbers[-1] == due)
        return Verdict(known, stamp == due, bool(finite), float(np.sqrt(square)), int(wrong), losses)


def _results(slots: int, size: int, context: Any, dtype: str) -> tuple[list[NDArray[Any]], list[Any]]:
    """Return NDArrays, and the memory behind them where it is the host's: to look at it does not wait."""
    if context.device_type == "cpu":
        pairs = [host_slot(size, dtype) for _ in range(slots)]
        return [host for host, _ in pairs], [array for _, array in pairs]
    return [], [mx.nd.zeros((size,), ctx=context, dtype=dtype) for _ in range(slots)]


def _graph(inputs: Mapping[str, Any], trained: list[str], moved: list[str], on_nan: str | None) -> Any:
    """Return the graph: the packed numbers, scale, go, skipped, and the selected value of each auxiliary array."""
    losses = [symbol for name, symbol in inputs.items() if name.startswith("loss:")]
    others = [symbol for name, symbol in inputs.items() if name.startswith("other:")]
    watched = [inputs[f"loss:{port}"] for port in trained]
    watched += [symbol for name, symbol in inputs.items() if name.startswith("state:")]
    gradients = inputs["gradients"]
    if on_nan is None:  # to depend on the gradients costs nothing, to look at them does
        gradients = mx.sym.slice_axis(gradients, axis=0, begin=0, end=1)
    square = mx.sym.dot(gradients, gradients)
    unsound = mx.sym.add_n(square * 0, *(mx.sym.sum(symbol * 0) for symbol in watched))  # 0, or NaN
    finite = mx.sym.broadcast_equal(unsound, unsound)
    sound = mx.sym.broadcast_equal(inputs["passed"], inputs["due"]) * (inputs["wrong"] == 0)
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
    return mx.sym.Group([packed, go / go, go, skipped, *selected])
