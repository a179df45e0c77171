"""Whether a plan can run over a long sequence in segments, each from the states that the one before it left."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from ..errors import NetError
from ..mappings import FrozenMapping
from .graph import GraphNode, Source
from .layers.base import ItemLayer, Layer
from .layers.elementwise import JoiningLayer
from .layers.fold import Fold
from .layers.losses import Loss
from .layers.map import Map
from .layers.recurrent import Recurrent
from .layers.sequence import SequenceLast
from .plan import Plan
from .types import PortType, Sequence


class Kind(Enum):
    """How what segments give makes up what the whole sequence gives."""

    STEPS = "a sequence: segment by segment, one after the other"
    SAME = "the same in each segment"
    BEGINNING = "a state as a segment begins"
    LAST = "what the segment gives in which the example ends"
    MEAN = "a loss that is the mean over steps: the mean of segments, each as long as it is"
    SUM = "a loss that is the sum over steps: the sum"


class Segmentation(NamedTuple):
    """How a plan runs in segments.

    Attributes:
        length: The name of the length that is cut.
        states: The output port of each input port whose state goes from segment to segment.
        kinds: How each value of the net, and so each output, is made up.
    """

    length: str
    states: FrozenMapping[str]
    kinds: Mapping[Source, Kind]


def segmentation(plan: Plan) -> Segmentation:
    """Return how a plan runs in segments.

    Raises:
        NetError: It cannot, as a layer needs the whole sequence, or a state is no port; says what to do.
    """
    if len(plan.lengths) != 1:
        lengths = ", ".join(f'"{name}"' for name in plan.lengths) or "none"
        raise NetError(f"segments are of the one length of a plan, and this one has {lengths}")
    for path in plan.auxiliary:
        layer = next(layer for layer in plan.nodes if path.startswith(f"{layer}."))  # which may have it in a net
        raise _refusal(plan, layer, "takes statistics over all steps of a batch; a LayerNorm takes none")
    kinds: dict[Source, Kind] = {}
    for port, spec in plan.inputs.items():
        step = Kind.STEPS if spec.length is not None else Kind.SAME
        kinds[Source(None, port)] = Kind.BEGINNING if port in plan.states else step
    for path in plan.graph_of_nodes.order:
        node = plan.graph_of_nodes.nodes[path]
        kinds.update({Source(path, port): kind for port, kind in _kinds_of(plan, path, node, kinds).items()})
    for port, loss in plan.losses.items():
        if loss.weight and not loss.is_loss:
            raise NetError(
                f'the output "{port}" has a weight and comes from no loss layer: of segments only losses can be trained'
            )
    return Segmentation(plan.lengths[0], plan.states, kinds)


def _kinds_of(plan: Plan, path: str, node: GraphNode, known: Mapping[Source, Kind]) -> dict[str, Kind]:
    """Return the kind of each output of a layer, given those of what it reads."""
    layer, ports = node.layer, plan.types.nodes[path]
    feeds = {port: known[source] for port, source in node.feeds.items()}
    if isinstance(layer, (Recurrent, Fold)):
        _check_states(plan, path, node)
        _check(plan, path, {port: kind for port, kind in feeds.items() if port not in layer.states}, ports.inputs)
        return {port: Kind.LAST if port in layer.states else Kind.STEPS for port in layer.output_ports()}
    if not isinstance(layer, (ItemLayer, JoiningLayer, Map, SequenceLast, Loss)):
        raise _refusal(plan, path, "needs the whole sequence at once")
    _check(plan, path, feeds, ports.inputs)
    if isinstance(layer, SequenceLast):
        return {"Output": Kind.LAST}
    over_steps = any(isinstance(port, Sequence) for port in ports.inputs.values())
    if isinstance(layer, Loss) and over_steps:
        return {layer.output_ports()[0]: Kind.SUM if layer.average == "steps" else Kind.MEAN}
    if over_steps and not all(isinstance(port, Sequence) for port in ports.outputs.values()):
        raise _refusal(plan, path, "needs all steps at once")
    kind = Kind.STEPS if over_steps else Kind.LAST if Kind.LAST in feeds.values() else Kind.SAME
    if kind is Kind.SAME and layer.random:
        raise _refusal(plan, path, "would draw other numbers in each segment for what is the same in all of them")
    return dict.fromkeys(layer.output_ports(), kind)


def _check(plan: Plan, path: str, feeds: Mapping[str, Kind], types: Mapping[str, PortType | None]) -> None:
    """Check what a layer reads, its states aside.

    Raises:
        NetError: It is known at the end only, and the layer needs it at every step; or it is a mean or a sum.
    """
    over_steps = any(isinstance(port, Sequence) for port in types.values())
    for port, kind in feeds.items():
        at = f'by its port "{port}"'
        if kind is Kind.BEGINNING:
            raise _refusal(plan, path, f"reads an initial state {at}, which is another one in each segment")
        if kind in (Kind.MEAN, Kind.SUM):
            raise _refusal(plan, path, f"reads a loss over all steps {at}; of segments it can only be an output")
        if over_steps and kind is Kind.LAST:
            raise _refusal(plan, path, f"reads at each step, {at}, what is known at the end of the sequence only")


def _check_states(plan: Plan, path: str, node: GraphNode) -> None:
    """Check that all states of a layer go from segment to segment.

    Raises:
        NetError: One is no port of the net, on either side.
    """
    for state in node.layer.states:
        source = node.feeds.get(state)
        output = None if source is None or source.node is not None else plan.states.get(source.port)
        if output is None or plan.graph_of_nodes.outputs[output] != Source(path, state):
            raise _refusal(
                plan,
                path,
                f'has the state "{state}", which must be an input and an output of the net to go from segment to '
                f"segment: compile_plan(net.with_states())",
            )


def _refusal(plan: Plan, path: str, why: str) -> NetError:
    layer: Layer = plan.graph_of_nodes.nodes[path].layer
    return NetError(f'segments: the layer "{path}" ({layer!r}) {why}')
