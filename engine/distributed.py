"""The workers of one training: what they exchange at each step, so that all of them move alike.

With "sync" the gradients of all workers are added up, weighted by their true rows, and each worker makes the same move.
With "async" each makes its own move, and the servers add it to the parameters that all of them read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._mxnet import mx
from ..errors import ArgumentError
from ..executors.binding import bind_plain
from ..executors.capi import forward_of, prepared
from ..executors.guard import Chain
from ..executors.host_memory import zeros
from ..executors.judges import STAMPS, Seen
from ..executors.kernels import Stage
from ..executors.store import ParameterStore
from .group import Group
from .optimizers import Optimizer


class Exchange:
    """What the workers of one training exchange.

    Args:
        group: The workers.
        store: The arrays of this one.

    Attributes:
        rank: The number of this worker.
        workers: How many there are.
        flags: ``(workers,)``: not finite where a worker's own step is not to move anything; None: each moves by itself.
        wrong: ``(1,)``: not 0 where a worker's step fails, whatever its numbers are.
        moved: The new values of auxiliary arrays that all workers have in common, by path.
        broken: Whether the other workers wait for what cannot come any more.
    """

    def __init__(self, group: Group, store: ParameterStore) -> None:
        self.rank, self.workers = group.rank, group.workers
        self.flags: Any = None
        self.wrong: Any = None
        self.moved: Mapping[str, Any] = {}
        self.broken = False
        self._group = group
        self._store = store

    def before(self, seen: Seen, moved: Mapping[str, Any], chain: Chain) -> list[Stage]:
        """Return what is queued before the verdict on a step that moves.

        Args:
            seen: What this worker looks at.
            moved: Its new values of auxiliary arrays, by path.
            chain: What links the steps.
        """
        return []

    def after(self) -> list[Stage]:
        """Return what is queued once the parameters have moved."""
        return []

    def expect(self, number: int, units: int, tick: int) -> None:
        """Say which step comes next.

        Args:
            number: Its number.
            units: How many examples, or true steps, its gradients are the mean over.
            tick: Its number among all that is queued.
        """
        self._group.note_step(number)

    def give_up(self, number: int, depth: int, ran: bool) -> None:
        """Queue what the other workers wait for, where a step has failed and those behind it are not to come.

        Args:
            number: The number of the step.
            depth: How many steps may be unfinished.
            ran: Whether all of it has run: not where an operator has failed.
        """

    def at_end(self, collect: Callable[[], object]) -> None:
        """Have a method called at the end of the script, as long as its object lives: a failure is told by then."""
        self._group.at_end(collect)

    def share(self) -> None:
        """Give all workers the arrays of worker 0; waits for them."""
        for flat in (self._store.parameters, self._store.auxiliary):
            if flat.array is not None:
                host = _on_host(flat.array)
                self._group.share(host)
                if host is not flat.array:
                    host.copyto(flat.array)

    def begin_after(self, step: int) -> None:
        """Go on from a checkpoint of a step: all workers with the arrays of worker 0; waits for them.

        Raises:
            Error: The workers have read checkpoints of different steps.
        """
        self._group.agree("the step of the checkpoint", str(step))
        self.share()

    @property
    def arrays(self) -> list[Any]:
        """What it holds on the device."""
        return []

    def close(self) -> None:
        """Wait for what is queued, and let go of all arrays."""
        with contextlib.suppress(mx.MXNetError):  # it was told of by the step that it belongs to
            self._group.close()


class Summing(Exchange):
    """Adds up the gradients of all workers, and their auxiliary arrays, weighted by what they are the mean over."""

    def __init__(self, group: Group, store: ParameterStore) -> None:
        super().__init__(group, store)
        gradients = store.gradients.array
        size, context = gradients.size, gradients.context
        end = size + 2 + self.workers
        more = 0 if store.auxiliary.array is None else store.auxiliary.array.size
        self._all = zeros((end + more,), context, "float32")  # gradients, units, wrong, flags, and auxiliary arrays
        self._host = _on_host(self._all)
        self._sums, self._units = self._all[:size], self._all[size : size + 1]
        self.wrong, self.flags = self._all[size + 1 : size + 2], self._all[size + 2 : end]
        self._tail = self._all[size:end]
        self._auxiliary = {}
        for path, spec in store.auxiliary.specs.items():
            begin = end + store.auxiliary.offsets[path]
            self._auxiliary[path] = self._all[begin : begin + spec.size].reshape(spec.shape)
        self.moved = {path: zeros(array.shape, context, "float32") for path, array in self._auxiliary.items()}
        self._own_units, self._due = (zeros((1,), context, "float32") for _ in range(2))
        self._set_units = prepared("_set_value", [], [self._own_units], ["src"])
        self._set_due = prepared("_set_value", [], [self._due], ["src"])
        self._weigh = prepared("broadcast_mul", [gradients, self._own_units], [self._sums])
        self._divide = prepared("broadcast_div", [self._sums, self._units], [gradients])
        flag = self.flags[self.rank : self.rank + 1]
        self._spoil = [
            prepared("_set_value", [], [self._all], src=0.0),
            *(prepared("_set_value", [], [array], src=1.0) for array in (self._units, self.wrong)),
            prepared("_rdiv_scalar", [flag], [flag], scalar=0.0),  # 0 / 0
        ]
        self._there = [] if self._host is self._all else [prepared("_copyto", [self._all], [self._host])]
        self._back = [] if self._host is self._all else [prepared("_copyto", [self._host], [self._all])]
        self._last = 0  # the last step whose gradients were exchanged

    def before(self, seen: Seen, moved: Mapping[str, Any], chain: Chain) -> list[Stage]:
        """Return what is queued before the verdict on a step that moves."""
        watched = [*(seen.losses[port] for port in seen.trained), *seen.states]
        arguments = {
            **{f"gradient:{number}": array for number, array in enumerate(seen.gradients)},
            "units": self._own_units,
            "due": self._due,
            "passed": chain.passed,
            "wrong": chain.wrong,
            "sound": chain.sound,
            **{f"watched:{number}": array for number, array in enumerate(watched)},
        }
        raw = bind_plain(_tail(list(arguments), self.rank, self.workers), arguments, self._all.context)
        (tail,) = raw.outputs
        places = {path: self._auxiliary[path] for path in moved}
        weigh = [prepared("broadcast_mul", [moved[path], self._own_units], [place]) for path, place in places.items()]
        divide = [prepared("broadcast_div", [place, self._units], [self.moved[path]]) for path, place in places.items()]
        own: list[Stage] = [self._weigh, *weigh, forward_of(raw), prepared("_copyto", [tail], [self._tail])]
        return [*own, self._add_up, self._divide, *divide]

    def _add_up(self) -> None:
        for call in self._there:
            call()
        self._group.sum(self._host)
        for call in self._back:
            call()

    def expect(self, number: int, units: int, tick: int) -> None:
        """Say which step comes next."""
        super().expect(number, units, tick)
        self._set_units(float(units))
        self._set_due(float((tick - 1) % STAMPS))
        self._last = number

    def give_up(self, number: int, depth: int, ran: bool) -> None:
        """Queue what the other workers wait for.

        Each worker learns of the failure when it looks at the step. By then it has queued the gradients of at least all
        steps before, and of at most ``depth - 1`` steps behind: so all fill up to that number.
        """
        if not ran:
            self.broken = True
            return
        for _ in range(self._last, number + depth - 1):
            for call in self._spoil:
                call()
            self._add_up()
        self._last = number - 1

    def begin_after(self, step: int) -> None:
        """Go on from a checkpoint of a step."""
        super().begin_after(step)
        self._last = step

    @property
    def arrays(self) -> list[Any]:
        """What it holds on the device."""
        return [self._all, self._host]


class Adding(Exchange):
    """Lets the servers add this worker's move of the parameters to those that all workers read."""

    def __init__(self, group: Group, store: ParameterStore) -> None:
        super().__init__(group, store)
        parameters = store.parameters.array
        if parameters.context.device_type != "cpu":
            raise ArgumentError('distributed="async" goes with the CPU alone: servers write to the parameters')
        self._read = zeros(parameters.shape, parameters.context, "float32")  # what the servers have given last
        self._change = zeros(parameters.shape, parameters.context, "float32")
        self._compare = prepared("elemwise_sub", [parameters, self._read], [self._change])
        self._keep = prepared("_copyto", [parameters], [self._read])

    def share(self) -> None:
        """Give all workers the arrays of worker 0; waits for them."""
        super().share()
        self._keep()

    def after(self) -> list[Stage]:
        """Return what is queued once the parameters have moved."""
        return [self._compare, self._add, self._keep]

    def _add(self) -> None:
        self._group.add(self._change, self._store.parameters.array)

    @property
    def arrays(self) -> list[Any]:
        """What it holds on the device."""
        return [self._read, self._change]


