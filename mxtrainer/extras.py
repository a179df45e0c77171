"""Libraries that only some users need, which come with an extra."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingExtraError


def require(module: str, extra: str, what: str) -> Any:
    """Import a library that comes with an extra.

    Args:
        module: The library's dotted name.
        extra: The extra that installs it.
        what: What needs it, as the subject of a sentence.

    Raises:
        MissingExtraError: It is not installed, or cannot be imported.

    Example:
        >>> require("json", "onnx", "an example").loads("[1]")
        [1]
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {module.partition('.')[0]}, which is not installed, or does not import here ({error}): "
            f'pip install "mxtrainer[{extra}]"'
        ) from error
