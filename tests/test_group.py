"""What workers do together, in real processes: sums, shared arrays, additions, agreement, and a common end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from launched import SCRIPT, Launcher
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer.engine.group import Group

SIZES = (1, 37, 300_000, 600_001)  # within one slice, in two, in three
BEGIN = """
import sys
import numpy as np
from mxtrainer._mxnet import mx
from mxtrainer.engine.group import Group

def numbers(size, rank, step=0):
    return np.random.default_rng([size, rank, step]).normal(size=size).astype("float32")

group = Group.join({mode!r}, reproducible={reproducible})
folder, rank, workers = sys.argv[1], group.rank, group.workers
"""
SYNC = BEGIN.format(mode="sync", reproducible=True)
LOOSE = BEGIN.format(mode="sync", reproducible=False)
ASYNC = BEGIN.format(mode="async", reproducible=True)


def numbers(size: int, rank: int, step: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng([size, rank, step]).normal(size=size).astype("float32")


def ran(launcher: Launcher, workers: int, script: str, folder: Path, servers: int = 1) -> list[str]:
    """Run a job to its good end; return what the workers have written."""
    job = launcher.start("-n", workers, "-s", servers, SCRIPT, folder, script=script)
    assert job.wait() == 0, job.errors
    assert job.errors == ""
    return job.output


SUMS = """
for size in (1, 37, 300_000, 600_001):
    array = mx.nd.zeros((size,))
    for step in range(3):
        array[:] = numbers(size, rank, step)
        group.sum(array)                            # the next step may overwrite it only after it was read
        np.save(f"{folder}/{size}.{step}.{rank}.npy", array.asnumpy())
"""


def in_pairs(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Add up as workers do: by pairs, and then the pairs from left to right."""
    pairs = [sum(parts[begin + 1 : begin + 2], parts[begin]) for begin in range(0, len(parts), 2)]
    return sum(pairs[1:], pairs[0])


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_sums_are_those_of_numpy_bit_for_bit(launcher: Launcher, workers: int, servers: int, tmp_path: Path) -> None:
    ran(launcher, workers, SYNC + SUMS, tmp_path, servers)
    for size in SIZES:
        for step in range(3):
            expected = in_pairs([numbers(size, rank, step) for rank in range(workers)])
            for rank in range(workers):
                found = np.load(tmp_path / f"{size}.{step}.{rank}.npy")
                assert found.tobytes() == expected.tobytes(), (size, step, rank)


def test_sums_in_any_order_are_those_of_numpy_but_for_rounding(launcher: Launcher, tmp_path: Path) -> None:
    ran(launcher, 3, LOOSE + SUMS, tmp_path)
    for size in SIZES:
        for step in range(3):
            expected = sum(numbers(size, rank, step).astype("float64") for rank in range(3))
            found = [np.load(tmp_path / f"{size}.{step}.{rank}.npy") for rank in range(3)]
            np.testing.assert_allclose(found[0], expected, atol=2e-6)
            assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_sums_that_are_queued_one_behind_the_other_wait_for_each_other(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        SYNC
        + """
array, other = mx.nd.array([rank + 1.0]), mx.nd.array([10.0 * (rank + 1)] * 300_000)
for _ in range(4):
    group.sum(array)
    group.sum(other)
    other *= 0.5
    other[:1] += array
print(array.asscalar(), other.asnumpy()[:2].tolist())
"""
    )
    found = ran(launcher, 2, script, tmp_path)
    first = last = 0.0
    arrays = [1.0, 2.0]
    others = [10.0, 20.0], [10.0, 20.0]
    for _ in range(4):
        arrays = [sum(arrays)] * 2
        first, last = sum(others[0]) * 0.5 + arrays[0], sum(others[1]) * 0.5
        others = [first] * 2, [last] * 2
    assert sorted(found) == [f"[{rank}] {arrays[0]} {[first, last]}" for rank in (0, 1)]


def test_all_have_the_array_of_worker_0_bit_for_bit(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        SYNC
        + """
for size in (5, 600_001):
    values = numbers(size, rank)
    values[:4] = np.inf, -np.inf, np.nan, -0.0
    array = mx.nd.array(values)
    group.share(array)
    np.save(f"{folder}/{size}.{rank}.npy", array.asnumpy())
"""
    )
    ran(launcher, 3, script, tmp_path, 2)
    for size in (5, 600_001):
        expected = numbers(size, 0)
        expected[:4] = np.inf, -np.inf, np.nan, -0.0
        for rank in range(3):
            assert np.load(tmp_path / f"{size}.{rank}.npy").tobytes() == expected.tobytes()


@pytest.mark.parametrize("workers", [1, 3])
def test_additions_reach_the_servers_one_by_one(launcher: Launcher, workers: int, tmp_path: Path) -> None:
    script = (
        ASYNC
        + """
for size in (3, 300_000):
    held = mx.nd.array(numbers(size, 7))
    group.share(held)
    change = mx.nd.zeros((size,))
    for turn in range(workers):                     # one after the other, so that their order is known
        if turn == rank:
            change[:] = numbers(size, rank)
            group.add(change, held)
        group.barrier()
    change[:] = 0
    group.add(change, held)
    np.save(f"{folder}/{size}.{rank}.npy", held.asnumpy())
    group.barrier()
"""
    )
    ran(launcher, workers, script, tmp_path)
    for size in (3, 300_000):
        expected = numbers(size, 7)
        for rank in range(workers):
            expected = expected + numbers(size, rank)
        for rank in range(workers):
            assert np.load(tmp_path / f"{size}.{rank}.npy").tobytes() == expected.tobytes()


