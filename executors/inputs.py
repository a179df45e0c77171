"""Checks a batch against a plan before anything is queued: every mismatch in one message."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..arguments import LARGEST, as_array, check_range, kind_of, positive_int
from ..errors import ArgumentError, BatchError, StaleHandleError, nearest
from ..plans.plan import Plan, PortSpec
from .checked import CheckedBatch, Host, Steps
from .forms import Forms
from .handles import Clock, OutputHandle, is_ndarray
from .lengths import Found, agree, given_lengths
from .ragged import Ragged
from .rows import check_flags, check_skipped, check_streams


@dataclass(frozen=True)
class Limits:
    """What a batch must fit.

    Attributes:
        ports: The input ports that are needed.
        known: All input ports of the plan.
        lengths: The length names of the plan.
        optional: Ports that may be left out.
        rows: The largest number of rows, None for any.
        forms: The forms of batches that have been found to fit.
        clock: The clock whose output handles may be fed back, None for none.
        carries: Whether states are carried, so that rows have streams.
    """

    ports: Mapping[str, PortSpec]
    known: Mapping[str, PortSpec]
    lengths: tuple[str, ...]
    optional: frozenset[str]
    rows: int | None
    forms: Forms
    clock: Clock | None = None
    carries: bool = False

    @staticmethod
    def of(
        plan: Plan,
        rows: int | None,
        clock: Clock | None = None,
        needed: Collection[str] | None = None,
        carried: Collection[str] = (),
    ) -> Limits:
        """Return the limits of a plan; `needed` are the ports that its graph reads, by default all."""
        ports = {name: spec for name, spec in plan.inputs.items() if needed is None or name in needed}
        optional = {name for name, spec in plan.inputs.items() if spec.initial is not None}.union(carried)
        optional_ports = frozenset(optional)
        return Limits(ports, plan.inputs, plan.lengths, optional_ports, rows, Forms(plan.inputs), clock, bool(carried))


class Beside(NamedTuple):
    """What is given beside a batch, where it does not come in the batch itself.

    Attributes:
        lengths: The true lengths of rows by length name.
        streams: The stream of each row.
        reset: Whether each row begins a sequence.
    """

    lengths: object = None
    streams: object = None
    reset: object = None


NOTHING_BESIDE = Beside()


def check_batch(batch: object, limits: Limits, beside: Beside = NOTHING_BESIDE) -> CheckedBatch:
    """Return the batch, checked.

    Args:
        batch: A mapping from ports to arrays, or a `Batch`.
        limits: What it must fit.
        beside: What is given beside it.

    Raises:
        BatchError: It does not fit; the message has one line for each mismatch.
        StaleHandleError: An output handle in it was overwritten.
    """
    if not isinstance(batch, Mapping):
        raise BatchError(
            f'a batch must map input ports to arrays, as in {{"{next(iter(limits.ports), "Input")}": x}}, '
            f"got {type(batch).__name__}"
        )
    alone = beside.lengths is None and beside.streams is None and beside.reset is None
    plain = alone and type(batch) is dict
    found = limits.forms.find(batch) if plain else None
    if found is None:
        found = _Check(batch, limits, beside).run()
        if plain:
            limits.forms.remember(batch, found)
    return found


class _Check:
    """The state of one check."""

    def __init__(self, batch: Mapping[str, Any], limits: Limits, beside: Beside) -> None:
        self.batch = batch
        self.limits = limits
        self.beside = beside
        self.checked = CheckedBatch()
        self.problems: list[str] = []
        self.given = given_lengths(batch, beside.lengths, limits.lengths, self.problems)

    def run(self) -> CheckedBatch:
        limits, checked = self.limits, self.checked
        self.problems += _names(self.batch, limits)
        found: dict[str, Found] = {}
        for name, spec in limits.ports.items():
            if name not in self.batch:
                continue
            try:
                found[name] = self._take(self.batch[name], spec)
            except ArgumentError as problem:
                self.problems.append(f'port "{name}" {spec.type!r}: {problem}')
        checked.left_out = tuple(name for name in limits.ports if name not in self.batch and name in limits.optional)
        if not self.problems:
            self._extents(found)
        if self.checked.rows:
            self._rows()
        self._values()
        if self.problems:
            raise BatchError("the batch does not fit:\n  " + "\n  ".join(self.problems))
        return checked

    def _take(self, value: Any, spec: PortSpec) -> Found:
        """Check a value's kind and file it; return its shape, and its own lengths if it has any."""
        if isinstance(value, OutputHandle):
            return self._take_handle(value, spec)
        if isinstance(value, mx.np.ndarray):
            value = value.as_nd_ndarray()
        if is_ndarray(value):
            return self._take_device(value, Found(value.shape), spec)
        if spec.length is not None and _is_list(value):
            return self._take_list(value, spec)
        if spec.length is not None and hasattr(value, "values") and hasattr(value, "offsets"):
            return self._take_ragged(value if isinstance(value, Ragged) else Ragged(value.values, value.offsets), spec)
        array = value if type(value) is np.ndarray else as_array(value)
        _check_rank(array.shape, spec)
        self.checked.host[spec.name] = array
        return Found(array.shape)

    def _take_list(self, values: Any, spec: PortSpec) -> Found:
        """Take one array an example; each has its own number of steps."""
        rows = [_example(number, value, spec) for number, value in enumerate(values)]
        if not rows:
            raise ArgumentError("has no rows")
        for number, row in enumerate(rows):
            if row.shape[1:] != rows[0].shape[1:]:
                raise ArgumentError(
                    f"example {number} has steps of shape {row.shape[1:]}, and example 0 of {rows[0].shape[1:]}"
                )
        return self._take_steps(Steps(np.concatenate(rows), np.array([len(row) for row in rows])), spec)

    def _take_ragged(self, value: Ragged, spec: PortSpec) -> Found:
        lengths = value.lengths
        if not len(lengths):
            raise ArgumentError("has no rows")
        if lengths.min() < 1:
            raise ArgumentError(f"example {int(lengths.argmin())} is an empty sequence")
        _example(0, value[0], spec)
        return self._take_steps(Steps(value.values[value.offsets[0] : value.offsets[-1]], lengths), spec)

    def _take_steps(self, steps: Steps, spec: PortSpec) -> Found:
        self.checked.host[spec.name] = steps
        return Found((len(steps), int(steps.lengths.max()), *steps.values.shape[1:]), steps.lengths)

    def _take_handle(self, handle: OutputHandle, spec: PortSpec) -> Found:
        if self.limits.clock is None or not handle.belongs_to(self.limits.clock):
            raise ArgumentError(f"{handle!r} belongs to another trainer or executor; give a copy of it: handle.copy()")
        try:
            handle.check_fresh()
        except StaleHandleError as error:
            raise StaleHandleError(f'port "{spec.name}": {error}') from None
        own = None if handle.length is None else np.asarray(handle.lengths[handle.length])
        return self._take_device(handle.array, Found(handle.shape, own), spec)

    def _take_device(self, array: Any, found: Found, spec: PortSpec) -> Found:
        given, travels = np.dtype(array.dtype), np.dtype(spec.transfer_dtype)
        if spec.count is not None and given.kind not in "iu":
            raise ArgumentError(f'expected integers, found {given}; give array.astype("int32")')
        if spec.count is None and given != travels and travels.kind != "f":
            raise ArgumentError(f"expected an NDArray of {travels}, found {given}")
        _check_rank(found.shape, spec)
        self.checked.device[spec.name] = array
        return found

    def _extents(self, found: Mapping[str, Found]) -> None:
        """Check that all ports agree in rows and lengths, and have their items' shapes."""
        rows: dict[int, str] = {}
        for name, (shape, _) in found.items():
            spec = self.limits.ports[name]
            rows.setdefault(shape[0], name)
            if shape != spec.shape(shape[0], {spec.length: shape[1]} if spec.length is not None else {}):
                self.problems.append(f'port "{name}" {spec.type!r}: expected {_pattern(spec)}, found {shape}')
        if len(rows) != 1:
            listed = ", ".join(f'{count} in "{name}"' for count, name in rows.items()) or "no arrays"
            self.problems.append(f"all ports must have the same number of rows, found {listed}")
            return
        self.checked.rows = next(iter(rows))
        self.problems += check_rows(self.checked.rows, self.limits.rows)
        sequences = {name: one for name, one in found.items() if self.limits.ports[name].length is not None}
        for length in self.limits.lengths:
            ports = {name: one for name, one in sequences.items() if self.limits.ports[name].length == length}
            if ports:
                agreed = agree(length, ports, self.given.get(length), self.problems)
                if agreed is not None:
                    self.checked.lengths[length] = agreed

    def _rows(self) -> None:
        """Check what comes once a row."""
        streams, reset = (self._own(name) for name in ("streams", "reset"))
        try:
            if streams is not None:
                self.checked.streams = check_streams(streams, self.checked.rows)
            if reset is not None:
                self.checked.reset = check_flags(reset, "reset", self.checked.rows)
            self._overlap()
        except ArgumentError as problem:
            self.problems.append(str(problem))

    def _overlap(self) -> None:
        """Check what windows that overlap bring."""
        carry_at, loss_from = (getattr(self.batch, name, None) for name in ("carry_at", "loss_from"))
        if carry_at is None and loss_from is None:
            return
        if len(self.checked.lengths) != 1 or len(self.limits.lengths) != 1:
            names = ", ".join(self.limits.lengths) or "none"
            raise ArgumentError(f"carry_at and loss_from count the steps of a plan's one length; it has {names}")
        if carry_at is not None:
            self.checked.carry_at = positive_int(carry_at, "carry_at")
        if loss_from is not None:
            self.checked.loss_from = check_skipped(loss_from, next(iter(self.checked.lengths.values())))

    def _own(self, name: str) -> Any:
        """Return what comes once a row, in the batch or beside it."""
        own, beside = getattr(self.batch, name, None), getattr(self.beside, name)
        if own is not None and beside is not None:
            self.problems.append(f"{name} come in the Batch and as {name}= as well; give one of them")
        found = own if beside is None else beside
        if found is not None and not self.limits.carries:
            self.problems.append(
                f"{name}: there is no carried state that rows could go on from; make it with "
                f"Trainer(..., carry=True), or give the ports of the batch alone, dict(batch)"
            )
        return found

    def _values(self) -> None:
        """Check the numbers of host arrays, over true steps where these are known by now."""
        for name, value in self.checked.host.items():
            spec = self.limits.ports[name]
            if spec.length in self.given and spec.length not in self.checked.lengths:
                continue
            try:
                self._check(value, spec, self.checked.lengths.get(spec.length or ""))
            except ArgumentError as problem:
                self.problems.append(f'port "{name}" {spec.type!r}: {problem}')

    def _check(self, value: Host, spec: PortSpec, lengths: NDArray[np.int64] | None) -> None:
        array = value.values if isinstance(value, Steps) else value
        _check_kind(array, spec)
        if spec.count is not None:
            _check_indices(value, spec.count, lengths)
            return
        lengths = None if isinstance(value, Steps) else lengths
        if array.dtype.kind == "f":
            nans = _check_floats(array, spec, lengths)
            if nans:
                self.checked.nans[spec.name] = self.checked.nans.get(spec.name, 0) + nans
        if spec.transfer_dtype[0] in "iu" and array.dtype.kind != "b":
            _check_integers(_true(array, lengths), spec)


