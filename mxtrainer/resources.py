"""What owns arrays of a device."""

from __future__ import annotations

from typing import Any, SupportsIndex

from .errors import Error


class Resource:
    """An owner of arrays of a device, which is neither copied nor pickled: a copy would share them."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Refuse.

        Raises:
            Error: Always.
        """
        name = type(self).__name__
        raise Error(f"{name} owns arrays of the device, and cannot be copied or pickled; its plan and arrays can be")
