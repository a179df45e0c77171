"""Images on their way between convolutions and other operators.

oneDNN's convolutions give images in an order of their own, and so do their gradients. An operator that cannot read it
gets a copy in plain order, which MXNet keeps as long as the graph, and where it writes in place of what it has read it
passes the order on, to operators that then get copies too. 8 convolutions, each with a square behind it, 64 x 32 x 16 x
16, kept 74 arrays of that size, where MXNet had planned 18; turned at both ends as here they keep 32, and take three
quarters of the time.
"""

from __future__ import annotations

from ..._mxnet import mx
from ..types import Item
from .base import Symbol, flat_size

AXES = 3  # channels, height, width


def is_image(item: Item, dtype: str) -> bool:
    """Tell whether an item may come in an order of its own: oneDNN computes in float32 alone."""
    return len(item.shape) == AXES and dtype == "float32"


def as_plain(symbol: Symbol, item: Item, dtype: str) -> Symbol:
    """Return images ``(n, *item)`` as ``(n, elements)`` in plain order, whatever else as it is."""
    return mx.sym.reshape(symbol, shape=(-1, flat_size(item))) if is_image(item, dtype) else symbol


def as_item(symbol: Symbol, item: Item, dtype: str) -> Symbol:
    """Undo `as_plain`, so that the gradient comes in plain order too."""
    return settled(mx.sym.reshape(symbol, shape=(-1, *item.shape)), item, dtype) if is_image(item, dtype) else symbol


def settled(symbol: Symbol, item: Item, dtype: str) -> Symbol:
    """Return ``(n, *item)``; where these are images their gradient comes in plain order.

    It does so by a slice of everything, which reads the gradient once, and does not write in place of it.
    """
    return mx.sym.slice_axis(symbol, axis=0, begin=0, end=None) if is_image(item, dtype) else symbol
