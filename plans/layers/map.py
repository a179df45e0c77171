"""Map: a net on every step of a sequence."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import NetError
from ...values import register
from ..graph import Source
from .base import Node, Symbol
from .inner import NetLayer, all_steps


@register
@dataclass(frozen=True, repr=False)
class Map(NetLayer):
    """A net applied to every step of sequences, as if each step were an example.

    Ports: those of the net, each a Sequence of what it is in the net; all have one length.
    Arrays: those of the net under their paths in it, ``"map.linear.Weights"``.

    Args:
        net: The net, of single items. Values that it has for its arrays are left behind, as by `compile_plan`.

    Raises:
        ArgumentError: It is no net.
        NetError: It has a loss, or no input.

    Example:
        >>> from mxtrainer import Aggregate, NetChain, Sequence, Vector
        >>> norms = Map(NetChain([Aggregate("norm")], inputs={"Input": Vector(3)}))
        >>> NetChain([norms], inputs={"Input": Sequence("t", Vector(3))}).outputs
        {'Output': Sequence('t', Scalar())}
    """

    def __post_init__(self) -> None:
        """Check the net."""
        super().__post_init__()
        if not self.stepped:
            raise NetError("Map: its net has no input that could be a sequence")
        self._check_types()

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Merge the steps into the batch, run the net, and split again."""
        inside = self.inside(node.ports)
        sources = {port: source for port, source in inside.graph.outputs.items() if port in node.used}
        values = {Source(None, port): node.merge(node.inputs[port], node.ports.input(port)) for port in self.stepped}
        frame = all_steps(node, node.ports.input(self.stepped[0]))
        inside.lower(inside.graph.needed_by(tuple(sources.values())), values, frame)
        return {port: node.split(values[source], node.ports.output(port)) for port, source in sources.items()}
