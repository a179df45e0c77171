"""The parameter store: all parameters in one flat array, all gradients in another, and named views of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import as_numbers, check_seed
from ..arrays import MOST_ELEMENTS, ArraySpec, as_arrays, as_context
from ..errors import ArgumentError, NetError, nearest
from ..plans.initializers import initial_value
from ..plans.plan import Plan
from ..resources import Resource
from .handles import ArrayHandle, ArrayMapping
from .host_memory import return_freed, zeros

TIDY_FROM = 2**22  # bytes of parameters, from which what was needed to draw them is given back
ALIGNMENT = 16  # elements: a cache line of float32, so that every view starts where vector code likes it


class Layout:
    """Where arrays lie in one flat array.

    Attributes:
        specs: The arrays by path.
        offsets: Where each begins.
        size: The number of elements, with the gaps between arrays.
        dtype: Their dtype.
    """

    def __init__(self, specs: Mapping[str, ArraySpec], dtype: str, together: Collection[tuple[str, str]] = ()) -> None:
        """Lay the arrays out, in order; those of `together` follow their neighbour without a gap.

        Raises:
            NetError: They have more elements than MXNet's arrays can hold.
        """
        self.specs = dict(specs)
        self.offsets: dict[str, int] = {}
        end, before = 0, ""
        for path, spec in self.specs.items():
            if (before, path) not in together:
                end = -(-end // ALIGNMENT) * ALIGNMENT
            self.offsets[path] = end
            end, before = end + spec.size, path
        if end > MOST_ELEMENTS:
            largest = max(self.specs.values(), key=lambda spec: spec.size)
            raise NetError(
                f"the arrays have {end:,} elements in all, and MXNet's arrays hold at most {MOST_ELEMENTS:,}; "
                f'the largest is "{largest.path}" {largest.shape}'
            )
        self.size = end
        self.dtype = dtype

    @property
    def bytes(self) -> int:
        """The size in memory."""
        return self.size * np.dtype(self.dtype).itemsize

    @classmethod
    def of_parameters(cls, plan: Plan, without: Collection[str] = ()) -> Layout:
        """Return the layout of a plan's parameters, or of their gradients, which frozen ones have not."""
        together = {pair for node in plan.nodes.values() for group in node.packs for pair in zip(group, group[1:])}
        specs = {path: spec for path, spec in plan.parameters.items() if path not in without}
        return cls(specs, plan.dtype, together)

    @classmethod
    def of_auxiliary(cls, plan: Plan) -> Layout:
        """Return the layout of a plan's auxiliary arrays."""
        return cls(plan.auxiliary, plan.dtype)


def bytes_of_arrays(plan: Plan, frozen: Collection[str] = (), training: bool = True) -> dict[str, int]:
    """Return what a plan's arrays take, by the parts of a `MemoryReport`."""
    return {
        "bytes_parameters": Layout.of_parameters(plan).bytes,
        "bytes_auxiliary": Layout.of_auxiliary(plan).bytes,
        "bytes_gradients": Layout.of_parameters(plan, without=frozen).bytes if training else 0,
    }


class FlatArray:
    """Arrays side by side in one NDArray.

    Attributes:
        array: ``(elements,)``, with gaps of zeros between the arrays; None where there are no arrays.
        specs: The arrays by path.
        offsets: Where each begins.
        bytes: The size in memory.
    """

    def __init__(self, layout: Layout, context: Any) -> None:
        """Allocate it."""
        self.specs, self.offsets, self.bytes = layout.specs, layout.offsets, layout.bytes
        self.array: Any = zeros((layout.size,), context, layout.dtype) if layout.size else None

    def view(self, *paths: str) -> Any:
        """Return a view of one array in its shape, or of several neighbours as one vector."""
        begin, last = self.offsets[paths[0]], paths[-1]
        flat = self.array[begin : self.offsets[last] + self.specs[last].size]
        if len(paths) > 1:
            return flat
        shape = self.specs[last].shape
        return flat.reshape(shape) if shape else flat

    def fill(self, value_of: Callable[[ArraySpec], NDArray[Any]]) -> None:
        """Set all arrays, one after the other, so that no more than one is on the host at once; waits."""
        for path, spec in self.specs.items():
            view = self.view(path)
            view[:] = value_of(spec).reshape(view.shape)


