"""The weights of losses, which may change from step to step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from ..arguments import real_number
from ..errors import ArgumentError, unknown
from ..executors.checked import CheckedBatch
from ..plans.lowering import Head, training_heads
from ..plans.plan import Plan
from .losses import weights_of


class LossWeights(MutableMapping[str, float]):
    """The weight of each loss, by output port; a new one counts from the next step on.

    A weight of exactly 0 stops the gradient, so that nothing of the loss reaches a parameter, and not its value: the
    first time that a weight becomes 0, or is no longer, a graph is bound. Other changes bind nothing.

    Args:
        plan: The plan.

    Attributes:
        heads_now: What the graph for the weights as they are computes; None: that of the plan's own.
    """

    def __init__(self, plan: Plan) -> None:
        """Start with the plan's own."""
        self._plan = plan
        self._weights: Mapping[str, float] = weights_of(plan)
        self._ports = tuple(port for port in plan.loss_ports if plan.losses[port].trained)
        self._heads: dict[frozenset[str], tuple[Head, ...] | None] = {self._trained(self._weights): None}
        self.heads_now: tuple[Head, ...] | None = None

    def __getitem__(self, port: str) -> float:
        """Return the weight of a loss."""
        self._check_known(port)
        return self._weights[port]

    def __setitem__(self, port: str, weight: float) -> None:
        """Set the weight of a loss, from the next step on.

        Raises:
            UnknownNameError: There is no such loss, or it cannot be trained.
            ArgumentError: The weight is not a finite number, or no loss would have a weight.
        """
        self.update({port: weight})

    def update(self, weights: Mapping[str, float]) -> None:  # type: ignore[override]  # one way to call it is enough
        """Set some weights, all of them or none.

        Raises:
            ArgumentError: They are no mapping, a weight is not a finite number, or no loss would have one.
            UnknownNameError: There is no such loss, or it cannot be trained.
        """
        self._weights = self.changed(weights, others=self._weights)
        self.heads_now = self.heads(self._weights)

    def __delitem__(self, port: str) -> None:
        """Refuse.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(f'the loss "{port}" cannot be taken out; set its weight to 0')

    def __iter__(self) -> Iterator[str]:
        """Iterate over the losses."""
        return iter(self._ports)

    def __len__(self) -> int:
        """Count the losses."""
        return len(self._ports)

    def __repr__(self) -> str:
        """Show as a dict."""
        return repr(dict(self))

    @property
    def all(self) -> Mapping[str, float]:
        """The weights of all output ports; the mapping itself never changes."""
        return self._weights

    def alone(self, weights: object) -> Mapping[str, float]:
        """Return the weights of all output ports where only these losses count.

        Raises:
            ArgumentError: They are no mapping, or a weight is not usable.
            UnknownNameError: There is no such loss.
        """
        return self.changed(weights, others=dict.fromkeys(self._weights, 0.0))

    def changed(self, weights: object, others: Mapping[str, float]) -> Mapping[str, float]:
        """Return weights of all output ports: these, and others."""
        if not isinstance(weights, Mapping):
            raise ArgumentError(f'losses must map losses to weights, as in {{"Loss": 1.0}}, got {weights!r}')
        new = dict(others)
        for port, weight in weights.items():
            self._check_known(port)
            new[port] = real_number(weight, f'the weight of the loss "{port}"')
        if not any(new.values()):
            raise ArgumentError(
                f"the losses {', '.join(self._ports)} would all have weight 0: nothing would be trained"
            )
        return new

    def heads(self, weights: Mapping[str, float]) -> tuple[Head, ...] | None:
        """Return what the graph for some weights computes; None: that of the plan's own."""
        trained = self._trained(weights)
        if trained not in self._heads:
            self._heads[trained] = training_heads(self._plan, weights)
        return self._heads[trained]

    def units(self, weights: Mapping[str, float], batch: CheckedBatch) -> int:
        """Return over how many examples, or true steps, the means of a batch's losses go.

        Raises:
            ArgumentError: They go over examples for some losses, and over steps for others.
        """
        counted = {
            port: self._plan.losses[port].length if self._plan.losses[port].is_loss else None
            for port in self._ports
            if weights[port]
        }
        if len(set(counted.values())) > 1:
            ways = {port: "examples" if length is None else "steps" for port, length in counted.items()}
            listed = ", ".join(f"{port} by {way}" for port, way in ways.items())
            raise ArgumentError(
                f"the means of the losses go over other counts ({listed}), so that a batch has no one weight where it "
                f"is added up, by accumulate or over workers"
            )
        length = next(iter(counted.values()))
        return batch.rows if length is None else batch.steps_with_loss[length]

    @staticmethod
    def _trained(weights: Mapping[str, float]) -> frozenset[str]:
        return frozenset(port for port, weight in weights.items() if weight)

    def _check_known(self, port: str) -> None:
        if port not in self._ports:
            raise unknown("loss that can be trained", port, self._ports, "the plan")
