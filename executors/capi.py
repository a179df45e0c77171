"""The private C calls of MXNet that have no public name in Python."""

from __future__ import annotations

from typing import Any

from .._mxnet import mx


def wait_for_readers(array: Any) -> None:
    """Wait until everything queued that reads or writes an NDArray is done, so that its memory may be overwritten."""
    mx.base.check_call(mx.base._LIB.MXNDArrayWaitToWrite(array.handle))  # noqa: SLF001 - MXNet's library handle
