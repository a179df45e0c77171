"""A job of several processes ends as one: all with code 0, or all with the name of the one that ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launched import SCRIPT, Job, Launcher

from mxtrainer._mxnet import physical_cores
from mxtrainer.engine.launch.command import main

JOIN = """
import os, sys, time
import numpy as np
from mxtrainer._mxnet import mx
from mxtrainer.engine.group import Group
group = Group.join("sync")
array = mx.nd.ones((10,))
"""
LOOP = (
    JOIN
    + """
for step in range(1, 10**9):
    group.note_step(step)
    group.sum(array)
    array.wait_to_read()
    if step % 100 == 0 or step < 3:
        print(step)
    array[:] = 1
"""
)
NAMES = ["worker 0", "worker 1", "server 0", "scheduler"]


def at_step_3(action: str) -> str:
    """Return a script of which worker 1 does something else at its third step."""
    return LOOP.replace("    group.note", f"    if step == 3 and group.rank == 1: {action}\n    group.note")


def looping(launcher: Launcher, *options: object, workers: int = 2, script: str = LOOP) -> Job:
    """Start a job of workers that take steps, and wait for the first ones."""
    job = launcher.start("-n", workers, *options, SCRIPT, script=script)
    job.until(lambda: len(job.output) >= 2 * workers)
    return job


def test_a_script_runs_as_main_in_each_worker_with_its_arguments(launcher: Launcher) -> None:
    script = 'import sys; print(__name__, sys.argv[1:], flush=True); print("to errors", file=sys.stderr)'
    job = launcher.start("-n", 2, SCRIPT, "-n", "7", "text", script=script)
    assert job.wait() == 0, job.errors
    assert sorted(job.output) == [f"[{rank}] __main__ ['-n', '7', 'text']" for rank in (0, 1)]
    assert sorted(job.errors.splitlines()) == ["[0] to errors", "[1] to errors"]


def test_a_script_imports_its_neighbours_and_its_output_is_whole_lines(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("text = 'x' * 200000")
    (tmp_path / "script.py").write_text(
        "import os, neighbour\nprint(neighbour.text)\nos.write(1, b'a bar 1\\ra bar 2\\nand no end')"
    )
    job = launcher.start("-n", 1, tmp_path / "script.py")
    assert job.wait() == 0, job.errors
    assert "".join(job.of_rank(0)[:-2]) == "x" * 200000
    assert job.of_rank(0)[-2:] == ["a bar 2", "and no end"]


def test_workers_take_their_common_step_and_all_ends_with_code_0(launcher: Launcher) -> None:
    script = JOIN + "group.sum(array); print(group.rank, group.workers, int(array.asnumpy().sum()))"
    job = launcher.run(3, script, "-s", 2)
    assert job.code == 0, job.errors
    assert sorted(job.output) == [f"[{rank}] {rank} 3 30" for rank in range(3)]
    assert job.errors == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_is_named_and_all_end(launcher: Launcher, name: str) -> None:
    job = looping(launcher)
    others = job.processes()
    pid = job.send(name, signal.SIGKILL)
    begin = time.monotonic()
    assert job.wait() == 128 + signal.SIGKILL
    assert time.monotonic() - begin < 10
    assert f"launch: {name} (process {pid}) was killed by signal 9 (SIGKILL)" in job.errors
    assert ("at step" in job.errors) is name.startswith("worker")
    assert not any(process.is_running() and process.status() != "zombie" for process in others.values())


@pytest.mark.slow
def test_a_stopped_process_is_named_and_all_end(launcher: Launcher) -> None:
    job, name = looping(launcher), "server 0"
    pid = job.send(name, signal.SIGSTOP)
    assert job.wait() == 1
    assert f"launch: {name} (process {pid}) has been stopped for 5 seconds" in job.errors


def test_a_process_that_goes_on_was_not_stopped_for_good(launcher: Launcher) -> None:
    job = looping(launcher)
    job.send("worker 1", signal.SIGSTOP)
    time.sleep(0.3)
    job.send("worker 1", signal.SIGCONT)
    seen = len(job.output)
    job.until(lambda: len(job.output) > seen)
    job.send("worker 0", signal.SIGKILL)
    assert job.wait() == 137
    assert "stopped for" not in job.errors


def test_an_exception_shows_its_traceback_and_ends_all(launcher: Launcher) -> None:
    script = at_step_3("{}['mine']")
    job = launcher.run(2, script)
    assert job.code == 1
    assert "[1] KeyError: 'mine'" in job.errors
    assert "runpy" not in job.errors
    assert "ended with code 1 at step 2; ending scheduler, server 0, worker 0" in job.errors


@pytest.mark.parametrize(("end", "code", "text"), [("3", 3, "code 3"), ("'no data'", 1, "[1] no data")])
def test_sys_exit_of_one_worker_ends_all_with_its_code(launcher: Launcher, end: str, code: int, text: str) -> None:
    script = at_step_3(f"sys.exit({end})")
    job = launcher.run(2, script)
    assert job.code == code
    assert text in job.errors


@pytest.mark.parametrize("end", ["break", "sys.exit()"])
def test_a_worker_that_ends_early_is_named_while_others_go_on(launcher: Launcher, end: str) -> None:
    job = launcher.run(2, at_step_3(end))
    assert job.code == 1
    assert "has come to the end of its script at step 2, and worker 0 goes on at step 3" in job.errors


def test_a_worker_that_never_joins_is_named_while_others_wait_for_it(launcher: Launcher) -> None:
    job = launcher.run(2, "import sys\nif sys.stdin.read() == '' and '--' in sys.argv: pass\n" + EARLY)
    assert job.code == 1
    assert "launch: worker 1" in job.errors
    assert "has come to the end of its script" in job.errors


EARLY = """
from mxtrainer.engine.launch.channel import current
if current().rank == 0:
    from mxtrainer.engine.group import Group
    Group.join("sync")
