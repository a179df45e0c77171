"""Fold: a net run over a sequence, with states of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...errors import ArgumentError, NetError, nearest
from ...mappings import FrozenMapping
from ...values import register
from ..initializers import Zeros
from ..types import item_of
from .base import Declared, MismatchError, Node, Ports, Symbol, check_initial, set_fields
from .inner import NetLayer
from .scan import Scan


@register
@dataclass(frozen=True, repr=False)
class Fold(NetLayer):
    """A net run over the steps of sequences; some of its outputs are some of its inputs at the next step.

    Ports: inputs and outputs of the net, each a Sequence of what it is in the net; all have one length. Constants are
    inputs as they are. A state is an input, the value before the first step, and under the same name an output, the
    value after the last true one; unconnected, it starts at `initial`. So an output of the net that has the name of the
    state that it becomes is no sequence.
    Arrays: those of the net under their paths in it, ``"fold.linear.Weights"``; with learned initial states also
    ``"fold.InitialState"``, by the name of each.

    What depends on no state runs on all steps at once, before the loop or after it.

    Args:
        net: The net of one step. Values that it has for its arrays are left behind, as by `compile_plan`.
        feedback: The input that each of these outputs becomes, ``{"Output": "State"}``.
        constants: Inputs that are the same at every step; such a one may be a Sequence of any length, to attend to.
        initial: What states start at: a number, or "learned". A number in the type that the net gives a state, as in
            ``inputs={"State": Vector(4, initial=0.5)}``, is for that one.

    Raises:
        ArgumentError: It is no net, feedback or constants have no names in them, or `initial` is neither.
        NetError: A port is unknown, an output and its state differ in type, or a layer makes no sense in a fold.

    Example:
        >>> from mxtrainer import Elementwise, Linear, NetChain, NetGraph, Sequence, Threading, Vector
        >>> cell = NetGraph(
        ...     {"in": Linear(4), "back": Linear(4), "plus": Threading("plus"), "tanh": Elementwise("tanh")},
        ...     [("Input", "in"), ("State", "back"), (["in", "back"], "plus", "tanh", "Output")],
        ... )
        >>> net = NetChain([Fold(cell, {"Output": "State"})], inputs={"Input": Sequence("t", Vector(2))})
        >>> net.with_states().outputs
        {'Output': Sequence('t', Vector(4)), 'fold.State': Vector(4)}
    """

    feedback: Mapping[str, str]
    constants: tuple[str, ...] = ()
    initial: float | str = 0.0

    def __post_init__(self) -> None:
        """Check the net, and the names."""
        super().__post_init__()
        check_initial(self)
        feedback = self._checked_feedback()
        constants = self._checked_constants(feedback)
        # in the order of the net's ports, so that equal folds are the same
        set_fields(
            self,
            feedback=FrozenMapping({port: feedback[port] for port in self.net.output_sources if port in feedback}),
            constants=tuple(port for port in self.net.inputs if port in constants),
        )
        if not self.stepped:
            raise NetError(
                f"Fold: every input of its net is a state or a constant ({', '.join(self.net.inputs)}), so there is no "
                f"sequence to run over; give the net another input"
            )
        self._check_types()

    def _example(self) -> str:
        return ', {"Output": "State"}'

    def _instead(self, port: str) -> str:
        return "" if port in self.states else f', or name it in constants=("{port}",)'

    def _checked_feedback(self) -> Mapping[str, str]:
        feedback: object = self.feedback
        pairs = feedback.items() if isinstance(feedback, Mapping) else ()
        if not isinstance(feedback, Mapping) or not all(isinstance(name, str) for pair in pairs for name in pair):
            raise ArgumentError(
                f"Fold: feedback must map outputs of its net to the inputs that they become, as in "
                f'{{"Output": "State"}}, got {feedback!r}'
            )
        if not feedback:
            raise NetError("Fold: feedback is empty, so no step depends on the one before it; that is a Map(net)")
        taken: dict[str, str] = {}
        for output, state in feedback.items():
            self._check_known("feedback", "output", output, self.net.output_sources)
            self._check_known("feedback", "input", state, self.net.inputs)
            if state in taken:
                raise NetError(
                    f'Fold: feedback: "{taken[state]}" and "{output}" both become the state "{state}"; a state is one '
                    f"output of the step before"
                )
            taken[state] = output
        for state, output in taken.items():
            if state != output and state in self.net.output_sources:
                raise NetError(
                    f'Fold: feedback: "{output}" becomes the state "{state}", but its net has an output "{state}" too, '
                    f"which would have the name of the last state; give one of them another name"
                )
        return feedback

    def _checked_constants(self, feedback: Mapping[str, str]) -> tuple[str, ...]:
        constants: object = self.constants
        listed = tuple(constants) if isinstance(constants, Iterable) and not isinstance(constants, str) else (None,)
        if not all(isinstance(port, str) for port in listed):
            raise ArgumentError(f'Fold: constants must be names of inputs, as in ("Memory",), got {constants!r}')
        for port in listed:
            self._check_known("constants", "input", port, self.net.inputs)
            if port in feedback.values():
                raise NetError(f'Fold: "{port}" is a state by feedback, so it is no constant; leave it out of one')
        return listed

    @staticmethod
    def _check_known(argument: str, side: str, port: str, ports: Iterable[str]) -> None:
        known = tuple(ports)
        if port not in known:
            raise NetError(
                f'Fold: {argument}: its net has no {side} "{port}"{nearest(port, known) or "."} '
                f"Its {side}s: {', '.join(known) or 'none'}"
            )

    def loops(self) -> Mapping[str, str]:
        """Return the feedback."""
        return self.feedback

    def unchanged(self) -> tuple[str, ...]:
        """Return the constants."""
        return self.constants

    def initial_of(self, state: str) -> float | str:
        """Return the number of the state's type, or what all of them start at."""
        own = getattr(self.net.inputs[state], "initial", None)
        if own is not None:
            return float(own)
        return f"Initial{state}" if isinstance(self.initial, str) else self.initial

    def declare(self, ports: Ports) -> dict[str, Declared]:
        """Return the arrays of the net, and those of learned initial states.

        Raises:
            MismatchError: The types in the net are not determined, or the forward pass would move an array.
        """
        declared = super().declare(ports)
        for path, array in declared.items():
            if array.auxiliary:
                name = path.rpartition(".")[0]
                raise MismatchError(
                    f'in its net, the layer "{name}" ({self.net.graph.nodes[name].layer!r}) moves its array "{path}" '
                    f"at every step, which a Fold cannot do; put it before or after the Fold, or take a LayerNorm"
                )
        learned = {state: self.initial_of(state) for state in self.states}
        shapes = {name: item_of(ports.input(state)).shape for state, name in learned.items() if isinstance(name, str)}
        return {**declared, **{name: Declared(shape, Zeros()) for name, shape in shapes.items()}}

    def lower(self, node: Node) -> dict[str, Symbol]:
        """Run what needs no state on all steps, then the loop, then what only the outputs need."""
        scan, at = Scan(self, node), node.split_at
        if at is None:
            emitted, states = scan.run(scan.start(), 0, scan.steps)
        else:
            first, between = scan.run(scan.start(), 0, at)
            for state, symbol in zip(self.states, between):
                node.hand_over(state, symbol)
            second, states = scan.run(between, at, scan.steps)
            emitted = scan.joined(first, second, at)
        return {**scan.outputs(emitted), **dict(zip(self.states, states))}
