"""Compiles kernels with numba; imported where one is needed, as numba takes its time."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Collection
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray
from numba.extending import intrinsic

__all__ = ["as_c_function", "call", "call_with", "carray", "compiled", "pointer"]


def compiled(function: Callable[[Any, Any], None], reorders: bool = False, **names: Any) -> Any:
    """Return the kernel of a function of two addresses: MXNet's, and that of the kernel's block.

    Args:
        function: The function.
        reorders: Whether sums may be taken in any order, which lets them be fast.
        names: What some of its global names stand for. Functions are compiled with it, each with the names before it.
    """
    address = numba.types.voidptr
    math = {"reassoc"} if reorders else set()
    return as_c_function(_with_names(function, names, math), numba.void(address, address), math)


def as_c_function(function: Any, signature: Any, math: Collection[str] = ()) -> Any:
    """Return a function compiled for C, to stay on disk where that is possible.

    Args:
        function: The function.
        signature: Its signature, of numba.
        math: What LLVM may take liberties with, by its own names.
    """
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": set(math) or False}
    try:
        return numba.cfunc(signature, cache=True, **options)(function)
    except Exception:  # noqa: BLE001 - no folder to write, a full disk, a damaged file; what is wrong itself is so again
        return numba.cfunc(signature, **options)(function)


def _with_names(function: Any, names: dict[str, Any], math: set[str]) -> Any:
    """Return the function with other global names, and a name of its own by which its code is found on disk again."""
    known = dict(function.__globals__)
    digest = hashlib.sha256(repr(math).encode())
    for name, found in names.items():
        if isinstance(found, types.FunctionType):
            digest.update(_content(found))
            own = {**found.__globals__, **{before: known[before] for before in names if before in known}}
            again = types.FunctionType(found.__code__, own, name, found.__defaults__, found.__closure__)
            # Where two have one name the linker takes the code of the first for both; and numba's own names, which
            # count functions, are those of others in what another process has compiled and this one finds on disk.
            again.__qualname__ = f"{name}_{digest.hexdigest()[:16]}"
            known[name] = numba.njit(error_model="numpy", fastmath=math or False)(again)
        else:
            digest.update(f"{name}={found!r}".encode())
            known[name] = found
    digest.update(_content(function))
    made = types.FunctionType(function.__code__, known, function.__name__)
    made.__module__ = function.__module__
    made.__qualname__ = f"{function.__name__}_{digest.hexdigest()[:16]}"
    return made


def _content(function: Any) -> bytes:
    """Return what tells a function from others: its code, and the numbers and functions that it uses from outside."""
    code = function.__code__
    outside = [function.__globals__.get(name) for name in code.co_names]
    outside += [cell.cell_contents for cell in function.__closure__ or ()]
    used = [_of_outside(found) for found in outside if found is not function]
    return repr((code.co_code, code.co_consts, code.co_names, function.__defaults__, used)).encode()


def _of_outside(found: Any) -> object:
    function = getattr(found, "py_func", found)  # of one that numba has compiled
    if isinstance(function, types.FunctionType):
        ours = function.__module__.partition(".")[0] not in {"numba", "numpy"}
        return _content(function) if ours else function.__qualname__
    if isinstance(found, np.ndarray):
        return found.dtype.str, found.shape, found.tobytes()
    return repr(found) if isinstance(found, (bool, int, float, complex, str, tuple, np.generic)) else type(found)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def pointer(_: Any, address: Any, like: Any) -> Any:  # noqa: ARG001 - the compiler's own arguments come first
    """Return an address as a pointer to numbers of a type, inside of a kernel."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return numba.types.CPointer(like.dtype)(numba.int64, like), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def call(_: Any, address: Any, block: Any) -> Any:  # noqa: ARG001 - the compiler's own arguments come first
    """Run the kernel at an address, inside of another one."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        void = ir.IntType(8).as_pointer()
        kernel = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), (void, void)).as_pointer())
        builder.call(kernel, (void(None), builder.inttoptr(arguments[1], void)))
        return ir.Constant(ir.IntType(64), 0)

    return numba.int64(numba.int64, numba.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def call_with(_: Any, address: Any, number: Any) -> Any:  # noqa: ARG001 - the compiler's own arguments come first
    """Call the C function of an int at an address, inside of a kernel."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(32)
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), (integer,)).as_pointer())
        builder.call(function, (builder.trunc(arguments[1], integer),))
        return ir.Constant(ir.IntType(64), 0)

    return numba.int64(numba.int64, numba.int64), generate
