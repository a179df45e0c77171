"""Operators of our own in MXNet's graphs: kernels that it runs in their place, as it once ran those of Python.

Its operator ``_NDArray`` calls C functions for all that there is to know, and hands over the tensors themselves. (Its
``_Native`` copies each of them first, and gives their shapes wrong.)
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .._mxnet import mx

Symbol = Any
_INT, _VOID, _BOOL = ctypes.c_int, ctypes.c_void_p, ctypes.c_bool
_INTS, _NAMES = ctypes.POINTER(_INT), ctypes.POINTER(ctypes.c_char_p)
_SHAPES = ctypes.POINTER(ctypes.POINTER(ctypes.c_uint))
_List = ctypes.CFUNCTYPE(_BOOL, ctypes.POINTER(_NAMES), _VOID)
_Infer = ctypes.CFUNCTYPE(_BOOL, _INT, _INTS, _SHAPES, _VOID)
_Needs = ctypes.CFUNCTYPE(_BOOL, _INTS, _INTS, _INTS, _INTS, ctypes.POINTER(_INTS), _VOID)


class _Info(ctypes.Structure):
    """What MXNet is given of an operator: functions, and an argument for each, which is not used here."""

    _fields_ = (
        ("forward", _VOID),
        ("backward", _VOID),
        ("infer_shape", _Infer),
        ("list_outputs", _List),
        ("list_arguments", _List),
        ("declare_backward_dependency", _Needs),
        ("arguments", _VOID * 6),
    )


class NativeOperator:
    """An operator of float32 whose tensors have one row for each row of the first input.

    Args:
        forward: The kernel of the forward pass.
        backward: The kernel of the backward pass. Both are C functions that live as long as the process.
        inputs: The extents of a row of each input after the first, which may have any.
        outputs: The extents of a row of each output; only the first is seen.
    """

    def __init__(
        self, forward: int, backward: int, inputs: tuple[tuple[int, ...], ...], outputs: tuple[tuple[int, ...], ...]
    ) -> None:
        """Make what MXNet is to call; it must outlive all graphs, so operators are made once."""
        self._extents = (*inputs, *outputs)
        self._counts = 1 + len(inputs), len(outputs)
        self._kept = threading.local()  # what MXNet reads after a call has returned
        callbacks = _Infer(self._infer), *(_listing(what, n) for what, n in zip(("out", "in"), self._counts[::-1]))
        self._info = _Info(forward, backward, *callbacks, _Needs(self._needs))

    def __call__(self, *inputs: Symbol, name: str | None = None) -> Symbol:
        """Return the first output."""
        operator = mx.sym._internal._NDArray  # noqa: SLF001 - hidden, not private
        return operator(*inputs, info=f"{ctypes.addressof(self._info):x}", name=name)[0]

    def _infer(self, _: int, axes: Any, shapes: Any, __: Any) -> bool:
        """Give all shapes, once the first is known: so many axes, and their extents."""
        if axes[0] > 0:
            rows = shapes[0][0]
            self._kept.shapes = [(ctypes.c_uint * (1 + len(row)))(rows, *row) for row in self._extents]
            for number, shape in enumerate(self._kept.shapes, 1):
                axes[number], shapes[number] = len(shape), ctypes.cast(shape, ctypes.POINTER(ctypes.c_uint))
        return True

    def _needs(self, heads: Any, inputs: Any, outputs: Any, count: Any, needed: Any, _: Any) -> bool:
        """Say that the backward pass needs everything."""
        of_inputs, of_outputs = self._counts
        numbers = [*heads[:of_outputs], *inputs[:of_inputs], *outputs[:of_outputs]]
        self._kept.needed = (_INT * len(numbers))(*numbers)
        count[0], needed[0] = len(numbers), ctypes.cast(self._kept.needed, _INTS)
        return True


def _listing(what: str, count: int) -> Any:
    """Return a C function that gives so many names."""
    names = (ctypes.c_char_p * (count + 1))(*(f"{what}{number}".encode() for number in range(count)), None)

    def give(found: Any, _: Any) -> bool:
        found[0] = ctypes.cast(names, _NAMES)
        return True

    return _List(give)


@lru_cache(None)
def _kernels() -> Any:
    """Return the kernels; None without numba, or where MXNet has other devices, whose memory a kernel cannot read."""
    if mx.runtime.Features().is_enabled("CUDA"):  # pragma: no cover - not so in the wheel
        return None
    try:
        from . import kernels
    except Exception:  # noqa: BLE001 - not every platform has a numba that loads, which can fail in many ways
        return None
    return kernels


@lru_cache(None)
def cross_entropy() -> Callable[..., Symbol] | None:
    """Return the operator ``-log softmax(logits)[target]``, or None where there is none.

    It takes logits ``(n, classes)`` and targets ``(n,)``, all of them float32.
    """
    kernels = _kernels()
    if kernels is None:  # pragma: no cover - as above
        return None
    found = kernels.cross_entropy.address, kernels.cross_entropy_gradient.address
    return NativeOperator(*found, inputs=((),), outputs=((), (2,)))


@lru_cache(None)
def with_column(width: int) -> Callable[..., Symbol] | None:
    """Return the operator that joins a constant column to a matrix of this width, or None where there is none."""
    kernels = _kernels()
    if kernels is None:  # pragma: no cover - as above
        return None
    return NativeOperator(kernels.join.address, kernels.cut.address, inputs=((1,),), outputs=((width + 1,),))
