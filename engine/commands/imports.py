"""Modules and objects of the user, by name or by file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ArgumentError, unknown


def import_module_at(text: str) -> ModuleType:
    """Import a module by its dotted name, from the working folder too, or by its file, whose folder is then searched.

    Raises:
        ArgumentError: There is none, or another module has its name.
    """
    path = Path(text)
    is_file = path.suffix == ".py"
    folder, name = (path.resolve().parent, path.stem) if is_file else (Path.cwd(), text)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if is_file and not path.is_file():
        raise ArgumentError(f"there is no file {text!r}")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise ArgumentError(f"there is no module {text!r}, here or installed") from None
    if is_file and Path(getattr(module, "__file__", None) or "").resolve() != path.resolve():
        raise ArgumentError(f'there is another module of the name "{name}": give {text!r} another name')
    return module


def batches_at(text: str) -> Iterable[Mapping[str, Any]]:
    """Return the batches that ``module:name`` or ``file.py:name`` is, or that it returns where it is a function.

    Raises:
        ArgumentError: There is no such object, or it is no iterable of batches.
        UnknownNameError: The module has no such name.
    """
    where, colon, name = text.rpartition(":")
    if not where or not colon or not name.isidentifier():
        raise ArgumentError(f"--batches: expected a module or a file and a name, as in script.py:batches, got {text!r}")
    module = import_module_at(where)
    if not hasattr(module, name):
        raise unknown("name", name, [one for one in vars(module) if not one.startswith("_")], f"{where!r}")
    found = getattr(module, name)
    if isinstance(found, Callable) and not isinstance(found, Iterable):  # type: ignore[arg-type]  # of typing's alias
        found = found()
    if not isinstance(found, Iterable) or isinstance(found, (Mapping, str)):
        raise ArgumentError(f"--batches: {text} is no iterable of batches, but of type {type(found).__name__}")
    return found
