"""Convolution and Pooling, over the space of an item or along the steps of a sequence of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from ..._mxnet import mx
from ...arguments import is_integer
from ...errors import ArgumentError
from ...values import register
from ..initializers import Initializer, Xavier, Zeros
from ..types import Array, Item, PortType, Sequence, item_of, with_item
from .base import (
    NO_INITIALIZERS,
    Declared,
    ItemLayer,
    MismatchError,
    Node,
    Ports,
    Symbol,
    check_choice,
    check_initializers,
    check_size,
    real,
    set_fields,
)
from .sequence import LOWEST

Extent = Union[int, tuple[int, ...]]


def _extent(layer: object, field: str, least: int) -> Extent:
    found = getattr(layer, field)
    entries = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    if not all(is_integer(entry) and entry >= least for entry in entries):
        sign = "positive" if least else "non-negative"
        raise ArgumentError(
            f"{type(layer).__name__}: {field} must be a {sign} integer, or a tuple of one an axis, got {found!r}"
        )
    whole = tuple(int(entry) for entry in entries)
    return whole if isinstance(found, (tuple, list)) else whole[0]


def _per_axis(extent: Extent, axes: int) -> tuple[int, ...]:
    return (extent,) * axes if isinstance(extent, int) else extent


class Sliding(ItemLayer):
    """What convolution and pooling have in common: a window that slides over axes after the channels."""

    kernel: Extent
    padding: Extent

    def windows(self, axes: int) -> dict[str, tuple[int, ...]]:
        """Return kernel, stride, pad and dilate for so many axes."""
        raise TypeError(f"{type(self).__name__} does not define windows(axes)")

    def channels_out(self, channels: int) -> int:
        """Return the number of channels of the output."""
        raise TypeError(f"{type(self).__name__} does not define channels_out(channels)")

    def slide(self, node: Node, symbol: Symbol, axes: int) -> Symbol:
        """Return the operator over ``(n, channels, *space)``."""
        raise TypeError(f"{type(self).__name__} does not define slide(node, symbol, axes)")

    def deduce(self, ports: Ports) -> None:
        """Work along the steps for a sequence of vectors, else over the item's space."""
        source = ports.inputs["Input"]
        if source is None:
            return
        item = real(item_of(source))
        if along_steps(source):
            self._check_length()
            ports.set_output("Output", with_item(source, Array((self.channels_out(item.shape[0]),))))
        else:
            super().deduce(ports)

    def items(self, source: Item | None, target: Item | None) -> tuple[Item | None, Item | None]:
        """Return the item with its space reduced."""
        if source is None:
            return None, target
        if len(source.shape) < 2:
            raise MismatchError(
                f'port "Input" gets {source!r}, but this layer needs an Array((channels, ...)), or a Sequence of '
                f"Vectors to run along"
            )
        channels, *space = source.shape
        extents = [_slid(extent, *self._window(axis, len(space))) for axis, extent in enumerate(space)]
        if min(extents) < 1:
            raise MismatchError(f"the window is larger than the space of {source!r} with its padding")
        return source, Array((self.channels_out(channels), *extents))

    def needs(self, ports: Ports) -> str:
        """Ask for the input."""
        return "give the type of its input, as in inputs={...: Array((channels, height, width))}"

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Turn steps into space for a sequence of vectors, else go step by step."""
        if not along_steps(node.ports.input()):
            return super().lower(node)
        return {"Output": mx.sym.swapaxes(self.slide_along(node, node.ports.input()), dim1=1, dim2=2)}

    def slide_along(self, node: Node, port: PortType) -> Symbol:
        """Slide along the steps; return ``(batch, channels, t)``. Beyond the last true step there are zeros."""
        return self.slide(node, channels_first(node.hide(node.inputs["Input"], port)), 1)

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        """Slide over the item's space."""
        return self.slide(node, symbol, len(node.ports.input_item().shape) - 1)

    def _window(self, axis: int, axes: int) -> tuple[int, int, int, int]:
        windows = self.windows(axes)
        kernel, stride, pad = (windows[key][axis] for key in ("kernel", "stride", "pad"))
        return kernel, stride, pad, windows["dilate"][axis] if "dilate" in windows else 1

    def _check_length(self) -> None:
        kernel, stride, pad, dilation = self._window(0, 1)
        if stride != 1 or 2 * pad != dilation * (kernel - 1):
            raise MismatchError(
                f"over a Sequence of Vectors the length must stay: stride 1 (found {stride}) and an odd kernel with "
                f"padding (kernel - 1) / 2 * dilation (found kernel {kernel}, padding {pad}, dilation {dilation})"
            )

    def _spread(self, field: str, axes: int) -> tuple[int, ...]:
        found: Extent = getattr(self, field)
        if isinstance(found, tuple) and len(found) != axes:
            raise MismatchError(f"{field} {found} has {len(found)} entries, but there are {axes} axes to slide over")
        return _per_axis(found, axes)


def channels_first(symbol: Symbol) -> Symbol:
    """Return ``(batch, t, channels)`` as ``(batch, channels, t)``."""
    return mx.sym.swapaxes(symbol, dim1=1, dim2=2)


def along_steps(port: PortType) -> bool:
    """Tell whether a window slides along the steps of this type."""
    return isinstance(port, Sequence) and len(port.item.shape) == 1


