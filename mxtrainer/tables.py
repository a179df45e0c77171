"""Tables for nets, plans and reports: as plain text where they are printed, as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple, Union

LEFT = ' style="text-align: left"'  # notebooks put cells to the right


class Table(NamedTuple):
    """A header, and rows of cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        """Show aligned columns under the header."""
        return table(self.header, self.rows)

    def html(self) -> str:
        """Return a table of HTML, which has its colours from the page around it.

        Example:
            >>> Table(["port"], [["<Input>"]]).html().replace(LEFT, "")
            '<table><thead><tr><th>port</th></tr></thead><tbody><tr><td>&lt;Input&gt;</td></tr></tbody></table>'
        """
        head = _cells("th", self.header)
        body = "".join(_cells("td", row) for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


class Printed:
    """The base of what prints as lines and tables; a notebook shows the same as HTML."""

    def _parts(self) -> list[Part]:
        """Return what is printed, one below the other."""
        raise TypeError(f"{type(self).__name__} does not define _parts()")

    def __str__(self) -> str:
        """Show lines and tables."""
        return "\n".join(map(str, self._parts()))

    def html(self) -> str:
        """Return the same as HTML, which loads nothing; a notebook shows it."""
        return html_of(self._parts())

    def _repr_html_(self) -> str:
        return self.html()


Part = Union[str, Table, Printed]


def html_of(parts: Iterable[Part]) -> str:
    """Return lines and tables as HTML, which loads nothing.

    Example:
        >>> html_of(["a < b", ""])
        '<div><div>a &lt; b</div></div>'
    """
    shown = [f"<div>{escape(part)}</div>" if isinstance(part, str) else part.html() for part in parts if part]
    return f"<div>{''.join(shown)}</div>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns under a header.

    Example:
        >>> print(table(["port", "type"], [["Input", "Scalar()"]]))
        port   type
        Input  Scalar()
    """
    lines = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _cells(tag: str, row: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}{LEFT}>{escape(str(cell))}</{tag}>' for cell in row)}</tr>"
