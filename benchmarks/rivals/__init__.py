"""The frameworks that are compared, each in a file of its own behind one small protocol."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from data import Batch
from families import Arrays
from workloads import AnyWorkload


class NotHereError(Exception):
    """This rival has no way to train this workload, or cannot run here; the text says why."""


class Runner(Protocol):
    """A net that is being trained by one framework.

    `step` takes a batch of numpy arrays and does, or queues, one whole step: forward, backward, Adam. `finish` waits
    and returns the loss of the last step. `arrays` returns all arrays in this project's names and layouts.
    """

    def step(self, batch: Batch) -> None:
        """Do or queue one training step."""

    def finish(self) -> float:
        """Wait for all steps; return the loss of the last one."""

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""


@dataclass(frozen=True)
class Rival:
    """One framework, in one way to use it.

    Attributes:
        title: Its name in the report.
        module: The file in this folder; its `build(workload, weights)` returns a `Runner`.
        options: What `build` takes besides.
        environment: Environment variables that it needs before it is imported.
        one_bias: Its LSTM has one vector of biases where ours has two. It is compared with a training of ours in which
            the second stays 0.
    """

    title: str
    module: str
    options: tuple[tuple[str, Any], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    one_bias: bool = False

    def build(self, workload: AnyWorkload) -> Runner:
        """Import the framework, and return the net at its start."""
        found: Runner = importlib.import_module(f"rivals.{self.module}").build(
            workload, workload.weights(), **dict(self.options)
        )
        return found


def keras(backend: str) -> Rival:
    """Return Keras on a backend."""
    environment = (("KERAS_BACKEND", backend), ("TF_CPP_MIN_LOG_LEVEL", "3"))
    return Rival(f"Keras 3 on {backend}", "keras_rival", environment=environment, one_bias=True)


RIVALS = {
    "ours": Rival("mxtrainer", "ours"),
    "torch": Rival("PyTorch, eager", "torch_rival"),
    "torch-compiled": Rival("PyTorch, compiled", "torch_rival", options=(("compiled", True),)),
    "gluon": Rival("MXNet Gluon, static", "gluon_rival"),
    "module": Rival("MXNet BucketingModule", "module_rival"),
    "executor": Rival("MXNet, bare executor loop", "executor_rival"),
    "keras-torch": keras("torch"),
    "keras-jax": keras("jax"),
    "keras-tensorflow": keras("tensorflow"),
    "jax": Rival("JAX, jit", "jax_rival"),
}
