"""The smallest training there is: one linear unit, four examples, and the loss of every step.

The numbers to compare with are those of a Q&A about recurrent nets with state, in which a trainer of this shape was
first shown at work: the sum of the squared errors before updates 50 to 79, printed there to four decimals or so.

    python examples/linear.py
"""

from __future__ import annotations

import mxtrainer as mxt

INPUTS = [1.0, 2.0, 3.0, 4.0]
TARGETS = [1.9, 4.1, 6.0, 8.1]
START = {"linear.Weights": [[1.21544]], "linear.Biases": [0.0]}
FIRST_STEP = 50
EXPECTED = [
    16.3051, 16.2481, 16.1912, 16.1344, 16.0778, 16.0214, 15.9651, 15.909, 15.853, 15.7971,
    15.7414, 15.6858, 15.6303, 15.575, 15.52, 15.4651, 15.4103, 15.3557, 15.3011, 15.2467,
    15.1926, 15.1385, 15.0846, 15.0308, 14.9771, 14.9237, 14.8704, 14.8171, 14.7642, 14.7113,
]  # fmt: skip


def make_trainer() -> mxt.Trainer:
    """Makes a trainer of one linear unit that starts where the dialogue's did."""
    net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
    return mxt.Trainer(mxt.compile_plan(net), mxt.Adam(learning_rate=1e-3), batch_size=4, arrays=START)


def run(trainer: mxt.Trainer) -> list[float]:
    """Trains up to update 79; returns the summed loss before each update from 50 on."""
    losses = []
    for _ in range(FIRST_STEP + len(EXPECTED) - 1):
        step = trainer.update({"Input": INPUTS, "Target": TARGETS})  # queued, returns at once
        if step >= FIRST_STEP:
            losses.append(trainer.current_loss(reduction="sum")["Loss"])  # waits for the step
    return losses


def largest_deviation(losses: list[float]) -> float:
    """Returns how far the losses are from the numbers of the dialogue, at most."""
    return max(abs(found - expected) for found, expected in zip(losses, EXPECTED))


def main() -> None:
    with make_trainer() as trainer:
        print(trainer.plan)
        losses = run(trainer)
        print("\nstep  sum of squares  in the dialogue")
        for number, (found, expected) in enumerate(zip(losses, EXPECTED)):
            print(f"{FIRST_STEP + number:4}  {found:14.4f}  {expected:15.4f}")
        print(f"largest deviation: {largest_deviation(losses):.1e}")
        print(f"weight {trainer.arrays['linear.Weights'][0, 0]:.4f}, bias {trainer.arrays['linear.Biases'][0]:.4f}")


if __name__ == "__main__":
    main()
