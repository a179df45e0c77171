"""The guard: the end of each pass, which decides on the device whether it may move anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from .capi import prepared
from .host_memory import host_slot, zeros
from .judges import FINITE, HEAD, STAMPS, GraphJudge, KernelJudge, Seen, Watch
from .kernels import Stage, copying, queueing, usable
from .passes import Passes
from .snapshot import Snapshot
from .store import FlatArray, ParameterStore

WORKERS = ".workers"  # the name of flags among losses, which no port can have


class Chain:
    """What links the guarded passes of one trainer on the device.

    MXNet tells of a failure once, to whoever reads first, and then runs what is queued behind it on stale numbers. So a
    pass moves nothing unless the one before it has passed, which is known from numbers and not from MXNet's errors:
    each that passes leaves its number, the last thing that it does.

    Args:
        context: The device.
        dtype: The dtype of parameters.

    Attributes:
        passed: ``(1,)``: the number of the last pass that has passed.
        wrong: ``(1,)``: how many indices of the pass are out of range, of those that came in NDArrays.
        sound: ``(1,)``: whether all passes so far were finite of a step in parts that may be skipped; else 1.
    """

    def __init__(self, context: Any, dtype: str) -> None:
        """Start before the first pass."""
        self.passed, self.wrong, self.sound = (zeros((1,), context, dtype) for _ in range(3))
        self._counted = False
        self._set_passed, self._set_wrong, self._set_sound = (
            prepared("_set_value", [], [array], ["src"]) for array in (self.passed, self.wrong, self.sound)
        )
        self.forget()

    def count(self, counts: list[Any]) -> None:
        """Queue the sum of the next pass's counts of wrong indices."""
        if counts:
            mx.nd.add_n(*(count.astype(self.wrong.dtype) for count in counts)).copyto(self.wrong)
        elif self._counted:
            self._set_wrong(0.0)
        self._counted = bool(counts)

    @property
    def arrays(self) -> list[Any]:
        """What it holds on the device."""
        return [self.passed, self.wrong, self.sound]

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
        workers: The numbers of the workers whose own numbers were not finite, where there are several.
    """

    known: bool
    passed: bool
    finite: bool
    norm: float
    wrong: int
    losses: dict[str, NDArray[Any]]
    workers: tuple[int, ...] = ()


class Exchanging(Protocol):
    """What several workers exchange at a step that moves.

    Attributes:
        flags: ``(workers,)``: not finite where a worker's own numbers let nobody move; None: each moves by itself.
        wrong: ``(1,)``: not 0 where the step of a worker fails, whatever its numbers are.
        moved: The new values of auxiliary arrays that all workers have in common, by path.
    """

    flags: Any
    wrong: Any
    moved: Mapping[str, Any]

    def before(self, seen: Seen, moved: Mapping[str, Any], chain: Chain) -> list[Stage]:
        """Return what is queued before the verdict.

        Args:
            seen: What this worker looks at.
            moved: Its new values of auxiliary arrays, by path.
            chain: What links the passes.
        """

    def after(self) -> list[Stage]:
        """Return what is queued once the parameters have moved."""


class Move(Protocol):
    """The move that a guard holds back."""

    def prepare(self, rate: float, slot: int) -> None:
        """Say at what learning rate the next move in a slot happens."""

    def stage(self, slot: int) -> Stage:
        """Return what queues the move in a slot, or is queued to be it."""


MakeMove = Callable[[tuple[str, ...], Any], Move]  # of the paths of what moves, and the factor of its gradients


class Guard:
    """The guard of one graph, or of a move without a pass before it.

    It reads all gradients, losses and carried states, and every other output, so that whatever fails in forward or
    backward reaches it. Losses of weight 0 may be infinite.

    Args:
        store: The arrays.
        passes: What has the passes, in training mode; None: nothing has.
        chain: What links the passes.
        watch: What it does.
        make_move: Makes the move.
        slots: How many passes may be unread.
        snapshot: What is taken at the end of a pass that moves, if anything.
        exchange: What several workers exchange, if there are several.

    Attributes:
        moves: Whether parameters move with the pass.
    """

    def __init__(
        self,
        store: ParameterStore,
        passes: Passes | None,
        chain: Chain,
        watch: Watch,
        make_move: MakeMove,
        *,
        slots: int,
        snapshot: Snapshot | None = None,
        exchange: Exchanging | None = None,
    ) -> None:
        """Bind it to what the graph gives."""
        self._store = store
        self._chain = chain
        self._watch = watch
        self.moves = watch.moves
        self._carried = None if passes is None else passes.carried
        outputs = {} if passes is None else passes.raw_outputs()
        losses = {} if passes is None else {port: outputs[port] for port in passes.plan.loss_ports}
        seen = self._seen_of(passes, outputs, losses)
        before: list[Stage] = []
        after: list[Stage] = []
        if exchange is not None:
            moved = self._moved_by(passes)
            before, after = exchange.before(seen, moved, chain), exchange.after()
            if exchange.flags is not None:
                seen = self._seen_by_all(seen, exchange, moved)
        self._shapes = {port: array.shape for port, array in seen.losses.items()}
        by_kernels = usable(store.context)
        self._judge = KernelJudge(seen, watch, slots) if by_kernels else GraphJudge(seen, watch, slots)
        self._move = make_move(watch.paths, self._judge.scale) if watch.moves else None
        # the result waits for the parameters, which is why one of them is in it
        size = self._judge.packed.size + 1
        self._seen, self._results = _results(slots, size, store.context, store.plan.dtype)
        ending = self._ending_by_kernel if by_kernels else self._ending_by_operators
        self._calls = [
            queueing([*before, *self._stages(slot, snapshot), *ending(slot), *after]) for slot in range(slots)
        ]

    def _seen_of(self, passes: Passes | None, outputs: dict[str, Any], losses: dict[str, Any]) -> Seen:
        store, watch, chain = self._store, self._watch, self._chain
        trained, states, others, auxiliary = [], [], [], []
        if passes is not None:
            trained = [port for port in losses if port in passes.trained_ports]
            states = [] if passes.carried is None else list(passes.carried.states.values())
            others = [array for port, array in outputs.items() if port not in losses]
            others += passes.input_gradients.values()
            auxiliary = [(new, store.argument(path)) for path, new in passes.moved.items()]
        in_parts = watch.on_nan == "skip" and (passes is None or not watch.moves)
        return Seen(
            losses=losses,
            trained=trained,
            states=states,
            others=others,
            gradients=_gradients(store.gradients, watch.paths),
            flat=store.gradients.array,
            auxiliary=auxiliary,
            places=store.auxiliary.array,
            passed=chain.passed,
            wrong=chain.wrong,
            sound=chain.sound if in_parts else None,
        )

    def _seen_by_all(self, seen: Seen, exchange: Exchanging, moved: Iterable[str]) -> Seen:
        """Return what all workers look at alike: the flags of all in place of its own numbers."""
        losses = {**seen.losses, WORKERS: exchange.flags}
        auxiliary = [(exchange.moved[path], self._store.argument(path)) for path in moved]
        return seen._replace(
            losses=losses, trained=[WORKERS], states=[], auxiliary=auxiliary, wrong=exchange.wrong, sound=None
        )

    def _moved_by(self, passes: Passes | None) -> Mapping[str, Any]:
        """Return the new values of auxiliary arrays: those there are where earlier passes have moved them."""
        if passes is not None:
            return passes.moved
        return {path: self._store.argument(path) for path in self._store.auxiliary.specs}

    def _stages(self, slot: int, snapshot: Snapshot | None) -> list[Stage]:
        """Return the verdict, and what moves where it says go.

        MXNet skips an operator whose inputs have failed, but not those behind it once someone has been told. So what
        lets a pass move is taken back at its end: if the next verdict is skipped, nothing of an earlier one says go.
        """
        judge = self._judge
        stages = judge.stages(slot)
        if self._move is not None:
            stages.append(self._move.stage(slot))
        if self._carried is not None:
            stages += self._carried.keeping(judge.go)
            if self._watch.on_nan == "skip":
                stages += self._carried.beginning(judge.skipped)
        return [*stages, *judge.moving, *([] if snapshot is None else snapshot.taking(judge.go))]

    def _handed_over(self, result: Any) -> list[tuple[Any, Any]]:
        """Return what is copied where at the end: the result, and what the next verdict asks for."""
        packed = self._judge.packed
        pairs = [(packed, result[: packed.size]), (packed[:1], self._chain.passed)]
        if self._watch.on_nan == "skip" and not self._watch.moves:
            pairs.append((packed[FINITE : FINITE + 1], self._chain.sound))
        return pairs

    def _ending_by_kernel(self, slot: int) -> list[Stage]:
        """Return what hands over the result, once the parameters have moved, and takes back what said go."""
        judge, result, store = self._judge, self._results[slot], self._store
        zero = zeros((1,), store.context, store.plan.dtype)
        spent = [judge.go, judge.skipped, judge.scale]
        pairs = [*self._handed_over(result), *((zero, array) for array in spent)]
        writes = [result, self._chain.passed, *spent]
        if self._watch.on_nan == "skip" and not self._watch.moves:
            writes.append(self._chain.sound)
        reads = [judge.packed, zero, *([store.parameters.array] if self._watch.moves else [])]
        return [copying(pairs, reads, writes)]

    def _ending_by_operators(self, slot: int) -> list[Stage]:
        """Return the same, by copies one by one: Concat uses scratch memory, which hands on failures of others."""
        judge, result = self._judge, self._results[slot]
        calls: list[Stage] = [prepared("_copyto", [source], [target]) for source, target in self._handed_over(result)]
        if self._watch.moves:
            parameter = self._store.parameters.array[:1]
            calls.insert(0, prepared("_copyto", [parameter], [result[judge.packed.size :]]))
        spent = (judge.go, judge.skipped, judge.scale)
        return [*calls, *(prepared("_set_value", [], [array], src=0.0) for array in spent)]

    def queue(self, number: int, rate: float, slot: int) -> None:
        """Queue the verdict on a pass, the move that it lets through, and the result.

        Args:
            number: The number of the pass.
            rate: The learning rate of the move.
            slot: Where the result goes.
        """
        self._judge.expect(number, slot)
        if self._move is not None:
            self._move.prepare(rate, slot)
        for call in self._calls[slot]:
            call()

    # What the host sees

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
        flags = losses.pop(WORKERS, np.zeros(0))
        workers = tuple(np.flatnonzero(~np.isfinite(flags)).tolist())
        return Verdict(found == due, stamp == due, bool(finite), float(np.sqrt(square)), int(wrong), losses, workers)


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
