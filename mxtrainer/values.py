"""Value objects as JSON: every frozen dataclass that is registered here goes both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import Error, FileFormatError, nearest
from .mappings import FrozenMapping

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_options: Any) -> Any:
        """Do nothing: it is for type checkers, and part of Python only since 3.11."""
        return lambda decorator: decorator


T = TypeVar("T")
_REGISTRY: dict[str, type[Any]] = {}


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose instances can be written as JSON and read back (a decorator)."""
    frozen = dataclasses.dataclass(frozen=True, repr=False)(cls)
    if "__repr__" not in vars(cls):
        frozen.__repr__ = _repr  # type: ignore[method-assign]  # shows what a user would write
    return register(frozen)


def register(cls: type[T]) -> type[T]:
    """Let a class be read back from JSON by its name."""
    _REGISTRY[cls.__name__] = cls
    return cls


def _changed(self: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """List the fields that differ from their defaults."""
    pairs = [(field, getattr(self, field.name)) for field in dataclasses.fields(self)]
    return [(field, found) for field, found in pairs if found != _default(field)]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _repr(self: Any) -> str:
    first = dataclasses.fields(self)[:1]
    shown = []
    for field, found in _changed(self):
        positional = field in first or _default(field) is dataclasses.MISSING
        shown.append(repr(found) if positional else f"{field.name}={found!r}")
    return f"{type(self).__name__}({', '.join(shown)})"


def to_data(item: Any) -> Any:
    """Return a value as plain JSON data: dict, list, str, number, bool or None."""
    if hasattr(item, "to_data"):
        return item.to_data()
    if dataclasses.is_dataclass(item):
        fields = {field.name: to_data(found) for field, found in _changed(item)}
        return {"type": type(item).__name__, **fields}
    if isinstance(item, Mapping):
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
    except (TypeError, Error) as error:
        raise FileFormatError(f'a "{name}" cannot be read: {error}') from error


def canonical_json(data: Any) -> str:
    """Return the one text that the data has: same data, same bytes."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse_json(text: object, what: str) -> dict[str, Any]:
    """Return the JSON object in a text.

    Raises:
        FileFormatError: It is no text, truncated, or not an object.
    """
    if not isinstance(text, str):
        raise FileFormatError(f"{what}: expected JSON text, got {type(text).__name__}")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{what}: not JSON, or truncated ({error})") from error
    if not isinstance(data, dict):
        raise FileFormatError(f"{what}: expected a JSON object, got {type(data).__name__}")
    return data
