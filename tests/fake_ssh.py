"""Stands in for ssh: every host is this machine, by the address that it is called by, and agents are there at once.

An agent is asked for where the variable AGENTS says, of a process that has imported the package; without it, the
command itself is run. Like ssh, this passes on input and output, and what it has reached outlives it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading


def main(host: str, command: str) -> int:
    """Reach a host, and run a command there; return the command's code."""
    address = host.rpartition("@")[2]
    if not address.startswith("127."):
        sys.stderr.write(f"ssh: Could not resolve hostname {host}: Name or service not known\n")
        return 255
    (there_input, own_output), (own_input, there_output) = os.pipe(), os.pipe()
    connection = f"127.0.0.1 1 {address} 22"
    if "AGENTS" in os.environ:
        line = socket.socket(socket.AF_UNIX)
        line.connect(os.environ["AGENTS"])
        socket.send_fds(
            line, [f"{command.rsplit(maxsplit=1)[-1]}\n{connection}".encode()], [there_input, there_output, 2]
        )
    else:
        environment = {"SSH_CONNECTION": connection}
        shell = ["/bin/sh", "-c", command]
        process = subprocess.Popen(
            shell, stdin=there_input, stdout=there_output, env=environment, start_new_session=True
        )
    os.close(there_input)
    os.close(there_output)
    threading.Thread(target=pass_on, args=(0, own_output), daemon=True).start()
    pass_on(own_input, 1)
    return int(line.recv(9) or 255) if "AGENTS" in os.environ else process.wait()


def pass_on(source: int, target: int) -> None:
    """Copy all that comes, and then the end."""
    while received := os.read(source, 2**16):
        os.write(target, received)
    os.close(target)


if __name__ == "__main__":
    os._exit(main(*sys.argv[-2:]))
