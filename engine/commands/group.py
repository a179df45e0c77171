"""The group of all commands."""

from __future__ import annotations

from typing import Any

import click

from ... import __version__
from ...errors import Error
from .bench import bench
from .doctor import doctor
from .explain import explain
from .memory import memory
from .verify_resume import verify_resume


class Refusal(click.ClickException):
    """What a command does not do, in one message; exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """A group that shows an error of this package as one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises:
            Refusal: It raised an error of this package.
        """
        try:
            return super().invoke(ctx)
        except Error as error:
            raise Refusal(str(error)) from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands=[explain, memory, verify_resume, bench, doctor],
)
@click.version_option(__version__, prog_name="mxtrainer")
def commands() -> None:
    """Look at plans and checkpoints of mxtrainer, and at the machine that trains them."""
