"""Value objects as JSON: every frozen dataclass that is registered here goes both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import ArgumentError, Error, FileFormatError, nearest
from .mappings import FrozenMapping

T = TypeVar("T")
#: What building from a file can raise where the file is wrong.
UNREADABLE = (Error, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_REGISTRY: dict[str, type[Any]] = {"FrozenMapping": FrozenMapping}


class Value:
    """The base of frozen dataclasses that show as what a user would write; `register` lets files hold them."""

    def __repr__(self) -> str:
        """Show the constructor with the fields that differ from their defaults."""
        first = _fields(self)[:1]
        shown = []
        for field, found in _changed(self):
            positional = field in first or _default(field) is dataclasses.MISSING
            shown.append(repr(found) if positional else f"{field.name}={found!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def register(cls: type[T]) -> type[T]:
    """Let a class be read back from JSON by its name.

    Raises:
        ArgumentError: The name is that of a class of this package.
    """
    known = _REGISTRY.get(cls.__name__, cls)
    if _package(known) == _package(FrozenMapping) and known.__module__ != cls.__module__:
        raise ArgumentError(
            f'there is a class "{cls.__name__}" in {known.__module__}; files would be read as the wrong one. '
            f"Give yours another name."
        )
    _REGISTRY[cls.__name__] = cls
    return cls


def _package(cls: type[Any]) -> str:
    return cls.__module__.partition(".")[0]


def _changed(self: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """List the fields that differ from their defaults."""
    pairs = [(field, getattr(self, field.name)) for field in _fields(self)]
    return [(field, found) for field, found in pairs if found != _default(field)]


def _fields(self: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def to_data(item: Any) -> Any:
    """Return a value as plain JSON data: dict, list, str, number, bool or None."""
    if hasattr(item, "to_data"):
        return item.to_data()
    if dataclasses.is_dataclass(item):
        fields = {field.name: to_data(found) for field, found in _changed(item)}
        return {"type": type(item).__name__, **fields}
    if isinstance(item, Mapping):
        if "type" in item:  # which would be taken for the name of a class
            return {"type": "FrozenMapping", "items": [[key, to_data(found)] for key, found in item.items()]}
        return {key: to_data(found) for key, found in item.items()}
    if isinstance(item, (tuple, list)):
        return [to_data(entry) for entry in item]
    return item


def from_data(data: Any) -> Any:
    """Return the value that `to_data` wrote; builds registered classes only, and runs no other code.

    Raises:
        FileFormatError: A type is unknown, or its constructor refuses the fields.
    """
    if isinstance(data, list):
        return tuple(from_data(entry) for entry in data)
    if not isinstance(data, dict):
        return data
    if "type" not in data:
        return FrozenMapping({key: from_data(found) for key, found in data.items()})
    name = data["type"]
    if not isinstance(name, str) or name not in _REGISTRY:
        raise FileFormatError(f'unknown type "{name}"{nearest(name, _REGISTRY)}')
    cls = _REGISTRY[name]
    if hasattr(cls, "from_data"):
        return cls.from_data(data)
    try:
        return cls(**{key: from_data(found) for key, found in data.items() if key != "type"})
    except FileFormatError:
        raise
    except UNREADABLE as error:
        raise FileFormatError(f'a "{name}" cannot be read: {error}') from error


def canonical_json(data: Any) -> str:
    """Return the one text that the data has: same data, same bytes; ASCII, so that it fits every encoding.

    Raises:
        ArgumentError: There is something in the data that JSON cannot hold.
    """
    try:
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"this cannot be written as JSON: {error}. A layer of your own must be a frozen dataclass "
            f"with mxtrainer.values.register, and its fields be plain values"
        ) from error


def parse_json(text: object, what: str) -> dict[str, Any]:
    """Return the JSON object in a text.

    Raises:
        FileFormatError: It is no text, truncated, or not an object.
    """
    if not isinstance(text, str):
        raise FileFormatError(f"{what}: expected JSON text, got {type(text).__name__}")
    try:
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{what}: not JSON, or truncated ({error})") from error
    if not isinstance(data, dict):
        raise FileFormatError(f"{what}: expected a JSON object, got {type(data).__name__}")
    return data


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def open_json(text: object, what: str, form: str, version: int) -> dict[str, Any]:
    """Return the JSON object in a text of this format and version.

    Raises:
        FileFormatError: It is another format, or a version that cannot be read.
    """
    data = parse_json(text, what)
    if data.get("format") != form:
        raise FileFormatError(f'{what}: expected format "{form}", found {data.get("format")!r}')
    found = data.get("version")
    if found != version:
        newer = isinstance(found, int) and found > version
        hint = "; a newer mxtrainer wrote it: upgrade to read it" if newer else ""
        raise FileFormatError(f"{what}: this mxtrainer reads version {version}, found {found!r}{hint}")
    return data
