"""Port types: what travels over one edge of a net, for one example and without its batch axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

from ..arguments import positive_int, real_number, shape_of_ints
from ..arrays import check_transfer_dtype
from ..errors import ArgumentError
from ..values import Value, register


@register
@dataclass(frozen=True, repr=False)
class Array(Value):
    """A real array of fixed shape per example: ``(batch, *shape)``.

    Args:
        shape: The shape of one example's item; ``()`` is a scalar.
        dtype: What is transferred to the device, where it is cast to the plan's dtype; None is the plan's.
        initial: For an input of a net: the number that all of it is where a batch leaves it out, as a state does at
            the beginning of a sequence. None: it may not be left out.

    Raises:
        ArgumentError: The shape is not one of positive integers, the dtype is unknown, or `initial` is no number.

    Example:
        >>> Array((3, 32, 32), dtype="uint8")
        Array((3, 32, 32), dtype='uint8')
    """

    shape: tuple[int, ...]
    dtype: str | None = None
    initial: float | None = None

    def __post_init__(self) -> None:
        """Check the shape, the dtype and the initial value."""
        object.__setattr__(self, "shape", shape_of_ints(self.shape, "Array: shape"))
        if self.dtype is not None:
            object.__setattr__(self, "dtype", check_transfer_dtype(self.dtype))
        if self.initial is not None:
            object.__setattr__(self, "initial", real_number(self.initial, "initial"))

    def __repr__(self) -> str:
        """Show as the shortest constructor."""
        tail = [f"dtype={self.dtype!r}"] if self.dtype else []
        tail += [f"initial={self.initial!r}"] if self.initial is not None else []
        if len(self.shape) == 0:
            return f"Scalar({', '.join(tail)})"
        if len(self.shape) == 1:
            return f"Vector({', '.join([str(self.shape[0]), *tail])})"
        return f"Array({', '.join([str(self.shape), *tail])})"


def Scalar(dtype: str | None = None, initial: float | None = None) -> Array:  # noqa: N802 - reads as the type it makes
    """One real number per example: ``(batch,)``; `dtype` and `initial` as for `Array`.

    Example:
        >>> Scalar()
        Scalar()
    """
    return Array((), dtype, initial)


def Vector(  # noqa: N802 - reads as the type it makes
    size: int, dtype: str | None = None, initial: float | None = None
) -> Array:
    """A vector per example: ``(batch, size)``; `dtype` and `initial` as for `Array`.

    Raises:
        ArgumentError: The size is not a positive integer, or `initial` is no number.

    Example:
        >>> Vector(3)
        Vector(3)
    """
    return Array((positive_int(size, "Vector: size"),), dtype, initial)


@register
@dataclass(frozen=True, repr=False)
class Index(Value):
    """A class or token number per example, from 0 to ``count - 1``: ``(batch,)`` of integers, int32 on the device.

    Args:
        count: How many different numbers there are.

    Raises:
        ArgumentError: The count is not a positive integer, or its numbers do not fit into int32.

    Example:
        >>> Index(256)
        Index(256)
    """

    count: int

    def __post_init__(self) -> None:
        """Check the count."""
        object.__setattr__(self, "count", positive_int(self.count, "Index: count"))
        if self.count > 2**31:
            raise ArgumentError(f"Index: count must be at most 2**31, so that an int32 holds it, got {self.count}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The item's shape, always ``()``."""
        return ()

    @property
    def dtype(self) -> str:
        """The dtype on the device, always int32."""
        return "int32"


Item = Union[Array, Index]


@register
@dataclass(frozen=True, repr=False)
class Sequence(Value):
    """A sequence of items per example: ``(batch, length, *item)``.

    Args:
        length: The name of the length. Ports that share the name share lengths, example by example.
        item: The type of one step.

    Raises:
        ArgumentError: The name is empty, or the item is no Scalar, Vector, Array or Index.

    Example:
        >>> Sequence("t", Index(256))
        Sequence('t', Index(256))
    """

    length: str
    item: Item

    def __post_init__(self) -> None:
        """Check the name and the item."""
        if not isinstance(self.length, str) or not self.length:
            raise ArgumentError(f'Sequence: the length must be a name such as "t", got {self.length!r}')
        if not isinstance(self.item, (Array, Index)):
            raise ArgumentError(f"Sequence: the item must be a Scalar, Vector, Array or Index, got {self.item!r}")
        if isinstance(self.item, Array) and self.item.initial is not None:
            raise ArgumentError(f"Sequence: a sequence has no initial value and cannot be left out, got {self.item!r}")


PortType = Union[Array, Index, Sequence]


def item_of(port: PortType) -> Item:
    """Return the type of one step, or the type itself where it is no sequence."""
    return port.item if isinstance(port, Sequence) else port


def item_if_known(port: PortType | None) -> Item | None:
    """Return the type of one step of a type that may be unknown."""
    return None if port is None else item_of(port)


def length_of(port: PortType) -> str | None:
    """Return the name of the length, or None where it is no sequence."""
    return port.length if isinstance(port, Sequence) else None


def with_item(port: PortType, item: Item) -> PortType:
    """Return the type with another item and the same length."""
    return Sequence(port.length, item) if isinstance(port, Sequence) else item


def on_device(port: PortType) -> PortType:
    """Return the type without its transfer dtype and its initial value, as it is between layers."""
    item = item_of(port)
    if not isinstance(item, Array) or (item.dtype is None and item.initial is None):
        return port
    return with_item(port, Array(item.shape))


def check_port_type(port: Any, what: str) -> PortType:
    """Return the port type.

    Raises:
        ArgumentError: It is something else.
    """
    if isinstance(port, (Array, Index, Sequence)):
        return port
    hint = f"; call it, as in {port.__name__}(...)" if callable(port) and hasattr(port, "__name__") else ""
    raise ArgumentError(
        f"{what} must have a type such as Scalar(), Vector(3), Array((3, 4)), Index(10) or "
        f'Sequence("t", Vector(3)), got {port!r}{hint}'
    )
