"""MXNet's Module API: a BucketingModule, with one bucket where all batches have one shape, and its Adam."""

from __future__ import annotations

import logging
from typing import Any

from data import Batch
from families import Arrays, Series, Workload

from mxtrainer._mxnet import mx
from rivals import mxnet_nets as nets

logging.disable(logging.WARNING)  # it warns about inputs that are no labels


class Module:
    """A module behind the protocol."""

    def __init__(self, workload: Workload, weights: Arrays) -> None:
        self.workload = workload
        batches = workload.batches()
        longest = max(batches, key=self.key)
        names = [*nets.shapes(workload, longest)]
        self.names = [name for name in names if name != "Target"]
        graph = nets.symbol(workload)
        self.module = mx.mod.BucketingModule(
            lambda _: (graph, self.names, ("Target",)), default_bucket_key=self.key(longest), context=mx.cpu()
        )
        self.module.bind(*self.described(longest))
        arrays = {name: mx.nd.array(array) for name, array in nets.packed(weights).items()}
        self.module.init_params(arg_params=arrays, initializer=None)
        options = {
            "learning_rate": workload.learning_rate,
            "epsilon": workload.epsilon,
            "rescale_grad": nets.rescale(workload),
            "lazy_update": False,
        }
        self.module.init_optimizer(optimizer="adam", optimizer_params=options)
        shapes = nets.shapes(workload, longest)
        self.states = [mx.nd.zeros(shapes[name]) for name in nets.state_names(workload)]

    def key(self, batch: Batch) -> int:
        """Return the bucket of a batch."""
        return self.workload.bucket(batch) if isinstance(self.workload, Series) else 0

    def described(self, batch: Batch) -> tuple[list[Any], list[Any]]:
        """Return names and shapes of data and labels."""
        shapes = nets.shapes(self.workload, batch)
        states = nets.state_names(self.workload)
        layouts = {name: "LNC" if name in states else "NTC" for name in self.names}  # where the batch axis is
        data = [mx.io.DataDesc(name, shapes[name], layout=layout) for name, layout in layouts.items()]
        return data, [mx.io.DataDesc("Target", shapes["Target"], layout="NTC")]

    def step(self, batch: Batch) -> None:
        """Queue one step."""
        arrays = nets.fed(self.workload, batch)
        data = [mx.nd.array(arrays[name]) for name in self.names if name in arrays]
        described, labels = self.described(batch)
        self.module.forward_backward(
            mx.io.DataBatch(
                [*data, *self.states], [mx.nd.array(arrays["Target"])], bucket_key=self.key(batch),
                provide_data=described, provide_label=labels,
            )
        )  # fmt: skip
        self.module.update()
        self.batch = batch
        if self.states:
            self.states = self.module.get_outputs()[1:]

    def finish(self) -> float:
        """Wait; return the loss."""
        mx.nd.waitall()
        return nets.loss(self.workload, self.module.get_outputs()[0], self.batch)

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        found = {name: array.asnumpy() for name, array in self.module.get_params()[0].items()}
        return nets.unpacked(self.workload, found)


def build(workload: Workload, weights: Arrays) -> Module:
    """Return the net at its start."""
    return Module(workload, weights)
