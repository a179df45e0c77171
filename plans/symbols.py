"""Graphs of MXNet operators as data: read from its JSON, checked, and built again operator by operator.

MXNet's own reader takes what crashes the process later: outputs that do not exist, inputs that are missing, operators
that write outside of their arrays. So nothing of a text reaches it that was not looked at here first.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from .._mxnet import mx
from ..errors import FileFormatError
from ..values import canonical_json, parse_json
from .operators import ALLOWED, BATCH_NORM, COUNTS, LOSSES

Symbol = Any
Entry = tuple[int, int]  # the number of a node, and of its output
VARIABLE = "null"
STATISTICS = ("moving_mean", "moving_var")  # of a BatchNorm; files of old have no entry for them
MOST, MOST_NODES = 4096, 100_000  # outputs of one operator, and nodes of a graph
LONGEST = 2**16  # characters of a name or parameter
SPLIT = -4  # of a Reshape: an axis becomes two
SHAPE = "__shape__"  # what a variable says of itself; 0 where an extent is open
SHAPE_TEXT = re.compile(r"[(\[]\s*\d{1,9}\s*(,\s*\d{1,9}\s*){0,31},?\s*[)\]]")
# What older files say of a node beside its operator's own parameters.
NO_PARAMETERS = frozenset(["ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage"])


class Operation(NamedTuple):
    """A node of a graph.

    Attributes:
        operator: MXNet's name of the operator, or "null": a variable.
        name: Its name.
        attributes: The operator's parameters, as text.
        inputs: What it takes.
    """

    operator: str
    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Entry, ...] = ()

    def get(self, attribute: str, default: str = "") -> str:
        """Return a parameter's text, or what it is by default."""
        return dict(self.attributes).get(attribute, default)

    def flag(self, attribute: str, default: bool = False) -> bool:
        """Return a parameter that is true or false."""
        return self.get(attribute, str(default)).strip().lower() in {"true", "1"}

    def number(self, attribute: str, default: float) -> float:
        """Return a parameter that is a number.

        Raises:
            FileFormatError: It is none.
        """
        text = self.get(attribute, repr(default))
        try:
            return float(text.rstrip("fF"))  # which C++ reads as well
        except ValueError:
            raise FileFormatError(
                f'"{self.name}" ({self.operator}): {attribute} must be a number, got {text!r}'
            ) from None

    def integers(self, attribute: str) -> list[int]:
        """Return the integers in a parameter."""
        return [int(found) for found in re.findall(r"-?\d{1,18}", self.get(attribute))]

    def but(self, **attributes: str) -> Operation:
        """Return it with other parameters."""
        return self._replace(attributes=tuple((dict(self.attributes) | attributes).items()))


