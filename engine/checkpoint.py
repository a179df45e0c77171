"""What a checkpoint of a trainer holds: everything that its next steps depend on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..arguments import is_integer
from ..errors import Error, FileFormatError
from ..executors.host_memory import host_view
from ..executors.rows import Stream, check_stream
from ..executors.store import ParameterStore
from ..plans.plan import Plan
from ..tensor_file import TensorFile
from ..values import UNREADABLE, canonical_json, from_data, open_json, to_data
from .moves import Moves
from .optimizers import Optimizer
from .positions import check_position
from .schedules import check_schedule
from .streams import Streams

FORMAT, VERSION = "mxtrainer-checkpoint", 1
KEY = "mxtrainer"  # of the description in a file's metadata
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Description:
    """What a checkpoint says beside its tensors.

    Attributes:
        plan: The plan.
        optimizer: The optimizer; None: it is one that no file holds.
        rate: The learning rate's schedule as it was, or a number; None: a function, which no file holds.
        options: Arguments of the trainer.
        step: The number of the last step.
        seed: The seed.
        position: That of the last batch that a step took, where batches have any.
        loss_weights: The weights of the losses.
        streams: The streams with a carried state, in the order in which they would be dropped.
        fresh: Those that start anew at their next step.
        dropped: How many streams have been dropped to make room.
        kind: The class of the optimizer.
        states: How many states it has for each number.
    """

    plan: Plan
    optimizer: Optimizer | None
    rate: Any
    options: Mapping[str, Any]
    step: int
    seed: int
    position: tuple[int, ...] | None
    loss_weights: Mapping[str, float]
    streams: tuple[Stream, ...] = ()
    fresh: tuple[Stream, ...] = ()
    dropped: int = 0
    kind: str = ""
    states: int = 0

    def to_text(self) -> str:
        """Return it as JSON, with the versions of what wrote it."""
        rate = None if as_json(self.rate) is None else to_data(self.rate)
        optimizer = self.optimizer and replace(self.optimizer, learning_rate=0.0)  # which `rate` is in place of
        data = {
            "format": FORMAT,
            "version": VERSION,
            "versions": {"mxnet": mx.__version__, "numpy": np.__version__, "python": platform.python_version()},
            **{one.name: to_data(getattr(self, one.name)) for one in fields(self) if one.name != "plan"},
            "plan": self.plan.to_json(),
            "optimizer": None if optimizer is None or as_json(optimizer) is None else to_data(optimizer),
            "rate": rate,
        }
        return canonical_json(data)

    @staticmethod
    def from_text(text: object, name: str) -> Description:
        """Return what `to_text` wrote; runs no code of its own.

        Raises:
            FileFormatError: The text is none, or wrong.
        """
        data = open_json(text, f"{name!r}", FORMAT, VERSION)
        try:
            return _read(data)
        except FileFormatError as error:
            raise FileFormatError(f"{name!r}: {error}") from error
        except UNREADABLE as error:
            raise FileFormatError(f"{name!r}: its description cannot be read: {error!r}") from error


def as_json(value: Any) -> str | None:
    """Return a value as JSON that can be read back, None where that is not possible."""
    try:
        text = canonical_json(to_data(value))
        return text if from_data(to_data(value)) == value else None
    except Error:
        return None


def _read(data: Mapping[str, Any]) -> Description:
    optimizer, rate = from_data(data["optimizer"]), from_data(data["rate"])
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise FileFormatError(f"its optimizer is none: {optimizer!r}")
    counts = {name: data[name] for name in ("step", "seed", "dropped", "states")}
    for name, found in counts.items():
        if not is_integer(found) or found < 0:
            raise FileFormatError(f"{name} must be a non-negative integer, found {found!r}")
    streams, fresh = (tuple(check_stream(one, "a stream") for one in data[name]) for name in ("streams", "fresh"))
    if len(set(streams)) < len(streams) or not set(fresh) <= set(streams):
        raise FileFormatError("its streams do not fit together")
    position = data["position"]
    weights = {str(port): float(weight) for port, weight in from_data(data["loss_weights"]).items()}
    return Description(
        plan=Plan.from_json(data["plan"]),
        optimizer=optimizer,
        rate=None if rate is None else check_schedule(rate, "its learning rate"),
        options=dict(from_data(data["options"])),
        position=None if position is None else check_position(position),
        loss_weights=weights,
        streams=streams,
        fresh=fresh,
        kind=str(data["kind"]),
        **counts,
    )


# Arrays


class Copies:
    """Copies on the device of all arrays of a trainer, as everything that is queued leaves them; queued, does not wait.

    Args:
        store: Parameters and auxiliary arrays.
        moves: The optimizer's moves.
        streams: The streams with a carried state, if any is.
        passed: ``(1,)``: the number of the last pass that has passed.
    """

    def __init__(self, store: ParameterStore, moves: Moves, streams: Streams | None, passed: Any) -> None:
        """Queue them."""
        self._store, self._moves = store, moves
        self._table = {} if streams is None else {port: array.copy() for port, array in streams.table.arrays.items()}
        self._places = [] if streams is None else [streams.kept_at(stream) for stream in streams]
        self._flat = {flat: flat.array.copy() for flat in (store.parameters, store.auxiliary) if flat.array is not None}
        self._moved = [array.copy() for array in moves.states], moves.counts.copy()
        self._passed = passed.copy()

    def passed(self) -> float:
        """Return the number of the last pass that had passed; waits."""
        return float(self._passed.asnumpy()[0])

    def finite(self) -> bool:
        """Tell whether all parameters and auxiliary arrays are finite; waits."""
        return all(np.isfinite(host_view(array)).all() for array in self._flat.values())

    def tensors(self) -> Tensors:
        """Return the arrays by name; waits.

        Raises:
            MXNetError: Something that was queued has failed.
        """
        found: Tensors = {}
        for kind, flat in (("parameters", self._store.parameters), ("auxiliary", self._store.auxiliary)):
            if flat in self._flat:
                numbers = host_view(self._flat[flat])
                for path, spec in flat.specs.items():
                    begin = flat.offsets[path]
                    found[f"{kind}/{path}"] = numbers[begin : begin + spec.size].reshape(spec.shape)
        states, counts = self._moved
        counted = host_view(counts)
        for name, place in self._moves.places.items():
            found[f"count/{name}"] = counted[place.number : place.number + 1]
        for numbers in map(host_view, states):
            for number, row in enumerate(numbers):
                for path, place in self._moves.places.items():
                    found[f"optimizer {number}/{path}"] = row[place.gradient : place.gradient + place.size]
        for port, array in self._table.items():
            found[f"state/{port}"] = host_view(array)[self._places]
        return found


def check_tensors(file: TensorFile, description: Description) -> None:
    """Check that a file has the parameters of its plan, before anything of that size is allocated.

    Raises:
        FileFormatError: It has not, as the description was changed.
    """
    plan = description.plan
    for kind, specs in (("parameters", plan.parameters), ("auxiliary", plan.auxiliary)):
        for path, spec in specs.items():
            file.check(f"{kind}/{path}", spec.shape, plan.dtype)


def restore(file: TensorFile, store: ParameterStore, moves: Moves) -> None:
    """Fill parameters, auxiliary arrays and the optimizer's state from a file; waits.

    Raises:
        FileFormatError: An array is missing, or another one.
    """
    dtype = store.plan.dtype
    for kind, flat in (("parameters", store.parameters), ("auxiliary", store.auxiliary)):
        flat.fill(lambda spec, kind=kind: file.tensor(f"{kind}/{spec.path}", spec.shape, dtype))  # type: ignore[misc]
    count = np.zeros(moves.counts.shape)
    states = [np.zeros(array.shape, dtype) for array in moves.states]
    for path, place in moves.places.items():
        if f"count/{path}" not in file.names:  # it was frozen
            continue
        count[place.number] = file.tensor(f"count/{path}", (1,), "float64")[0]
        for numbers in states:
            for number, row in enumerate(numbers):
                tensor = file.tensor(f"optimizer {number}/{path}", (place.size,), dtype)
                row[place.gradient : place.gradient + place.size] = tensor
    moves.counts[:] = mx.nd.array(count, dtype="float64")
    for array, numbers in zip(moves.states, states):
        array[:] = mx.nd.array(numbers, dtype=dtype)
    store.touch()


def restore_streams(file: TensorFile, description: Description, streams: Streams) -> None:
    """Fill the table of carried states from a file; waits.

    Raises:
        FileFormatError: The states are of other ports, or more than there is room for.
    """
    known, table = description.streams, streams.table
    if streams.limit is not None and len(known) > streams.limit:
        raise FileFormatError(
            f"{file.name!r} has {len(known)} streams, and state_capacity= has room for {streams.limit}"
        )
    shapes = {port: table.shape(port, len(known)) for port in table.carry}
    states = {port: file.tensor(f"state/{port}", shape, table.dtype) for port, shape in shapes.items()}
    table.write_all([streams.place_to_write(stream, 0) for stream in known], states)
    streams.restart(description.fresh, 0)
    streams.dropped = description.dropped
    streams.settle(0)
