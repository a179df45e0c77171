"""The matrix products of layers, forwards and backwards, and the shapes of their arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """A matrix product, ``(m, k)`` by ``(k, n)``, and how often a step needs it."""

    m: int
    k: int
    n: int
    count: int = 1

    @property
    def flops(self) -> int:
        """All multiplications and additions of a step."""
        return 2 * self.m * self.k * self.n * self.count


def linear_products(rows: int, width: int, size: int, first: bool = False) -> Iterator[Product]:
    """Yield those of a linear layer: output, gradient of the weights, and of the input unless it is the data."""
    yield Product(rows, width, size)
    yield Product(size, rows, width)
    if not first:
        yield Product(rows, size, width)


def lstm_products(rows: int, steps: int, width: int, size: int, first: bool = False) -> Iterator[Product]:
    """Yield those of an LSTM: its input all at once, its state step by step; its weights' gradients all at once."""
    yield from linear_products(rows * steps, width, 4 * size, first)
    yield Product(rows, size, 4 * size, steps)
    yield Product(4 * size, rows * steps, size)
    yield Product(rows, 4 * size, size, steps)


def lstm_shapes(name: str, width: int, size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an LSTM's arrays."""
    weights = {f"{name}.InputWeights": (4 * size, width), f"{name}.StateWeights": (4 * size, size)}
    return {**weights, f"{name}.InputBiases": (4 * size,), f"{name}.StateBiases": (4 * size,)}


def linear_shapes(name: str, width: int, *size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a linear layer's arrays; without a size its output is a number."""
    return {f"{name}.Weights": (*(size or (1,)), width), f"{name}.Biases": size or (1,)}


def numbered(name: str, number: int) -> str:
    """Return a layer's name as a chain gives it: "lstm", "lstm_2", ..."""
    return name if number == 1 else f"{name}_{number}"