class Signature(NamedTuple):
    """How many inputs an operator with its parameters has, and what its outputs are called."""

    inputs: int
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class SymbolGraph:
    """A graph of MXNet operators in which every entry exists; nodes come after those that they take.

    Attributes:
        nodes: Variables and operations.
        heads: Its outputs.
    """

    nodes: tuple[Operation, ...]
    heads: tuple[Entry, ...]

    @staticmethod
    def parse(text: object, what: str = "symbol") -> SymbolGraph:
        """Return the graph in the JSON that MXNet writes.

        Args:
            text: The text.
            what: What it is, for errors.

        Raises:
            FileFormatError: It is no such graph, or has what is not allowed; names the node.
        """
        data = parse_json(text, what)
        try:
            nodes = tuple(_operation(entry) for entry in data["nodes"])
            heads = tuple(_entry(head) for head in data["heads"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise FileFormatError(f"{what}: this is no graph of MXNet: {type(error).__name__}: {error}") from error
        graph = SymbolGraph(nodes, heads)
        graph._check(what)
        return graph.pruned().with_statistics()

    def _check(self, what: str) -> None:
        if len(self.nodes) > MOST_NODES:
            raise FileFormatError(f"{what}: the graph has {len(self.nodes):,} nodes; what is read is {MOST_NODES:,}")
        outputs: list[int] = []
        names: set[str] = set()
        for number, node in enumerate(self.nodes):
            where = f'{what}: node {number}, "{node.name}" ({node.operator})'
            for entry in node.inputs:
                _check_entry(entry, outputs, where)
            if node.operator == VARIABLE:
                _check_parameters(node, where)
                if node.name in names:
                    raise FileFormatError(f"{where}: there are two variables of this name")
                names.add(node.name)
                outputs.append(1)
            else:
                outputs.append(_checked_outputs(node, where))
        if not self.heads:
            raise FileFormatError(f"{what}: the graph has no output")
        for head in self.heads:
            _check_entry(head, outputs, f"{what}: heads")

    def pruned(self) -> SymbolGraph:
        """Return the graph without what no output needs."""
        needed: set[int] = set()
        waiting = [number for number, _ in self.heads]
        while waiting:
            number = waiting.pop()
            if number not in needed:
                needed.add(number)
                waiting += [source for source, _ in self.nodes[number].inputs]
        place = {number: index for index, number in enumerate(sorted(needed))}
        nodes = tuple(
            node._replace(inputs=tuple((place[source], output) for source, output in node.inputs))
            for number, node in enumerate(self.nodes)
            if number in needed
        )
        return SymbolGraph(nodes, tuple((place[number], output) for number, output in self.heads))

    def with_statistics(self) -> SymbolGraph:
        """Return the graph with the moving statistics of BatchNorms as variables, of which files of old say nothing."""
        nodes: list[Operation] = []
        place: list[int] = []
        for node in self.nodes:
            inputs = tuple((place[number], output) for number, output in node.inputs)
            if node.operator == BATCH_NORM and len(inputs) == 5 - len(STATISTICS):
                inputs += tuple((len(nodes) + index, 0) for index in range(len(STATISTICS)))
                nodes += [Operation(VARIABLE, f"{node.name}_{part}") for part in STATISTICS]
            place.append(len(nodes))
            nodes.append(node._replace(inputs=inputs))
        return SymbolGraph(tuple(nodes), tuple((place[number], output) for number, output in self.heads))

    def with_blocked(self, names: Collection[str]) -> SymbolGraph:
        """Return the graph with these variables behind a BlockGrad, so that nothing trains them."""
        nodes: list[Operation] = []
        place: list[int] = []
        for node in self.nodes:
            nodes.append(node._replace(inputs=tuple((place[number], output) for number, output in node.inputs)))
            if node.operator == VARIABLE and node.name in names:
                nodes.append(Operation("BlockGrad", f"{node.name}_fixed", (), ((len(nodes) - 1, 0),)))
            place.append(len(nodes) - 1)
        return SymbolGraph(tuple(nodes), tuple((place[number], output) for number, output in self.heads))

    def to_text(self) -> str:
        """Return the JSON that MXNet, too, reads: the same graph gives the same text."""
        nodes = [
            {
                "op": node.operator,
                "name": node.name,
                "attrs": dict(sorted(node.attributes)),
                "inputs": [[*entry, 0] for entry in node.inputs],
            }
            for node in self.nodes
        ]
        arguments = [number for number, node in enumerate(self.nodes) if node.operator == VARIABLE]
        return canonical_json({"nodes": nodes, "arg_nodes": arguments, "heads": [[*head, 0] for head in self.heads]})

    def hints(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that variables say they have, 0 for extents that are open."""
        said = {node.name: node.get(SHAPE) for node in self.nodes if node.operator == VARIABLE}
        return {name: tuple(map(int, re.findall(r"\d+", text))) for name, text in said.items() if text}

    def with_hints(self, shapes: Mapping[str, tuple[int, ...]]) -> SymbolGraph:
        """Return the graph with these variables saying that they have these shapes, and the others nothing."""
        nodes = (
            node._replace(attributes=((SHAPE, str(shapes[node.name])),) if node.name in shapes else ())
            if node.operator == VARIABLE
            else node
            for node in self.nodes
        )
        return SymbolGraph(tuple(nodes), self.heads)

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables in order."""
        return tuple(node.name for node in self.nodes if node.operator == VARIABLE)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The nodes that are no variables."""
        return tuple(node for node in self.nodes if node.operator != VARIABLE)

    def entries(self) -> Iterator[Entry]:
        """Yield every output of every node."""
        for number, node in enumerate(self.nodes):
            yield from ((number, output) for output in range(len(signature(node).outputs)))

    def name_of(self, entry: Entry) -> str:
        """Return what MXNet calls an output."""
        node = self.nodes[entry[0]]
        output = signature(node).outputs[entry[1]]
        return f"{node.name}_{output}" if output else node.name

    def build(
        self, variables: Mapping[str, Symbol], apply: Callable[[Operation, list[Symbol]], Symbol] | None = None
    ) -> list[Symbol]:
        """Return the symbol of each head.

        Args:
            variables: The symbol of each variable.
            apply: Makes the symbol of an operation from those of its inputs; None: `apply_operation`.
        """
        made: list[Symbol] = []
        for node in self.nodes:
            if node.operator == VARIABLE:
                made.append(variables[node.name])
            else:
                inputs = [made[number][output] for number, output in node.inputs]
                made.append((apply or apply_operation)(node, inputs))
        return [made[number][output] for number, output in self.heads]


def _operation(entry: Any) -> Operation:
    attributes: dict[str, str] = {}
    for key in ("param", "attr", "attrs"):  # what it was called over the years
        attributes.update(entry.get(key) or {})
    kept = {
        key: value
        for key, value in attributes.items()
        if not (key.startswith("__") and key.endswith("__")) and key not in NO_PARAMETERS
    }
    operator, name = entry["op"], entry["name"]
    if not all(isinstance(text, str) for text in (operator, name, *kept, *kept.values())):
        raise TypeError(f"the node {name!r} has what is no text")
    if operator == VARIABLE:
        kept = _hint_of(attributes.get(SHAPE, ""))
    if "subgraphs" in entry:
        raise ValueError(f'the node "{name}" ({operator}) has graphs inside, as a loop does')
    return Operation(operator, name, tuple(kept.items()), tuple(_entry(found) for found in entry["inputs"]))


def _hint_of(text: str) -> dict[str, str]:
    """Return a shape in the one form that it has here, or nothing where it is none."""
    match = SHAPE_TEXT.fullmatch(text)
    return {} if match is None else {SHAPE: str(tuple(map(int, re.findall(r"\d+", text))))}


def _entry(found: Any) -> Entry:
    number, output = found[0], found[1]
    if not all(isinstance(part, int) and not isinstance(part, bool) for part in (number, output)):
        raise TypeError(f"{found!r} is no output of a node")
    return number, output


def _check_entry(entry: Entry, outputs: list[int], where: str) -> None:
    number, output = entry
    if not 0 <= number < len(outputs):
        raise FileFormatError(f"{where}: takes node {number}, which does not come before it")
    if not 0 <= output < outputs[number]:
        raise FileFormatError(f"{where}: takes output {output} of node {number}, which has {outputs[number]}")


def _checked_outputs(node: Operation, where: str) -> int:
    """Return how many outputs an operation has.

    Raises:
        FileFormatError: It cannot be.
    """
    if node.operator not in ALLOWED | LOSSES:
        raise FileFormatError(f"{where}: this operator cannot be taken over")
    count = len(node.inputs)
    if node.get("num_args", str(count)) != str(count):
        raise FileFormatError(f"{where}: has {count} inputs, and says num_args={node.get('num_args')}")
    _check_parameters(node, where)
    try:
        found = signature(node)
    except mx.base.MXNetError as error:
        raise FileFormatError(f"{where}: {_first_line(error)}") from error
    few = found.inputs - len(STATISTICS) if node.operator == BATCH_NORM else found.inputs
    if count not in {few, found.inputs}:
        raise FileFormatError(f"{where}: takes {found.inputs} inputs, found {count}")
    return len(found.outputs)


def _check_parameters(node: Operation, where: str) -> None:
    """Refuse what crashes MXNet before it looks.

    Raises:
        FileFormatError: There is some.
    """
    for text in (node.name, *(part for pair in node.attributes for part in pair)):
        if "\0" in text or len(text) > LONGEST or not _is_utf8(text):
            raise FileFormatError(f"{where}: {text[:80]!r} is too long, or has a character that no text has")
    for attribute in {"num_outputs", "sections", "indices"} & dict(node.attributes).keys():
        numbers = node.integers(attribute)
        if len(numbers) > MOST or any(number < 0 for number in numbers):
            raise FileFormatError(f"{where}: {attribute} must be at least 0, got {node.get(attribute)}")
        if attribute != "indices" and any(number > MOST for number in numbers):
            raise FileFormatError(f"{where}: has more than {MOST} outputs")
    for attribute in COUNTS & dict(node.attributes).keys():
        if any(number < 1 for number in node.integers(attribute)):
            raise FileFormatError(f"{where}: {attribute} must be at least 1, got {node.get(attribute)}")
    sizes = node.integers("shape")
    for place, size in enumerate(sizes):
        if size == SPLIT and any(part == 0 or part < -1 for part in sizes[place + 1 : place + 3]):
            raise FileFormatError(f"{where}: {SPLIT} must come before two extents, got {node.get('shape')}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Traceback")]
    return lines[-1].strip() if lines else type(error).__name__


def apply_operation(node: Operation, inputs: list[Symbol]) -> Symbol:
    """Return the symbol of an operation with these inputs."""
    name = mx.name.NameManager._current.value.get(node.name, "")  # noqa: SLF001 - with the prefix in force
    return _create(node.operator, node.attributes, inputs, name)


def _create(operator: str, attributes: tuple[tuple[str, str], ...], inputs: list[Symbol], name: str) -> Symbol:
    """Return the symbol of an operator by its name, of which Python's functions have only some."""
    symbol = mx.sym.Symbol(_atomic(operator, attributes))
    symbol._compose(*inputs, name=name)  # noqa: SLF001 - what the functions of mx.sym do
    return symbol


def _atomic(operator: str, attributes: tuple[tuple[str, str], ...]) -> Any:
    library, base = mx.base._LIB, mx.base  # noqa: SLF001 - MXNet's functions have no public form
    handle, found = ctypes.c_void_p(), base.SymbolHandle()
    base.check_call(library.NNGetOpHandle(operator.encode(), ctypes.byref(handle)))
    keys, values = (base.c_str_array([pair[side] for pair in attributes]) for side in (0, 1))
    count = base.mx_uint(len(attributes))
    base.check_call(library.MXSymbolCreateAtomicSymbol(handle, count, keys, values, ctypes.byref(found)))
    return found


@lru_cache(maxsize=4096)
def _signature(operator: str, attributes: tuple[tuple[str, str], ...]) -> Signature:
    symbol = _create(operator, attributes, [], "x")  # inputs that are not given become variables
    return Signature(len(symbol.list_inputs()), tuple(name[len("x_") :] for name in symbol.list_outputs()))


def signature(node: Operation) -> Signature:
    """Return how many inputs and outputs an operation has.

    Raises:
        MXNetError: A parameter is unknown, or no value for it.
    """
    if node.operator == VARIABLE:
        return Signature(0, ("",))
    return _signature(node.operator, node.attributes)
