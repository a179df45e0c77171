"""The kinds of nets that the benchmark trains: start weights, data and cost of each.

Arrays have this project's names and layouts (gates in the order i, f, g, o); everything comes from seeds. Nothing here
imports a framework.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from costs import Product, linear_products, linear_shapes, lstm_products, lstm_shapes, numbered
from data import Batch, Floats, character_text, drawn_words, labelled, vowels

Arrays = dict[str, Floats]


@dataclass(frozen=True)
class Workload:
    """A net with its data, and how it is trained.

    Attributes:
        name: Its short name.
        about: What it is, for the report.
        rows: The examples of a batch.
        timed: How many steps are timed at once.
        prepared: How many batches take turns.
    """

    name: str
    about: str
    rows: int
    timed: int
    prepared: int = 8

    learning_rate: ClassVar[float] = 1e-3
    epsilon: ClassVar[float] = 1e-14  # frameworks put it in different places; this small, that does not matter
    seed: ClassVar[int] = 0
    checked: ClassVar[int] = 20  # so many steps must agree between frameworks

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays."""
        raise TypeError(f"{type(self).__name__} does not say")

    def products(self) -> list[Product]:
        """Return the matrix products of a step: forward, and backward without the gradient of the data."""
        raise TypeError(f"{type(self).__name__} does not say")

    def batches(self) -> list[Batch]:
        """Return the batches that take turns: Input and Target as numpy arrays."""
        raise TypeError(f"{type(self).__name__} does not say")

    def weights(self) -> Arrays:
        """Return the start weights: uniform, small for wide inputs; no biases of the state, as Keras has none."""
        generator = np.random.default_rng(self.seed)
        found = {}
        for name, shape in self.shapes().items():
            bound = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1
            drawn = generator.uniform(-bound, bound, shape).astype(np.float32)
            found[name] = np.zeros(shape, np.float32) if name.endswith("StateBiases") else drawn
        return found

    @property
    def counted(self) -> int:
        """How many steps `products` counts: all that differ."""
        return 1

    @property
    def gflop(self) -> float:
        """The arithmetic of its matrix products, in 10^9 operations a step."""
        return sum(product.flops for product in self.products()) / 1e9 / self.counted


@dataclass(frozen=True)
class Signals(Workload):
    """An LSTM and a linear unit at every step; squared loss.

    Input ``(rows, steps, width)``, Target ``(rows, steps)``, float32.
    """

    steps: int = 1
    width: int = 1
    size: int = 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays."""
        return {**lstm_shapes("lstm", self.width, self.size), **linear_shapes("linear", self.size)}

    def products(self) -> list[Product]:
        """Return the matrix products of a step."""
        lstm = lstm_products(self.rows, self.steps, self.width, self.size, first=True)
        return [*lstm, *linear_products(self.rows * self.steps, self.size, 1)]

    def batches(self) -> list[Batch]:
        """Return noise, and what becomes of its sum."""
        generator = np.random.default_rng(self.seed)
        shape = self.prepared, self.rows, self.steps, self.width
        data = generator.standard_normal(shape).astype(np.float32)
        targets = np.tanh(np.cumsum(data.mean(axis=-1), axis=-1)).astype(np.float32)
        return [{"Input": one, "Target": target} for one, target in zip(data, targets)]


@dataclass(frozen=True)
class Language(Workload):
    """A language model: embedding, LSTMs, a score for every word; mean cross-entropy over all steps.

    Input and Target ``(rows, steps)``, int32. With ``carried``, states go on from batch to batch.
    """

    steps: int = 1
    words: int = 2
    embedding: int = 1
    size: int = 1
    layers: int = 1
    carried: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays."""
        found: dict[str, tuple[int, ...]] = {"embedding.Weights": (self.words, self.embedding)}
        for layer in range(1, self.layers + 1):
            found.update(lstm_shapes(numbered("lstm", layer), self.embedding if layer == 1 else self.size, self.size))
        return {**found, **linear_shapes("linear", self.size, self.words)}

    def products(self) -> list[Product]:
        """Return the matrix products of a step; the embedding has none."""
        widths = [self.embedding] + [self.size] * (self.layers - 1)
        lstms = [product for width in widths for product in lstm_products(self.rows, self.steps, width, self.size)]
        return [*lstms, *linear_products(self.rows * self.steps, self.size, self.words)]

    def batches(self) -> list[Batch]:
        """Return windows of lanes of the text, which follow one another; words are drawn where there are many."""
        text = character_text() if self.words < 256 else drawn_words(self.words, self.seed)
        count = self.rows * self.prepared * self.steps
        lanes = [text[offset : offset + count].reshape(self.rows, -1) for offset in (0, 1)]
        windows = [np.split(lane, self.prepared, axis=1) for lane in lanes]
        return [{"Input": one, "Target": target} for one, target in zip(*windows)]


