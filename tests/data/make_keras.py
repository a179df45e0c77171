"""Writes keras.npz beside this file, with Keras 3.15: weights of small layers, an input and the output of each.

An entry is ``kind/weights/layer/number``, ``kind/input`` or ``kind/output``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, STEPS, WIDTH, SIZE = 2, 4, 3, 2
GENERATOR = np.random.default_rng(0)


def normal(*shape: int) -> NDArray[np.float32]:
    """Draws numbers."""
    return GENERATOR.normal(size=shape).astype(np.float32)


def kinds(layers: Any) -> dict[str, tuple[list[Any], NDArray[Any]]]:
    """Returns each kind's layers, one after the other, and their input."""
    vectors, sequences = normal(ROWS, WIDTH), normal(ROWS, STEPS, WIDTH)
    steps: dict[str, Any] = {"return_sequences": True}
    return {
        "simple_rnn": ([layers.SimpleRNN(SIZE, name="rnn", **steps)], sequences),
        "lstm": ([layers.LSTM(SIZE, name="one", **steps), layers.LSTM(SIZE, name="two", **steps)], sequences),
        "lstm_without_bias": ([layers.LSTM(SIZE, name="rnn", use_bias=False, **steps)], sequences),
        "gru": ([layers.GRU(SIZE, name="rnn", **steps)], sequences),
        "gru_without_bias": ([layers.GRU(SIZE, name="rnn", use_bias=False, **steps)], sequences),
        "gru_reset_before": ([layers.GRU(SIZE, name="rnn", reset_after=False, **steps)], sequences),
        "bidirectional_rnn": ([layers.Bidirectional(layers.SimpleRNN(SIZE, **steps), name="both")], sequences),
        "bidirectional_lstm": ([layers.Bidirectional(layers.LSTM(SIZE, **steps), name="both")], sequences),
        "bidirectional_gru": ([layers.Bidirectional(layers.GRU(SIZE, **steps), name="both")], sequences),
        "dense": ([layers.Dense(SIZE, name="dense")], vectors),
        "dense_without_bias": ([layers.Dense(SIZE, name="dense", use_bias=False)], vectors),
        "embedding": ([layers.Embedding(5, WIDTH, name="embedding")], GENERATOR.integers(5, size=(ROWS, STEPS))),
        "conv_1d": ([layers.Conv1D(SIZE, 3, name="conv", padding="same")], sequences),
        "conv_2d": ([layers.Conv2D(SIZE, (3, 2), name="conv")], normal(ROWS, 4, 4, WIDTH)),
        "batch_norm": ([layers.BatchNormalization(name="norm")], vectors),
        "layer_norm": ([layers.LayerNormalization(name="norm")], vectors),
    }


def main() -> None:
    """Draws all arrays, runs the layers, and writes the file."""
    from keras import layers

    entries = {}
    for kind, (listed, x) in kinds(layers).items():
        entries[f"{kind}/input"] = y = x
        for layer in listed:
            layer.build(np.shape(y))
            low, high = (0.5, 1.5) if "norm" in kind else (-0.5, 0.5)
            drawn = [GENERATOR.uniform(low, high, array.shape).astype(np.float32) for array in layer.get_weights()]
            layer.set_weights(drawn)
            y = np.asarray(layer(y))
            entries.update({f"{kind}/weights/{layer.name}/{number}": array for number, array in enumerate(drawn)})
        entries[f"{kind}/output"] = y
    np.savez_compressed(Path(__file__).with_name("keras.npz"), **entries)


if __name__ == "__main__":
    main()
