"""The norms of gradients, array by array, worked out in the queue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .._mxnet import mx
from ..errors import UnknownNameError, unknown
from ..executors.binding import bind_plain
from ..executors.capi import forward_of
from ..executors.handles import ArrayHandle, ArrayMapping
from ..executors.store import ParameterStore


class Norms(Mapping[str, float]):
    """The norm of each array's gradient, as it was when this was asked for; the first read waits for it."""

    def __init__(self, paths: tuple[str, ...], norms: Any, collect: Callable[[], None]) -> None:
        """Take the norms ``(arrays,)`` on the device, and what waits for the work of their owner."""
        self._paths = paths
        self._array = norms
        self._collect = collect
        self._read: dict[str, float] | None = None

    def _values(self) -> dict[str, float]:
        if self._read is None:
            self._collect()
            self._read = dict(zip(self._paths, self._array.asnumpy().tolist()))
        return self._read

    def __getitem__(self, path: str) -> float:
        """Return the norm of an array's gradient."""
        if path not in self._paths:
            raise unknown("gradient", path, self._paths, "the plan")
        return self._values()[path]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the arrays."""
        return iter(self._paths)

    def __len__(self) -> int:
        """Count the arrays."""
        return len(self._paths)

    def __repr__(self) -> str:
        """Show as a dict; waits."""
        return repr(self._values())


class NormGraph:
    """Works out the norms of one store's gradients.

    Args:
        store: The arrays.
    """

    def __init__(self, store: ParameterStore) -> None:
        """Bind one small graph."""
        self._paths = tuple(store.gradients.specs)
        flat = {f"g{place}": store.gradient(path).reshape((-1,)) for place, path in enumerate(self._paths)}
        squares = [mx.sym.dot(one, one) for one in map(mx.sym.var, flat)]
        symbol = mx.sym.sqrt(mx.sym.concat(*squares, dim=0))
        self._raw = bind_plain(symbol, flat, store.context)
        self._run = forward_of(self._raw)

    def norms(self, collect: Callable[[], None]) -> Norms:
        """Queue them; does not wait."""
        self._run()
        return Norms(self._paths, self._raw.outputs[0].copy(), collect)


class GradientMapping(ArrayMapping):
    """Handles on gradients by path.

    Args:
        items: The handles.
        norms: What queues their norms.
        frozen: Arrays that have none, as they do not move.
    """

    def __init__(
        self, items: Mapping[str, ArrayHandle], norms: Callable[[], Norms], frozen: Collection[str] = ()
    ) -> None:
        """Take all three."""
        super().__init__(items, "gradient", "the plan")
        self._norms = norms
        self._frozen = frozen

    def __getitem__(self, path: str) -> ArrayHandle:
        """Return the handle of an array's gradient.

        Raises:
            UnknownNameError: There is none, or the rules of the optimizer freeze the array.
        """
        if path in self._frozen:
            raise UnknownNameError(f'"{path}" has no gradient: the rules of the optimizer freeze it')
        return super().__getitem__(path)

    def norms(self) -> Norms:
        """Return the norm of each array's gradient, as it is now; queued, and reading one waits.

        Example:
            >>> from mxtrainer import Linear, MeanSquaredLoss, NetChain, SGD, Scalar, Trainer, compile_plan
            >>> net = NetChain([Linear(), MeanSquaredLoss()], inputs={"Input": Scalar(), "Target": Scalar()})
            >>> trainer = Trainer(compile_plan(net), SGD(0.1), batch_size=1, arrays={"linear.Weights": [[1.0]]})
            >>> trainer.update({"Input": [2.0], "Target": [3.0]})
            1
            >>> trainer.gradients.norms()
            {'linear.Weights': 4.0, 'linear.Biases': 2.0}
        """
        return self._norms()
