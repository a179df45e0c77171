"""Batches of random numbers that fit a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ...plans.plan import Plan, PortSpec
from ..trainer import Trainer

SEED = 0


def random_batches(plan: Plan, rows: int, lengths: Mapping[str, int]) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield batches without end, the same ones each time; ports that may be left out are.

    Real numbers are between 0.1 and 1, so that logarithms and roots of them are finite.

    Args:
        plan: The plan.
        rows: The number of rows.
        lengths: The number of steps of all rows, by length name.

    Example:
        >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, Vector, compile_plan
        >>> plan = compile_plan(NetChain([Linear(2), MeanSquaredLoss()], inputs={"Input": Vector(3)}))
        >>> batch = next(random_batches(plan, 4, {}))
        >>> {port: array.shape for port, array in batch.items()}
        {'Input': (4, 3), 'Target': (4, 2)}
    """
    generator = np.random.default_rng(SEED)
    wanted = [spec for spec in plan.inputs.values() if spec.initial is None]
    while True:
        yield {spec.name: _drawn(spec, spec.shape(rows, lengths), generator) for spec in wanted}


def _drawn(spec: PortSpec, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.generic]:
    if spec.count is not None:
        return generator.integers(0, spec.count, shape, dtype=np.int32)
    dtype = np.dtype(spec.transfer_dtype)
    if dtype.kind in "iub":
        return generator.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    return generator.uniform(0.1, 1.0, shape).astype(dtype)


def longest_bucket(trainer: Trainer) -> dict[str, int]:
    """Return the largest bucket of a trainer; empty where nobody knows it, or the plan has no lengths."""
    return next(iter(trainer.buckets.policy.known(trainer.plan.lengths)), {})


def rows_of(trainer: Trainer, lengths: Mapping[str, int]) -> int:
    """Return the number of rows of a batch with these lengths.

    Raises:
        ArgumentError: No bucket holds them.
    """
    return trainer.buckets.batch_size(trainer.buckets.policy.bucket(lengths))
