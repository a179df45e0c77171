"""Operators that move, add, remove, cut or join axes. Most of them only give the axes other labels."""

from __future__ import annotations

import math
from typing import Any

from ....errors import ArgumentError, NetError
from ...layers.elementwise import Catenate
from ...layers.sequence import SequenceLast, SequenceReverse
from .builder import Call
from .constants import axis_within, slices
from .values import ONE, ROWS, TIME, Axis, Stack, Tensor, Value, ascending, renumbered

FAR = 2**31 - 1  # an end of a slice that is beyond all


def identity(call: Call) -> list[Value | None]:
    """Return what comes in."""
    return [call.value(0)]


def transpose(call: Call) -> list[Value | None]:
    """Return the axes in another order."""
    found = call.inputs[0]
    axes = found.parts[0].axes if isinstance(found, Stack) else call.tensor().axes
    order = call.node.attributes.get("perm", tuple(range(len(axes)))[::-1])
    if sorted(order) != list(range(len(axes))):
        raise ArgumentError(f"its perm is {order}, for {len(axes)} axes")
    permuted = tuple(axes[place] for place in order)
    if isinstance(found, Stack):
        return [Stack(tuple(part.seen_as(*permuted) for part in found.parts), order.index(found.axis))]
    return [call.tensor().seen_as(*permuted)]


def squeeze(call: Call) -> list[Value | None]:
    """Return a tensor without axes of extent 1."""
    x = call.tensor()
    wanted = call.numbers("axes", 1)
    if wanted is None:
        wanted = tuple(place for place, axis in enumerate(x.axes) if x.extent(axis) == 1)
    gone = {axis_within(axis, len(x.axes)) for axis in wanted}
    for place in gone:
        if x.extent(x.axes[place]) != 1:
            raise NetError(f"removes axis {place} of {x.shown()}; what is read is one of extent 1, not the batch")
    items = {axis for place, axis in enumerate(x.axes) if place in gone and isinstance(axis, int)}
    x = without(call, x, items)
    return [x.seen_as(*(axis for place, axis in enumerate(x.axes) if place not in gone))]


def without(call: Call, x: Tensor, items: set[int]) -> Tensor:
    """Return a tensor in which axes of the item, of extent 1 each, have become axes that ours has not."""
    if not items:
        return x
    kept = tuple(extent for axis, extent in enumerate(x.shape) if axis not in items)
    return call.reshaped(x, kept).seen_as(*renumbered(x.axes, items))


def unsqueeze(call: Call) -> list[Value | None]:
    """Return a tensor with more axes of extent 1."""
    x = call.tensor()
    added = call.numbers("axes", 1) or ()
    rank = len(x.axes) + len(added)
    places = {axis_within(axis, rank) for axis in added}
    if len(places) < len(added):
        raise ArgumentError(f"its axes are {added}")
    old = iter(x.axes)
    return [x.seen_as(*(ONE if place in places else next(old) for place in range(rank)))]


def flatten(call: Call) -> list[Value | None]:
    """Return the item as a vector."""
    x = call.tensor()
    axis = call.get("axis", 1)
    if axis not in {1, 1 - len(x.axes)}:
        raise NetError(f"flattens from axis {axis} on; what is read is 1, behind the batch")
    return [reshaped(call, x, [x.extent(x.axes[0]), -1])]


def reshape(call: Call) -> list[Value | None]:
    """Return the item with another shape."""
    x = call.tensor()
    target = call.needed(1, "shape").reshape(-1).tolist() if len(call.inputs) > 1 else call.get("shape", ())
    if not call.get("allowzero", 0):
        target = [x.extent(x.axes[place]) if extent == 0 else extent for place, extent in enumerate(target)]
    return [reshaped(call, x, list(target))]