@dataclass(frozen=True)
class Dense(Workload):
    """Linear layers with relu between; cross-entropy. Input ``(rows, widths[0])`` float32, Target ``(rows,)`` int32."""

    checked: ClassVar[int] = 2  # after that, rounding decides on which side of a relu's kink some example lies

    widths: tuple[int, ...] = (2, 2)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays."""
        found: dict[str, tuple[int, ...]] = {}
        for number, (width, size) in enumerate(zip(self.widths, self.widths[1:]), 1):
            found.update(linear_shapes(numbered("linear", number), width, size))
        return found

    def products(self) -> list[Product]:
        """Return the matrix products of a step."""
        pairs = enumerate(zip(self.widths, self.widths[1:]))
        return [p for number, pair in pairs for p in linear_products(self.rows, *pair, first=number == 0)]

    def batches(self) -> list[Batch]:
        """Return noise with labels."""
        return labelled(self.prepared, (self.rows, self.widths[0]), self.widths[-1], self.seed)


@dataclass(frozen=True)
class Images(Workload):
    """Convolutions of 3 by 3 with relu and maxima of 2 by 2, then a linear layer; cross-entropy.

    Input ``(rows, 1, extent, extent)`` float32, Target ``(rows,)`` int32.
    """

    checked: ClassVar[int] = 2  # after that, rounding decides on which side of a relu's kink some example lies

    extent: int = 8
    channels: tuple[int, ...] = (1,)
    classes: int = 10

    @property
    def features(self) -> int:
        """How many numbers reach the linear layer."""
        return int(self.channels[-1] * (self.extent // 2 ** len(self.channels)) ** 2)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays."""
        found: dict[str, tuple[int, ...]] = {}
        for number, (before, after) in enumerate(zip((1, *self.channels), self.channels), 1):
            name = numbered("convolution", number)
            found.update({f"{name}.Weights": (after, before, 3, 3), f"{name}.Biases": (after,)})
        return {**found, **linear_shapes("linear", self.features, self.classes)}

    def products(self) -> list[Product]:
        """Return the matrix products of a step, a convolution as the product with its unfolded input."""
        found: list[Product] = []
        for number, (before, after) in enumerate(zip((1, *self.channels), self.channels)):
            pixels = self.rows * (self.extent // 2**number) ** 2
            found += linear_products(pixels, 9 * before, after, first=number == 0)
        return [*found, *linear_products(self.rows, self.features, self.classes)]

    def batches(self) -> list[Batch]:
        """Return noise with labels."""
        return labelled(self.prepared, (self.rows, 1, self.extent, self.extent), self.classes, self.seed)


@dataclass(frozen=True)
class Series(Workload):
    """Series of different lengths: an LSTM, the mean over the true steps, a linear layer; cross-entropy.

    Input is a list of ``(t, width)`` float32, Target ``(rows,)`` int32. A batch has series of similar length.
    """

    width: int = 12
    size: int = 1
    classes: int = 9
    multiple: int = 4

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all arrays."""
        return {**lstm_shapes("lstm", self.width, self.size), **linear_shapes("linear", self.size, self.classes)}

    def bucket(self, batch: Batch) -> int:
        """Return the steps to which a batch is padded."""
        return -(-max(map(len, batch["Input"])) // self.multiple) * self.multiple

    def padded(self, batch: Batch) -> tuple[Floats, Floats]:
        """Return the series padded, ``(rows, steps, width)``, and each step's weight in the mean, 0 over padding."""
        series, steps = batch["Input"], self.bucket(batch)
        data = np.zeros((self.rows, steps, self.width), np.float32)
        weights = np.zeros((self.rows, steps), np.float32)
        for row, one in enumerate(series):
            data[row, : len(one)] = one
            weights[row, : len(one)] = 1 / len(one)
        return data, weights

    @property
    def counted(self) -> int:
        """Batches differ in length, so all are counted."""
        return self.prepared

    def products(self) -> list[Product]:
        """Return the matrix products of all batches, padding included."""
        found: list[Product] = []
        for batch in self.batches():
            found += lstm_products(self.rows, self.bucket(batch), self.width, self.size, first=True)
            found += linear_products(self.rows, self.size, self.classes)
        return found

    def batches(self) -> list[Batch]:
        """Return the training series of the vowels, standardized, in the order of their lengths."""
        series, speakers = vowels(self.rows * self.prepared)
        order = np.argsort([len(one) for one in series], kind="stable").reshape(self.prepared, self.rows)
        return [{"Input": [series[row] for row in rows], "Target": speakers[rows]} for rows in order]
