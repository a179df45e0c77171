"""Compiles kernels with numba; imported where one is needed, as numba takes its time."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from typing import Any

import numba
from numba import carray
from numba.extending import intrinsic

__all__ = ["as_c_function", "carray", "compiled", "pointer"]


def compiled(function: Callable[[Any, Any], None], **names: Any) -> Any:
    """Return the kernel of a function of two addresses: MXNet's, and that of the kernel's block.

    Args:
        function: The function.
        names: What some of its global names stand for. Functions are compiled with it, each with the names before it.
    """
    address = numba.types.voidptr
    return as_c_function(_with_names(function, names), numba.void(address, address))


def as_c_function(function: Any, signature: Any) -> Any:
    """Return a function compiled for C, to stay on disk."""
    try:
        return numba.cfunc(signature, error_model="numpy", cache=True)(function)
    except RuntimeError:  # there is no folder for compiled code that can be written
        return numba.cfunc(signature, error_model="numpy")(function)


def _with_names(function: Any, names: dict[str, Any]) -> Any:
    """Return the function with other global names, and a name of its own by which its code is found on disk again."""
    known = dict(function.__globals__)
    digest = hashlib.sha256()
    for name, found in names.items():
        if isinstance(found, types.FunctionType):
            digest.update(_content(found))
            own = {**found.__globals__, **{before: known[before] for before in names if before in known}}
            known[name] = numba.njit(error_model="numpy")(types.FunctionType(found.__code__, own, name))
        else:
            digest.update(f"{name}={found!r}".encode())
            known[name] = found
    digest.update(_content(function))
    made = types.FunctionType(function.__code__, known, function.__name__)
    made.__module__ = function.__module__
    made.__qualname__ = f"{function.__name__}_{digest.hexdigest()[:16]}"
    return made


def _content(function: Any) -> bytes:
    code = function.__code__
    return repr((code.co_code, code.co_consts, code.co_names)).encode()


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def pointer(_: Any, address: Any, like: Any) -> Any:  # noqa: ARG001 - the compiler's own arguments come first
    """Return an address as a pointer to numbers of a type, inside of a kernel."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return numba.types.CPointer(like.dtype)(numba.int64, like), generate
