"""Kernels for MXNet's graphs, compiled by numba; imported where one is needed, as numba takes its time.

MXNet calls each with the number of tensors, handles of NDArrays of them (which it hands over), and two arguments more.
"""

# numba's types do not fit what it compiles, and llvmlite has none
# mypy: disable-error-code="untyped-decorator, import-untyped, attr-defined, no-untyped-call, call-overload, call-arg"
from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from .._mxnet import mx
from ..compiling import as_c_function, pointer

SINGLE = np.float32
PER_TWO = SINGLE(1 / np.log(2))
TWO = SINGLE(355 / 512)  # log(2) in two parts, the first of so few digits that its multiples are exact
TWO_REST = SINGLE(np.log(2) - 355 / 512)
LOWEST = SINGLE(-87)  # below it the exponential is taken for 0, as by MXNet
BLOCK = 1024  # so many terms are summed in float32, their sums in float64
ANY_ORDER = {"contract", "reassoc", "nsz"}  # of a sum: the processor then adds eight numbers at a time

llvmlite.binding.load_library_permanently(mx.libinfo.find_lib_path()[0])
_get_data = types.ExternalFunction("MXNDArrayGetData", types.int32(types.int64, types.CPointer(types.int64)))
_get_shape = types.ExternalFunction(
    "MXNDArrayGetShapeEx", types.int32(types.int64, types.CPointer(types.int32), types.CPointer(types.int64))
)
_free = types.ExternalFunction("MXNDArrayFree", types.int32(types.int64))


