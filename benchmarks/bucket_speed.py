"""Batches in buckets against other ways to train on sequences of different lengths, in one run.

Run: python benchmarks/bucket_speed.py

The net is an LSTM of 64 units, the mean over its steps, and a linear classifier, trained by Adam on batches of 32. The
ways take turns, round by round:

- buckets: six fitted buckets, batches of examples of similar length
- longest: every batch padded to the longest of all
- exact: batches of examples of similar length, each padded to its own longest
- BucketingModule: MXNet's own, in the same buckets and batches; its LSTM runs over padding, so its results differ
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.tables import table

ROWS, UNITS, CLASSES, ROUNDS = 32, 64, 9, 5
VOWELS = Path(__file__).parent.parent / "examples" / "data" / "japanese_vowels.npz"

Data = dict[str, Any]


def skewed(count: int = 960, channels: int = 12) -> Data:
    """Return series of which most are short and few are long, as lengths of text are."""
    generator = np.random.default_rng(0)
    lengths = np.clip(np.exp(generator.normal(3.2, 0.8, count)), 4, 240).astype(int)
    series = [generator.standard_normal((length, channels)).astype("float32") for length in lengths]
    return {"Input": series, "Target": generator.integers(0, CLASSES, count)}


def vowels() -> Data:
    """Return the training series of the vowels, four times over, so that a round is long enough to time."""
    with np.load(VOWELS) as found:
        values, lengths, speakers = (found[name] for name in ("values", "lengths", "speakers"))
    series = np.split(values.astype("float32"), np.cumsum(lengths)[:-1])[:270]
    return {"Input": series * 4, "Target": np.tile(speakers[:270], 4)}


def plan(channels: int) -> mxt.Plan:
    """Return the net, compiled."""
    layers = [mxt.LSTM(UNITS), mxt.Aggregate("mean"), mxt.Linear(CLASSES), mxt.CrossEntropyLoss("index")]
    return mxt.compile_plan(mxt.NetChain(layers, inputs={"Input": mxt.Sequence("t", mxt.Vector(channels))}))


def trained(trainer: mxt.Trainer, batches: mxt.Batches) -> Callable[[], None]:
    """Return what trains one round."""

    def one_round() -> None:
        for batch in batches:
            trainer.update(batch)
        trainer.current_loss()

    return one_round


def module(channels: int, buckets: list[int], batches: mxt.Batches) -> Callable[[], None]:
    """Return what trains one round with MXNet's BucketingModule."""

    def graph(_: int) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
        data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
        states = {name: mx.sym.zeros(shape=(1, 0, UNITS)) for name in ("state", "state_cell")}
        packed = mx.sym.var("lstm_parameters", init=mx.init.Uniform(0.1))
        steps = mx.sym.swapaxes(data, dim1=0, dim2=1)
        output = mx.sym.RNN(steps, packed, state_size=UNITS, num_layers=1, mode="lstm", **states)
        logits = mx.sym.FullyConnected(mx.sym.mean(output, axis=0), num_hidden=CLASSES)
        return mx.sym.SoftmaxOutput(logits, label, name="softmax"), ("data",), ("softmax_label",)

    found = mx.mod.BucketingModule(graph, default_bucket_key=buckets[-1], context=mx.cpu())
    shapes = [("data", (ROWS, buckets[-1], channels))], [("softmax_label", (ROWS,))]
    found.bind(*shapes)
    found.init_params(mx.init.Uniform(0.1))
    found.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 1e-3})

    def padded(batch: mxt.Batch) -> tuple[int, NDArray[np.float32], NDArray[Any]]:
        steps = next(bucket for bucket in buckets if bucket >= max(map(len, batch["Input"])))
        data = np.zeros((ROWS, steps, channels), np.float32)
        for row, series in enumerate(batch["Input"]):
            data[row, : len(series)] = series
        return steps, data, np.resize(batch["Target"], ROWS)

    def one_round() -> None:
        for batch in batches:
            steps, data, label = padded(batch)
            found.forward_backward(
                mx.io.DataBatch(
                    data=[mx.nd.array(data)], label=[mx.nd.array(label)], bucket_key=steps,
                    provide_data=[("data", data.shape)], provide_label=[("softmax_label", (ROWS,))],
                )
            )  # fmt: skip
            found.update()
        mx.nd.waitall()

    return one_round


def ways(data: Data) -> dict[str, Callable[[], None]]:
    """Return the ways to train one round."""
    lengths, channels = [len(series) for series in data["Input"]], data["Input"][0].shape[1]
    fitted = mxt.buckets.fit(lengths, max_buckets=6)
    bounds = list(fitted.steps)
    print(f"buckets {bounds}: padding {fitted.waste_before:.1%} in one, {fitted.waste_after:.1%} in six")
    compiled = plan(channels)
    similar = mxt.Batches(data, ROWS, buckets=fitted)
    anyhow = mxt.Batches(data, ROWS, buckets=mxt.buckets.Fixed([max(lengths)]))
    return {
        "buckets": trained(mxt.Trainer(compiled, mxt.Adam(), ROWS, buckets=fitted), similar),
        "longest": trained(mxt.Trainer(compiled, mxt.Adam(), ROWS, lengths={"t": max(lengths)}), anyhow),
        "exact": trained(mxt.Trainer(compiled, mxt.Adam(), ROWS), mxt.Batches(data, ROWS)),
        "BucketingModule": module(channels, bounds, mxt.Batches(data, ROWS, buckets=fitted)),
    }


def main() -> None:
    """Print one table a data set."""
    for name, data in (("vowels", vowels()), ("skewed lengths", skewed())):
        found = ways(data)
        seconds: dict[str, list[float]] = {way: [] for way in found}
        for _ in range(ROUNDS + 1):
            for way, one_round in found.items():
                begin = time.perf_counter()
                one_round()
                seconds[way].append(time.perf_counter() - begin)
        count = len(data["Target"])
        rows = []
        for way, times in seconds.items():
            rows.append([way, f"{times[0]:.2f}", f"{count / statistics.median(times[1:]):,.0f}"])
        print(table([name, "first round, s", "examples/s"], rows), end="\n\n")


if __name__ == "__main__":
    main()
