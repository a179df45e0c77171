"""Checks a user's own net: analytic gradients against finite differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import positive_int, real_number
from ..errors import ArgumentError
from ..plans.compile import compile_plan
from ..plans.plan import Plan
from ..reports import Report
from .blueprint import Bucket
from .bound import Shared
from .checked import CheckedBatch, Host, Steps
from .handles import Clock
from .heads import count
from .inputs import Limits, check_batch
from .staging import InputBuffers
from .store import ParameterStore

STEP = 1e-5  # near the cube root of float64's precision, where a central difference is best


def check_gradients(
    plan: Plan,
    batch: Mapping[str, Any],
    arrays: object = None,
    *,
    samples: int = 20,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> Report:
    """Compare the gradients of a plan's weighted mean loss with central finite differences, in float64.

    At a kink (a relu or an absolute value at 0, a tie of a maximum) the two differ by nature.

    Args:
        plan: The plan, of either dtype; it is compiled anew in float64.
        batch: A batch as for an executor, of any number of rows.
        arrays: Values of the parameters: a net with arrays or a mapping; by default start values of the seed.
        samples: How many elements of each array are compared.
        tolerance: The largest difference that counts as none, relative to the array's largest gradient.
        seed: Chooses the elements, and start values.

    Returns:
        A report with one row for each parameter and each real input: ``array``, ``elements`` compared, ``scale`` (the
        largest gradient), ``difference`` (relative to the scale), ``agrees``.

    Raises:
        ArgumentError: It is no plan, or the number of samples is not positive.
        BatchError: The batch does not fit.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Scalar, compile_plan
        >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
        >>> check_gradients(compile_plan(net), {"Input": [1.0, 2.0], "Target": [2.0, 5.0]}).exact
        True
    """
    if not isinstance(plan, Plan):
        raise ArgumentError(f"check_gradients takes a plan (see compile_plan), got {plan!r}")
    samples = positive_int(samples, "samples")
    tolerance = real_number(tolerance, "tolerance")
    precise = _in_float64(plan)
    checked = check_batch(_on_host(batch), Limits.of(precise, None))
    probe = _Probe(precise, checked, ParameterStore(precise, "cpu", seed, arrays))
    gradients = probe.gradients()
    floor: float = 1e-6 * max((float(np.abs(found).max()) for found in gradients.values()), default=0.0)
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for name, gradient in gradients.items():
        places = generator.choice(gradient.size, min(samples, gradient.size), replace=False)
        analytic = gradient.reshape(-1)[places]
        numeric = np.array([probe.slope(name, place) for place in places])
        scale = float(np.abs(gradient).max())
        difference = float(np.abs(analytic - numeric).max()) / max(scale, floor, float(np.finfo(float).tiny))
        rows.append(
            {
                "array": name,
                "elements": f"{len(places)} of {gradient.size}",
                "scale": scale,
                "difference": difference,
                "agrees": difference <= tolerance,
            }
        )
    return Report("gradients against finite differences", tuple(rows), all(row["agrees"] for row in rows))


def _on_host(batch: object) -> object:
    """Return a batch with its NDArrays and handles read, so that their elements can be moved."""
    if not isinstance(batch, Mapping):
        return batch
    return {port: found.asnumpy() if hasattr(found, "asnumpy") else found for port, found in batch.items()}


def _in_float64(plan: Plan) -> Plan:
    weights = {port: loss.weight for port, loss in plan.losses.items()}
    examples = {port: loss.example_weights for port, loss in plan.losses.items() if loss.example_weights}
    return compile_plan(plan.net, weights, examples, "float64")


def _dense(value: Host, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return one array in float64, of sequences with zeros over padding."""
    dense = np.zeros(shape)
    if isinstance(value, Steps):
        value.dense(dense)
    else:
        dense[...] = value[tuple(slice(extent) for extent in shape)]
    return dense


class _Probe:
    """The weighted mean loss as a function of single elements."""

    def __init__(self, plan: Plan, batch: CheckedBatch, store: ParameterStore) -> None:
        inputs = plan.inputs.items()
        real = tuple(port for port, spec in inputs if spec.transfer_dtype == plan.dtype and port in batch.host)
        self.plan = plan
        self.batch = batch
        self.shared = Shared(store, Clock(), InputBuffers(store.context, 1), real)
        lengths = {**dict.fromkeys(plan.lengths, 1), **batch.longest}
        bucket = Bucket.holding(batch, batch.rows, lengths)
        self.bound = self.shared.bound(bucket)
        self.inputs = {
            port: _dense(batch.host[port], spec.shape(batch.rows, lengths)) for port, spec in inputs if port in real
        }
        batch.host.update(self.inputs)

    def gradients(self) -> dict[str, NDArray[Any]]:
        self._forward()
        self.bound.backward()
        handles = {
            **self.bound.store.gradient_handles(self.bound.collect),
            **self.bound.input_gradient_handles(self.bound.collect),
        }
        return {name: handle.asnumpy() for name, handle in handles.items()}

    def slope(self, name: str, place: int) -> float:
        """Return the central difference of the loss by one element."""
        if name in self.inputs:
            flat = self.inputs[name].reshape(-1)
            return self._difference(flat, place)
        handle = self.bound.store.handles(self.bound.collect)[name]
        values = handle.asnumpy().reshape(-1)
        return self._difference(values, place, lambda: handle.__setitem__(slice(None), values.reshape(handle.shape)))

    def _difference(self, flat: NDArray[Any], place: int, write: Any = lambda: None) -> float:
        middle = flat[place]
        step = STEP * max(1.0, abs(middle))
        ends = []
        for end in (middle + step, middle - step):
            flat[place] = end
            write()
            ends.append(self._loss())
        flat[place] = middle
        write()
        return float((ends[0] - ends[1]) / (2 * step))

    def _loss(self) -> float:
        self._forward()
        total = 0.0
        for port, handle in self.bound.handles("pass", self.bound.collect).items():
            loss = self.plan.losses[port]
            if loss.weight:
                values = handle.asnumpy()
                if loss.length is not None and not loss.is_loss:  # the mean over each example's true steps
                    true = self.batch.lengths[loss.length]
                    values = values.reshape(self.batch.rows, -1).sum(axis=1) / true
                    total += loss.weight * float(values.sum()) / self.batch.rows
                else:
                    total += loss.weight * float(values.sum()) / count(self.plan, port, self.batch)
        return total

    def _forward(self) -> None:
        self.shared.clock.now = 0  # so that random nodes draw the same numbers every time
        self.bound.forward(self.bound.load(self.batch))
        self.bound.collect()
