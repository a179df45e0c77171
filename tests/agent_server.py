"""Starts agents for tests of jobs on several machines: copies of a process that has imported the package."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import traceback

from mxtrainer.engine.launch.agent import main


def serve_agents(path: str) -> None:
    """Start one for each connection to a socket; it gets the input and output that come with it."""
    system = ctypes.CDLL(None)
    system.prctl(1, signal.SIGKILL)  # it ends with its parent
    system.prctl(15, b"agents")  # its name
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that have ended
    while True:
        line, _ = listening.accept()
        text, numbers, _, _ = socket.recv_fds(line, 1000, 3)
        if not os.fork():
            workers, connection = text.decode().split("\n")
            _be_agent(line, workers, connection, numbers)
        line.close()
        for number in numbers:
            os.close(number)


def _be_agent(line: socket.socket, workers: str, connection: str, numbers: list[int]) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, number in enumerate(numbers):
        os.dup2(number, target)
        os.close(number)
    os.environ["SSH_CONNECTION"] = connection
    code = 1
    try:
        main([workers])
        code = 0
    except BaseException:  # noqa: BLE001 - it must not go on as a second server
        traceback.print_exc()
    finally:
        os.write(line.fileno(), str(code).encode())
        os._exit(code)
