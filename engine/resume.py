"""The proof that a training that stops and goes on is the one that never stopped, on a user's own net."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import positive_int
from ..errors import ArgumentError, Error
from ..executors.batch import Batch
from ..plans.net import NetGraph
from ..tables import Part, Printed
from ..tensor_file import TensorFile
from ..values import Value
from .checkpoint import KEY

if TYPE_CHECKING:
    from .trainer import Trainer

CHILD = "import sys; from mxtrainer.engine.resume import go_on; go_on(*sys.argv[1:])"


@dataclass(frozen=True)
class ResumeReport(Printed):
    """What `Trainer.verify_resume` found.

    Attributes:
        steps: How many steps were taken before the checkpoint, and again after it.
        arrays: How many arrays were compared: parameters, auxiliary arrays, the optimizer's state, carried states.
        differing: The names of those that differ in a bit.
    """

    steps: int
    arrays: int
    differing: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether all bits are the same."""
        return not self.differing

    def _parts(self) -> list[Part]:
        what = "all are the same, bit for bit" if self.exact else f"these differ: {', '.join(self.differing)}"
        return [f"{self.steps} steps, a checkpoint, a new process, {self.steps} steps: {self.arrays} arrays; {what}"]


def verify(trainer: Trainer, steps: int, batches: Iterable[Mapping[str, Any]]) -> ResumeReport:
    """Return whether a copy of a trainer goes on to the bit; see `Trainer.verify_resume`."""
    count = positive_int(steps, "steps")
    if not isinstance(batches, Iterable) or isinstance(batches, Mapping):
        raise ArgumentError(f"verify_resume takes an iterable of batches, got {type(batches).__name__}")
    taken = list(islice(batches, 2 * count))
    if len(taken) < 2 * count:
        raise ArgumentError(f"verify_resume({count}, batches) takes {2 * count} batches, and there are {len(taken)}")
    modules = _modules_of(trainer)
    with tempfile.TemporaryDirectory(prefix="mxtrainer-") as folder:
        begin, middle, end, other, given = (Path(folder, name) for name in ("0", "1", "2", "3", "batches"))
        trainer.save(begin)
        with type(trainer).load(begin, device=trainer.device) as copy:
            for batch in taken[:count]:
                copy.update(batch)
            copy.save(middle)
            for batch in taken[count:]:
                copy.update(batch)
            copy.save(end)
        with given.open("wb") as file:  # from here to the child: no file that anyone else has touched
            pickle.dump((modules, [_plain(batch) for batch in taken[count:]]), file)
        _run_child(middle, given, other, str(trainer.device).replace("(", ":").rstrip(")"))
        return _compared(count, end, other)


def _modules_of(trainer: Trainer) -> list[str]:
    """Return the modules that a new process must import to know all classes."""
    own = (trainer.optimizer, trainer.optimizer.learning_rate, trainer.buckets.policy)
    classes = {type(found) for found in own if isinstance(found, Value)} | _layers_of(trainer.plan.net)
    modules = sorted({cls.__module__ for cls in classes})
    if "__main__" in modules:
        names = sorted(cls.__name__ for cls in classes if cls.__module__ == "__main__")
        raise ArgumentError(
            f"verify_resume starts a new process, which cannot import {', '.join(names)} from the script itself: put "
            f"it into a module"
        )
    return modules


def _layers_of(net: NetGraph) -> set[type]:
    found: set[type] = set()
    for node in net.graph.nodes.values():
        found.add(type(node.layer))
        for inner in node.layer.nets():
            found |= _layers_of(inner)
    return found


def _plain(batch: Mapping[str, Any]) -> Any:
    """Return a batch that can be sent to another process."""
    if not isinstance(batch, Batch):
        return dict(batch)
    known = {name: getattr(batch, name) for name in ("streams", "reset", "position", "carry_at", "loss_from")}
    return Batch(dict(batch), None if batch.lengths is None else dict(batch.lengths), **known)


def _run_child(*arguments: Path | str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise Error(f"the new process has failed:\n{done.stderr.strip()[-2000:]}")


def go_on(checkpoint: str, given: str, result: str, device: str) -> None:
    """Take the steps of the new process: load, update, save."""
    import importlib

    from .trainer import Trainer

    with Path(given).open("rb") as file:
        modules, batches = pickle.load(file)  # noqa: S301 - written by the process that started this one
    for module in modules:
        importlib.import_module(module)
    with Trainer.load(checkpoint, device=device) as trainer:
        for batch in batches:
            trainer.update(batch)
        trainer.save(result)


def _compared(steps: int, left: Path, right: Path) -> ResumeReport:
    with TensorFile(left, "a checkpoint") as one, TensorFile(right, "a checkpoint") as other:
        names = sorted(one.names | other.names)
        differing = [name for name in names if one.checksum(name) != other.checksum(name)]
        if one.metadata[KEY] != other.metadata[KEY]:
            differing.append("(its description: step, position, streams)")
        return ResumeReport(steps, len(names), tuple(differing))
