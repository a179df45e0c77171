"""What writes the records of a training to files."""

from .engine.loggers import CSV, JSONLines, TensorBoard

__all__ = ["CSV", "JSONLines", "TensorBoard"]
