"""What a check found, as rows that print as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .tables import Part, Printed, Table


@dataclass(frozen=True)
class Report(Printed):
    """The result of a check.

    Attributes:
        title: What was checked.
        rows: One mapping for each thing that was compared.
        exact: Whether everything agreed within the tolerance.
    """

    title: str
    rows: tuple[Mapping[str, Any], ...]
    exact: bool

    def _parts(self) -> list[Part]:
        lines = [[_cell(found) for found in row.values()] for row in self.rows]
        header = list(self.rows[0]) if self.rows else []
        return [self.title, Table(header, lines) if header else "nothing to compare", self._verdict()]

    def _verdict(self) -> str:
        return "everything agrees" if self.exact else "something DIFFERS"


def _cell(found: object) -> str:
    return f"{found:.2e}" if isinstance(found, float) else str(found)