def _tail(names: Sequence[str], rank: int, workers: int) -> Any:
    """Return the graph of what follows the gradients: units, wrong, and flags, which are 0 but for the own one.

    The own flag is 0, or NaN where the step, or what came before it, is not to move anything.
    """
    inputs = {name: mx.sym.var(name) for name in names}
    # 0, or NaN: with zeros, which cannot overflow, and as a product, which takes far less time than a sum
    gradients = [symbol for name, symbol in inputs.items() if name.startswith("gradient:")]
    unsound = [mx.sym.dot(symbol, mx.sym.zeros_like(symbol)) for symbol in gradients]
    unsound += [mx.sym.sum(symbol * 0) for name, symbol in inputs.items() if name.startswith("watched:")]
    wrong = inputs["wrong"] + mx.sym.broadcast_not_equal(inputs["passed"], inputs["due"])
    good = (wrong == 0) * inputs["sound"]
    flag = mx.sym.add_n((good - good) / good, *unsound)
    before, after = (([mx.sym.zeros((size,))] if size else []) for size in (rank, workers - rank - 1))
    return mx.sym.concat(inputs["units"], wrong, *before, flag, *after, dim=0)


def _on_host(array: Any) -> Any:
    """Return an array itself if it is in the host's memory, else another one of its size that is."""
    return array if array.context.device_type == "cpu" else zeros(array.shape, mx.cpu(), np.dtype(array.dtype).name)


