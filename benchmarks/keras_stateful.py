"""A stateful Keras model and the same net here: same weights, same windows, step by step.

Run as ``python benchmarks/keras_stateful.py [windows]`` where Keras 3 is installed beside this package, on TensorFlow:
``pip install keras "tensorflow-cpu<2.20" "numpy<2"``. (Keras 3.15 does not train stateful layers on its other backends:
on JAX the states stay 0, and on PyTorch the backward pass raises.) An LSTM with ``stateful=True`` and a Dense layer are
trained by SGD on windows that follow one another; in the middle the states are reset. Printed are the largest
deviations of losses, of states after each window, and of the weights at the end.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
ROWS, WINDOW, WIDTH, SIZE, RATE = 8, 12, 3, 16, 0.1


def keras_model() -> Any:
    """Return the model."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(ROWS, WINDOW, WIDTH)),
            keras.layers.LSTM(SIZE, stateful=True, return_sequences=True),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.SGD(RATE), "mse")
    return model


def arrays_of(model: Any) -> dict[str, NDArray[Any]]:
    """Return its weights as ours: transposed, and the one bias of its LSTM as the first of our two."""
    kernel, recurrent, bias, dense, dense_bias = (np.array(array) for array in model.get_weights())
    return {
        "lstm.InputWeights": kernel.T,
        "lstm.StateWeights": recurrent.T,
        "lstm.InputBiases": bias,
        "lstm.StateBiases": np.zeros_like(bias),
        "linear.Weights": dense.T,
        "linear.Biases": dense_bias,
    }


def main(windows: int = 40) -> None:
    """Print a Markdown table."""
    import keras

    model = keras_model()
    net = mxt.NetChain(
        [mxt.LSTM(SIZE), mxt.Linear(2), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(WIDTH))}
    ).with_states()
    trainer = mxt.Trainer(
        mxt.compile_plan(net), mxt.SGD(RATE), ROWS, {"t": WINDOW}, carry=True, arrays=arrays_of(model)
    )
    generator = np.random.default_rng(0)
    worst = {"losses": 0.0, "states": 0.0}
    for window in range(windows):
        x = generator.normal(size=(ROWS, WINDOW, WIDTH)).astype(np.float32)
        y = np.tanh(np.cumsum(x[..., :2], axis=1)).astype(np.float32)
        if window == windows // 2:
            model.layers[0].reset_states()
            trainer.reset()
        loss = float(model.train_on_batch(x, y))
        trainer.update({"Input": x, "Target": y})
        trainer.arrays["lstm.StateBiases"] = np.zeros(4 * SIZE)  # Keras has one bias
        worst["losses"] = max(worst["losses"], abs(loss - trainer.current_loss()["Loss"]))
        for port, state in zip(("lstm.State", "lstm.CellState"), model.layers[0].states):
            ours = np.stack([trainer.state[row][port] for row in range(ROWS)])
            worst["states"] = max(worst["states"], float(np.abs(np.array(state) - ours).max()))
    ours, theirs = trainer.net().arrays, arrays_of(model)
    worst["weights"] = max(float(np.abs(ours[path] - found).max()) for path, found in theirs.items())
    about = f"Keras {keras.__version__} on {keras.backend.backend()}"
    print(f"{about}, {windows} windows, reset before window {windows // 2}.\n")
    print("| largest deviation of |  |\n|---|---|")
    for what, found in worst.items():
        print(f"| {what} | {found:.1e} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
