"""Damaged files of every kind: they load, or one of mxtrainer's errors says why not; no crash, no hang, no memory.

Run: python benchmarks/fuzz.py [count of each kind, by default 5000] [kind ...]
One case again: python benchmarks/fuzz.py case KIND NUMBER

Case n of a kind is always the same. Processes of their own load them, with a limit on their memory and on the time of
each case. A kind is a line of `fuzz_kinds.KINDS`.
"""

from __future__ import annotations

import json
import re
import resource
import select
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fuzz_kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import mxtrainer as mxt  # noqa: E402

COUNT = 5000
MEMORY = 4 * 2**30  # bytes of address space of a process
GROWTH = 256 * 2**20  # bytes that one case may take
START, SECONDS = 120.0, 10.0  # of a process to be ready, and of a case
PROCESSES = 2  # at a time
CASES = 500  # of a process


class Case(NamedTuple):
    """What came of a file."""

    number: int
    outcome: str
    growth: int = 0  # in bytes
    wrong: bool = False


def main(count: int, kinds: list[str]) -> None:
    """Print what came of so many files of each kind."""
    for kind in kinds:
        parts = [range(begin, min(begin + CASES, count)) for begin in range(0, count, CASES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            found = [case for part in pool.map(partial(_run, kind), parts) for case in part]
        outcomes = Counter(case.outcome for case in found)
        wrong = [case for case in found if case.wrong or case.growth > GROWTH]
        listed = ", ".join(f"{outcome} {number}" for outcome, number in outcomes.most_common())
        print(f"{kind}: {len(found)} files: {listed}")
        print(f"  at most {max(case.growth for case in found) / 2**20:.0f} MB for one; wrong: {len(wrong)}")
        for case in wrong:
            print(f"  {kind} {case.number}: {case.outcome}, {case.growth / 2**20:.0f} MB", flush=True)


def _run(kind: str, numbers: range) -> list[Case]:
    return list(_cases(kind, numbers))


def _cases(kind: str, numbers: range) -> Iterator[Case]:
    """Have processes load files, another one after each that dies."""
    number = numbers.start
    while number < numbers.stop:
        arguments = [sys.executable, __file__, "work", kind, str(number), str(numbers.stop)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        assert process.stdout is not None
        seconds = START
        while True:
            hangs = not select.select([process.stdout], [], [], seconds)[0]
            line = b"" if hangs else process.stdout.readline()
            if not line:
                break
            if seconds == SECONDS:  # the first line says that it is ready
                yield Case(*json.loads(line))
                number += 1
            seconds = SECONDS
        process.kill()
        died = process.wait()
        process.stdout.close()
        if seconds == START:
            raise RuntimeError(f"the process for {kind} does not start; run: {' '.join(arguments)}")
        if number < numbers.stop:
            yield Case(number, "hangs" if hangs else f"dies of {died}", wrong=True)
            number += 1


# The process that loads


def work(kind: str, begin: int, end: int) -> None:
    """Load files, and print what came of each."""
    warnings.simplefilter("ignore")
    originals = KINDS[kind].originals()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        print("ready", flush=True)
        for number in range(begin, end):
            path.write_bytes(_damaged(kind, number, originals))
            before = _resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
            outcome, is_wrong = _outcome(kind, path)
            print(json.dumps([number, outcome, max(0, _resident("VmHWM") - before), is_wrong]), flush=True)


def _damaged(kind: str, number: int, originals: list[bytes]) -> bytes:
    generator = np.random.default_rng([number, len(kind)])
    return KINDS[kind].damaged(generator, originals[number % len(originals)])


def _outcome(kind: str, path: Path) -> tuple[str, bool]:
    try:
        KINDS[kind].load(path)
    except mxt.Error as error:
        return type(error).__name__, False
    except BaseException as error:  # noqa: BLE001 - any other is a finding
        return f"{type(error).__name__}: {str(error)[:200]}", True
    return "loads", False


def _resident(name: str) -> int:
    match = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 2**10


def again(kind: str, number: int) -> None:
    """Load one file here, and let its error come out; the file stays in the folder of temporary files."""
    path = Path(tempfile.gettempdir(), f"fuzz-{kind}-{number}")
    path.write_bytes(_damaged(kind, number, KINDS[kind].originals()))
    print(path)
    print(KINDS[kind].load(path))


if __name__ == "__main__":
    given = sys.argv[1:]
    if given[:1] == ["work"]:
        work(given[1], int(given[2]), int(given[3]))
    elif given[:1] == ["case"]:
        again(given[1], int(given[2]))
    else:
        main(int(given[0]) if given else COUNT, given[1:] or list(KINDS))
