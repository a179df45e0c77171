"""Calls of MXNet that are made at every step, prepared once: the few private entry points that there are.

Python's wrappers of MXNet look up names, convert arguments and make arrays anew at each call, which takes several times
as long as to queue the work (an operator 20 to 30 microseconds, against 5). A prepared call has all of that behind it.
The public interface is the fallback where MXNet's library has no such entry points, and gives the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from .._mxnet import mx

_LIBRARY = mx.base._LIB  # noqa: SLF001 - what this file is for
_ENTRIES = (
    "MXImperativeInvoke",
    "NNGetOpHandle",
    "MXExecutorForward",
    "MXExecutorBackwardEx",
    "MXEnginePushSyncND",
    "MXNDArrayGetData",
    "MXKVStorePush",
    "MXKVStorePull",
)
Handle = ctypes.c_void_p


def available() -> bool:
    """Tell whether the library has all entry points."""
    return all(hasattr(_LIBRARY, name) for name in _ENTRIES)


def _handles(arrays: Sequence[Any]) -> Any:
    return (Handle * len(arrays))(*(array.handle for array in arrays))


def prepared(
    name: str, inputs: Sequence[Any], outputs: Sequence[Any], varying: Sequence[str] = (), **attributes: object
) -> Callable[..., None]:
    """Return a function that queues an operator on these very NDArrays.

    Args:
        name: The operator's name, of `mx.nd` or its private part.
        inputs: Its inputs.
        outputs: What it writes.
        varying: Attributes that differ from call to call: the function takes them as numbers, in this order.
        attributes: Those that do not.
    """
    if not available():
        return _wrapped(name, inputs, outputs, varying, attributes)
    operator = Handle()
    mx.base.check_call(_LIBRARY.NNGetOpHandle(name.encode(), ctypes.byref(operator)))
    keys = [*varying, *attributes]
    count = len(keys)
    values = (ctypes.c_char_p * count)(*[b"0"] * len(varying), *(str(found).encode() for found in attributes.values()))
    taken, given = _handles(inputs), _handles(outputs)
    pointer = ctypes.cast(given, ctypes.POINTER(Handle))
    arguments = (
        operator,
        ctypes.c_int(len(inputs)),
        taken,
        ctypes.byref(ctypes.c_int(len(outputs))),
        ctypes.byref(pointer),
        ctypes.c_int(count),
        (ctypes.c_char_p * count)(*(key.encode() for key in keys)),
        values,
    )
    alive = (list(inputs), list(outputs), taken, given)  # the handles are numbers, which keep nothing alive
    return _Call(_LIBRARY.MXImperativeInvoke, arguments, values, alive)


class _Call:
    """A call of the library, and what must live as long as it."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], values: Any, alive: object) -> None:
        self._function = function
        self._arguments = arguments
        self._values = values
        self._alive = alive

    def __call__(self, *numbers: float) -> None:
        for place, number in enumerate(numbers):
            self._values[place] = repr(number).encode()
        if self._function(*self._arguments):
            mx.base.check_call(-1)  # raises what the library says


def _wrapped(
    name: str, inputs: Sequence[Any], outputs: Sequence[Any], varying: Sequence[str], attributes: dict[str, Any]
) -> Callable[..., None]:
    function = getattr(mx.nd, name, None) or getattr(mx.nd._internal, name)  # noqa: SLF001 - operators without a public name

    def call(*numbers: float) -> None:
        function(*inputs, out=list(outputs), **attributes, **dict(zip(varying, numbers)))

    return call


def forward_of(executor: Any) -> Callable[[], None]:
    """Return a function that queues the forward pass of MXNet's executor, in training mode.

    Also where nothing goes back: in its other mode a convolution turns its weights around in the array itself.
    """
    if not available():
        return lambda: executor.forward(is_train=True) and None
    return _Call(_LIBRARY.MXExecutorForward, (executor.handle, ctypes.c_int(1)), None, executor)


def backward_of(executor: Any, heads: Sequence[Any]) -> Callable[[], None]:
    """Return a function that queues the backward pass of MXNet's executor, with these head gradients."""
    if not available():
        return lambda: executor.backward(list(heads))
    handles = _handles(heads)
    arguments = executor.handle, ctypes.c_uint(len(heads)), handles, ctypes.c_int(1)
    return _Call(_LIBRARY.MXExecutorBackwardEx, arguments, None, (executor, list(heads), handles))


def push_of(store: Any, keys: Sequence[int], arrays: Sequence[Any]) -> Callable[[], None]:
    """Return a function that queues the push of these arrays, each under its key, to the servers of a KVStore."""
    if not available():
        return lambda: store.push(list(keys), list(arrays))
    return _exchange(_LIBRARY.MXKVStorePush, store, keys, arrays)


def pull_of(store: Any, keys: Sequence[int], arrays: Sequence[Any]) -> Callable[[], None]:
    """Return a function that queues the pull of what servers have under these keys into arrays.

    It is written first to what was last pushed under the key, and then to the array.
    """
    if not available():
        return lambda: store.pull(list(keys), out=list(arrays))
    return _exchange(_LIBRARY.MXKVStorePull, store, keys, arrays)


def _exchange(function: Any, store: Any, keys: Sequence[int], arrays: Sequence[Any]) -> Callable[[], None]:
    count, handles = len(keys), _handles(arrays)
    arguments = store.handle, ctypes.c_uint(count), (ctypes.c_int * count)(*keys), handles, ctypes.c_int(0)
    return _Call(function, arguments, None, (list(arrays), handles))  # not the store: its end must be its owner's


def address_of(array: Any) -> int:
    """Return where the numbers of an NDArray of the host's memory are; does not wait.

    No operator that has yet to run may be the first to write it: see `host_memory.zeros`.
    """
    found = ctypes.c_void_p()
    mx.base.check_call(_LIBRARY.MXNDArrayGetData(array.handle, ctypes.byref(found)))
    return found.value or 0


def pushed(
    kernel: Any, block: Any, reads: Sequence[Any], writes: Sequence[Any], name: str, alive: object
) -> Callable[[], None]:
    """Return a function that queues a compiled kernel, which MXNet runs once what it reads and writes is free.

    Like an operator it is skipped where something that it reads or writes has failed, and its own arrays then have
    failed too.

    Args:
        kernel: A C function of numba, ``void (void *, int64_t *block)``.
        block: What it is given, an NDArray of int64; it sees what is in it when it runs.
        reads: The NDArrays that it reads. No two of them, nor of `writes`, are views of one array. (All memory that it
            touches belongs to these arrays and `block`: MXNet frees none of them before it has run.)
        writes: The NDArrays that it writes.
        name: What traces call it.
        alive: What must live as long as the function, beside these.
    """
    reads = [block, *reads]
    taken, given = _handles(reads), _handles(writes)
    device = (ctypes.c_int * 2)(1, 0)  # the host
    arguments = (
        ctypes.c_void_p(kernel.address),
        ctypes.c_void_p(address_of(block)),
        None,
        ctypes.byref(device),
        taken,
        ctypes.c_int(len(reads)),
        given,
        ctypes.c_int(len(writes)),
        None,
        ctypes.c_int(0),
        name.encode(),
    )
    return _Call(_LIBRARY.MXEnginePushSyncND, arguments, None, (kernel, reads, list(writes), taken, given, alive))
