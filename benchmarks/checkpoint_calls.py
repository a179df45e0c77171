"""What is left of a save whose n-th system call fails, for every n, every error and every way to save.

`failing_calls.c` is compiled and loaded before all else into a process that saves; it lets one call on a file of one
folder fail. Run as a script, this is that process.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from checkpoint_cost import wide
from checkpoint_resume import contents

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import mxtrainer as mxt  # noqa: E402
from mxtrainer.tables import table  # noqa: E402

WIDTH = 64
BEFORE = 2  # checkpoints that are there already
SECONDS = 300  # for all faults of one way to save; more is a hang
SHORT = -1  # in place of an error: a write that writes a half
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short": SHORT}
NEWEST = "the newest file"
OURS = re.compile(r"run|step-\d{10}\.safetensors|best\.safetensors")


class Way(NamedTuple):
    """A way to save."""

    folder: bool  # by Checkpoints
    wait: bool
    better: bool = True  # whether each checkpoint is the best so far

    def save(self, trainer: mxt.Trainer, folder: Path) -> None:
        """Save, and wait for it as the next save would."""
        if self.folder:
            measure = float(trainer.step * (-1 if self.better else 1))
            mxt.Checkpoints(folder, keep=BEFORE).save(trainer, measure, wait=self.wait)
        else:
            trainer.save(folder / "run", wait=self.wait)
        trainer._saver.wait()  # noqa: SLF001 - as the next save

    def newest(self, folder: Path) -> Path:
        """Return the newest file."""
        return mxt.Checkpoints(folder).newest() or folder / "none" if self.folder else folder / "run"

    def best(self, step: int) -> int:
        """Return the step of the best after so many."""
        return step if self.better else 1


WAYS = [
    Way(folder, wait, better)
    for folder in (False, True)
    for wait in (True, False)
    for better in ((True, False) if folder else (True,))
]


class Fault(NamedTuple):
    """A call that has failed, and what came of it."""

    call: str
    error: str
    outcome: str
    wrong: list[str]  # what was promised otherwise


def calls() -> None:
    """Print what comes of every call that fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("there is no C compiler, cc, to make calls fail with")
        return
    found: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/failing_calls.so"
        source = str(Path(__file__).with_name("failing_calls.c"))
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        for number in range(len(WAYS)):
            found += _faults_of(number, library)
    _print(found)


def _faults_of(number: int, library: str) -> Iterator[Fault]:
    done = subprocess.run(
        [sys.executable, __file__, library, str(number)],
        env={**os.environ, "LD_PRELOAD": library},
        stdout=subprocess.PIPE,
        timeout=SECONDS,
        check=True,
        text=True,
    )
    return (Fault(*json.loads(line)) for line in done.stdout.splitlines())


def _print(found: list[Fault]) -> None:
    counts = Counter((fault.call, fault.error, fault.outcome) for fault in found)
    print(table(["call", "error", "outcome", "count"], [[*key, count] for key, count in sorted(counts.items())]))
    wrong = Counter((fault.call, fault.error, one) for fault in found for one in fault.wrong)
    for (call, error, one), count in sorted(wrong.items()):
        print(f"WRONG, {count} times: {call} fails with {error}: {one}")
    good = sum(not any(one.startswith(NEWEST) for one in fault.wrong) for fault in found)
    kept = sum(not fault.wrong for fault in found)
    print(f"{len(found)} faults injected: the newest file is good after {good}, and all else as promised after {kept}")


# The process that saves


class Shim:
    """The library that lets calls fail."""

    def __init__(self, path: str) -> None:
        """Find it, which was loaded before all else."""
        self._library = ctypes.CDLL(path)
        self._library.disarm.restype = ctypes.c_char_p

    def arm(self, folder: Path, number: int, error: int) -> None:
        """Let the n-th call from now on fail once."""
        self._library.arm(os.fsencode(folder), number, error)

    def disarm(self) -> str:
        """Return the call that has failed, empty where none has."""
        return str(self._library.disarm().decode())


def inject(way: Way, shim: Shim) -> Iterator[Fault]:
    """Let one call after the other fail, with one error after the other."""
    with tempfile.TemporaryDirectory() as name:
        references = _references(Path(name, "reference"))
        for error in ERRORS:
            number, fault = 1, _try(way, shim, Path(name, f"{error}-1"), 1, error, references)
            while fault is not None:
                yield fault
                number += 1
                fault = _try(way, shim, Path(name, f"{error}-{number}"), number, error, references)


