"""Checks a batch against a plan before anything is queued: every mismatch in one message."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._mxnet import mx
from ..arguments import LARGEST, as_array, check_range, kind_of
from ..errors import ArgumentError, BatchError, StaleHandleError, nearest
from ..plans.plan import Plan, PortSpec
from .handles import Clock, OutputHandle, is_ndarray


@dataclass
class CheckedBatch:
    """A batch that fits the plan.

    Attributes:
        rows: The number of examples.
        lengths: The number of steps by length name.
        host: numpy arrays by port, to be copied.
        device: NDArrays by port, to be copied on the device.
        left_out: State ports that start at zeros.
        nans: How many NaN each port holds, for ports that hold any.
    """

    rows: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    host: dict[str, NDArray[Any]] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    nans: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What a batch must fit.

    Attributes:
        ports: The input ports that are needed.
        known: All input ports of the plan.
        optional: Those that may be left out: states, which then start at zeros.
        rows: The largest number of rows, None for any.
        lengths: The number of steps by length name; a missing one may be any.
        clock: The clock whose output handles may be fed back, None for none.
    """

    ports: Mapping[str, PortSpec]
    known: Mapping[str, PortSpec]
    optional: frozenset[str]
    rows: int | None
    lengths: Mapping[str, int]
    clock: Clock | None = None

    @staticmethod
    def of(
        plan: Plan,
        rows: int | None,
        lengths: Mapping[str, int],
        clock: Clock | None = None,
        needed: Collection[str] | None = None,
    ) -> Limits:
        """Return the limits of a plan; `needed` are the ports that its graph reads, by default all."""
        ports = {name: spec for name, spec in plan.inputs.items() if needed is None or name in needed}
        return Limits(ports, plan.inputs, frozenset(plan.states), rows, lengths, clock)


def check_batch(batch: object, limits: Limits) -> CheckedBatch:
    """Return the batch, checked.

    Raises:
        BatchError: It does not fit; the message has one line for each mismatch.
        StaleHandleError: An output handle in it was overwritten.
    """
    if not isinstance(batch, Mapping):
        raise BatchError(
            f'a batch must map input ports to arrays, as in {{"{next(iter(limits.ports), "Input")}": x}}, '
            f"got {type(batch).__name__}"
        )
    problems: list[str] = _names(batch, limits)
    checked = CheckedBatch()
    found: dict[str, tuple[int, ...]] = {}
    for name, spec in limits.ports.items():
        if name not in batch:
            continue
        try:
            found[name] = _take(batch[name], spec, checked, limits)
        except ArgumentError as problem:
            problems.append(f'port "{name}" {spec.type!r}: {problem}')
    checked.left_out = tuple(name for name in limits.ports if name not in batch and name in limits.optional)
    if not problems:
        problems = _extents(found, limits, checked)
    if problems:
        raise BatchError("the batch does not fit:\n  " + "\n  ".join(problems))
    return checked


def _names(batch: Mapping[str, Any], limits: Limits) -> list[str]:
    known, ports = limits.known, limits.ports
    missing = [name for name in ports if name not in batch and name not in limits.optional]
    problems = [f'there is no input "{name}"{nearest(name, missing or known)}' for name in batch if name not in known]
    problems += [f'port "{name}" {ports[name].type!r} is missing' for name in missing]
    return [*problems, f"the inputs are {', '.join(ports)}"] if problems else []


def _take(value: Any, spec: PortSpec, checked: CheckedBatch, limits: Limits) -> tuple[int, ...]:
    """Check a value's kind and file it; return its shape."""
    if isinstance(value, OutputHandle):
        return _take_handle(value, spec, checked, limits)
    if isinstance(value, mx.np.ndarray):
        value = value.as_nd_ndarray()
    if is_ndarray(value):
        return _take_device(value, value.shape, spec, checked)
    array = value if type(value) is np.ndarray else as_array(value)
    rank = _rank(spec)
    if array.ndim != rank:
        raise ArgumentError(_rank_text(array.shape, spec, rank))
    if spec.count is not None:
        _check_indices(array, spec.count)
    else:
        _check_numbers(array, spec, checked)
    checked.host[spec.name] = array
    return array.shape


def _take_handle(handle: OutputHandle, spec: PortSpec, checked: CheckedBatch, limits: Limits) -> tuple[int, ...]:
    if limits.clock is None or not handle.belongs_to(limits.clock):
        raise ArgumentError(f"{handle!r} belongs to another trainer or executor; give a copy of it: handle.copy()")
    try:
        handle.check_fresh()
    except StaleHandleError as error:
        raise StaleHandleError(f'port "{spec.name}": {error}') from None
    return _take_device(handle.array, handle.shape, spec, checked)