class ParameterStore(Resource):
    """The arrays that executors share: parameters, their gradients, and auxiliary arrays.

    Args:
        plan: The plan whose arrays they are.
        device: "cpu", "gpu:0", or a context of MXNet.
        seed: Start values depend on (seed, path, shape) alone; None draws a seed.
        arrays: Start values, copied: a net with arrays, another store's arrays, or a mapping; may be a part.
        frozen: Paths of parameters that get no gradient.

    Attributes:
        plan: The plan.
        context: MXNet's context of the device.
        seed: The seed.
        frozen: As given.
        parameters: The flat array of parameters.
        auxiliary: The flat array of auxiliary arrays.
        version: A number that changes whenever an array may have changed.

    Raises:
        NetError: A start value has no array, or another shape.
        ArgumentError: The device is unknown, the seed is none, or `arrays` is of no known kind.
    """

    def __init__(
        self,
        plan: Plan,
        device: object = "cpu",
        seed: int | None = 0,
        arrays: object = None,
        frozen: Iterable[str] = (),
    ) -> None:
        """Allocate and fill parameters and auxiliary arrays; gradients are allocated when first asked for."""
        self.plan = plan
        self.context = as_context(device)
        self.seed = check_seed(seed)
        self.frozen = frozenset(frozen)
        given = {} if arrays is None else _start_values(plan, as_arrays(arrays))
        self.parameters = FlatArray(Layout.of_parameters(plan), self.context)
        self.auxiliary = FlatArray(Layout.of_auxiliary(plan), self.context)
        for flat in (self.parameters, self.auxiliary):
            flat.fill(lambda spec: given[spec.path] if spec.path in given else initial_value(spec, self.seed))
        if self.parameters.bytes > TIDY_FROM:
            return_freed()
        self.version = 0
        self._exposed = False
        self._gradients: FlatArray | None = None
        self._views: dict[tuple[str, ...], Any] = {}
        self._gradient_views: dict[tuple[str, ...], Any] = {}

    @property
    def gradients(self) -> FlatArray:
        """The flat array of gradients, laid out as the parameters that are not frozen."""
        if self._gradients is None:
            self._gradients = FlatArray(Layout.of_parameters(self.plan, without=self.frozen), self.context)
        return self._gradients

    def argument(self, *paths: str) -> Any:
        """Return the view that an argument of a graph binds: one array, or neighbours as one vector."""
        if paths not in self._views:
            flat = self.auxiliary if paths[0] in self.auxiliary.specs else self.parameters
            self._views[paths] = flat.view(*paths)
        return self._views[paths]

    def gradient(self, *paths: str) -> Any:
        """Return the view that the gradient of an argument is written to."""
        if paths not in self._gradient_views:
            self._gradient_views[paths] = self.gradients.view(*paths)
        return self._gradient_views[paths]

    def touch(self) -> None:
        """Note that arrays change."""
        self.version += 1

    def expose(self) -> None:
        """Note that a live NDArray was given out, so that changes can no longer be seen."""
        self._exposed = True

    @property
    def exposed(self) -> bool:
        """Whether a live NDArray of a parameter was given out."""
        return self._exposed

    def handles(self, collect: Callable[[], None]) -> ArrayMapping:
        """Return live handles on parameters and auxiliary arrays; `collect` waits for the work of their user."""
        specs = {**self.parameters.specs, **self.auxiliary.specs}
        found = {path: ArrayHandle(spec, self.argument(path), collect, self) for path, spec in specs.items()}
        return ArrayMapping(found, "array", "the plan")

    def gradient_handles(self, collect: Callable[[], None]) -> dict[str, ArrayHandle]:
        """Return live handles on the gradients of the parameters that are not frozen."""
        return {path: ArrayHandle(spec, self.gradient(path), collect) for path, spec in self.gradients.specs.items()}


def _start_values(plan: Plan, arrays: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    specs = {**plan.parameters, **plan.auxiliary}
    values: dict[str, NDArray[Any]] = {}
    wrong: list[str] = []
    for path, found in arrays.items():
        if path not in specs:
            wrong.append(f'the plan has no array "{path}"{nearest(path, specs)}')
            continue
        try:
            values[path] = as_numbers(found, plan.dtype)
        except ArgumentError as error:
            wrong.append(f'"{path}": {error}')
            continue
        if values[path].shape != specs[path].shape:
            wrong.append(f'"{path}": expected {specs[path].shape}, found {values[path].shape}')
    if wrong:
        raise NetError("arrays do not fit the plan:\n  " + "\n  ".join(wrong))
    return values