def reshaped(call: Call, x: Tensor, target: list[Any]) -> Tensor:
    """Return a tensor with these extents: numbers, symbols, and -1 for what follows from the others.

    Raises:
        NetError: Axes of the batch or the time would be mixed with others.
    """
    x = _by_rows(x, target)
    extents = [x.extent(axis) for axis in x.axes]
    target = _resolved(extents, _with_symbols(call, extents, target))
    before, after = _between_symbols(extents), _between_symbols(target)
    fitting = [math.prod(part) for part in before] == [math.prod(part) for part in after]
    symbols = [extent for extent in extents if isinstance(extent, str)]
    if not fitting or symbols != [extent for extent in target if isinstance(extent, str)] or not ascending(x.axes):
        raise NetError(
            f"gives {x.shown()} the shape {tuple(target)}; what is read leaves batch and time as they are, and each "
            f"element where it is among the other axes"
        )
    kept = [axis for axis in x.axes if isinstance(axis, str) and axis != ONE]
    last = max((place for place, extent in enumerate(target) if isinstance(extent, str)), default=-1)
    axes: list[Axis] = []
    shape: list[int] = []
    for place, extent in enumerate(target):
        if isinstance(extent, str):
            axes.append(kept.pop(0))
        elif extent == 1 and place < last:
            axes.append(ONE)
        else:
            axes.append(len(shape))
            shape.append(extent)
    return call.reshaped(x, tuple(shape)).seen_as(*axes)


def _by_rows(x: Tensor, target: list[Any]) -> Tensor:
    """Return a tensor whose axes of batch and time are one where they become one, and two where they become two."""
    size = math.prod(extent for extent in map(x.extent, x.axes) if isinstance(extent, int))
    behind = [extent for extent in target[1:] if isinstance(extent, int)]
    rows = target[:1] == [-1] and len(behind) == len(target) - 1 and math.prod(behind) == size
    if x.axes[0] in ROWS and not rows:
        return x.seen_as(*ROWS[str(x.axes[0])], *x.axes[1:])
    one = next((name for name, both in ROWS.items() if x.axes[:2] == both), None)
    return x.seen_as(one, *x.axes[2:]) if rows and one is not None else x


def _with_symbols(call: Call, extents: list[Any], target: list[Any]) -> list[Any]:
    """Return a shape with symbols in place of the numbers that the file has for them."""
    found, begin = list(target), 0
    for symbol in extents:
        if not isinstance(symbol, str):
            continue
        names = (symbol, call.build.fixed.get(symbol))
        place = next((place for place in range(begin, len(found)) if found[place] in names), None)
        if place is not None:
            found[place], begin = symbol, place + 1
    return found


def _resolved(extents: list[Any], target: list[Any]) -> list[Any]:
    """Return a shape with what -1 stands for in it."""
    if target.count(-1) != 1:
        return target
    missing = [extent for extent in extents if isinstance(extent, str) and extent not in target]
    known = math.prod(extent for extent in target if isinstance(extent, int) and extent != -1)
    number, rest = divmod(math.prod(extent for extent in extents if isinstance(extent, int)), known or 1)
    if len(missing) > 1 or rest or (missing and number != 1):
        return target
    return [(missing[0] if missing else number) if extent == -1 else extent for extent in target]


def _between_symbols(extents: list[Any]) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for extent in extents:
        if isinstance(extent, str):
            parts.append([])
        else:
            parts[-1].append(extent)
    return parts


def concat(call: Call) -> list[Value | None]:
    """Return tensors joined along an axis of the item, or stacked along one that they have not."""
    values = [call.value(place) for place in range(len(call.inputs))]
    stacks = [_parts(value) for value in values]
    if all(stacks) and len({(found.axis, found.parts[0].axes) for found in stacks if found}) == 1:
        first = stacks[0]
        assert first is not None  # by all
        if axis_within(call.get("axis", 0), len(first.parts[0].axes)) == first.axis:
            return [Stack(tuple(part for found in stacks if found for part in found.parts), first.axis)]
    tensors = [call.tensor(place) for place in range(len(values))]
    if len(tensors) == 1:
        return [tensors[0]]
    place = axis_within(call.get("axis", 0), len(tensors[0].axes))
    if len({tensor.axes for tensor in tensors}) > 1:
        raise NetError(f"joins {' and '.join(tensor.shown() for tensor in tensors)}; what is read has the same axes")
    if tensors[0].axes[place] == ONE:
        return [Stack(tuple(tensors), place)]
    axis = tensors[0].axes[place]
    if not isinstance(axis, int):
        raise NetError(f"joins along the {axis}; what is read is an axis of the item")
    return [call.add(Catenate(axis), tensors)["Output"].seen_as(*tensors[0].axes)]