def _take_device(array: Any, shape: tuple[int, ...], spec: PortSpec, checked: CheckedBatch) -> tuple[int, ...]:
    given, travels = np.dtype(array.dtype), np.dtype(spec.transfer_dtype)
    if spec.count is not None and given.kind not in "iu":
        raise ArgumentError(f'expected integers, found {given}; give array.astype("int32")')
    if spec.count is None and given != travels and travels.kind != "f":
        raise ArgumentError(f"expected an NDArray of {travels}, found {given}")
    if len(shape) != _rank(spec):
        raise ArgumentError(_rank_text(shape, spec, _rank(spec)))
    checked.device[spec.name] = array
    return shape


def _rank(spec: PortSpec) -> int:
    return len(spec.shape(1, {spec.length: 1} if spec.length else {}))


def _pattern(spec: PortSpec) -> str:
    shape = spec.shape(1, {spec.length: 1} if spec.length else {})
    steps = (spec.length,) if spec.length else ()
    axes = ("batch", *steps, *(str(extent) for extent in shape[1 + len(steps) :]))
    return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"


def _rank_text(shape: tuple[int, ...], spec: PortSpec, rank: int) -> str:
    text = f"expected {_pattern(spec)}, found {shape}"
    if len(shape) == rank + 1 and shape[-1] == 1:
        text += "; give array[..., 0], or declare the port as a Vector(1)"
    elif len(shape) == rank - 1:
        text += "; an axis is missing" + (" (the batch axis? array[None])" if spec.length else "")
    return text


def _check_indices(array: NDArray[Any], count: int) -> None:
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"expected integers, found {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= count):
        bad = np.argwhere((array < 0) | (array >= count))[0]
        where = ", ".join(map(str, bad))
        raise ArgumentError(f"expected indices from 0 to {count - 1}, found {array[tuple(bad)]} at [{where}]")


def _check_numbers(array: NDArray[Any], spec: PortSpec, checked: CheckedBatch) -> None:
    kind = array.dtype.kind
    if kind == "f":
        _check_floats(array, spec, checked)
    elif kind not in "iub":
        raise ArgumentError(f"expected real numbers, found {kind_of(array)}")
    if spec.transfer_dtype[0] in "iu" and kind != "b" and array.size:
        limit = np.iinfo(spec.transfer_dtype)
        if kind == "f":
            raise ArgumentError(f"expected integers of {spec.transfer_dtype}, found {array.dtype}")
        if array.min() < limit.min or array.max() > limit.max:
            raise ArgumentError(
                f"expected numbers from {limit.min} to {limit.max} ({spec.transfer_dtype}), found others"
            )


def _check_floats(array: NDArray[Any], spec: PortSpec, checked: CheckedBatch) -> None:
    """Count NaN, and refuse what is too large; the sum of squares, one fast pass, tells that there is neither."""
    flat = array.reshape(-1)
    if array.dtype.itemsize >= 4 and abs(np.dot(flat, flat)) <= LARGEST:  # float16 has no fast product
        return
    check_range(array, spec.transfer_dtype)
    nans = int(np.isnan(flat).sum())
    if nans:
        checked.nans[spec.name] = nans


def _extents(found: Mapping[str, tuple[int, ...]], limits: Limits, checked: CheckedBatch) -> list[str]:
    """Check that all ports agree in rows and lengths, and have their items' shapes."""
    problems = []
    rows: dict[int, str] = {}
    lengths: dict[str, dict[int, str]] = {}
    for name, shape in found.items():
        spec = limits.ports[name]
        rows.setdefault(shape[0], name)
        steps = {}
        if spec.length is not None:
            steps[spec.length] = shape[1]
            lengths.setdefault(spec.length, {}).setdefault(shape[1], name)
        if shape != spec.shape(shape[0], steps):
            problems.append(f'port "{name}" {spec.type!r}: expected {_pattern(spec)}, found {shape}')
    if len(rows) != 1:
        listed = ", ".join(f'{count} in "{name}"' for count, name in rows.items()) or "no arrays"
        problems.append(f"all ports must have the same number of rows, found {listed}")
    else:
        checked.rows = next(iter(rows))
        problems += _check_rows(checked.rows, limits)
    for length, ports in lengths.items():
        problems += _check_steps(length, ports, limits, checked)
    return problems


def _check_rows(rows: int, limits: Limits) -> list[str]:
    if rows < 1:
        return ["it has no rows"]
    if limits.rows is not None and rows > limits.rows:
        return [f"it has {rows} rows, more than the batch size of {limits.rows}"]
    return []


def _check_steps(length: str, ports: Mapping[int, str], limits: Limits, checked: CheckedBatch) -> list[str]:
    if len(ports) > 1:
        listed = ", ".join(f'{steps} in "{name}"' for steps, name in ports.items())
        return [f'ports that share the length "{length}" must have the same number of steps, found {listed}']
    steps, name = next(iter(ports.items()))
    if steps < 1:
        return [f'port "{name}": its sequences have no steps (length "{length}")']
    if limits.lengths.get(length, steps) != steps:
        return [f'port "{name}": expected {limits.lengths[length]} steps (length "{length}"), found {steps}']
    checked.lengths[length] = steps
    return []
