"""Start values of arrays, each a function of (seed, path, shape) alone, whatever is built before it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number
from ..arrays import ArraySpec
from ..errors import ArgumentError
from ..values import Value, register


class Initializer(Value):
    """The base of all initializers: a value object that draws an array."""

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return a start value of this shape, drawn from the generator."""
        raise TypeError(f"{type(self).__name__} does not define draw(generator, shape)")


def initial_value(spec: ArraySpec, seed: int) -> NDArray[Any]:
    """Return the start value of an array: the same for the same (seed, path, shape).

    Returns:
        ``spec.shape`` of ``spec.dtype``.

    Example:
        >>> initial_value(ArraySpec("linear.Biases", (2,), "float32", Zeros()), seed=0)
        array([0., 0.], dtype=float32)
    """
    digest = hashlib.sha256(f"{seed}\n{spec.path}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return spec.initializer.draw(generator, spec.shape).astype(spec.dtype)  # type: ignore[no-any-return]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of inputs and outputs of a weight ``(output, input, *kernel)``."""
    kernel = int(np.prod(shape[2:], dtype=np.int64))
    outputs = shape[0] if shape else 1
    inputs = shape[1] if len(shape) > 1 else 1
    return inputs * kernel, outputs * kernel


@register
@dataclass(frozen=True, repr=False)
class Zeros(Initializer):
    """All zeros; the default of biases."""

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return zeros."""
        return np.zeros(shape)


@register
@dataclass(frozen=True, repr=False)
class Ones(Initializer):
    """All ones; the default of scalings."""

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return ones."""
        return np.ones(shape)


@register
@dataclass(frozen=True, repr=False)
class Constant(Initializer):
    """All the same number.

    Args:
        number: The number.
    """

    number: float

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "number", real_number(self.number, "Constant: number"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the number everywhere."""
        return np.full(shape, self.number)


@register
@dataclass(frozen=True, repr=False)
class Normal(Initializer):
    """A normal distribution around 0.

    Args:
        deviation: The standard deviation.
    """

    deviation: float = 0.01

    def __post_init__(self) -> None:
        """Check the deviation."""
        object.__setattr__(self, "deviation", _spread(self.deviation, "Normal: deviation"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return normal numbers."""
        return generator.normal(0.0, self.deviation, shape)


@register
@dataclass(frozen=True, repr=False)
class Uniform(Initializer):
    """A uniform distribution over ``[-limit, limit)``.

    Args:
        limit: The largest magnitude.
    """

    limit: float = 0.05

    def __post_init__(self) -> None:
        """Check the limit."""
        object.__setattr__(self, "limit", _spread(self.limit, "Uniform: limit"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return uniform numbers."""
        return generator.uniform(-self.limit, self.limit, shape)


@register
@dataclass(frozen=True, repr=False)
class Xavier(Initializer):
    """Uniform over ``±gain * sqrt(6 / (inputs + outputs))``; the default of weights.

    Args:
        gain: A factor, 1 by default.

    Reference: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        """Check the gain."""
        object.__setattr__(self, "gain", _spread(self.gain, "Xavier: gain"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return uniform numbers scaled by both fans."""
        limit = self.gain * np.sqrt(6.0 / sum(fans(shape)))
        return generator.uniform(-limit, limit, shape)


@register
@dataclass(frozen=True, repr=False)
class Kaiming(Initializer):
    """Normal with deviation ``gain * sqrt(2 / inputs)``, for weights before a rectifier.

    Args:
        gain: A factor, 1 by default.

    Reference: He et al. 2015, "Delving deep into rectifiers".
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        """Check the gain."""
        object.__setattr__(self, "gain", _spread(self.gain, "Kaiming: gain"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return normal numbers scaled by the inputs."""
        return generator.normal(0.0, self.gain * np.sqrt(2.0 / fans(shape)[0]), shape)


@register
@dataclass(frozen=True, repr=False)
class Orthogonal(Initializer):
    """Orthogonal rows or columns, in square blocks where the rows are a multiple of the columns (gates).

    Args:
        gain: A factor, 1 by default.

    Reference: Saxe et al. 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear networks".
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        """Check the gain."""
        object.__setattr__(self, "gain", _spread(self.gain, "Orthogonal: gain"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the orthogonal factor of normal numbers, block by block."""
        if len(shape) < 2:
            raise ArgumentError(f"Orthogonal: needs an array of two or more axes, got shape {shape}")
        rows, columns = shape[0], int(np.prod(shape[1:], dtype=np.int64))
        blocks = rows // columns if rows % columns == 0 else 1
        drawn = [_orthogonal(generator, rows // blocks, columns) for _ in range(blocks)]
        return self.gain * np.concatenate(drawn).reshape(shape)


@register
@dataclass(frozen=True, repr=False)
class ForgetBias(Initializer):
    """Zeros, with a constant in the forget gate of an LSTM's biases (gates i, f, g, o).

    Args:
        number: The forget gate's bias; 1 lets a fresh net remember.

    Reference: Jozefowicz et al. 2015, "An empirical exploration of recurrent network architectures".
    """

    number: float = 1.0

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "number", real_number(self.number, "ForgetBias: number"))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return zeros with the number in the second quarter."""
        if len(shape) != 1 or shape[0] % 4:
            raise ArgumentError(f"ForgetBias: is for the biases of an LSTM, shape (4 * size,), got shape {shape}")
        biases = np.zeros((4, shape[0] // 4))
        biases[1] = self.number
        return biases.reshape(shape)


def _spread(number: object, what: str) -> float:
    spread = real_number(number, what)
    if spread < 0:
        raise ArgumentError(f"{what} must not be negative, got {number!r}")
    return spread


def _orthogonal(generator: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    tall = generator.normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))  # makes the distribution uniform over the orthogonal matrices
    return np.asarray(q if rows >= columns else q.T)
