"""What the benchmark trains: nets in words that every framework can follow, their start weights, data and cost.

Arrays have this project's names and layouts (gates in the order i, f, g, o); everything comes from seeds. Nothing here
imports a framework.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, ClassVar, Union

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Arrays = dict[str, Floats]
Batch = dict[str, Any]

VOWELS = Path(__file__).resolve().parents[1] / "examples" / "data" / "japanese_vowels.npz"


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
        raise NotImplementedError

    def products(self) -> list[Product]:
        """Return the matrix products of a step: forward, and backward without the gradient of the data."""
        raise NotImplementedError

    def batches(self) -> list[Batch]:
        """Return the batches that take turns: Input and Target as numpy arrays."""
        raise NotImplementedError

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


def character_text() -> NDArray[np.int32]:
    """Return the text of the demo: Python's own documentation, each character as its place in the alphabet."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return np.unique(list(text), return_inverse=True)[1].astype(np.int32)


def drawn_words(words: int, seed: int) -> NDArray[np.int32]:
    """Return words as often as words are: the k-th in proportion to 1/k."""
    frequency = 1 / np.arange(1, words + 1)
    generator = np.random.default_rng(seed)
    return generator.choice(words, 10_000, p=frequency / frequency.sum()).astype(np.int32)


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
        return labelled(self, (self.widths[0],), self.widths[-1])


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
        return labelled(self, (1, self.extent, self.extent), self.classes)


def labelled(workload: Workload, shape: tuple[int, ...], classes: int) -> list[Batch]:
    """Return batches of noise with drawn labels."""
    generator = np.random.default_rng(workload.seed)
    found = []
    for _ in range(workload.prepared):
        data = generator.standard_normal((workload.rows, *shape)).astype(np.float32)
        found.append({"Input": data, "Target": generator.integers(0, classes, workload.rows).astype(np.int32)})
    return found


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
        """Return the series padded, ``(rows, steps, width)``, and the weight of each step in the mean, 0 over padding."""
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
        with np.load(VOWELS) as file:
            series = np.split(file["values"], np.cumsum(file["lengths"])[:-1])[: self.rows * self.prepared]
            speakers = file["speakers"][: self.rows * self.prepared]
        steps = np.concatenate(series)
        series = [((one - steps.mean(axis=0)) / steps.std(axis=0)).astype(np.float32) for one in series]
        order = np.argsort([len(one) for one in series], kind="stable").reshape(self.prepared, self.rows)
        return [
            {"Input": [series[row] for row in rows], "Target": speakers[rows].astype(np.int32)} for rows in order
        ]


AnyWorkload = Union[Signals, Language, Dense, Images, Series]
LETTERS = int(character_text().max()) + 1
_ALL: tuple[AnyWorkload, ...] = (
    Signals("tiny", "LSTM of 2, 5 steps, batch 1", rows=1, timed=1000, steps=5, width=1, size=2),
    Signals("mid", "LSTM of 128, 64 steps, batch 32", rows=32, timed=40, steps=64, width=8, size=128),
    Language(
        "ptb", "2 LSTMs of 200, 10,000 words, 35 steps, batch 20", rows=20, timed=8, steps=35, words=10_000,
        embedding=200, size=200, layers=2,
    ),
    Dense("mlp", "784-512-512-10, batch 128", rows=128, timed=150, widths=(784, 512, 512, 10)),
    Images("conv", "two convolutions of 16 and 32 channels on 28 by 28, batch 64", rows=64, timed=60, extent=28, channels=(16, 32)),
    Series("vowels", "LSTM of 64, series of 7 to 26 steps, batch 30", rows=30, timed=90, prepared=9, size=64),
    Language(
        "demo", "the model of `make demo` without dropout: LSTM of 256, 32 steps, batch 16, states carried", rows=16,
        timed=30, steps=32, words=LETTERS, embedding=128, size=256, carried=True,
    ),
)  # fmt: skip
WORKLOADS: dict[str, AnyWorkload] = {workload.name: workload for workload in _ALL}
