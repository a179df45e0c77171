"""A timeline of what host and device do, as a file for Perfetto or chrome://tracing."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .._mxnet import mx
from ..errors import ArgumentError, Error
from .waiting import settle

HOST, STEPS, DEVICE = 1, 2, 3  # process numbers of the file: groups of rows

_profiler = threading.Lock()  # MXNet has one for all


class Timeline:
    """Collects the spans of one trainer, and MXNet's own, from `start` to `stop`.

    Args:
        path: The file to write.

    Raises:
        ArgumentError: The file's folder is not there, or cannot be written to.
        Error: Another timeline is being recorded in this process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Start to record."""
        self._path = _writable(path)
        if not _profiler.acquire(blocking=False):
            raise Error("another trace is being recorded in this process, and MXNet's profiler records one at a time")
        self._folder = tempfile.TemporaryDirectory(prefix="mxtrainer-trace-")
        self._of_mxnet = Path(self._folder.name) / "profile.json"
        self._origin = time.time() - time.perf_counter()  # MXNet's times are of the clock on the wall
        self._spans: list[dict[str, Any]] = []
        mx.profiler.set_config(profile_imperative=True, profile_symbolic=True, filename=str(self._of_mxnet))
        settle()  # a call of MXNet that began without its profiler, and ends with it, ends the process
        mx.profiler.set_state("run")

    def span(self, name: str, begin: float, end: float, step: int, group: int = HOST) -> None:
        """Note a span, of `time.perf_counter`."""
        times = {"ts": 1e6 * (begin + self._origin), "dur": 1e6 * (end - begin)}
        lane = step % 8 if group == STEPS else 0  # steps overlap, and spans of a row must not
        self._spans.append({"name": name, "ph": "X", "pid": group, "tid": lane, "args": {"step": step}, **times})

    def stop(self) -> None:
        """Write the file; nothing of the trainer's is queued any more."""
        try:
            mx.profiler.set_state("stop")
            mx.profiler.dump(finished=False)  # where it has finished, MXNet cannot start again
            names = {HOST: "host", STEPS: "steps, from queued to seen finished", DEVICE: "device: operators of MXNet"}
            groups = [
                {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}} for pid, name in names.items()
            ]
            events = [*groups, *self._spans, *_operators(self._of_mxnet.read_text())]
            self._path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
        finally:
            self._folder.cleanup()
            _profiler.release()


def _writable(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f'trace takes the path of a file to write, as in "trace.json", got {path!r}')
    found = Path(path).absolute()
    if found.is_dir() or not os.access(found.parent, os.W_OK):
        raise ArgumentError(f"trace: the file {str(found)!r} cannot be written: is its folder there, and yours?")
    return found


def _operators(text: str) -> list[dict[str, Any]]:
    """Return MXNet's spans of operators; its other events tell of its interface and its memory.

    MXNet writes a part of a file that never ends: events with a comma between them, after a head the first time.
    """
    before, found, after = text.partition('"traceEvents": [')
    events = json.loads(f"[{(after if found else before).strip().lstrip(',')}]")
    lanes: dict[Any, int] = {}
    return [
        {
            "name": event["name"],
            "ph": event["ph"],
            "ts": event["ts"],
            "pid": DEVICE,
            "tid": lanes.setdefault(event["tid"], len(lanes)),
        }
        for event in events
        if event.get("cat") == "operator" and event["ph"] in {"B", "E"}
    ]
