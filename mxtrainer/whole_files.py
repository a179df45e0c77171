"""Files that are whole or are not there: written under another name, brought to the disk, and renamed."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

import psutil

from .errors import ArgumentError

Part = Union[bytes, memoryview]
_numbers = itertools.count()
_begun: set[Path] = set()  # the new files that this process is writing


def write_whole(target: Path, parts: Iterable[Part]) -> None:
    """Write a file; one that is there is replaced in one piece, and stays as it is if anything fails.

    The new file has another name until all of it is on the disk.

    Args:
        target: The file.
        parts: What is in it.

    Raises:
        ArgumentError: The file cannot be written; or it is, and its new name cannot be brought to the disk.
    """
    target = target.resolve()
    remove_left_over(target.parent, re.escape(target.name))
    try:
        with replacing(target) as new, new.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ArgumentError(f"{str(target)!r} cannot be written: {error}") from error
    try:
        _sync_folder(target.parent)
    except OSError as error:
        raise ArgumentError(
            f"{str(target)!r} is written, but if the machine stops now it may be the one from before: its folder "
            f"cannot be brought to the disk: {error}"
        ) from error


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a name for a new file, which then takes the place of another one; if anything fails, nothing is left of it.

    Args:
        target: The file that is replaced.
    """
    new = target.with_name(f".{target.name}.{os.getpid()}-{next(_numbers)}.new")
    _begun.add(new)
    try:
        yield new
        new.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    finally:
        _begun.discard(new)


def remove_left_over(folder: Path, names: str) -> None:
    """Remove what processes that were killed have left of new files, as far as that is possible.

    Args:
        folder: Where they are.
        names: What they were to replace, as a regular expression.
    """
    form = re.compile(rf"\.{names}\.(?P<process>\d+)-\d+\.new")
    with contextlib.suppress(OSError):  # if it is the folder, the new file says so
        for path in folder.iterdir():
            match = form.fullmatch(path.name)
            if match is not None and not _is_begun(path, int(match["process"])):
                path.unlink(missing_ok=True)


def _is_begun(new: Path, process: int) -> bool:
    """Tell whether a process is writing a file; where each container counts anew, one before had the same number."""
    return new in _begun if process == os.getpid() else psutil.pid_exists(process)


def _sync_folder(folder: Path) -> None:
    """Let the new name of a file be on the disk too."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
