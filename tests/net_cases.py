"""The nets that several tests of nets describe."""

from __future__ import annotations

import mxtrainer as mxt

TOKENS = mxt.Sequence("t", mxt.Index(11))
VECTORS = mxt.Sequence("t", mxt.Vector(3))


def seed_net() -> mxt.NetGraph:
    """The net of the Q&A that this project starts from."""
    return mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(), "mae": mxt.MeanAbsoluteLoss()},
        [(["Input", "StateIn"], "add", "linear", "mae", "Loss"), ("linear", "StateOut")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    )


def language_model() -> mxt.NetGraph:
    return mxt.NetChain(
        [mxt.Embedding(4), mxt.LSTM(5), mxt.Linear(11), mxt.CrossEntropyLoss("index")], inputs={"Input": TOKENS}
    )


def translator() -> mxt.NetGraph:
    """An encoder whose last state starts a decoder."""
    return mxt.NetGraph(
        {"encoder": mxt.GRU(4), "decoder": mxt.GRU(4), "linear": mxt.Linear(2)},
        [
            ("Source", "encoder"),
            ("encoder.State", "decoder.State"),
            ("Input", "decoder", "linear", "Output"),
        ],
        inputs={"Source": mxt.Sequence("s", mxt.Vector(2)), "Input": mxt.Sequence("t", mxt.Vector(2))},
    )


def nested() -> mxt.NetGraph:
    inner = mxt.NetChain({"gru": mxt.GRU(3), "linear": mxt.Linear(3)})
    middle = mxt.NetChain({"first": inner, "second": inner}, share={"second.linear": "first.linear"})
    return mxt.NetChain(
        {"middle": middle, "last": mxt.SequenceLast(), "loss": mxt.MeanSquaredLoss()}, {"Input": VECTORS}
    )


NETS = [seed_net(), language_model(), translator(), nested(), nested().with_states(), mxt.NetChain([mxt.Linear(3)])]
