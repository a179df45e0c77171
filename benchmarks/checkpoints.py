"""What a checkpoint costs while training goes on, how long it takes to load, and what is left of a killed process.

Run: python benchmarks/checkpoints.py [cost] [killed]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import mxtrainer as mxt  # noqa: E402

MB = 2**20
KILLS = 200


def wide(width: int) -> mxt.Plan:
    """Return a net of three square layers: with Adam a checkpoint has nine times the elements of one."""
    layers = [mxt.Linear(width), mxt.Elementwise("tanh")] * 3
    return mxt.compile_plan(mxt.NetChain([*layers, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(width)}))


def steps_of(trainer: mxt.Trainer, batch: dict[str, Any], count: int) -> list[float]:
    """Take steps, reading each loss; return the seconds of each."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        trainer.update(batch)
        trainer.current_loss()
        times.append(time.perf_counter() - begin)
    return times


def cost() -> None:
    """Print what steps take beside a checkpoint of 500 MB, and what to load it takes."""
    width = 3816  # 3 * 3 * width**2 * 4 bytes are 500 MB
    generator = np.random.default_rng(0)
    batch = {port: generator.standard_normal((64, width), np.float32) for port in ("Input", "Target")}
    with tempfile.TemporaryDirectory() as folder, mxt.Trainer(wide(width), mxt.Adam(), 64) as trainer:
        path = Path(folder, "run")
        steps_of(trainer, batch, 3)
        plain, beside = [], []
        for _ in range(3):
            plain += steps_of(trainer, batch, 10)
            begin = time.perf_counter()
            trainer.save(path, wait=False)
            call = time.perf_counter() - begin
            beside.append(sum(steps_of(trainer, batch, 10)))
            trainer._saver.wait()  # noqa: SLF001 - what a next save would do
        begin = time.perf_counter()
        trainer.save(path)
        alone = time.perf_counter() - begin
        size = path.stat().st_size / MB
        begin = time.perf_counter()
        mxt.Trainer.load(path).close()
        load = time.perf_counter() - begin
    step = statistics.median(plain)
    lost = statistics.median(beside) - 10 * step
    print(f"{size:.0f} MB; a step {step * 1e3:.0f} ms; save(wait=False) returns after {call * 1e3:.1f} ms")
    print(f"ten steps beside it take {lost * 1e3:.0f} ms more than {10 * step * 1e3:.0f}")
    print(f"save alone {alone:.2f} s, load {load:.2f} s")


CHILD = """
import sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/benchmarks"]
import numpy as np, mxtrainer as mxt
from checkpoints import wide
trainer = mxt.Trainer(wide(128), mxt.Adam(), 8)
batch = {port: np.ones((8, 128), np.float32) for port in ("Input", "Target")}
while True:
    trainer.update(batch)
    trainer.save(sys.argv[2], wait=trainer.step % 2 == 0)
    print(trainer.step, trainer.current_loss()["Loss"], flush=True)
"""


def killed() -> None:
    """Kill a process that saves all the time at random moments; load what is left, and compare it with what it said."""
    whole = 0
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path, losses = Path(folder, "run"), Path(folder, "losses")
        known = _losses(losses)
        done = 0
        while done < KILLS:
            with losses.open("w") as file:
                process = subprocess.Popen([sys.executable, "-c", CHILD, str(ROOT), str(path)], stdout=file)
            while not path.exists() or losses.stat().st_size == 0:
                time.sleep(0.01)
            time.sleep(generator.uniform(0.0, 0.3))
            process.kill()
            process.wait()
            known.update(_losses(losses))
            done += 1
            with mxt.Trainer.load(path) as trainer:
                batch = {port: np.ones((8, 128), np.float32) for port in ("Input", "Target")}
                step = trainer.step + 1
                trainer.update(batch)
                loss = trainer.current_loss()["Loss"]
            whole += known.get(step, loss) == loss
            path.unlink()
    print(f"{whole} of {done} files load, and go on with the loss of the process that was killed")


def _losses(path: Path) -> dict[int, float]:
    if not path.exists():
        return {}
    pairs = [line.split() for line in path.read_text().splitlines()]
    return {int(pair[0]): float(pair[1]) for pair in pairs if len(pair) == 2}


if __name__ == "__main__":
    for part in sys.argv[1:] or ["cost", "killed"]:
        {"cost": cost, "killed": killed}[part]()
