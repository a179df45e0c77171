"""A net with a state of its own: it adds what it said last to what it is told now.

"StateOut" is an output of weight 0: it is kept alive, takes no part in the training, and its handle is fed to the next
step as "StateIn". The handle is an array on the device, so nothing is read back in between.

    python examples/toy_state.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt

START = {"linear.Weights": [[0.5]], "linear.Biases": [0.1]}
BATCH_SIZE = 4


def make_plan() -> mxt.Plan:
    """Makes the plan: (Input + StateIn) -> linear -> loss, and what linear gives as StateOut."""
    net = mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(), "mae": mxt.MeanAbsoluteLoss()},
        [(["Input", "StateIn"], "add", "linear", "mae", "Loss"), ("linear", "StateOut")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    return mxt.compile_plan(net, losses={"Loss": 1.0, "StateOut": 0.0})


def make_batches(count: int, seed: int = 0) -> list[dict[str, NDArray[np.float32]]]:
    """Draws inputs; the targets are what a unit of weight 0.9 and bias 0 would say, with its own state."""
    generator = np.random.default_rng(seed)
    state = np.zeros(BATCH_SIZE)
    batches = []
    for _ in range(count):
        inputs = generator.normal(size=BATCH_SIZE)
        state = 0.9 * (inputs + state)
        batches.append({"Input": inputs.astype(np.float32), "Target": state.astype(np.float32)})
    return batches


def train(trainer: mxt.Trainer, batches: list[dict[str, NDArray[np.float32]]]) -> tuple[list[float], NDArray[Any]]:
    """Feeds the state forward by its handle; returns the loss of each step, and the last StateOut."""
    state: Any = np.zeros(BATCH_SIZE, np.float32)
    losses = []
    for batch in batches:
        trainer.update({**batch, "StateIn": state})
        state = trainer.outputs["StateOut"]  # a handle; good as the input of the next step, stale after it
        losses.append(trainer.current_loss()["Loss"])
    return losses, trainer.outputs["StateOut"].asnumpy()


def main() -> None:
    with mxt.Trainer(make_plan(), mxt.SGD(0.01), BATCH_SIZE, arrays=START) as trainer:
        losses, state = train(trainer, make_batches(400))
        print("mean loss of steps   1 to  50:", f"{np.mean(losses[:50]):.4f}")
        print("mean loss of steps 351 to 400:", f"{np.mean(losses[-50:]):.4f}")
        print("weight and bias:", trainer.arrays["linear.Weights"][0, 0], trainer.arrays["linear.Biases"][0])
        print("the last StateOut:", state)


if __name__ == "__main__":
    main()
