"""The command line, `mxtrainer` and `python -m mxtrainer`: one file a command. click comes with the extra `cli`."""

from __future__ import annotations

import sys

from ...errors import MissingExtraError
from ...extras import require


def main() -> None:
    """Run the command line; ends the process, with exit code 2 where click is not installed."""
    try:
        require("click", "cli", "the command line")
    except MissingExtraError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2) from None
    from .group import commands

    commands(prog_name="mxtrainer")