def _started() -> mxt.Trainer:
    return mxt.Trainer(wide(WIDTH), mxt.Adam(), 8)


def _step(trainer: mxt.Trainer) -> None:
    trainer.update({port: np.ones((8, WIDTH), np.float32) for port in ("Input", "Target")})


def _references(path: Path) -> dict[int, Any]:
    """Return what the checkpoint of each step says where nothing fails."""
    found = {}
    with _started() as trainer:
        for step in range(1, BEFORE + 3):
            _step(trainer)
            trainer.save(path)
            found[step] = contents(path)
    return found


def _try(way: Way, shim: Shim, folder: Path, number: int, error: str, references: dict[int, Any]) -> Fault | None:
    """Save while the n-th call fails, and once more; None where there are not so many calls."""
    folder.mkdir()
    with _started() as trainer:
        for _ in range(BEFORE):
            _step(trainer)
            way.save(trainer, folder)
        _step(trainer)
        told: Exception | None = None
        shim.arm(folder, number, ERRORS[error])
        try:
            way.save(trainer, folder)
        except Exception as caught:  # noqa: BLE001 - which it may be, is judged
            told = caught
        call = shim.disarm()
        if not call:
            return None
        step, wrong = _step_in(way.newest(folder), references)
        wrong += _of_error(told, folder, step) + _of_files(way, folder, step, call)
        _step(trainer)
        try:
            way.save(trainer, folder)
        except Exception as caught:  # noqa: BLE001 - none may come
            wrong.append(f"the next save: {caught!r}")
        next_step, more = _step_in(way.newest(folder), references)
        wrong += more + _of_files(way, folder, next_step, "")
        wrong += [] if next_step == BEFORE + 2 else ["the next save is not there"]
    names = {BEFORE: "the old file", BEFORE + 1: "the new file"}
    return Fault(call, error, f"{type(told).__name__ if told else 'no error'}, {names.get(step, 'another')}", wrong)


def _step_in(path: Path, references: dict[int, Any]) -> tuple[int, list[str]]:
    """Return the step of a checkpoint, and whether it does not load, or is none of those that were saved."""
    try:
        with mxt.Trainer.load(path) as trainer:
            step = trainer.step
    except mxt.Error as error:
        return 0, [f"{NEWEST} does not load: {error}"]
    return step, [] if contents(path) == references[step] else [f"{NEWEST} is none that was saved"]


def _of_error(told: Exception | None, folder: Path, step: int) -> list[str]:
    """Return what is wrong with an error, or with none."""
    if told is None:
        return [] if step == BEFORE + 1 else ["no error, and the old file"]
    if not isinstance(told, (mxt.Error, OSError)):
        return [f"another error: {told!r}"]
    text, wrong = str(told), []
    if str(folder) not in text:
        wrong.append(f"its path is not named: {text}")
    if (step == BEFORE + 1) != (" is written" in text):
        wrong.append(f"the step in the file is {step - BEFORE} after the old one, and the error says: {text}")
    return [one.replace(str(folder), "FOLDER") for one in wrong]


def _of_files(way: Way, folder: Path, step: int, call: str) -> list[str]:
    """Return what is wrong with what lies in the folder; a file that could not be removed may."""
    names = sorted(path.name for path in folder.iterdir())
    more = [name for name in names if not OURS.fullmatch(name)]
    wrong = [f"left over: {re.sub('[0-9]+', 'N', name)}" for name in more if not call.startswith("unlink")]
    if way.folder:
        steps = sum(name.startswith("step-") for name in names)
        if steps != BEFORE and call == "":
            wrong.append(f"{steps} checkpoints are kept")
        best = _best(folder)
        if best != way.best(step) and not (call and best == way.best(BEFORE)):
            wrong.append(f"the best is of step {best}, not {way.best(step)}")
    return wrong


def _best(folder: Path) -> int:
    with suppress(mxt.Error), mxt.Trainer.load(folder / "best.safetensors") as trainer:
        return trainer.step
    return 0


if __name__ == "__main__":
    for one in inject(WAYS[int(sys.argv[2])], Shim(sys.argv[1])):
        print(json.dumps(one), flush=True)
