"""Where the main thread of a process is, as seen from another thread."""

from __future__ import annotations

import faulthandler
import re
import runpy
import tempfile
import threading
from pathlib import Path

from ..._mxnet import mx

PACKAGE = str(Path(__file__).parents[2])
HIDDEN = (PACKAGE, str(Path(mx.__file__).parent), "<frozen", runpy.__file__, threading.__file__)  # not a user's own


def place_of_main_thread() -> str:
    """Return the line that the main thread is at, of the innermost file that the user has written.

    To walk the frames of a thread that runs, as `sys._current_frames` lets one do, can end the process; what is for
    crashes reads them as they are.
    """
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        text = file.read()
    own = text.partition(f"hread 0x{threading.main_thread().ident or 0:016x} ")[2].partition("\n\n")[0]
    for name, line in re.findall(r'File "(.*)", line (\d+)', own):
        if not name.startswith(HIDDEN):
            return f"{name}, line {line}"
    return "an unknown line"
