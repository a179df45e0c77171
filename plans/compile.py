"""From a net to a plan."""

from __future__ import annotations

from collections.abc import Mapping

from ..arguments import real_number
from ..arrays import ArraySpec, check_dtype
from ..errors import NetError, nearest
from ..mappings import FrozenMapping
from .graph import Graph, Source, Types, undetermined
from .layers.base import Layer
from .layers.losses import Loss
from .net import NetGraph
from .plan import LossSpec, Plan, PlanNode, PortSpec
from .storage import Storage, allocate
from .types import Array, PortType, item_of, length_of


def compile_plan(
    net: NetGraph,
    losses: Mapping[str, float] | None = None,
    example_weights: Mapping[str, str] | None = None,
    dtype: str = "float32",
) -> Plan:
    """Compile a net into a plan.

    Args:
        net: The net; its arrays, if any, are dropped (give them to ``arrays=`` of a trainer or an executor).
        losses: The weight of each output port. A port of a loss layer counts 1.0 unless given; every other output
            must be given, 0.0 to keep it alive without training it, except states of `NetGraph.with_states`. A
            weighted port that is no loss counts as the sum of its item's elements, a sequence as the mean of that over
            its steps.
        example_weights: ``{"Loss": "Weight"}``: a new input port ``(batch,)`` whose values multiply this loss.
        dtype: The dtype of all real arrays: float32, or float64.

    Returns:
        The plan; the same arguments give the same bytes.

    Raises:
        NetError: A type is not determined, an output has no weight, or a name is unknown.
        ArgumentError: The dtype is unknown, or a weight is not a number.

    Example:
        >>> from mxtrainer import Linear, MeanAbsoluteLoss, NetGraph, Scalar
        >>> net = NetGraph(
        ...     {"linear": Linear(), "mae": MeanAbsoluteLoss()},
        ...     [("Input", "linear", "mae", "Loss"), ("linear", "StateOut")],
        ...     inputs={"Input": Scalar(), "Target": Scalar()},
        ... )
        >>> plan = compile_plan(net, losses={"StateOut": 0.0})
        >>> tuple(plan.parameters)
        ('linear.Weights', 'linear.Biases')
    """
    if not isinstance(net, NetGraph):
        raise NetError(f"compile_plan takes a net, got {net!r}")
    dtype = check_dtype(dtype)
    bare = net.with_arrays({})
    graph, types = bare.graph, bare.types
    missing = undetermined(graph, types)
    if missing is not None:
        raise NetError(missing)
    specs = _losses(bare, {} if losses is None else losses, {} if example_weights is None else example_weights)
    storage = allocate(graph, types)
    arrays = {
        path: ArraySpec(path, array.shape, dtype, array.initializer, array.auxiliary)
        for path, array in storage.arrays.items()
    }
    states = _states(graph)
    return Plan(
        net=bare,
        losses=specs,
        loss_ports=tuple(port for port, loss in specs.items() if loss.is_loss or loss.weight),
        dtype=dtype,
        inputs=_inputs(bare, specs, states, dtype),
        outputs=FrozenMapping(
            {name: _port(name, _known(types.of(source)), dtype) for name, source in graph.outputs.items()},
            "output",
            "the plan",
        ),
        parameters=_chosen(arrays, auxiliary=False),
        auxiliary=_chosen(arrays, auxiliary=True),
        states=states,
        random_nodes=tuple(path for path, node in graph.nodes.items() if node.layer.random),
        lengths=_lengths(types),
        nodes=_nodes(graph, storage),
        graph_of_nodes=graph,
        types=types,
    )


def _known(port: PortType | None) -> PortType:
    assert port is not None  # `undetermined` has been asked
    return port


def _port(name: str, port: PortType, dtype: str, initial: float | str | None = None) -> PortSpec:
    item = item_of(port)
    own = dtype if isinstance(item, Array) else item.dtype
    return PortSpec(name, port, own, item.dtype or dtype, initial)


def _inputs(
    net: NetGraph, losses: Mapping[str, LossSpec], states: Mapping[str, str], dtype: str
) -> FrozenMapping[PortSpec]:
    initial = _initial_values(net, states)
    specs = {name: _port(name, _known(port), dtype, initial[name]) for name, port in net.inputs.items()}
    for loss in losses.values():
        if loss.example_weights is not None:
            specs[loss.example_weights] = _port(loss.example_weights, Array(()), dtype)
    return FrozenMapping(specs, "input", "the plan")


def _initial_values(net: NetGraph, states: Mapping[str, str]) -> dict[str, float | str | None]:
    """Return what each input is where a batch leaves it out: as its type says, or the layer whose state it is."""
    found: dict[str, float | str | None] = {
        name: port.initial if isinstance(port, Array) else None for name, port in net.inputs.items()
    }
    for path, node in net.graph.nodes.items():
        for state in node.layer.states:
            value, source = node.layer.initial_of(state), node.feeds.get(state)
            learned = net.graph.owner_of(f"{path}.{value}") if isinstance(value, str) else None
            if source is None:
                continue
            if source.node is None and found[source.port] is None and (learned or source.port in states):
                found[source.port] = value if learned is None else learned
            elif learned is not None:
                raise NetError(
                    f'layer "{path}" ({node.layer!r}): its initial {state} is to be learned, but something else says '
                    f'what it starts at, "{source}"; leave out initial="learned", or what feeds "{path}.{state}"'
                )
    return found


