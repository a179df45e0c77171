"""A job on several machines ends as one on a single machine does; here all are this one, without the real ssh."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from launched import SCRIPT, Job, Launcher, fake_ssh
from test_launch import JOIN, LOOP, STOPS

from mxtrainer.engine.launch.command import main
from mxtrainer.engine.launch.crew import Crew
from mxtrainer.engine.launch.host import Host
from mxtrainer.engine.launch.hosts import deal
from mxtrainer.engine.launch.part import Part

A, B = "127.0.0.2", "127.0.0.3"
BOTH = ("-n", 2, "-s", 2, "--hosts", f"{A},{B}")
WHERE = {"worker 0": B, "server 0": B, "scheduler": B, "worker 1": A, "server 1": A}


def looping(launcher: Launcher, script: str = LOOP) -> tuple[Job, dict[str, psutil.Process]]:
    """Start a job on two machines, and wait for the first steps; return its processes there, too."""
    job = launcher.start(*BOTH, SCRIPT, script=script)
    job.until(lambda: len(job.output) >= 4)
    elsewhere = launcher.elsewhere()
    assert sorted(elsewhere) == sorted([*WHERE, "agent 0", "agent 1"])
    return job, elsewhere


def wait_for_the_end(job: Job, elsewhere: dict[str, psutil.Process]) -> int:
    """Return the launcher's code; all end within 10 seconds."""
    begin = time.monotonic()
    code = job.wait()
    wait_until_gone(job, elsewhere)
    assert time.monotonic() - begin < 10
    return code


def wait_until_gone(job: Job, processes: dict[str, psutil.Process]) -> None:
    """Wait until none of them is left."""
    job.until(lambda: not any(one.is_running() and one.status() != "zombie" for one in processes.values()))


def test_workers_on_two_machines_add_up_and_are_numbered_from_the_last_address(launcher: Launcher) -> None:
    script = (
        JOIN
        + """
array *= 10 ** group.rank
group.sum(array)
print(int(array.asnumpy()[0]), os.environ["DMLC_NODE_HOST"], sys.argv[1:], "tést")
print("an error", file=sys.stderr)
"""
    )
    job = launcher.start("-n", 3, "-s", 2, "--hosts", f"{A},{B}", SCRIPT, "-n", "7", script=script)
    assert job.wait() == 0, job.errors
    assert sorted(job.output) == [f"[{rank}] 111 {host} ['-n', '7'] tést" for rank, host in enumerate((B, B, A))]
    assert sorted(job.errors.splitlines()) == [f"[{rank}] an error" for rank in range(3)]
    job.until(lambda: not launcher.elsewhere())


def test_a_script_that_joins_nobody_ends_well(launcher: Launcher) -> None:
    script = "import os, time; time.sleep('worker 0' in open('/proc/self/comm').read()); print('there')"
    job = launcher.start("-n", 2, "--hosts", f"{A},{B}", SCRIPT, script=script)  # nothing but worker 1 on one of them
    assert job.wait() == 0, job.errors
    assert sorted(job.output) == ["[0] there", "[1] there"]


@pytest.mark.parametrize("name", ["worker 1", "server 0", "scheduler"])
def test_a_killed_process_is_named_with_its_machine_and_all_end(launcher: Launcher, name: str) -> None:
    job, elsewhere = looping(launcher)
    elsewhere[name].kill()
    assert wait_for_the_end(job, elsewhere) == 128 + signal.SIGKILL
    named = f"launch: {name} on {WHERE[name]} (process {elsewhere[name].pid}) was killed by signal 9 (SIGKILL)"
    assert named in job.errors


def test_a_worker_that_raises_shows_its_traceback_and_ends_all(launcher: Launcher) -> None:
    job = launcher.start(*BOTH, SCRIPT, script=LOOP.replace("    group.note", "    {}[step]\n    group.note"))
    assert job.wait() == 1
    assert "[1] KeyError: 1" in job.errors
    job.until(lambda: not launcher.elsewhere())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, 137), pytest.param(signal.SIGSTOP, 1, marks=pytest.mark.slow)]
)
def test_an_ssh_that_is_killed_or_stopped_is_named_and_all_end(
    launcher: Launcher, number: signal.Signals, code: int
) -> None:
    job, elsewhere = looping(launcher)
    ssh = next(child for child in psutil.Process(job.pid).children() if A in child.cmdline())
    ssh.send_signal(number)
    assert wait_for_the_end(job, elsewhere) == code
    assert f"launch: ssh to {A} (process {ssh.pid}) " in job.errors
    assert not ssh.is_running()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["worker 1", "agent 0"])
