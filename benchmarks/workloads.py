"""What the benchmark trains, by name."""

from __future__ import annotations

from typing import Union

from data import character_text
from families import Dense, Images, Language, Series, Signals

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
    Images(
        "conv", "two convolutions of 16 and 32 channels on 28 by 28, batch 64", rows=64, timed=60, extent=28,
        channels=(16, 32),
    ),
    Series("vowels", "LSTM of 64, series of 7 to 26 steps, batch 30", rows=30, timed=90, prepared=9, size=64),
    Language(
        "demo", "the model of `make demo` without dropout: LSTM of 256, 32 steps, batch 16, states carried", rows=16,
        timed=30, steps=32, words=LETTERS, embedding=128, size=256, carried=True,
    ),
)  # fmt: skip
WORKLOADS: dict[str, AnyWorkload] = {workload.name: workload for workload in _ALL}