def check_rows(rows: int, limit: int | None) -> list[str]:
    """Return what is wrong with a number of rows, if anything."""
    if rows < 1:
        return ["it has no rows"]
    if limit is not None and rows > limit:
        return [f"it has {rows} rows, more than the batch size of {limit}"]
    return []


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (type(value) is np.ndarray and value.dtype == object)


def _names(batch: Mapping[str, Any], limits: Limits) -> list[str]:
    known, ports = limits.known, limits.ports
    missing = [name for name in ports if name not in batch and name not in limits.optional]
    problems = [f'there is no input "{name}"{nearest(name, missing or known)}' for name in batch if name not in known]
    problems += [f'port "{name}" {ports[name].type!r} is missing' for name in missing]
    return [*problems, f"the inputs are {', '.join(ports)}"] if problems else []


def _example(number: int, value: Any, spec: PortSpec) -> NDArray[Any]:
    """Return one example of a list, which has one axis less than the port."""
    try:
        row = value if type(value) is np.ndarray else as_array(value)
        _check_example(row, value, spec)
    except ArgumentError as problem:
        raise ArgumentError(f"example {number} {problem}") from None
    return row


def _check_example(row: NDArray[Any], value: object, spec: PortSpec) -> None:
    if row.ndim and not len(row):
        raise ArgumentError("is an empty sequence")
    if row.ndim != spec.rank - 1:
        raise ArgumentError(f"must be {_pattern(spec, 'steps')}, found {row.shape if row.ndim else repr(value)}")
    _check_kind(row, spec)