def test_a_process_or_machine_that_does_not_answer_is_named_and_all_end(launcher: Launcher, name: str) -> None:
    job, elsewhere = looping(launcher)
    host = A if name == "worker 1" or "worker 1" in {c.name() for c in elsewhere[name].children()} else B
    elsewhere[name].suspend()
    named = f"{name} on {host}" if name == "worker 1" else f"ssh to {host}"
    job.until(lambda: "launch: " in job.errors)
    if name.startswith("agent"):
        elsewhere.pop(name).resume()  # a machine that has hung for good ends nothing
    assert wait_for_the_end(job, elsewhere) == 1
    assert f"launch: {named} (process " in job.errors
    assert ("has been stopped for 5 seconds" if name == "worker 1" else "nothing from there for 5") in job.errors


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_what_runs_elsewhere_ends_with_a_launcher_that_is_killed_or_does_not_answer(
    launcher: Launcher, number: signal.Signals
) -> None:
    job, elsewhere = looping(launcher)
    job.send_launcher(number)
    begin = time.monotonic()
    wait_until_gone(job, elsewhere)
    assert time.monotonic() - begin < 10
    if number == signal.SIGSTOP:
        job.send_launcher(signal.SIGCONT)
    assert job.wait() != 0


def test_ctrl_c_stops_all_workers_after_the_same_step(launcher: Launcher) -> None:
    job, elsewhere = looping(launcher, STOPS.replace("signal.SIGTERM,", "signal.SIGINT,"))
    job.send_launcher(signal.SIGINT)
    assert wait_for_the_end(job, elsewhere) == 130
    last = {line for rank in range(2) for line in job.of_rank(rank)[-1:]}
    assert len(last) == 1
    assert last.pop().startswith("stops at")


def test_a_machine_that_ssh_does_not_reach_is_named_with_the_words_of_ssh(launcher: Launcher) -> None:
    job = launcher.start("-n", 2, "--hosts", f"{A},nowhere", SCRIPT, script=LOOP)
    assert job.wait() == 255
    assert "[nowhere] ssh: Could not resolve hostname nowhere" in job.errors
    assert "launch: ssh to nowhere" in job.errors
    assert "ended with code 255; ending" in job.errors


def test_a_machine_that_two_names_lead_to_is_refused(launcher: Launcher) -> None:
    job = launcher.start("-n", 2, "--hosts", f"{A},me@{A}", SCRIPT, script=LOOP)
    assert job.wait() == 1
    assert f"has come to {A}, as another one has; name each machine once" in job.errors


def test_a_loopback_address_beside_others_is_refused() -> None:
    with socket.socket() as line:
        hosts = [Host("ssh", 1, line, []) for _ in range(2)]
        hosts[0].place, hosts[1].place = ("192.0.2.1", 5), ("127.0.0.1", 6)
        crew = Crew()
        deal(crew, hosts, partial(Part, "script.py", ()), (2, 1))
    assert crew == Crew()
    assert hosts[0].stuck(0.0) is None
    assert hosts[1].stuck(0.0) == (
        "has come to 127.0.0.1, where other machines do not find it; name it by another address"
    )


@pytest.mark.slow
def test_the_command_that_ssh_gets_starts_an_agent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"{JOIN}\nprint('NO' in os.environ, os.environ['MXNET_YES'], os.getcwd())")
    folder = tmp_path / "a folder's"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("AGENTS", "OMP_NUM_THREADS")}
    environment |= {"PATH": fake_ssh(tmp_path), "NO": "1", "MXNET_YES": "two words"}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)  # noqa: PTH100
    command = [sys.executable, "-m", "mxtrainer.launch", "-n", "2", "--hosts", f"{A},{B}", str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [f"[{rank}] False two words {folder}" for rank in (0, 1)]


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ("", "argument --hosts: expected names with commas between them, such as a,b, got ''"),
        ("a,,b", "expected names with commas between them, such as a,b, got 'a,,b'"),
        ("a, b", "expected names with commas between them"),
        ("a,-oProxyCommand=x", "expected names with commas between them"),
        ("a,b,a", "argument --hosts: 'a' is there twice"),
        ("a,b,c", "argument --hosts: 3 hosts are more than 2 workers"),
    ],
)
def test_bad_hosts_are_refused(hosts: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["-n", "2", f"--hosts={hosts}", __file__])
    assert end.value.code == 2
    assert text in capsys.readouterr().err


def test_without_ssh_there_are_no_hosts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit):
        main(["-n", "2", "--hosts", "a,b", __file__])
    assert "argument --hosts: there is no program ssh on this machine" in capsys.readouterr().err
