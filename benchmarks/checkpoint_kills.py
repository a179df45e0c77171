"""What is left of processes that are killed at random moments of saving."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_cost import wide

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import mxtrainer as mxt  # noqa: E402

KILLS = 200
WIDTH = 256
SECONDS = 1.0  # of saving, before the kill
BATCH: dict[str, Any] = {port: np.ones((8, WIDTH), np.float32) for port in ("Input", "Target")}
CHILD = """
import sys
sys.path[:0] = [sys.argv[1]]
from checkpoint_kills import BATCH, started
trainer = started()
while True:
    trainer.update(BATCH)
    trainer.save(sys.argv[2], wait=trainer.step % 2 == 0)
"""


def started() -> mxt.Trainer:
    """Return the trainer that every process starts with."""
    return mxt.Trainer(wide(WIDTH), mxt.Adam(), 8)


class Reference:
    """The same training in this process: a hash of the checkpoint of each step."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self._path = folder / "reference"
        self._trainer = started()
        self._known: dict[int, bytes] = {}

    def __getitem__(self, step: int) -> bytes:
        """Return the hash of a step's checkpoint; trains so far."""
        while self._trainer.step < step:
            self._trainer.update(BATCH)
            self._trainer.save(self._path)
            self._known[self._trainer.step] = _hash(self._path)
        return self._known[step]


def killed() -> None:
    """Kill processes that save all the time; compare what is left with the same training in this process."""
    generator = np.random.default_rng(0)
    loads = equal = removed = 0
    moments: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "killed")
        folder.mkdir()
        path, reference = folder / "run", Reference(Path(name))
        for _ in range(KILLS):
            _kill_one(path, generator.uniform(0.0, SECONDS))
            left = [found for found in folder.iterdir() if found != path]
            moments[_moment(left, path.stat().st_size)] += 1
            try:
                with mxt.Trainer.load(path) as trainer:
                    loads += 1
                    equal += _hash(path) == reference[trainer.step]
                    trainer.save(path)
            except mxt.Error as error:
                print(f"  {error}")
            removed += list(folder.iterdir()) == [path]
            path.unlink()
    print(f"{loads} of {KILLS} files load, {equal} are bit for bit one of the steps that were saved")
    print(f"killed {', '.join(f'{moment}: {count}' for moment, count in sorted(moments.items()))}")
    print(f"{removed} of {KILLS} folders have nothing but the file in them after the next save")


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _kill_one(path: Path, seconds: float) -> None:
    """Start a process that saves, and kill it so many seconds after its first file is there."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(Path(__file__).parent), str(path)])
    while not path.exists():
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.wait()


def _moment(left: list[Path], size: int) -> str:
    """Return where a process was, by the new file that it has left."""
    if not left:
        return "outside the write"
    written = left[0].stat().st_size
    if written == 0:
        return "inside it, with nothing written"
    return "inside it, with a part written" if written < size else "inside it, with all written and not yet renamed"
