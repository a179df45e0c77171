"""A net and data in, a trained net out; or the trainer and its numbered batches, for a loop of one's own."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Union

from ..arguments import check_seed, is_integer, positive_int
from ..errors import ArgumentError, nearest
from ..executors.batch import Batch
from ..executors.buckets import Policy
from ..plans.compile import compile_plan
from ..plans.net import NetGraph
from ..plans.plan import Plan
from .batches import Batches
from .optimizers import Adam, Optimizer
from .trainer import Trainer

RESULTS = ("net", "trainer", "generator")


def net_train(
    net: NetGraph | Plan,
    data: Mapping[str, Any] | Callable[..., Mapping[str, Any]],
    losses: Mapping[str, float] | None = None,
    *,
    batch_size: int | None = 32,
    rounds: int = 10,
    optimizer: Optimizer | None = None,
    shuffle: bool = True,
    seed: int | None = 0,
    buckets: Policy | None = None,
    round_length: int | None = None,
    returns: str | Sequence[str] = "net",
    **options: Any,
) -> Any:
    """Train a net in one call; or return the trainer and the batches, for a loop of one's own.

    The training is ``for i in range(1, n + 1): trainer.update(gen(i))``, and takes place if the net is asked for.

    Args:
        net: A net, whose arrays, where it has any, are what training starts from; or a plan.
        data: Columns by input port, as for `Batches`. Or a function that returns a batch, a mapping or a `Batch`; it is
            called by name with those of ``round=``, ``batch=`` and ``batch_size=`` that it takes. Round is 1 and more,
            batch counts from 1 in each round.
        losses: The weights of outputs, as for `compile_plan`; a plan has its own.
        batch_size: The largest number of rows of a batch; None where the buckets have sizes of their own.
        rounds: The number of rounds.
        optimizer: How parameters move; None: ``Adam()``.
        shuffle: Whether the order of a data set is drawn anew each round.
        seed: What is random is a function of it; None draws a seed.
        buckets: How lengths become buckets, for the trainer and for the batches of a data set.
        round_length: For a function: the number of examples of a round, which has ``round_length / batch_size``
            batches, rounded up. None: a round is one batch.
        returns: One name, or a list of names for a tuple of what they name: "net", the trained net; "trainer", trained
            if the net is asked for as well; "generator", a pair of a function ``gen`` and a number ``n``: ``gen(1)`` to
            ``gen(n)`` are the batches of all rounds, in any order and as often as wanted, the same for the same number
            (if your function keeps to that).
        options: More arguments of `Trainer`, such as ``device=``, ``lengths=`` or ``guard=``.

    Returns:
        What `returns` names.

    Raises:
        ArgumentError: An argument is not usable, or does not go with another.
        BatchError: A batch does not fit.
        NetError: The net cannot be compiled, or has nothing to train.
        StepError: A step failed.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> data = {"Input": [1.0, 2.0, 3.0, 4.0], "Target": [2.0, 4.0, 6.0, 8.0]}
        >>> trained = net_train(net, data, batch_size=2, rounds=200, optimizer=SGD(0.05))
        >>> trained.arrays["linear.Weights"].round(2)
        array([[2.]], dtype=float32)
        >>> trainer, (gen, n) = net_train(net, data, batch_size=2, returns=("trainer", "generator"))
        >>> for i in range(1, n + 1):
        ...     step = trainer.update(gen(i))
        >>> step
        20
    """
    wanted = _results(returns)
    if isinstance(net, Plan) and losses is not None:
        raise ArgumentError("losses= is for a net; a plan has been compiled with the weights of its losses")
    plan = net if isinstance(net, Plan) else compile_plan(net, losses)
    if isinstance(net, NetGraph) and net.arrays:
        options.setdefault("arrays", net)
    rounds, seed = positive_int(rounds, "rounds"), check_seed(seed)
    source: _Source
    if isinstance(data, Mapping) or not callable(data):
        if round_length is not None:
            raise ArgumentError("round_length= is for a function; a round of a data set takes every example once")
        if options.get("carry") and shuffle:
            raise ArgumentError(
                "carry= goes on from each row to the same row of the next batch, and shuffled examples do not: give "
                "shuffle=False, a function, or write the loop over mxt.stream(...)"
            )
        source = Batches(_columns(data), batch_size, buckets=buckets, shuffle=shuffle, seed=seed, plan=plan)
    else:
        source = _Called(data, batch_size, round_length)
    optimizer = Adam() if optimizer is None else optimizer
    gen = Numbered(source, rounds)
    options.setdefault("total_steps", gen.count)
    trainer = Trainer(plan, optimizer, batch_size, buckets=buckets, seed=seed, **options)
    found = {"trainer": trainer, "generator": (gen, gen.count)}
    if "net" in wanted:
        found["net"] = _trained(trainer, gen, close="trainer" not in wanted)
    return found[wanted[0]] if isinstance(returns, str) else tuple(found[name] for name in wanted)


class Numbered:
    """The batches of all rounds by their numbers: ``gen(1)`` to ``gen(gen.count)``.

    Attributes:
        count: How many there are.
    """

    def __init__(self, source: _Source, rounds: int) -> None:
        """Take the rounds of batches that can be had by position."""
        self._source = source
        self.count = rounds * len(source)

    def __call__(self, number: int) -> Batch:
        """Return a batch; the first is number 1.

        Raises:
            ArgumentError: There is no such batch.
        """
        if not is_integer(number) or not 1 <= number <= self.count:
            raise ArgumentError(f"gen takes the number of a batch, 1 to {self.count}, got {number!r}")
        done, place = divmod(int(number) - 1, len(self._source))
        return self._source.batch((done, place + 1))

    def __repr__(self) -> str:
        """Show the number of batches."""
        return f"<gen(1) to gen({self.count})>"


class _Called:
    """Batches that a function of the user returns."""

    def __init__(self, function: Callable[..., Any], batch_size: int | None, round_length: int | None) -> None:
        self._function = function
        self._size = None if batch_size is None else positive_int(batch_size, "batch_size")
        self._taken = _names_taken(function)
        self._count = 1
        if round_length is not None:
            if self._size is None:
                raise ArgumentError("round_length= needs batch_size=: they say how many batches a round has")
            self._count = -(-positive_int(round_length, "round_length") // self._size)

    def __len__(self) -> int:
        return self._count

    def batch(self, position: tuple[int, int]) -> Batch:
        done, place = position
        known = {"round": done + 1, "batch": place, "batch_size": self._size}
        found = self._function(**{name: known[name] for name in self._taken})
        if not isinstance(found, Mapping):
            raise ArgumentError(
                f"the function for data must return a batch, a mapping of input ports to arrays; for round {done + 1}, "
                f"batch {place} it returned {found!r}"
            )
        batch = copy.copy(found) if isinstance(found, Batch) else Batch(found)
        if batch.position is None:
            batch.position = position
        return batch


_Source = Union[Batches, _Called]
_NAMES = ("round", "batch", "batch_size")


def _names_taken(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return by which names a function is to be called.

    Raises:
        ArgumentError: It has a parameter of another name without a default.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # some that are written in C
        return _NAMES
    for parameter in parameters:
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        free = parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        if not free and parameter.default is parameter.empty and (positional or parameter.name not in _NAMES):
            raise ArgumentError(
                f'the function for data requires "{parameter.name}"{nearest(parameter.name, _NAMES)}; it is called '
                f"by name with those of round=, batch= and batch_size= that it takes"
            )
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return _NAMES
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return tuple(name for name in _NAMES if name in named)


def _results(returns: object) -> tuple[str, ...]:
    wanted: tuple[Any, ...] = (returns,)
    if isinstance(returns, Sequence) and not isinstance(returns, str):
        wanted = tuple(returns)
    if not wanted or not all(isinstance(name, str) and name in RESULTS for name in wanted):
        raise ArgumentError(f"returns must be one of {', '.join(RESULTS)}, or several in a tuple, got {returns!r}")
    return wanted


def _columns(data: object) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ArgumentError(
            'data must be columns by input port, as in {"Input": list_of_arrays}, or a function that returns a batch, '
            f"got {type(data).__name__}; over batches of your own, write the loop: "
            f"for batch in batches: trainer.update(batch)"
        )
    return data


def _trained(trainer: Trainer, gen: Numbered, close: bool) -> NetGraph:
    """Train, and return the net; a trainer that nobody gets is closed."""
    with trainer if close else nullcontext():
        for number in range(1, gen.count + 1):
            trainer.update(gen(number))
        return trainer.net()