def _losses(net: NetGraph, weights: Mapping[str, float], example_weights: Mapping[str, str]) -> FrozenMapping[LossSpec]:
    outputs = net.graph.outputs
    for argument, given in (("losses", weights), ("example_weights", example_weights)):
        if not isinstance(given, Mapping):
            example = '{"Loss": 1.0}' if argument == "losses" else '{"Loss": "Weight"}'
            raise NetError(f"{argument} must map output ports, as in {example}, got {given!r}")
        for name in given:
            if name not in outputs:
                raise NetError(
                    f'{argument}: the net has no output "{name}"{nearest(name, outputs) or "."} '
                    f"Its outputs: {', '.join(outputs)}"
                )
    specs = {name: _loss(net, name, source, weights, example_weights) for name, source in outputs.items()}
    return FrozenMapping(specs, "output", "the plan")


def _loss(
    net: NetGraph, name: str, source: Source, weights: Mapping[str, float], example_weights: Mapping[str, str]
) -> LossSpec:
    assert source.node is not None  # outputs come from layers
    layer = net.graph.nodes[source.node].layer
    is_loss = isinstance(layer, Loss)
    weight = _weight(name, layer, source, weights)
    column = example_weights.get(name)
    if name in example_weights:
        _check_column(net, name, column, is_loss)
    trained = not isinstance(layer, Loss) or layer.trained
    return LossSpec(weight, column, _counted_length(net, layer, source), is_loss, trained)


def _counted_length(net: NetGraph, layer: Layer, source: Source) -> str | None:
    """Return the length over whose steps an output's mean goes: of a loss with ``average="steps"``, or a sequence's."""
    if not isinstance(layer, Loss):
        return length_of(_known(net.types.of(source)))
    assert source.node is not None  # outputs come from layers
    return length_of(_known(net.types.nodes[source.node].inputs["Input"])) if layer.average == "steps" else None


def _check_column(net: NetGraph, name: str, column: object, is_loss: bool) -> None:
    if not is_loss:
        raise NetError(f'example_weights: the output "{name}" comes from no loss layer, so there is nothing to weigh')
    usable = isinstance(column, str) and column and column.isprintable() and "." not in column
    if not usable or column in net.inputs or column in net.layers:
        raise NetError(
            f'example_weights: "{name}" needs the name of a new input port, without a dot, got {column!r}; '
            f"taken: {', '.join([*net.inputs, *net.layers])}"
        )


def _weight(name: str, layer: Layer, source: Source, weights: Mapping[str, float]) -> float:
    if name in weights:
        weight = real_number(weights[name], f'losses: the weight of "{name}"')
        if weight and isinstance(layer, Loss) and not layer.trained:
            raise NetError(
                f'losses: "{name}" comes from {layer!r}, which has no gradient, so it cannot be trained; '
                f"its weight must be 0"
            )
        return weight
    if isinstance(layer, Loss):
        return 1.0 if layer.trained else 0.0
    if "." in name and source.port in layer.states:
        return 0.0  # a state port of with_states
    raise NetError(
        f'the output "{name}" feeds no loss: add it with weight 0, as in losses={{"{name}": 0.0}}, to keep it alive '
        f"without training it"
    )


def _nodes(graph: Graph, storage: Storage) -> FrozenMapping[PlanNode]:
    packs = storage.packs(graph)
    return FrozenMapping({path: PlanNode(path, storage.used[path], packs[path]) for path in graph.nodes})


def _chosen(arrays: Mapping[str, ArraySpec], auxiliary: bool) -> FrozenMapping[ArraySpec]:
    return FrozenMapping(
        {path: spec for path, spec in arrays.items() if spec.auxiliary is auxiliary}, "array", "the plan"
    )


def _states(graph: Graph) -> FrozenMapping[str]:
    """Return the output port of each input port that feeds a state which is also taken out."""
    taken: dict[str, set[str]] = {}
    for path, node in graph.nodes.items():
        for port, source in node.feeds.items():
            if source.node is None and port in node.layer.states:
                shown = [name for name, output in graph.outputs.items() if output == Source(path, port)]
                taken.setdefault(source.port, set()).add(source.port if source.port in shown else (shown or [""])[0])
    # a port that starts several layers has no one state to become
    pairs = {name: next(iter(taken[name])) for name in graph.inputs if len(taken.get(name, ())) == 1}
    return FrozenMapping({name: output for name, output in pairs.items() if output}, "state", "the plan")


def _lengths(types: Types) -> tuple[str, ...]:
    ports = [*types.inputs.values(), *(port for node in types.nodes.values() for port in node.outputs.values())]
    names = [length_of(port) for port in ports if port is not None]
    return tuple(dict.fromkeys(name for name in names if name is not None))
