"""What takes a batch forward and backward: one graph, or the graphs of segments, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..mappings import FrozenMapping
from ..plans.plan import Plan
from .blueprint import Bucket
from .carried import Keeping
from .checked import CheckedBatch
from .handles import ArrayHandle, OutputHandle
from .loaded import Loaded
from .state_table import Places


class Passes(Protocol):
    """A way forward and backward; see `Bound`.

    Attributes:
        bucket: What it is for.
        plan: The plan.
        carried: The way of carried states out of it.
        input_gradients: The gradients of inputs that were asked for, by port.
    """

    bucket: Bucket
    plan: Plan
    input_gradients: dict[str, Any]

    @property
    def carried(self) -> Keeping | None:
        """The way of carried states out of it, where it has all of them."""

    @property
    def trained_ports(self) -> tuple[str, ...]:
        """The output ports that gradients come back through."""

    @property
    def moved(self) -> dict[str, Any]:
        """The new values of the auxiliary arrays that the last pass moves, NDArrays by path."""

    def load(self, batch: CheckedBatch) -> Loaded:
        """Take a checked batch; an earlier one may have to be on the device by now."""

    def take_back(self, loaded: Loaded) -> None:
        """Let the batch that was loaded last not have been loaded."""

    def set_threads(self) -> None:
        """Queue what comes before the batch that was loaded last, once more."""

    def feed(self, loaded: Loaded, places: Places) -> None:
        """Queue the carried states that the batch that was loaded last leaves out."""

    def backward_mean(self, weights: Mapping[str, float], factor: float) -> None:
        """Queue the backward pass of the weighted mean of the losses over the true rows, times a factor."""

    def raw_outputs(self) -> dict[str, Any]:
        """Return the NDArrays of outputs, which the next pass overwrites."""

    def handles(self, kind: str, collect: Callable[[], None]) -> FrozenMapping[OutputHandle]:
        """Return handles on the outputs of the last pass."""

    def input_gradient_handles(self, collect: Callable[[], None]) -> dict[str, ArrayHandle]:
        """Return handles on the gradients of inputs of the last pass."""


class Queueing(Protocol):
    """What queues forward passes."""

    def queue(self, passes: Any, loaded: Loaded) -> None:
        """Queue the forward pass of the batch that was loaded last."""