def _slid(extent: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    return (extent + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1


@register
@dataclass(frozen=True, repr=False)
class Convolution(Sliding):
    """Cross-correlation with learned kernels: over the space of ``(channels, *space)``, or along a Sequence of Vectors.

    Along a sequence its length must stay, so stride is 1 and padding half of what an odd kernel covers.
    Arrays: ``Weights (channels, input channels, *kernel)``, ``Biases (channels,)``.

    Args:
        channels: The number of output channels.
        kernel: The window's extent: a number for all axes, or one an axis.
        stride: The window's step, in the same way.
        padding: Zeros added at both ends, in the same way.
        dilation: The distance of the kernel's elements, in the same way.
        biases: Whether to add biases.
        initializers: Initializers by array name.

    Raises:
        ArgumentError: A field is not a positive integer (or a non-negative one, for padding).

    Example:
        >>> Convolution(16, 3, padding=1)
        Convolution(16, 3, padding=1)
    """

    channels: int
    kernel: Extent
    stride: Extent = 1
    padding: Extent = 0
    dilation: Extent = 1
    biases: bool = True
    initializers: Mapping[str, Initializer] = NO_INITIALIZERS

    def __post_init__(self) -> None:
        """Check the fields."""
        check_size(self, "channels")
        for field, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            set_fields(self, **{field: _extent(self, field, least)})
        if not isinstance(self.biases, bool):
            raise ArgumentError(f"Convolution: biases must be True or False, got {self.biases!r}")
        check_initializers(self)

    def windows(self, axes: int) -> dict[str, tuple[int, ...]]:
        """Return the fields for so many axes."""
        fields = {"kernel": "kernel", "stride": "stride", "pad": "padding", "dilate": "dilation"}
        return {key: self._spread(field, axes) for key, field in fields.items()}

    def channels_out(self, channels: int) -> int:
        """Return the channels that were asked for."""
        return self.channels

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return kernels and biases."""
        source = ports.input()
        channels = item_of(source).shape[0]
        kernel = self.windows(1 if along_steps(source) else len(item_of(source).shape) - 1)["kernel"]
        declared = {"Weights": Declared((self.channels, channels, *kernel), Xavier())}
        if self.biases:
            declared["Biases"] = Declared((self.channels,), Zeros())
        return declared

    def slide(self, node: Node, symbol: Symbol, axes: int) -> Symbol:
        """Return one Convolution."""
        arrays = {"weight": node.array("Weights")}
        if self.biases:
            arrays["bias"] = node.array("Biases")
        return mx.sym.Convolution(
            symbol, num_filter=self.channels, no_bias=not self.biases, **self.windows(axes), **arrays
        )


@register
@dataclass(frozen=True, repr=False)
class Pooling(Sliding):
    """The maximum or the mean under a window: over the space of ``(channels, *space)``, or along a Sequence of Vectors.

    A mean counts only elements inside of the input, not the padding; of a tie, the first element gets the gradient.
    Along a sequence its length must stay, so give ``stride=1`` and padding half of an odd kernel.

    Args:
        kernel: The window's extent: a number for all axes, or one an axis.
        function: max or mean.
        stride: The window's step; None: the kernel's extent.
        padding: Elements added at both ends.

    Raises:
        ArgumentError: A field is not a positive integer (or a non-negative one, for padding), or the padding is not
            smaller than the kernel.

    Example:
        >>> Pooling(2)
        Pooling(2)
    """

    kernel: Extent
    function: str = "max"
    stride: Extent | None = None
    padding: Extent = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        check_choice(self, "function", ("max", "mean"))
        for field, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            if field != "stride" or self.stride is not None:
                set_fields(self, **{field: _extent(self, field, least)})
        axes = max(len(found) for found in (self.kernel, self.padding, (0,)) if isinstance(found, tuple))
        if any(pad >= kernel for kernel, pad in zip(_per_axis(self.kernel, axes), _per_axis(self.padding, axes))):
            raise ArgumentError(f"Pooling: padding {self.padding} must be smaller than the kernel {self.kernel}")

    def windows(self, axes: int) -> dict[str, tuple[int, ...]]:
        """Return the fields for so many axes."""
        stride = "kernel" if self.stride is None else "stride"
        return {
            "kernel": self._spread("kernel", axes),
            "stride": self._spread(stride, axes),
            "pad": self._spread("padding", axes),
        }

    def channels_out(self, channels: int) -> int:
        """Keep the channels."""
        return channels

    def slide(self, node: Node, symbol: Symbol, axes: int) -> Symbol:
        """Return one Pooling."""
        kind = {"max": "max", "mean": "avg"}[self.function]
        return mx.sym.Pooling(symbol, pool_type=kind, count_include_pad=False, **self.windows(axes))

    def slide_along(self, node: Node, port: PortType) -> Symbol:
        """Slide along the true steps: windows count nothing beyond the last one."""
        seen = node.step_mask(port)
        if seen is None:
            return super().slide_along(node, port)
        if self.function == "max":
            pooled = self.slide(node, channels_first(node.hide(node.inputs["Input"], port, LOWEST)), 1)
            return channels_first(node.hide(channels_first(pooled), port))
        total, count = (
            mx.sym.Pooling(symbol, pool_type="sum", **self.windows(1))
            for symbol in (channels_first(node.hide(node.inputs["Input"], port)), mx.sym.expand_dims(seen, axis=1))
        )
        return mx.sym.broadcast_div(total, mx.sym.maximum(count, 1.0))
