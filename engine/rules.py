"""Rules for parts of a net: how an optimizer treats each array, found by patterns on their paths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Union

from ..arguments import real_number
from ..errors import ArgumentError, nearest
from ..mappings import FrozenMapping
from ..tables import Part, Printed, Table
from ..values import Value, register

#: Rules as they are given: pairs of a pattern and a `Rule`.
Rules = Union[Sequence[tuple[str, "Rule"]], Mapping[str, "Rule"]]
Pairs = tuple[tuple[str, "Rule"], ...]


@register
@dataclass(frozen=True, repr=False)
class Rule(Value):
    """What an optimizer does otherwise for some arrays; what is None is left to other rules, or to the optimizer.

    Args:
        learning_rate_multiplier: What the learning rate is multiplied by; a negative one goes uphill, and 0 freezes,
            unless a rule says ``frozen=False``.
        weight_decay: The weight decay.
        clip_gradient: The largest absolute value of a gradient's element; infinity: any.
        clip_weights: The largest absolute value of an element after a move; infinity: any.
        frozen: Whether the arrays stay as they are: they then have no gradient, which is not computed, and no state.

    Raises:
        ArgumentError: A number is outside of its range.

    Example:
        >>> from mxtrainer import Adam
        >>> Adam(rules=[("embedding", Rule(frozen=True)), ("*.Biases", Rule(weight_decay=0.0))], weight_decay=1e-4)
        Adam(weight_decay=0.0001, rules=(('embedding', Rule(frozen=True)), ('*.Biases', Rule(weight_decay=0.0))))
    """

    learning_rate_multiplier: float | None = None
    weight_decay: float | None = None
    clip_gradient: float | None = None
    clip_weights: float | None = None
    frozen: bool | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.learning_rate_multiplier is not None:
            what = "Rule: learning_rate_multiplier"
            object.__setattr__(self, "learning_rate_multiplier", real_number(self.learning_rate_multiplier, what))
        check_settings(self)
        if self.frozen is not None and not isinstance(self.frozen, bool):
            raise ArgumentError(f"Rule: frozen must be True or False, got {self.frozen!r}")


def check_settings(owner: Any) -> None:
    """Check weight decay and limits of a rule or an optimizer, which may be None.

    Raises:
        ArgumentError: The decay is negative, or a limit is not positive; names the class.
    """
    for name in ("weight_decay", "clip_gradient", "clip_weights"):
        found, what = getattr(owner, name), f"{type(owner).__name__}: {name}"
        if found is None or (name != "weight_decay" and found == math.inf):
            continue
        number = real_number(found, what)
        if number < 0.0 or (number == 0.0 and name != "weight_decay"):
            raise ArgumentError(f"{what} must be {'at least' if name == 'weight_decay' else 'above'} 0, got {number:g}")
        object.__setattr__(owner, name, number)


def check_rules(rules: object, owner: str) -> Pairs:
    """Return rules as a tuple.

    Raises:
        ArgumentError: They are no pairs of a pattern and a Rule.
    """
    listed = list(rules.items()) if isinstance(rules, Mapping) else rules
    if isinstance(listed, (str, bytes)) or not isinstance(listed, Iterable):
        raise ArgumentError(f'{owner}: rules must be pairs, as in [("lstm", Rule(frozen=True))], got {rules!r}')
    pairs = [tuple(pair) if isinstance(pair, (tuple, list)) else pair for pair in listed]
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], Rule)):
            raise ArgumentError(f'{owner}: a rule is a pair, as in ("lstm", Rule(frozen=True)), got {pair!r}')
    return tuple(pairs)


class Settings(NamedTuple):
    """What an optimizer does with one array.

    Attributes:
        learning_rate_multiplier: What the learning rate is multiplied by.
        weight_decay: The weight decay.
        clip_gradient: The largest absolute value of a gradient's element; infinity: any.
        clip_weights: The largest absolute value of an element after a move; infinity: any.
        frozen: Whether the array stays as it is.
    """

    learning_rate_multiplier: float = 1.0
    weight_decay: float = 0.0
    clip_gradient: float = math.inf
    clip_weights: float = math.inf
    frozen: bool = False


class RuleTable(Printed, FrozenMapping[Settings]):
    """What an optimizer does with each array, by path; prints as a table."""

    def _parts(self) -> list[Part]:
        header = ["array", "multiplier", "decay", "clip gradient", "clip weights"]
        return [Table(header, [[path, *_shown(settings)] for path, settings in self.items()])]


def _shown(settings: Settings) -> list[str]:
    if settings.frozen:
        return ["frozen", "-", "-", "-"]
    limits = ("-" if limit == math.inf else f"{limit:g}" for limit in settings[2:4])
    return [f"{settings.learning_rate_multiplier:g}", f"{settings.weight_decay:g}", *limits]


def resolve(rules: Pairs, default: Settings, paths: Sequence[str]) -> RuleTable:
    """Return what each array gets: setting by setting, the first rule that matches it and says something.

    Raises:
        ArgumentError: A pattern matches no array.
    """
    for pattern, _ in rules:
        if not matching(pattern, paths):
            raise ArgumentError(f"rules: {no_match(pattern, paths)}")
    return RuleTable({path: _settings(path, rules, default) for path in paths}, "array", "the plan")


def _settings(path: str, rules: Pairs, default: Settings) -> Settings:
    found: dict[str, Any] = {}
    for _, rule in [pair for pair in rules if matching(pair[0], [path])]:
        for field in fields(rule):
            value = getattr(rule, field.name)
            if value is not None:
                found.setdefault(field.name, value)
    found.setdefault("frozen", found.get("learning_rate_multiplier") == 0.0)
    return default._replace(**found)


def matching(pattern: str, paths: Iterable[str]) -> list[str]:
    """Return the paths that a pattern matches: the whole path as a glob, or a layer, or a net in the net, above it."""
    return [path for path in paths if fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")]


def no_match(pattern: str, paths: Sequence[str]) -> str:
    """Say that a pattern matches nothing, and what it may have meant."""
    layers = dict.fromkeys(path.rpartition(".")[0] for path in paths)
    hint = nearest(pattern, [*layers, *paths])
    return f'the pattern "{pattern}" matches no array{hint or "."} The arrays are {", ".join(paths)}'