def test_a_barrier_waits_for_the_last_worker(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        SYNC
        + """
import pathlib, time
if rank == 1:
    time.sleep(0.4)
    pathlib.Path(folder, "here").write_text("")
group.barrier()
print(pathlib.Path(folder, "here").exists())
"""
    )
    assert sorted(ran(launcher, 2, script, tmp_path)) == ["[0] True", "[1] True"]


def test_workers_that_agree_go_on_and_others_are_told_who_has_what(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        SYNC
        + """
from mxtrainer.errors import Error
group.agree("the plan", "a" * 100_000)
for name, text in (
    ("the net", "a" * 100_000 + str(rank)),
    ("the optimizer", f"Adam({rank // 2})"),
    ("the plan" if rank else "the seed", "7"),
):
    try:
        group.agree(name, text)
    except Error as error:
        print(error)
group.barrier()
"""
    )
    lines = ran(launcher, 3, script, tmp_path)
    assert len(lines) == 9
    for rank in range(3):
        long, first, second = [line for line in lines if line.startswith(f"[{rank}]")]
        assert first.endswith("the workers differ in the optimizer: workers 0, 1: Adam(0); worker 2: Adam(1)")
        assert "worker 0: aaa" in long
        assert len(long) < 2000
        assert "the seed" in second
        assert "the plan" in second


def test_arrays_of_different_sizes_are_an_error_that_harms_no_server(launcher: Launcher, tmp_path: Path) -> None:
    job = launcher.start("-n", 2, SCRIPT, tmp_path, script=SYNC + "group.sum(mx.nd.zeros((3 + rank,)))")
    assert job.wait() == 1
    assert "the workers differ in what is summed: worker 0: 3 elements; worker 1: 4 elements" in job.errors


def test_a_script_ends_well_with_arrays_and_the_group_still_in_use(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        SYNC
        + """
import atexit, threading, time
array = mx.nd.ones((300_000,))
for _ in range(5):
    group.sum(array)                                # nobody has waited for it
kept = [group, group._connection]
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
"""
    )
    lines = ran(launcher, 2, script, tmp_path)
    assert sorted(lines) == ["[0] at exit", "[0] thread", "[1] at exit", "[1] thread"]


def test_groups_follow_each_other(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        SYNC
        + """
group.close()
other = Group.join("sync")
array = mx.nd.ones((2,))
other.sum(array)
print(array.asnumpy().tolist())
"""
    )
    assert sorted(ran(launcher, 2, script, tmp_path)) == ["[0] [2.0, 2.0]", "[1] [2.0, 2.0]"]


REFUSALS = """
from mxtrainer.errors import Error
def tried(call, *arguments):
    try:
        call(*arguments)
    except Error as error:
        print(type(error).__name__, error)
one = mx.nd.zeros((2,))
double, column = mx.nd.zeros((2,), dtype="float64"), mx.nd.zeros((2, 1))
for array in (np.zeros(2), double, column, one.tostype("row_sparse")):
    tried(group.share, array)
"""


def test_what_servers_cannot_hold_is_refused(launcher: Launcher, tmp_path: Path) -> None:
    script = SYNC + REFUSALS + "tried(group.sum, mx.nd.zeros((2,), dtype='float64'))\ntried(group.add, one, one)\n"
    script += "tried(Group.join, 'async')\ntried(Group.join, 'syncronous')"
    found = [line.partition("] ")[2] for line in ran(launcher, 1, script, tmp_path)]
    assert found == [
        "ArgumentError share takes an NDArray, got ndarray",
        "ArgumentError share takes float32, got float64: servers hold float32 only",
        "ArgumentError share takes a vector of at least one number, got the shape (2, 1)",
        "ArgumentError share takes a dense array of the host, got a row_sparse one on cpu(0)",
        "ArgumentError sum takes float32, got float64: servers hold float32 only",
        'ArgumentError add is for workers with mode "async"; those with "sync" have sum',
        'Error distributed="async": this process works with "sync" already, and servers with one',
        """ArgumentError distributed must be "sync" or "async", got 'syncronous'""",
    ]


def test_changes_that_do_not_fit_are_refused(launcher: Launcher, tmp_path: Path) -> None:
    script = (
        ASYNC
        + REFUSALS.split("double,", maxsplit=1)[0]
        + """
tried(group.sum, one)
tried(group.add, one, mx.nd.zeros((2,)))
group.share(one)
tried(group.add, mx.nd.zeros((3,)), one)
tried(group.add, one, one)
"""
    )
    found = [line.partition("] ")[2] for line in ran(launcher, 1, script, tmp_path)]
    assert found == [
        'ArgumentError sum is for workers with mode "sync"; those with "async" have add',
        "ArgumentError add takes an array that was shared before, by share(array)",
        "ArgumentError add takes a change of its own array, (2,) as what it is added to, got (3,)",
        "ArgumentError add takes a change of its own array, (2,) as what it is added to, got (2,)",
    ]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_without_a_launcher_the_command_is_named(mode: str) -> None:
    with pytest.raises(mxt.Error, match=r"python -m mxtrainer\.launch -n 4 script\.py"):
        Group.join(mode)
    with pytest.raises(mxt.ArgumentError, match='must be "sync" or "async", got None'):
        Group.join(None)  # type: ignore[arg-type]  # what is refused
