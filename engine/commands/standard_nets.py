"""Nets to time a machine with, where no plan is given: those of the benchmarks of the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...plans.compile import compile_plan
from ...plans.layers import LSTM, CrossEntropyLoss, Embedding, Linear, MeanSquaredLoss
from ...plans.net import NetChain
from ...plans.plan import Plan
from ...plans.types import Index, Sequence, Vector


class StandardNet(NamedTuple):
    """A net and the size of its batches.

    Attributes:
        make: Returns its plan.
        rows: The batch size.
        lengths: The number of steps.
    """

    make: Callable[[], Plan]
    rows: int
    lengths: Mapping[str, int]


def _signals(width: int, size: int) -> Plan:
    layers = [LSTM(size), Linear(()), MeanSquaredLoss()]
    return compile_plan(NetChain(layers, inputs={"Input": Sequence("t", Vector(width))}))


def _language(words: int, size: int) -> Plan:
    layers = [Embedding(size), LSTM(size), LSTM(size), Linear(words), CrossEntropyLoss("index")]
    return compile_plan(NetChain(layers, inputs={"Input": Sequence("t", Index(words))}))


STANDARD: Mapping[str, StandardNet] = {
    "tiny": StandardNet(lambda: _signals(1, 2), 1, {"t": 5}),
    "mid": StandardNet(lambda: _signals(8, 128), 32, {"t": 64}),
    "ptb": StandardNet(lambda: _language(10_000, 200), 20, {"t": 35}),
}