def _pattern(spec: PortSpec, steps: str | None = None) -> str:
    """Return the shape of a port's arrays in words, or that of one of its examples, with a name for its steps."""
    shape = spec.shape(1, {spec.length: 1} if spec.length else {})
    first = (steps,) if steps is not None else ("batch", spec.length) if spec.length else ("batch",)
    axes = (*first, *shape[2 if spec.length else 1 :])
    return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"


def _check_rank(shape: tuple[int, ...], spec: PortSpec) -> None:
    rank = spec.rank
    if len(shape) == rank:
        return
    text = f"expected {_pattern(spec)}, found {shape}"
    if len(shape) == rank + 1 and shape[-1] == 1:
        text += "; give array[..., 0], or declare the port as a Vector(1)"
    elif len(shape) == rank - 1:
        text += "; an axis is missing" + (" (the batch axis? array[None])" if spec.length else "")
    raise ArgumentError(text)


def _true(array: NDArray[Any], lengths: NDArray[np.int64] | None) -> NDArray[Any]:
    """Return the values of true steps."""
    if lengths is None:
        return array
    true: NDArray[Any] = array[np.arange(array.shape[1]) < lengths[:, None]]
    return true


def _check_kind(array: NDArray[Any], spec: PortSpec) -> None:
    if spec.count is not None and array.dtype.kind not in "iu":
        raise ArgumentError(f"expected integers, found {kind_of(array)}")
    if array.dtype.kind not in "fiub":
        raise ArgumentError(f"expected real numbers, found {kind_of(array)}")


