"""The arguments and options that several commands take."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ...errors import ArgumentError, Error, unknown
from ...plans.plan import Plan
from ..optimizers import LAMB, SGD, Adagrad, Adam, AdamW, Optimizer, RMSProp, SignSGD
from .imports import import_module_at

OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    cls.__name__: cls for cls in (Adam, AdamW, LAMB, SGD, RMSProp, SignSGD, Adagrad)
}
Command = TypeVar("Command", bound=Callable[..., Any])
POSITIVE = click.IntRange(min=1)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return the callback of an option whose text a function reads; None stays None, several texts make a tuple."""

    def read(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(parse(one) for one in value)
            return None if value is None else parse(value)
        except Error as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return read


def length_of(text: str) -> tuple[str, int]:
    """Return the name of a length, and a number of steps.

    Raises:
        ArgumentError: The text is something else.

    Example:
        >>> length_of("t=64")
        ('t', 64)
    """
    name, equals, steps = text.partition("=")
    if not name or not equals or not steps.isdecimal() or int(steps) < 1:
        raise ArgumentError(f"expected a length name and a positive number of steps, as in t=64, got {text!r}")
    return name, int(steps)


def optimizer_of(text: str) -> Optimizer:
    """Return the optimizer that a text names: a class, in any case, with or without arguments that are literals.

    Raises:
        UnknownNameError: There is no such class.
        ArgumentError: The text is something else, or the class refuses the arguments.

    Example:
        >>> optimizer_of("adam") == Adam(), optimizer_of("SGD(0.1, momentum=0.9)") == SGD(0.1, momentum=0.9)
        (True, True)
    """
    found: dict[str, Any]
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        name = str(call.func.id)  # type: ignore[attr-defined]  # what has none is caught
        arguments = [ast.literal_eval(one) for one in call.args]
        found = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError):
        raise ArgumentError(f'expected an optimizer, as in adam or "SGD(0.1, momentum=0.9)", got {text!r}') from None
    names = {cls.lower(): cls for cls in OPTIMIZERS}
    if name.lower() not in names:
        raise unknown("optimizer", name, OPTIMIZERS, "the command line")
    try:
        return OPTIMIZERS[names[name.lower()]](*arguments, **found)
    except TypeError as error:
        raise ArgumentError(f"{text}: {error}") from None


def plan_file(command: Command) -> Command:
    """Add the argument of a file, and the modules that it needs."""
    return modules(click.argument("file", type=FILE)(command))


def modules(command: Command) -> Command:
    """Add modules that are imported first."""
    return click.option(
        "--import",
        "modules",
        metavar="MODULE",
        multiple=True,
        expose_value=False,
        is_eager=True,
        callback=parsed(import_module_at),
        help="A module, or a Python file, that defines layers or optimizers of your own; may be given again.",
    )(command)


def batch_size(command: Command) -> Command:
    """Add the number of rows."""
    return click.option("--batch-size", type=POSITIVE, metavar="ROWS", help="Rows of a batch.")(command)


def lengths(command: Command) -> Command:
    """Add the numbers of steps, as a mapping."""
    return click.option(
        "--lengths",
        metavar="NAME=STEPS",
        multiple=True,
        callback=lambda *given: dict(parsed(length_of)(*given)),
        help="Steps of sequences, as in t=64; may be given again.",
    )(command)


def optimizer(command: Command) -> Command:
    """Add the optimizer."""
    return click.option(
        "--optimizer",
        metavar="OPTIMIZER",
        callback=parsed(optimizer_of),
        help='An optimizer, as in adam or "SGD(0.1, momentum=0.9)".',
    )(command)


def check_lengths(plan: Plan, given: Mapping[str, int]) -> None:
    """Check that there is a number of steps for each length of a plan, and no other.

    Raises:
        ClickException: There is not.
    """
    if set(given) != set(plan.lengths):
        wanted = " ".join(f"--lengths {name}=64" for name in plan.lengths)
        if not wanted:
            raise click.UsageError("the plan has no sequences: leave out --lengths")
        raise click.UsageError(f"the plan has sequences of the lengths {', '.join(plan.lengths)}: give {wanted}")
