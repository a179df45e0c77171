"""The devices of a trainer: which there are, and the executors on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..arrays import as_context
from ..errors import ArgumentError
from ..executors.bound import Shared
from ..executors.bucketed import Buckets
from ..executors.buckets import Policy
from ..executors.parallel_buckets import ParallelBuckets
from ..executors.room import Room
from ..executors.shares import shares
from ..executors.staging import InputBuffers
from ..executors.store import ParameterStore
from ..executors.threads import use_one_thread


def contexts_of(device: object, devices: object) -> list[Any]:
    """Return MXNet's contexts of the devices that rows are split over; the first has the trainer's own arrays.

    Raises:
        ArgumentError: One is none, comes twice, or is of another kind; or both arguments are given.

    Example:
        >>> contexts_of("cpu", ["cpu:0", "cpu:1"])
        [cpu(0), cpu(1)]
    """
    if devices is None:
        return [as_context(device)]
    if device != "cpu":
        raise ArgumentError(f"give device= or devices=, and not both; got device={device!r} and devices={devices!r}")
    if isinstance(devices, str) or not isinstance(devices, Sequence) or not devices:
        raise ArgumentError(f'devices must be a list of devices, as in ["gpu:0", "gpu:1"], got {devices!r}')
    found = [as_context(one) for one in devices]
    for number, context in enumerate(found):
        if context in found[:number]:
            raise ArgumentError(f"devices: {context} comes twice in {list(devices)!r}")
    if len({context.device_type for context in found}) > 1:
        raise ArgumentError(f"devices must be of one kind, got {list(devices)!r}")
    return found


def check_goes_with_devices(contexts: Sequence[Any], batch_size: int | None, excluded: dict[str, bool]) -> None:
    """Check that a trainer's arguments go with several devices, where there are several.

    Args:
        contexts: The devices.
        batch_size: The number of rows; None where each bucket has its own.
        excluded: What goes with one device alone, and whether it is asked for.

    Raises:
        ArgumentError: They do not.
    """
    if len(contexts) < 2:
        return
    for name, found in excluded.items():
        if found:
            raise ArgumentError(f"{name} goes with one device, and devices= names {len(contexts)}")
    if batch_size is not None and batch_size < len(contexts):
        raise ArgumentError(
            f"batch_size={batch_size} leaves some of the {len(contexts)} devices without a row; it is the number of "
            f"rows of all of them together"
        )


def buckets_on(
    contexts: Sequence[Any],
    shared: Shared,
    policy: Policy,
    batch_size: int | None,
    bytes_kept: int | None,
    room: Room | None,
) -> Buckets:
    """Return the executors by bucket.

    Args:
        contexts: The devices.
        shared: What those of the first device share.
        policy: How lengths become buckets.
        batch_size: The number of rows of all devices.
        bytes_kept: How many bytes the graphs of a device may hold, about.
        room: What everything must fit into.
    """
    if len(contexts) == 1:
        return Buckets(shared, policy, batch_size, True, bytes_kept, room=room)
    if contexts[0].device_type == "cpu":
        for context in contexts:
            use_one_thread(context)
    first = replace(shared, table=None, one_thread=True)  # states come together on the first device
    others = [_beside(first, context) for context in contexts[1:]]
    return ParallelBuckets([first, *others], policy, batch_size, bytes_kept, shared.table)


def _beside(first: Shared, context: Any) -> Shared:
    store = first.store
    own = ParameterStore(store.plan, context, store.seed, None, store.frozen)
    buffers = InputBuffers(context, first.buffers.slots, keeps=True)
    return Shared(own, first.clock, buffers, first.input_gradients, one_thread=True)


def rows_of_first(contexts: Sequence[Any], batch_size: int | None) -> int | None:
    """Return how many rows of a full batch the first device takes."""
    return None if batch_size is None else shares(batch_size, len(contexts))[0]