MODES: Mapping[str, Callable[[Group, ParameterStore], Exchange]] = {"sync": Summing, "async": Adding}


def exchange_of(
    mode: object, store: ParameterStore, seed: int | None, optimizer: Optimizer, options: str
) -> Exchange | None:
    """Join the other workers, and take over the arrays of worker 0; waits for all of them. Alone, return None.

    Args:
        mode: "sync" or "async"; None: this process is alone.
        store: The arrays of this worker.
        seed: The seed as it was given; where that is None, all take that of worker 0.
        optimizer: The optimizer, which is to be the same for all.
        options: Other arguments that are to be the same.

    Raises:
        ArgumentError: There is no such mode, or the plan is in float64.
        Error: No launcher has started this process, or the workers differ.
    """
    if mode is None:
        return None
    if mode not in MODES:
        raise ArgumentError(f'distributed must be "sync" or "async", got {mode!r}')
    if store.plan.dtype != "float32":
        raise ArgumentError(f"distributed= takes plans in float32, as servers do, got one in {store.plan.dtype}")
    group = Group.join(str(mode))
    group.agree("the plan", store.plan.content_hash)
    group.agree("the optimizer", re.sub(r" at 0x[0-9a-f]+", "", repr(optimizer)))  # of functions their names
    group.agree("the arguments", options)
    if seed is None:
        store.seed = int(group.answers("the seed that was drawn", str(store.seed))[0])
    else:
        group.agree("the seed", str(seed))
    exchange = MODES[str(mode)](group, store)
    exchange.share()
    return exchange
