"""Runs a script as several workers: ``python -m mxtrainer.launch -n 4 -s 2 script.py``."""

from __future__ import annotations

import sys

from .engine.launch.command import main

if __name__ == "__main__":
    sys.exit(main())