"""


def test_a_worker_that_leaves_without_a_word_is_an_error(launcher: Launcher) -> None:
    job = launcher.run(2, at_step_3("os._exit(0)"))
    assert job.code == 1
    assert "ended with code 0 and without taking leave of the others" in job.errors


def test_what_a_server_says_before_it_dies_is_shown(launcher: Launcher) -> None:
    script = JOIN + "key = group._connection.store\nkey.init(99, mx.nd.ones((2,), dtype='int32'))"
    job = launcher.run(2, script)
    assert job.code == 128 + signal.SIGABRT
    assert "[server 0]" in job.errors
    assert "only support floating point" in job.errors
    assert "launch: server 0" in job.errors


def test_a_stall_names_the_worker_that_others_wait_for_and_its_line(launcher: Launcher) -> None:
    script = at_step_3("time.sleep(99)")
    job = launcher.run(2, script, "--stall", 1.5)
    assert job.code == 1
    assert "no worker has taken a step for 1.5 seconds; the others wait for worker 1" in job.errors
    line = script[: script.index("time.sleep(99)")].count("\n") + 1
    assert any(text.strip().startswith("worker 1") and f".py, line {line}" in text for text in job.errors.splitlines())


STOPS = LOOP.replace(
    "for step in",
    """
import signal
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
for step in""",
).replace("    array[:] = 1", "    array[:] = 1\n    if stop:\n        print('stops at', step)\n        sys.exit(143)")


def test_sigterm_stops_all_workers_after_the_same_step(launcher: Launcher) -> None:
    for _ in range(2):
        job = looping(launcher, workers=3, script=STOPS)
        time.sleep(0.1)
        job.send_launcher(signal.SIGTERM)
        assert job.wait() == 143
        last = {line for rank in range(3) for line in job.of_rank(rank)[-1:]}
        assert len(last) == 1, job.output[-6:]
        assert last.pop().startswith("stops at")


def test_ctrl_c_raises_in_all_workers(launcher: Launcher) -> None:
    job = looping(launcher)
    job.send_launcher(signal.SIGINT)
    assert job.wait() == 130
    assert "[0] KeyboardInterrupt" in job.errors
    assert "[1] KeyboardInterrupt" in job.errors


def test_workers_that_do_not_stop_are_ended_after_the_grace_time(launcher: Launcher) -> None:
    script = LOOP.replace("for step in", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nfor step in")
    job = looping(launcher, "--grace", 0.7, script=script)
    job.send_launcher(signal.SIGTERM)
    assert job.wait() == 143
    assert "had not stopped 0.7 seconds after signal 15 (SIGTERM)" in job.errors


def test_a_second_signal_ends_all_at_once(launcher: Launcher) -> None:
    script = LOOP.replace("for step in", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfor step in")
    job = looping(launcher, script=script)
    job.send_launcher(signal.SIGINT)
    job.until(lambda: "seconds to stop" in job.errors)
    job.send_launcher(signal.SIGINT)
    assert job.wait() == 130
    assert "signal 2 (SIGINT) again" in job.errors


def test_nothing_outlives_a_launcher_that_is_killed(launcher: Launcher) -> None:
    job = looping(launcher)
    processes = job.processes()
    assert sorted(processes) == sorted(NAMES)
    job.send_launcher(signal.SIGKILL)
    job.wait()
    job.until(lambda: not any(one.is_running() and one.status() != "zombie" for one in processes.values()))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "required: -n/--workers, script"),
        (["-n", "0", __file__], "argument -n/--workers: expected a positive integer, got '0'"),
        (["-n", "two", __file__], "argument -n/--workers: expected a positive integer, got 'two'"),
        (["-n", "2", "-s", "-1", __file__], "argument -s/--servers: expected"),
        (["-n", "2", "--stall", "0", __file__], "argument --stall: expected a positive number of seconds, got '0'"),
        (["-n", "2", "--grace", "nan", __file__], "argument --grace: expected a positive number of seconds"),
        (["-n", "2", "nowhere.py"], "argument script: there is no file 'nowhere.py'"),
        (["-n", "2"], "required: script"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.slow
def test_cores_are_shared_out_unless_the_user_has_said_how_many_threads(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import os; print(os.environ['OMP_NUM_THREADS'])")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-m", "mxtrainer.launch", "-n", "2", str(tmp_path / "script.py")]
    for given, expected in (({}, max(1, physical_cores() // 2)), ({"OMP_NUM_THREADS": "3"}, 3)):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**environment, **given})
        assert sorted(done.stdout.splitlines()) == [f"[{rank}] {expected}" for rank in (0, 1)]