def _parts(value: Value | None) -> Stack | None:
    """Return a stack; a tensor with one axis that ours has not is a stack of one."""
    if isinstance(value, Stack):
        return value
    if isinstance(value, Tensor) and value.axes.count(ONE) == 1:
        return Stack((value,), value.axes.index(ONE))
    return None


def gather(call: Call) -> list[Value | None]:
    """Return one part of a stack, or the last step."""
    index = call.needed(1, "indices")
    if index.size != 1 or index.ndim > 1:
        raise NetError(f"takes the indices {index.tolist()}; what is read is one: the last step, or a part of a stack")
    number = int(index.reshape(-1)[0])
    found = taken(call, call.get("axis", 0), number, number + 1 or FAR)
    if index.ndim:
        return [found]
    assert isinstance(found, Tensor)  # of one index
    place = axis_within(call.get("axis", 0), len(found.axes))
    return [found.seen_as(*found.axes[:place], *found.axes[place + 1 :])]


def slice_(call: Call) -> list[Value | None]:
    """Return some parts of a stack, or the last step, or all."""
    found = call.inputs[0]
    rank = len(found.parts[0].axes if isinstance(found, Stack) else call.tensor().axes)
    cuts = [cut for cut in slices(call, rank) if (cut[1], cut[3]) != (0, 1) or cut[2] < FAR]
    if not cuts:
        return [found]
    axis, begin, end, step = cuts[0]
    if (
        len(cuts) == 1
        and step == -1
        and (begin == -1 or begin >= FAR)
        and end < -FAR
        and call.tensor().axes[axis] == TIME
    ):
        x = call.tensor()
        return [call.add(SequenceReverse(), x)["Output"].seen_as(*x.axes)]
    if len(cuts) > 1 or step != 1:
        raise NetError("cuts several axes, or with a step; what is read is the last step, or all steps backwards")
    return [taken(call, axis, begin, end)]


def taken(call: Call, axis: int, begin: int, end: int) -> Value:
    """Return what is between two indices along an axis."""
    found = call.inputs[0]
    if isinstance(found, (Tensor, Stack)):
        stack = _parts(found)
        axes = stack.parts[0].axes if stack else call.tensor().axes
        place = axis_within(axis, len(axes))
        if stack is not None and place == stack.axis:
            chosen = stack.parts[begin:end]
            if chosen:
                return chosen[0] if len(chosen) == 1 else Stack(chosen, place)
        x = call.tensor()
        last = begin == -1 and end >= FAR
        steps = call.build.fixed.get(str(x.extent(x.axes[place])))
        if x.axes[place] == TIME and (last or (steps is not None and (begin, min(end, steps)) == (steps - 1, steps))):
            axes = (*x.axes[:place], ONE, *x.axes[place + 1 :])
            return call.add(SequenceLast(), x, suffix="_last")["Output"].seen_as(*axes)
        if isinstance(x.extent(x.axes[place]), int) and begin == 0 and end >= int(x.extent(x.axes[place])):
            return x
    raise NetError(
        f"takes {begin} to {end} along axis {axis} of {call.tensor().shown()}; what is read is the last step, or one "
        f"of the directions or layers of a last state"
    )


def split(call: Call) -> list[Value | None]:
    """Return the parts of a stack one by one."""
    count = len(call.node.outputs)
    stack = _parts(call.value(0))
    axis = call.get("axis", 0)
    if stack is None or len(stack.parts) != count or axis_within(axis, len(stack.parts[0].axes)) != stack.axis:
        raise NetError("splits a tensor; what is read splits a last state into its directions or layers")
    return list(stack.parts)
