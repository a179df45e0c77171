"""Launches jobs for tests: a process that has imported the package once, and is copied for every job.

It reads one list of arguments a line, each with the files that output and errors go to, and writes the launcher's
process number, and then the code it has ended with. Beside it, agents are started for jobs on several machines.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

from agent_server import serve_agents

from mxtrainer.engine.launch.command import main
from mxtrainer.executors.kernels import load_kernels

load_kernels()
if not os.fork():
    serve_agents(os.environ["AGENTS"])
for line in sys.stdin:
    *arguments, output, errors = json.loads(line)
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells turn it off in the background
        for path, target in ((output, 1), (errors, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
        code = 99
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 98
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)  # noqa: T201 - the answer
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201 - the answer
