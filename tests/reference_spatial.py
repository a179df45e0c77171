"""Oracles of Convolution and Pooling, for any number of space axes."""

# ruff: noqa: ARG001 - every oracle takes the same arguments, so that one table can call them all

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Union

import numpy as np
from reference_core import Arrays, Gradients, Real, Result, head, leading, merged

Numbers = tuple[int, ...]
Extent = Union[int, tuple[int, ...]]
Index = tuple[Any, ...]


class Grid(NamedTuple):
    """Where a window goes: one number for each space axis, `pads` the elements before and after."""

    kernel: Numbers
    stride: Numbers
    dilation: Numbers
    pads: tuple[tuple[int, int], ...]


def _each(extent: Extent, count: int) -> Numbers:
    return (extent,) * count if isinstance(extent, int) else tuple(extent)


def _grid(count: int, kernel: Extent, stride: Extent, padding: Extent, dilation: Extent = 1) -> Grid:
    pads = tuple((pad, pad) for pad in _each(padding, count))
    return Grid(_each(kernel, count), _each(stride, count), _each(dilation, count), pads)


def _same_length(kernel: Extent, stride: Extent, padding: Extent, dilation: Extent = 1) -> Grid:
    """Return the grid along t that keeps the length; an even kernel gets its odd element at the end."""
    plain = _grid(1, kernel, stride, padding, dilation)
    total = plain.dilation[0] * (plain.kernel[0] - 1)
    pads = (total // 2, total - total // 2)
    if plain.stride != (1,) or plain.pads not in (((0, 0),), (pads,)):
        raise ValueError(f"along t the length is kept: stride 1 and no padding, not {stride} and {padding}")
    return plain._replace(pads=(pads,))


def _places(grid: Grid, space: Numbers) -> Numbers:
    """Return how many places the window has on each axis, rounded down."""
    spans = [d * (k - 1) + 1 for d, k in zip(grid.dilation, grid.kernel)]
    return tuple((n + sum(pad) - span) // s + 1 for n, pad, span, s in zip(space, grid.pads, spans, grid.stride))


def _taps(grid: Grid, space: Numbers) -> Iterator[tuple[Numbers, Index]]:
    """Give each kernel element with the index of what it meets in the padded array, over all places."""
    places = _places(grid, space)
    for tap in np.ndindex(*grid.kernel):
        starts = [k * d for k, d in zip(tap, grid.dilation)]
        index = tuple(slice(a, a + (m - 1) * s + 1, s) for a, m, s in zip(starts, places, grid.stride))
        yield tap, (Ellipsis, *index)


def _padded(images: Real, grid: Grid, fill: float) -> Real:
    return np.pad(images, ((0, 0), (0, 0), *grid.pads), constant_values=fill)


def _cropped(padded: Real, grid: Grid, space: Numbers) -> Real:
    inner: Index = (Ellipsis, *(slice(before, before + n) for (before, _), n in zip(grid.pads, space)))
    cropped: Real = padded[inner]
    return cropped


def _is_along_steps(x: Real, sequence: bool) -> bool:
    return sequence and x.ndim == 3


def _images(x: Real, sequence: bool) -> Real:
    """Return (images, channels, *space): t is the space axis of a Sequence of Vectors."""
    return np.moveaxis(x, -1, 1) if _is_along_steps(x, sequence) else merged(x, sequence)


def _like_input(images: Real, x: Real, sequence: bool) -> Real:
    if _is_along_steps(x, sequence):
        return np.moveaxis(images, 1, -1)
    return images.reshape(*x.shape[: leading(sequence)], *images.shape[1:])


def _at(weights: Real, tap: Numbers) -> Real:
    """Return the weights (channels, cin) of one kernel element."""
    index: Index = (Ellipsis, *tap)
    chosen: Real = weights[index]
    return chosen


def _convolve(images: Real, weights: Real, grid: Grid) -> Real:
    space = images.shape[2:]
    padded = _padded(images, grid, 0.0)
    y = np.zeros((len(images), len(weights), *_places(grid, space)))
    for tap, index in _taps(grid, space):
        y += np.einsum("nc...,oc->no...", padded[index], _at(weights, tap))
    return y


def _convolve_backward(images: Real, weights: Real, grid: Grid, gradient: Real) -> tuple[Real, Real]:
    """Return the gradients of the images and of the weights."""
    space = images.shape[2:]
    padded = _padded(images, grid, 0.0)
    d_padded, d_weights = np.zeros(padded.shape), np.zeros(weights.shape)
    flat = gradient.reshape(*gradient.shape[:2], -1)
    for tap, index in _taps(grid, space):
        met = padded[index].reshape(*padded.shape[:2], -1)
        _at(d_weights, tap)[...] = np.einsum("nos,ncs->oc", flat, met)
        d_padded[index] += np.einsum("no...,oc->nc...", gradient, _at(weights, tap))
    return _cropped(d_padded, grid, space), d_weights


def _per_channel(x: Real, ndim: int) -> Real:
    return x.reshape(-1, *(1,) * (ndim - 2))


def convolution(
    inputs: Arrays,
    arrays: Arrays,
    *,
    sequence: bool = False,
    channels: int,
    kernel: Extent,
    stride: Extent = 1,
    padding: Extent = 0,
    dilation: Extent = 1,
    biases: bool = True,
) -> Result:
    """Cross-correlate: items (cin, *space) each by itself, a Sequence of Vectors along t with its length kept."""
    x = inputs["Input"]
    images = _images(x, sequence)
    keeps = _is_along_steps(x, sequence)
    grid = (
        _same_length(kernel, stride, padding, dilation)
        if keeps
        else _grid(images.ndim - 2, kernel, stride, padding, dilation)
    )
    weights = arrays["Weights"].reshape(channels, images.shape[1], *grid.kernel)
    y = _convolve(images, weights, grid)
    if biases:
        y = y + _per_channel(arrays["Biases"], y.ndim)

    def backward(heads: Arrays) -> Gradients:
        gradient = _images(head(heads, "Output", output), sequence)
        d_images, d_weights = _convolve_backward(images, weights, grid, gradient)
        slopes = {"Weights": d_weights.reshape(arrays["Weights"].shape)}
        if biases:
            slopes["Biases"] = gradient.reshape(*gradient.shape[:2], -1).sum(axis=(0, 2))
        return Gradients({"Input": _like_input(d_images, x, sequence)}, slopes)

    output = _like_input(y, x, sequence)
    return Result({"Output": output}, backward)


def _shares(function: str, images: Real, grid: Grid) -> list[Real]:
    """Return for each kernel element the share of its window's output that goes to it."""
    space = images.shape[2:]
    if function == "max":
        padded = _padded(images, grid, -np.inf)
        winner = np.argmax([padded[index] for _, index in _taps(grid, space)], axis=0)
        return [np.where(winner == i, 1.0, 0.0) for i in range(int(np.prod(grid.kernel)))]
    if function == "mean":
        inside = _padded(np.ones(images.shape), grid, 0.0)
        counted = [inside[index] for _, index in _taps(grid, space)]
        return [share / np.sum(counted, axis=0) for share in counted]
    raise ValueError(f"Pooling has no function {function!r}; it has max and mean")


def pooling(
    inputs: Arrays,
    arrays: Arrays,
    *,
    sequence: bool = False,
    kernel: Extent,
    function: str = "max",
    stride: Extent | None = None,
    padding: Extent = 0,
) -> Result:
    """Take the maximum (the first of a tie) or the mean of each window; only elements of the input count."""
    x = inputs["Input"]
    images = _images(x, sequence)
    if _is_along_steps(x, sequence):
        grid = _same_length(kernel, 1 if stride is None else stride, padding)
    else:
        grid = _grid(images.ndim - 2, kernel, kernel if stride is None else stride, padding)
    shares, taps = _shares(function, images, grid), list(_taps(grid, images.shape[2:]))
    # Zeros are right for the maximum too: what lies outside never has a share.
    padded = _padded(images, grid, 0.0)
    y = np.sum([share * padded[index] for share, (_, index) in zip(shares, taps)], axis=0)
    output = _like_input(y, x, sequence)

    def backward(heads: Arrays) -> Gradients:
        gradient = _images(head(heads, "Output", output), sequence)
        d_padded = np.zeros(padded.shape)
        for share, (_, index) in zip(shares, taps):
            d_padded[index] += share * gradient
        return Gradients({"Input": _like_input(_cropped(d_padded, grid, images.shape[2:]), x, sequence)}, {})

    return Result({"Output": output}, backward)
