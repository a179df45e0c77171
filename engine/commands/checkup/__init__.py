"""What `mxtrainer doctor` looks at: one file a subject."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import Finding
from .processor import look_at_processor
from .software import look_at_software
from .training import look_at_training
from .variables import look_at_variables


def examine() -> Iterator[Finding]:
    """Yield all findings, each as soon as it is there; takes some seconds."""
    yield from look_at_software()
    yield from look_at_processor()
    yield from look_at_variables()
    yield from look_at_training()
