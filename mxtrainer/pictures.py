"""Graphs in the DOT language, which graphviz draws."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arguments import as_path
from .errors import ArgumentError, Error

TEXT, DRAWN = (".dot", ".gv"), (".svg", ".png", ".pdf")
SECONDS = 60  # after which graphviz is taken to be lost in a graph


@dataclass(frozen=True)
class Picture:
    """A graph that graphviz draws; a notebook shows it.

    The text needs nothing. To draw it, graphviz's program ``dot`` must be installed, which no Python package brings.

    Attributes:
        title: What it is of.
        dot: The graph in the DOT language.

    Example:
        >>> Picture("two vertices", "digraph { a -> b }").dot
        'digraph { a -> b }'
    """

    title: str
    dot: str = field(repr=False)

    def svg(self) -> str:
        """Return the drawing as SVG, an element to be put into a page; its background is transparent.

        Raises:
            Error: There is no program ``dot``, or it fails.
        """
        text = self._drawn("svg").decode()
        return text[text.index("<svg") :]

    def save(self, path: object) -> None:
        """Write the drawing, or the text, to a file; one that is there is overwritten.

        Args:
            path: The file; its suffix says what is written: .svg, .png, .pdf, or .dot for the text.

        Raises:
            ArgumentError: The suffix is another, or the file cannot be written.
            Error: There is no program ``dot``, or it fails; not for .dot.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     Picture("two vertices", "digraph { a -> b }").save(f"{folder}/graph.dot")
        """
        target = Path(as_path(path, "save: path"))
        suffix = target.suffix.lower()
        if suffix not in (*TEXT, *DRAWN):
            raise ArgumentError(f"save: {str(target)!r} must end in one of {', '.join((*DRAWN, *TEXT))}")
        content = self.dot.encode() if suffix in TEXT else self._drawn(suffix[1:])
        try:
            target.write_bytes(content)
        except OSError as error:
            raise ArgumentError(f"save: {str(target)!r} cannot be written: {error}") from error

    def _drawn(self, form: str) -> bytes:
        """Return what graphviz makes of it.

        Raises:
            Error: There is no program ``dot``, or it fails.
        """
        command = ["dot", f"-T{form}", *(["-Gdpi=144"] if form == "png" else [])]
        try:
            done = subprocess.run(command, input=self.dot.encode(), capture_output=True, check=True, timeout=SECONDS)
        except FileNotFoundError as error:
            raise Error(
                'a drawing is made by graphviz, whose program "dot" is not on the path. Install it, as by '
                '"apt install graphviz", "brew install graphviz" or "conda install graphviz"; or keep the text: '
                'save("net.dot"), which draws elsewhere'
            ) from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            raise Error(f"graphviz cannot draw {self.title}: {said}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Error(f'graphviz cannot draw {self.title}: {error}; the text is there: save("net.dot")') from error
        return done.stdout

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the drawing for a notebook, and the title alone where it cannot be drawn."""
        try:
            return {"image/svg+xml": self.svg(), "text/plain": repr(self)}
        except Error as error:
            return {"text/plain": f"{self!r}\n{error}"}
