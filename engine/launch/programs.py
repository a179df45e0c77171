"""What the processes of a job run: MXNet's scheduler or server, or a worker's script."""

from __future__ import annotations

import atexit
import contextlib
import os
import runpy
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any

from ..._mxnet import mx
from ..server_connection import disconnect
from .channel import open_channel

INTERRUPTED = 130


def serve(line: socket.socket) -> int:
    """Be the scheduler or a server, as the variable DMLC_ROLE says, until the workers have left."""
    del line
    store = mx.kv.create("dist")
    mx.kv.kvstore_server.KVStoreServer(store).run()
    return 0


def work(line: socket.socket, rank: int, workers: int, script: str, arguments: Sequence[str]) -> int:
    """Run a script as Python does, and leave the others; return the code that the process ends with.

    After an error the process ends as it is: what MXNet does at the end of one waits for the other workers.
    """
    channel = open_channel(line, rank, workers)
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))  # noqa: PTH100, PTH120 - as Python does it, without following links
    code = 1
    names: dict[str, Any] = {}
    try:
        code, names = _run(script)
        if code == 0:
            disconnect()
            _finish()
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends with it
        traceback.print_exc()
        code = code or 1
    channel.tell_state()
    _flush()
    names.clear()
    return code


def _run(script: str) -> tuple[int, dict[str, Any]]:
    """Run a script; return its code, and its names: what it has made is to live until the others are left."""
    names: dict[str, Any] = {}
    try:
        names = runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0, names
        print(end.code, file=sys.stderr)  # noqa: T201 - as Python does
        return 1, names
    except KeyboardInterrupt:
        traceback.print_exc()
        return INTERRUPTED, names
    except BaseException as error:  # noqa: BLE001 - as above
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next  # the frames of runpy and of this file are nobody's business
        traceback.print_exception(type(error), error, trace or error.__traceback__)
        return 1, names
    return 0, names


def _finish() -> None:
    """Do what Python does at its end."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - the process ends by os._exit, which forgets them


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
