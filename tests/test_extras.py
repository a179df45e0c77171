"""What is not installed is named with the extra that brings it."""

from __future__ import annotations

import pytest

import mxtrainer as mxt
from mxtrainer.extras import require


def test_a_library_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(mxt.MissingExtraError, match=r'drawing needs nowhere.*pip install "mxtrainer\[pictures\]"'):
        require("nowhere.inside", "pictures", "drawing")


def test_the_error_is_an_import_error() -> None:
    assert issubclass(mxt.MissingExtraError, ImportError)
    assert issubclass(mxt.MissingExtraError, mxt.Error)
