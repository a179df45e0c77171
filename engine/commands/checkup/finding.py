"""One thing that a checkup found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that a checkup found.

    Attributes:
        subject: What was looked at.
        found: What it is.
        state: "ok"; "warning": it works, and could be better; or "problem": training does not work.
        advice: What to do; empty where it is ok.
    """

    subject: str
    found: str
    state: str = OK
    advice: str = ""


def judged(subject: str, found: str, warning: str | None) -> Finding:
    """Return a finding that is ok unless there is a warning, which says what to do."""
    return Finding(subject, found) if warning is None else Finding(subject, found, WARNING, warning)
