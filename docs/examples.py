# ruff: noqa: INP001 - mkdocs loads this file by its path
"""Shows the example of a docstring as code: griffe knows "Examples:" as a section, and "Example:" only as prose."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Takes one for the other while docstrings are read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the heading in the docstring of a class, a function or an attribute."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