def _check_indices(value: Host, count: int, lengths: NDArray[np.int64] | None) -> None:
    """Check that all indices are below a count, over true steps if the lengths of an array are given."""
    array = value.values if isinstance(value, Steps) else value
    if not array.size or (array.min() >= 0 and array.max() < count):
        return
    if isinstance(value, Steps):
        array = np.zeros((len(value), int(value.lengths.max())), array.dtype)
        value.dense(array)
    wrong = (array < 0) | (array >= count)
    if lengths is not None:
        wrong &= np.arange(array.shape[1]) < lengths[:, None]
    bad = np.argwhere(wrong)
    if len(bad):
        found = array[tuple(bad[0])]
        raise ArgumentError(f"expected indices from 0 to {count - 1}, found {found} in {place_of(bad[0])}")


def place_of(index: Sequence[int]) -> str:
    """Say where in ``(rows,)`` or ``(rows, t)`` an index is."""
    row, *step = index
    return f"example {row}" + "".join(f", step {number}" for number in step)


def _check_floats(array: NDArray[Any], spec: PortSpec, lengths: NDArray[np.int64] | None) -> int:
    """Count NaN, and refuse what is too large; the sum of squares, one fast pass, tells that there is neither."""
    flat = array.reshape(-1)
    if array.dtype.itemsize >= 4 and abs(np.dot(flat, flat)) <= LARGEST:  # float16 has no fast product
        return 0
    true = _true(array, lengths)
    check_range(true, spec.transfer_dtype)
    return int(np.isnan(true).sum())


def _check_integers(array: NDArray[Any], spec: PortSpec) -> None:
    limit = np.iinfo(spec.transfer_dtype)
    if array.dtype.kind == "f":
        raise ArgumentError(f"expected integers of {spec.transfer_dtype}, found {array.dtype}")
    if array.size and (array.min() < limit.min or array.max() > limit.max):
        raise ArgumentError(f"expected numbers from {limit.min} to {limit.max} ({spec.transfer_dtype}), found others")
