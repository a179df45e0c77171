"""What the tests of plans compile: a plan with a bit of everything, and chains."""

from __future__ import annotations

from typing import Any

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

BUILD = """
import mxtrainer as mxt

def build():
    body = mxt.NetChain(
        [mxt.LSTM(5), mxt.BatchNorm(), mxt.Dropout(0.25),
         mxt.Linear(11, initializers={"Biases": mxt.initializers.Ones()})]
    )
    net = mxt.NetGraph(
        {"embedding": mxt.Embedding(5), "body": body, "loss": mxt.CrossEntropyLoss("index"), "rate": mxt.ErrorRate()},
        [("Input", "embedding", "body", "loss", "Loss"), ("body", "rate", "ErrorRate"), ("Target", "rate.Target"),
         ("Target", "loss.Target"), ("body", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(11))},
        share={"body.linear.Weights": "embedding.Weights"},
    )
    return mxt.compile_plan(net.with_states(), {"Output": 0.0}, example_weights={"Loss": "Weight"})
"""
SPACE: dict[str, Any] = {}
exec(BUILD, SPACE)  # noqa: S102 - the same source runs in another process in test_plan.py


def full_plan() -> mxt.Plan:
    plan = SPACE["build"]()
    assert isinstance(plan, mxt.Plan)
    return plan


def chain_plan(*layers: Layer, **options: Any) -> mxt.Plan:
    inputs = options.pop("inputs", {"Input": mxt.Vector(3)})
    return mxt.compile_plan(mxt.NetChain(list(layers), inputs=inputs), **options)
