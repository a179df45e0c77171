"""A mapping that cannot change, keeps its order, and can be hashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from .errors import unknown

V = TypeVar("V")


class FrozenMapping(Mapping[str, V], Generic[V]):
    """An ordered, immutable mapping from names to values.

    A missing name raises `UnknownNameError`, which offers the nearest name. Order is kept but does not matter
    to ``==``, as with dict.

    Args:
        items: The names and values.
        kind: What one entry is, for error texts.
        owner: Whose entries they are, for error texts.

    Example:
        >>> FrozenMapping({"a": 1})
        {'a': 1}
    """

    __slots__ = ("_items", "_kind", "_owner")

    def __init__(self, items: Mapping[str, V] = {}, kind: str = "entry", owner: str = "this mapping") -> None:
        """Copy the items."""
        self._items = dict(items)
        self._kind = kind
        self._owner = owner

    def __getitem__(self, name: str) -> V:
        """Return the value of a name."""
        try:
            return self._items[name]
        except (KeyError, TypeError):
            raise unknown(self._kind, name, self._items, self._owner) from None

    def __contains__(self, name: object) -> bool:
        """Tell whether the name is known."""
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in order."""
        return iter(self._items)

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._items)

    def __hash__(self) -> int:
        """Hash the entries, whatever their order."""
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        """Show as a dict."""
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by contents."""
        return type(self), (self._items, self._kind, self._owner)
