"""Every cell of the tests' resume matrix, gone on with in a process of its own, bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import checkpoint_cases as cases  # noqa: E402 - the cases lie beside the tests, which are no package

from mxtrainer.engine.checkpoint import KEY  # noqa: E402
from mxtrainer.tensor_file import TensorFile  # noqa: E402

PROCESSES = 2  # at a time


def resume() -> None:
    """Print how many trainings go on to the bit; name those that do not."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(PROCESSES) as pool:
        folder = Path(name)
        for cell in cases.CELLS:
            cases.begin(cell, folder)
        list(pool.map(lambda cell: _go_on(cell, folder), cases.CELLS))
        differing = [cell.name for cell in cases.CELLS if _differ(cell, folder)]
    tried = len(cases.CELLS)
    print(f"{tried - len(differing)} of {tried} trainings go on in a process of their own, bit for bit")
    for cell_name in differing:
        print(f"  {cell_name} does not")


def _go_on(cell: cases.Cell, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, cases.__file__, str(folder), cell.name], check=True, env=environment)


def _differ(cell: cases.Cell, folder: Path) -> bool:
    whole, resumed = (contents(folder / f"{cell.name}.{kind}") for kind in ("whole", "resumed"))
    return whole != resumed


def contents(path: Path) -> tuple[dict[str, int | None], str]:
    """Return what a checkpoint says: the checksum of each array, and the description."""
    with TensorFile(path, "a checkpoint") as file:
        return {name: file.checksum(name) for name in file.names}, file.metadata[KEY]