@intrinsic
def _power_of_two(_: Any, _exponent: Any) -> Any:
    """Return ``2**exponent`` for an int32 from -126 to 127, from the bits of a float32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        biased = builder.add(arguments[0], ir.Constant(word, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(word, 23)), ir.FloatType())

    return types.float32(types.int32), generate


@njit(error_model="numpy")
def _numbers(handle: Any) -> Any:
    """Return the numbers of an NDArray, as a vector, and the extent of its first axis."""
    axes, found = np.empty(1, np.int32), np.empty(1, np.int64)
    _get_shape(handle, axes.ctypes, found.ctypes)
    extents, size = carray(pointer(found[0], np.int32), axes[0]), 1
    for extent in extents:
        size *= extent
    rows = extents[0]
    _get_data(handle, found.ctypes)
    return carray(pointer(found[0], SINGLE), size), rows


@njit(error_model="numpy", fastmath={"contract"})
def _exponential(x: Any) -> Any:
    """Return ``e**x`` for a float32 of 0 or below, to 8e-8 of it: ``2**n e**r`` with ``|r|`` of ``log(2) / 2`` or less.

    The polynomial is a fit of ours for such ``r``, off by 3e-9. A C library's takes nine times as long.
    """
    low = x < LOWEST
    y = SINGLE(0) if low else x
    n = np.floor(y * PER_TWO + SINGLE(0.5))
    r = (y - n * TWO) - n * TWO_REST
    p = SINGLE(0.00138145964) * r + SINGLE(0.00836871709)
    p = p * r + SINGLE(0.0416683881)
    p = p * r + SINGLE(0.166665206)
    p = p * r + SINGLE(0.499999934)
    found = (p * (r * r) + r + SINGLE(1)) * _power_of_two(np.int32(n))
    return SINGLE(0) if low else found


@njit(error_model="numpy", fastmath={*ANY_ORDER, "nnan"})
def _largest(row: Any) -> Any:
    """Return the largest number. Of a row that is not all numbers it may be any of them: the sum is NaN anyway."""
    found = row[0]
    for number in row:
        found = max(found, number)
    return found


@njit(error_model="numpy", fastmath=ANY_ORDER)
def _sum_of_exponentials(row: Any, largest: Any) -> Any:
    total = 0.0
    for begin in range(0, row.size, BLOCK):
        part: Any = SINGLE(0)
        for place in range(begin, min(begin + BLOCK, row.size)):  # a slice would not be taken eight at a time
            part += _exponential(row[place] - largest)
        total += part
    return total


@njit(error_model="numpy", fastmath={"contract"})
def _scaled_exponentials(row: Any, largest: Any, factor: Any, found: Any) -> None:
    for place in range(row.size):
        found[place] = factor * _exponential(row[place] - largest)


@njit(error_model="numpy")
def _class_of(target: Any, count: Any) -> Any:
    """Return the class that a number stands for; one out of range must not write into other memory."""
    return min(max(np.int64(target), 0), count - 1)


def _losses(_: Any, handles: Any, __: Any, ___: Any) -> Any:
    """Write ``-log softmax(logits)[target]``, and of each row the largest logit and what the exponentials sum up to.

    The tensors: logits ``(n, classes)``, targets ``(n,)``; losses ``(n,)``, ``(n, 2)``.
    """
    given = carray(handles, 4, np.int64)
    logits, rows = _numbers(given[0])
    targets, losses, sums = _numbers(given[1])[0], _numbers(given[2])[0], _numbers(given[3])[0]
    count = logits.size // rows
    for place in range(rows):
        row = logits[place * count : (place + 1) * count]
        largest = _largest(row)
        total = _sum_of_exponentials(row, largest)
        sums[2 * place], sums[2 * place + 1] = largest, total
        chosen = row[_class_of(targets[place], count)]
        losses[place] = (np.float64(largest) - np.float64(chosen)) + np.log(total)
    for handle in given:
        _free(handle)
    return True


def _gradients(_: Any, handles: Any, __: Any, ___: Any) -> Any:
    """Write the gradient of the logits, ``head * (softmax(logits) - 1 at the target)``.

    The tensors: those of the losses; gradients of logits and targets; heads of the losses ``(n,)`` and of ``(n, 2)``.
    """
    given = carray(handles, 8, np.int64)
    logits, rows = _numbers(given[0])
    targets, sums, heads = _numbers(given[1])[0], _numbers(given[3])[0], _numbers(given[6])[0]
    gradients, count = _numbers(given[4])[0], logits.size // rows
    for place in range(rows):
        begin, end, head = place * count, (place + 1) * count, heads[place]
        largest, total = sums[2 * place], sums[2 * place + 1]
        _scaled_exponentials(logits[begin:end], largest, head / total, gradients[begin:end])
        gradients[begin + _class_of(targets[place], count)] -= head
    for handle in given:
        _free(handle)
    return True


def _join(_: Any, handles: Any, __: Any, ___: Any) -> Any:
    """Write a matrix with one more column. The tensors: ``(n, width)``, ``(n, 1)``; ``(n, width + 1)``."""
    given = carray(handles, 3, np.int64)
    (matrix, rows), column, joined = _numbers(given[0]), _numbers(given[1])[0], _numbers(given[2])[0]
    width = matrix.size // rows
    for row in range(rows):
        begin, target = row * width, row * (width + 1)
        for place in range(width):
            joined[target + place] = matrix[begin + place]
        joined[target + width] = column[row]
    for handle in given:
        _free(handle)
    return True


def _cut(_: Any, handles: Any, __: Any, ___: Any) -> Any:
    """Write the gradient of the matrix; the column has none.

    The tensors: those of the join; gradients of matrix and column; the head.
    """
    given = carray(handles, 6, np.int64)
    (gradient, rows), head = _numbers(given[3]), _numbers(given[5])[0]
    width = gradient.size // rows
    for row in range(rows):
        begin, source = row * width, row * (width + 1)
        for place in range(width):
            gradient[begin + place] = head[source + place]
    for handle in given:
        _free(handle)
    return True


def _compiled(function: Any) -> Any:
    return as_c_function(function, types.boolean(types.int32, types.voidptr, types.voidptr, types.voidptr))


cross_entropy, cross_entropy_gradient = _compiled(_losses), _compiled(_gradients)
join, cut = _compiled(_join), _compiled(_cut)
