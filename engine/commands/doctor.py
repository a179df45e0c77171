"""`mxtrainer doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from ...tables import table
from .checkup import examine
from .checkup.finding import PROBLEM, WARNING, Finding

FORMAT, VERSION = "mxtrainer-doctor", 1


@click.command(short_help="Whether training works here, and how well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a bug report.")
def doctor(as_json: bool) -> None:
    """Look at what is installed and at the machine, and train for a moment.

    Each line is ok, a warning (it works, and could be faster) or a problem (training does not work), with what to do.
    The exit code is 1 where there is a problem.
    """
    findings = list(examine())
    bad = any(one.state == PROBLEM for one in findings)
    if as_json:
        data = {"format": FORMAT, "version": VERSION, "findings": [asdict(one) for one in findings]}
        click.echo(json.dumps(data, indent=2))
    else:
        click.echo(_text(findings))
    raise SystemExit(1 if bad else 0)


def _text(findings: Sequence[Finding]) -> str:
    lines = [table(["state", "subject", "found"], [[one.state, one.subject, one.found] for one in findings])]
    advice = [f"{one.state}, {one.subject}: {one.advice}" for one in findings if one.advice]
    counts = {state: sum(one.state == state for one in findings) for state in (PROBLEM, WARNING)}
    verdict = ", ".join(f"{count} {state}{'s' * (count != 1)}" for state, count in counts.items())
    return "\n\n".join([*lines, *(["\n".join(advice)] if advice else []), verdict])
