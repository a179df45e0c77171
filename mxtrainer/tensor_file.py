"""Files of tensors in the safetensors format, read where they lie.

The format (huggingface.co/docs/safetensors): the length of the header in eight bytes, the header as JSON, and the bytes
of all tensors. It is written here, as the library's own writer copies everything first, and holds Python's lock
meanwhile. It is read by the library, which checks that sizes fit the file before anything is allocated.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .arguments import as_path
from .errors import ArgumentError, FileFormatError
from .whole_files import write_whole

if TYPE_CHECKING:
    from typing_extensions import Self

LARGEST_HEADER = 100_000_000  # bytes, of the format
ALIGNMENT = 8  # of the first tensor, in bytes
DTYPES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8", "bool": "BOOL"}
CHECKSUMS = "checksums"  # the part of the metadata with the CRC-32 of each tensor's bytes


def write(path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a file; one that is there is replaced in one piece, and stays as it is if anything fails.

    The new file has another name until all of it is on the disk.

    Args:
        path: The file.
        tensors: Arrays by name.
        metadata: Text by name.

    Raises:
        ArgumentError: The file cannot be written; or it is, and its new name cannot be brought to the disk.
    """
    target = Path(as_path(path, "path")).resolve()
    arrays = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    sums = {key: zlib.crc32(_bytes_of(array)) for key, array in arrays.items()}
    header = _header(arrays, {**metadata, CHECKSUMS: json.dumps(sums)})
    if len(header) > LARGEST_HEADER:
        raise ArgumentError(
            f"{str(target)!r} cannot be written: its description takes {len(header):,} bytes, and readers take no more "
            f"than {LARGEST_HEADER:,}; are there very many streams?"
        )
    write_whole(target, itertools.chain([header], map(_bytes_of, arrays.values())))


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # it is a buffer


def _header(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    described: dict[str, Any] = {"__metadata__": dict(metadata)}
    begin = 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        described[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


class TensorFile:
    """A file of tensors, open to be read as far as it is asked for; a context manager that closes it.

    Args:
        path: The file.
        what: What it should be, for errors.

    Attributes:
        name: Its name.
        metadata: The text in it by name.

    Raises:
        FileFormatError: It is not there, or is none.
    """

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        """Open it and read the metadata."""
        self.name = as_path(path, "path")
        try:
            self._file: Any = safe_open(self.name, framework="numpy")
            self.metadata: dict[str, str] = self._file.metadata() or {}  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError, ValueError, MemoryError) as error:
            raise FileFormatError(f"{self.name!r} cannot be read as {what}: {error}") from error
        self._names = frozenset(self._file.keys())  # type: ignore[no-untyped-call]
        self._sums = self._checksums()

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        del self._file

    def _checksums(self) -> dict[str, Any]:
        try:
            found = json.loads(self.metadata.get(CHECKSUMS, "{}"))
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{self.name!r}: its checksums cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise FileFormatError(f"{self.name!r}: its checksums are no JSON object")
        return found

    @property
    def names(self) -> frozenset[str]:
        """The names of the tensors."""
        return self._names

    def checksum(self, name: str) -> int | None:
        """Return the checksum of a tensor's bytes as they were written, None where there is no such tensor."""
        return self._sums.get(name)

    def check(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        """Check that there is a tensor of this shape and dtype; reads no number of it.

        Raises:
            FileFormatError: There is none.
        """
        if name not in self.names:
            raise FileFormatError(f"{self.name!r} has no tensor {name!r}")
        part = self._file.get_slice(name)
        found = tuple(part.get_shape()), part.get_dtype()
        if found != (shape, DTYPES[dtype]):
            raise FileFormatError(f"{self.name!r}: {name!r}: expected {shape} {DTYPES[dtype]}, found {found}")

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return a tensor, which must have this shape and dtype.

        Raises:
            FileFormatError: There is none, it has another one, or its bytes are not those that were written.
        """
        self.check(name, shape, dtype)
        array = self._read(name)
        if self._sums.get(name) != zlib.crc32(_bytes_of(np.ascontiguousarray(array))):
            raise FileFormatError(f"{self.name!r}: {name!r} is damaged: its bytes are not those that were written")
        return array

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a tensor of real numbers, which the file may have without a checksum.

        Raises:
            FileFormatError: It has another dtype, or its bytes are not those that were written.
        """
        part = self._file.get_slice(name)
        known = {code: dtype for dtype, code in DTYPES.items()}
        if part.get_dtype() not in known or known[part.get_dtype()] == "bool":
            raise FileFormatError(f"{self.name!r}: {name!r} has the dtype {part.get_dtype()}, which is not read")
        if name in self._sums:
            return self.tensor(name, tuple(part.get_shape()), known[part.get_dtype()])
        return self._read(name)

    def _read(self, name: str) -> NDArray[Any]:
        try:
            array: NDArray[Any] = self._file.get_tensor(name)
        except (OSError, SafetensorError, ValueError, MemoryError) as error:
            raise FileFormatError(f"{self.name!r}: {name!r} cannot be read: {error}") from error
        return array
