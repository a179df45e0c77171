"""MXNet without a library around it: its own Executor, `array[:] = numpy`, and one `adam_update` an array."""

from __future__ import annotations

import math
from typing import Any

from data import Batch
from families import Arrays, Series, Workload

from mxtrainer._mxnet import mx
from rivals import mxnet_nets as nets


class Loop:
    """An executor a bucket, all on the same arrays, behind the protocol."""

    def __init__(self, workload: Workload, weights: Arrays) -> None:
        self.workload = workload
        self.trained = {name: mx.nd.array(array) for name, array in nets.packed(weights).items()}
        self.gradients = {name: mx.nd.zeros_like(array) for name, array in self.trained.items()}
        self.moments = {name: [mx.nd.zeros_like(array) for _ in range(2)] for name, array in self.trained.items()}
        self.symbol = nets.symbol(workload)
        self.states = {name: mx.nd.zeros(nets.shapes(workload, {})[name]) for name in nets.state_names(workload)}
        self.bound: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.count = 0
        self.batch: Batch = {}

    def executor(self, batch: Batch) -> tuple[Any, dict[str, Any]]:
        """Return the executor of a batch's bucket and its inputs."""
        key = self.workload.bucket(batch) if isinstance(self.workload, Series) else 0
        if key not in self.bound:
            inputs = {name: mx.nd.array(array) for name, array in nets.fed(self.workload, batch).items()}
            requests = dict.fromkeys(self.trained, "write")
            arguments = {**inputs, **self.states, **self.trained}
            executor = self.symbol.bind(mx.cpu(), arguments, args_grad=self.gradients, grad_req=requests)
            self.bound[key] = executor, inputs
        return self.bound[key]

    def step(self, batch: Batch) -> None:
        """Queue one step."""
        self.last, inputs = self.executor(batch)
        for name, array in nets.fed(self.workload, batch).items():
            inputs[name][:] = array
        self.last.forward(is_train=True)
        self.last.backward()
        self.count += 1
        self.batch = batch
        root = math.sqrt(1 - 0.999**self.count)
        rate = self.workload.learning_rate * root / (1 - 0.9**self.count)
        for name, array in self.trained.items():
            mx.nd.adam_update(
                array, self.gradients[name], *self.moments[name], out=array, lr=rate,
                epsilon=self.workload.epsilon * root, rescale_grad=nets.rescale(self.workload),
            )  # fmt: skip
        for state, output in zip(self.states.values(), self.last.outputs[1:]):
            output.copyto(state)

    def finish(self) -> float:
        """Wait; return the loss."""
        mx.nd.waitall()
        return nets.loss(self.workload, self.last.outputs[0], self.batch)

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        return nets.unpacked(self.workload, {name: array.asnumpy() for name, array in self.trained.items()})


def build(workload: Workload, weights: Arrays) -> Loop:
    """Return the net at its start."""
    return Loop(workload, weights)
