"""MXNet's files of arrays (``.params``): read and written byte by byte.

MXNet's own reader allocates whatever sizes a file says, crashes on a number of axes below 0, and has no word for
arrays that are left out. The format: a magic number, zeros, the arrays, their names; all little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import as_path
from ...errors import ArgumentError, FileFormatError
from ...whole_files import write_whole

LIST_MAGIC = 0x112
# How an array begins: with a number of its version; the first version had none, and begins with the number of axes.
WITH_WIDE_SHAPE, WITH_STORAGE, WITH_SCALARS = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MOST_AXES = 32
MOST_ELEMENTS = 2**31 - 1  # of an array of MXNet 1.9
DENSE, CPU = 0, 1
DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")


class _Reader:
    """The bytes of a file, from the first to the last."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self._name = name
        self._place = 0

    def error(self, text: str) -> FileFormatError:
        return FileFormatError(f"{self._name!r}: byte {self._place}: {text}")

    def take(self, size: int, what: str) -> bytes:
        if size > len(self._content) - self._place:
            raise self.error(f"{what} takes {size:,} bytes, and {len(self._content) - self._place:,} are left")
        begin, self._place = self._place, self._place + size
        return self._content[begin : self._place]

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack(f"<{form}", self.take(struct.calcsize(form), what))[0])

    def at_end(self) -> bool:
        return self._place == len(self._content)


def read_params(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a ``.params`` file by the names that it has, as in "arg:fc_weight".

    Raises:
        FileFormatError: It is not there, truncated or damaged, or has sparse arrays, or arrays without names.
    """
    name = as_path(path, "path")
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise FileFormatError(f"{name!r} cannot be read as MXNet's arrays: {error}") from error
    reader = _Reader(content, name)
    if reader.number("Q", "the magic number") != LIST_MAGIC:
        raise FileFormatError(f"{name!r} is no file of MXNet's arrays: it begins with another magic number")
    reader.number("Q", "the head")
    arrays = [_array(reader) for _ in _counted(reader, "arrays")]
    names = [_text(reader) for _ in _counted(reader, "names")]
    if not reader.at_end():
        raise reader.error("there is something after the end")
    if len(names) != len(arrays) or len(set(names)) < len(names):
        raise FileFormatError(f"{name!r} has {len(arrays)} arrays and {len(set(names))} names")
    return dict(zip(names, arrays))


def _counted(reader: _Reader, what: str) -> Iterator[int]:
    yield from range(reader.number("Q", f"the number of {what}"))


def _array(reader: _Reader) -> NDArray[Any]:
    shape = _shape(reader)
    reader.number("i", "the device")
    reader.number("i", "the device's number")
    kind = reader.number("i", "the dtype")
    if not 0 <= kind < len(DTYPES):
        raise reader.error(f"there is no dtype {kind}")
    dtype = np.dtype(DTYPES[kind]).newbyteorder("<")
    data = reader.take(prod(shape) * dtype.itemsize, f"an array of shape {shape}")
    return np.frombuffer(data, dtype).reshape(shape).astype(DTYPES[kind])


def _shape(reader: _Reader) -> tuple[int, ...]:
    version = reader.number("I", "an array")
    if version in {WITH_STORAGE, WITH_SCALARS} and reader.number("i", "the kind of storage") != DENSE:
        raise reader.error("the array is sparse, which is not read; MXNet's tostype('default') makes it dense")
    known = version in {WITH_WIDE_SHAPE, WITH_STORAGE, WITH_SCALARS}
    axes = reader.number("i", "the number of axes") if known else version
    if not 0 <= axes <= MOST_AXES or (axes == 0 and version != WITH_SCALARS):
        raise reader.error(f"an array has {axes} axes")
    shape = tuple(reader.number("q" if known else "I", "a shape") for _ in range(axes))
    if min(shape, default=0) < 0 or prod(max(extent, 1) for extent in shape) > MOST_ELEMENTS:
        raise reader.error(f"an array has the shape {shape}")
    return shape


def _text(reader: _Reader) -> str:
    try:
        return reader.take(reader.number("Q", "the length of a name"), "a name").decode()
    except UnicodeDecodeError as error:
        raise reader.error(f"a name is no UTF-8: {error}") from error


def write_params(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a ``.params`` file as MXNet 1.9 reads it; one that is there is replaced in one piece.

    Raises:
        ArgumentError: It cannot be written.
    """
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))]
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.name not in DTYPES:
            raise ArgumentError(f'"{name}" cannot be written for MXNet: shape {array.shape}, dtype {array.dtype.name}')
        head = struct.pack(f"<Iii{array.ndim}q", WITH_STORAGE, DENSE, array.ndim, *array.shape)
        parts += [head, struct.pack("<iii", CPU, 0, DTYPES.index(array.dtype.name)), array.tobytes()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts += [struct.pack("<Q", len(name.encode())), name.encode()]
    write_whole(Path(as_path(path, "path")), parts)
