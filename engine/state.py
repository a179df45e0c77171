"""The state that a trainer carries from step to step: which ports, and how a user reads and sets it by stream."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..arguments import as_numbers, positive_int
from ..errors import ArgumentError, FileFormatError, NetError, UnknownNameError, nearest, unknown
from ..executors.rows import Stream, check_stream
from ..plans.plan import Plan
from ..plans.types import Sequence, on_device
from .streams import Streams

FORMAT, VERSION = "mxtrainer-state", "1"
State = dict[str, NDArray[Any]]


def carry_of(plan: Plan, carry: object) -> dict[str, str]:
    """Return the output port of each carried input port.

    Args:
        plan: The plan.
        carry: A mapping of them; True: `Plan.states`; False: none.

    Raises:
        NetError: The plan has no states, or ports do not fit together.
        UnknownNameError: A port is unknown.
        ArgumentError: It is neither a mapping nor True or False.
    """
    if carry is False:
        return {}
    if carry is True:
        if not plan.states:
            raise NetError(
                "carry=True carries the states of the plan, which has none: compile net.with_states(), which makes "
                'recurrent states ports, or name the ports, as in carry={"StateIn": "StateOut"}'
            )
        carry = plan.states
    if not isinstance(carry, Mapping) or not carry:
        raise ArgumentError(
            f'carry must be True, or map input ports to output ports, as in {{"StateIn": "StateOut"}}, got {carry!r}'
        )
    for port, output in carry.items():
        _check_pair(plan, port, output)
    return dict(carry)


def _check_pair(plan: Plan, port: Any, output: Any) -> None:
    if port not in plan.inputs:
        raise unknown("input", port, plan.inputs, "carry: the plan")
    if output not in plan.outputs:
        raise unknown("output", output, plan.outputs, "carry: the plan")
    target, source = plan.inputs[port], plan.outputs[output]
    if isinstance(target.type, Sequence) or isinstance(source.type, Sequence):
        raise NetError(
            f'carry: "{port}" is {target.type!r} and "{output}" is {source.type!r}: what is carried is one item an '
            f"example, and no sequence"
        )
    if on_device(target.type) != on_device(source.type):
        raise NetError(
            f'carry: "{port}" takes {on_device(target.type)!r}, and "{output}" gives {on_device(source.type)!r}; '
            f"both must be the same"
        )
    if target.transfer_dtype != plan.dtype:
        raise NetError(
            f'carry: "{port}" travels as {target.transfer_dtype}, which would round the state; declare it in the '
            f"plan's own dtype, {plan.dtype}"
        )


def limit_of(capacity: object, bytes_per_stream: int, batch_size: int | None) -> int | None:
    """Return how many streams a number of bytes has room for.

    Raises:
        ArgumentError: It is no positive integer, or a batch does not fit.
    """
    if capacity is None:
        return None
    limit = positive_int(capacity, "state_capacity") // bytes_per_stream
    if limit < (batch_size or 1):
        raise ArgumentError(
            f"state_capacity={capacity} has room for {limit} streams of {bytes_per_stream} bytes, and a batch has up "
            f"to {batch_size or 1}: give {(batch_size or 1) * bytes_per_stream} or more"
        )
    return limit


class CarriedState(MutableMapping[Stream, State]):
    """The carried state by stream: ``{input port: array without batch axis}``; each access waits for what is queued.

    Setting a stream that is unknown adds it; a part of its ports may be set, and the others keep what they hold.

    Example:
        >>> from mxtrainer import GRU, MeanSquaredLoss, NetChain, SGD, Sequence, Trainer, Vector, compile_plan
        >>> net = NetChain([GRU(2), MeanSquaredLoss()], inputs={"Input": Sequence("t", Vector(1))}).with_states()
        >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=1, carry=True)
        >>> batch = {"Input": [[[1.0]]], "Target": [[[1.0, 1.0]]]}
        >>> _ = trainer.update(batch, streams=["first"])
        >>> list(trainer.state)
        ['first']
        >>> trainer.state["second"] = {"gru.State": [0.5, 0.5]}
        >>> trainer.state["second"]["gru.State"]
        array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, plan: Plan, streams: Streams, settle: Callable[[], float]) -> None:
        """Take the streams, and what waits for all queued steps and returns where in time a change now is."""
        self._plan = plan
        self._streams = streams
        self._settle = settle

    def __getitem__(self, stream: Stream) -> State:
        """Return copies of the states of a stream.

        Raises:
            ArgumentError: The stream is no string or integer.
            UnknownNameError: There is no such stream.
            StepError: A step failed.
        """
        known = check_stream(stream, "a stream")
        self._settle()
        return self._streams.table.read_one(self._streams.place_of(known))

    def __setitem__(self, stream: Stream, states: Mapping[str, Any]) -> None:
        """Set states of a stream.

        Raises:
            ArgumentError: The stream is no string or integer, or a state does not fit its port.
            UnknownNameError: A port carries no state.
            StepError: A step failed.
        """
        checked = self._checked(check_stream(stream, "a stream"), states)
        now = self._settle()
        streams, table = self._streams, self._streams.table
        before = table.read_one(streams.place_of(stream) if stream in streams else 0)
        table.write(streams.place_to_write(stream, now), {**before, **checked})

    def _checked(self, stream: Stream, states: object) -> State:
        ports = self._streams.table.carry
        if not isinstance(states, Mapping):
            raise ArgumentError(
                f'stream {stream!r}: its state must map input ports to arrays, as in {{"{next(iter(ports))}": x}}, '
                f"got {type(states).__name__}"
            )
        found = {}
        for port, value in states.items():
            if port not in ports:
                raise unknown("carried port", port, ports, "the trainer")
            try:
                array = as_numbers(value, self._plan.dtype)
            except ArgumentError as error:
                raise ArgumentError(f'stream {stream!r}: "{port}": {error}') from None
            shape = self._plan.inputs[port].shape(1, {})[1:]
            if array.shape != shape:
                raise ArgumentError(f'stream {stream!r}: "{port}": expected {shape}, found {array.shape}')
            found[port] = array
        return found

    def __delitem__(self, stream: Stream) -> None:
        """Drop a stream: it starts anew when it comes again.

        Raises:
            ArgumentError: The stream is no string or integer.
            UnknownNameError: There is no such stream.
            StepError: A step failed.
        """
        known = check_stream(stream, "a stream")
        now = self._settle()
        self._streams.check_known(known)
        self._streams.drop(known, now)

    def __iter__(self) -> Iterator[Stream]:
        """Iterate over the streams; does not wait."""
        return iter(list(self._streams))

    def __len__(self) -> int:
        """Count the streams; does not wait."""
        return len(self._streams)

    def __contains__(self, stream: object) -> bool:
        """Tell whether there is a stream; does not wait."""
        return stream in self._streams

    @property
    def capacity(self) -> int | None:
        """How many streams there is room for, before the least recently used is dropped; None: any number."""
        return self._streams.limit

    @property
    def dropped(self) -> int:
        """How many streams were dropped to make room."""
        return self._streams.dropped

    @property
    def bytes(self) -> int:
        """The size of the table on the device."""
        table = self._streams.table
        return sum(int(array.size) * np.dtype(array.dtype).itemsize for array in table.arrays.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all streams to a safetensors file; waits.

        Raises:
            ArgumentError: The file cannot be written.
            StepError: A step failed.
        """
        streams = list(self)
        shapes = {port: self._plan.inputs[port].shape(len(streams), {}) for port in self._streams.table.carry}
        arrays = {port: np.zeros(shape, self._plan.dtype) for port, shape in shapes.items()}
        for row, stream in enumerate(streams):
            for port, state in self[stream].items():
                arrays[port][row] = state
        about = {"format": FORMAT, "version": VERSION, "streams": json.dumps(streams)}
        try:
            save_file(arrays, path, about)
        except (OSError, SafetensorError) as error:
            raise ArgumentError(f"the carried state cannot be written to {os.fspath(path)!r}: {error}") from error

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read the streams that `save` wrote, in place of those that are there; waits.

        Raises:
            FileFormatError: The file is not there, is none, or its states do not fit; nothing has changed.
            StepError: A step failed.
        """
        streams, arrays = _read(path)
        states = [{port: array[row] for port, array in arrays.items()} for row in range(len(streams))]
        limit = self._streams.limit
        if set(arrays) != set(self._streams.table.carry) or (limit is not None and len(streams) > limit):
            raise FileFormatError(
                f"{os.fspath(path)!r} has {len(streams)} streams of {', '.join(sorted(arrays))}; this trainer carries "
                f"{', '.join(sorted(self._streams.table.carry))}, of {limit or 'any number of'} streams"
            )
        try:
            checked = [self._checked(stream, state) for stream, state in zip(streams, states)]
        except (ArgumentError, UnknownNameError) as error:
            raise FileFormatError(f"{os.fspath(path)!r} does not fit: {error}") from error
        self.clear()
        for stream, state in zip(streams, checked):
            self[stream] = state

    def __repr__(self) -> str:
        """Show the ports and the number of streams."""
        return f"<state of {len(self)} streams: {', '.join(self._streams.table.carry)}>"


def _read(path: str | os.PathLike[str]) -> tuple[list[Stream], State]:
    """Return the streams in a file, and their states, ``(streams, *item)`` by port."""
    name = os.fspath(path)
    try:
        with safe_open(name, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {port: file.get_tensor(port) for port in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise FileFormatError(f"{name!r} cannot be read as a file of carried state: {error}") from error
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise FileFormatError(f"{name!r} is no file of carried state{nearest(about.get('format', ''), [FORMAT])}")
    try:
        streams = [check_stream(stream, "a stream") for stream in json.loads(about.get("streams", ""))]
    except (ValueError, TypeError, ArgumentError) as error:
        raise FileFormatError(f"{name!r}: its streams cannot be read: {error}") from error
    if len(set(streams)) < len(streams) or any(array.shape[:1] != (len(streams),) for array in arrays.values()):
        raise FileFormatError(f"{name!r}: its states are not one for each of {len(streams)} streams")
    return streams, arrays
