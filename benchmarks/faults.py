"""Who is told of a step that fails, and what it has changed: mxtrainer, and MXNet's own executor in a plain loop.

Run as ``python benchmarks/faults.py``. A step is spoilt, another is queued behind it, and then something reads.
mxtrainer passes if the read raises the error of the right step, twice, and all arrays are as before the step once it
has recovered; MXNet if it raises, twice, and the arrays are as before.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fault_cases import (  # noqa: E402 - the cases lie beside the tests, which are no package
    BAD_STEP,
    FAULTS,
    READERS,
    FailingSGD,
    Faulty,
    everything,
    good_batch,
    plan_of,
)

import mxtrainer as mxt  # noqa: E402
from mxtrainer._mxnet import mx  # noqa: E402
from mxtrainer.plans.lowering import lower, training_heads  # noqa: E402
from mxtrainer.tables import table  # noqa: E402


def ours(fault: Faulty, reader: str) -> bool:
    """Tell whether the trainer passes."""
    FailingSGD.armed = True
    trainer = mxt.Trainer(plan_of(fault.way), fault.optimizer or mxt.Adam(0.01), batch_size=4, depth=3)
    for number in (1, 2):
        trainer.update(good_batch(number))
    trainer.current_loss()
    before = everything(trainer)
    trainer.update(fault.spoil(good_batch(BAD_STEP)))
    trainer.update(good_batch(4))
    for _ in range(1 if reader == "close" else 2):
        try:
            READERS[reader](trainer, good_batch(5))
        except mxt.StepError as error:
            if error.step != BAD_STEP:
                return False
        else:
            return False
    if reader == "close":
        return trainer.store.parameters.array.asnumpy().tobytes() == before[0].tobytes()
    trainer.recover()
    return [array.tobytes() for array in everything(trainer)] == [array.tobytes() for array in before]


class PlainLoop:
    """MXNet's executor, its own optimizer's operators, and nothing else."""

    def __init__(self, fault: Faulty) -> None:
        """Bind the plan's graph."""
        self.plan = plan_of(fault.way)
        store = mxt.instantiate(self.plan, 3).store
        lowered = lower(self.plan, {}, training_heads(self.plan), training=True, padded=False)
        self.inputs = {
            port: mx.nd.zeros(spec.shape(3, {}), dtype=spec.transfer_dtype) for port, spec in self.plan.inputs.items()
        }
        arguments = {name: self.inputs[port] for name, port in lowered.inputs.items()}
        arguments.update({name: store.argument(*paths).copy() for name, paths in lowered.arrays.items()})
        arguments.update({"rows": mx.nd.ones((3,))} if lowered.masked else {})
        self.trained = [name for name, paths in lowered.arrays.items() if paths[0] in self.plan.parameters]
        self.arrays = {name: arguments[name] for name in self.trained}
        self.gradients = {name: mx.nd.zeros_like(arguments[name]) for name in self.trained}
        self.moments = {name: mx.nd.zeros_like(arguments[name]) for name in self.trained}
        self.executor = lowered.symbol.bind(
            mx.cpu(), arguments, args_grad=self.gradients, grad_req=dict.fromkeys(self.trained, "write")
        )
        self.names = [head.name for head in lowered.heads]
        self.heads = [mx.nd.full((3,), 1 / 3)] + [mx.nd.zeros((1,))] * (len(self.executor.outputs) - 1)
        self.failing = fault.optimizer is not None
        self.step = 0

    def update(self, batch: dict[str, Any]) -> None:
        """Queue a step."""
        self.step += 1
        for port, value in batch.items():
            (value if isinstance(value, mx.nd.NDArray) else mx.nd.array(value, dtype=self.inputs[port].dtype)).copyto(
                self.inputs[port]
            )
        self.executor.forward(is_train=True)
        self.executor.backward(self.heads)
        for name in self.trained:
            array, moment = self.arrays[name], self.moments[name]
            mx.nd.sgd_mom_update(array, self.gradients[name], moment, out=array, lr=0.1, momentum=0.9)
            if self.failing and self.step == BAD_STEP:
                factor = mx.nd.linalg.potrf(-mx.nd.eye(2))
                mx.nd.broadcast_add(array, factor.reshape((-1,))[:1], out=array)

    def output(self, name: str) -> Any:
        """Return an output."""
        return self.executor.outputs[self.names.index(name)]

    def everything(self) -> list[bytes]:
        """Return all arrays that training changes, past whatever is raised."""
        found = []
        for array in (*self.arrays.values(), *self.moments.values()):
            with contextlib.suppress(mx.MXNetError):
                array.wait_to_read()
            found.append(array.asnumpy().tobytes())
        return found


def _more(loop: PlainLoop) -> None:
    for number in (5, 6, 7):
        loop.update(good_batch(number))
    loop.output("Loss").asnumpy()


def _fed_back(loop: PlainLoop) -> None:
    loop.update({**good_batch(5), "StateIn": loop.output("StateOut").copy()})
    loop.output("Loss").asnumpy()


MXNET: dict[str, Callable[[PlainLoop], Any]] = {
    "loss": lambda loop: loop.output("Loss").asnumpy(),
    "gradient": lambda loop: next(iter(loop.gradients.values())).asnumpy(),
    "output": lambda loop: loop.output("StateOut").asnumpy(),
    "array": lambda loop: next(iter(loop.arrays.values())).asnumpy(),
    "handle as input": _fed_back,
    "waitall": lambda _: mx.nd.waitall(),
    "next update": _more,
}


def mxnets(fault: Faulty, reader: str) -> tuple[bool, bool, bool]:
    """Tell whether MXNet raises, raises again, and has left the arrays as they were."""
    loop = PlainLoop(fault)
    for number in (1, 2):
        loop.update(good_batch(number))
    before = loop.everything()
    raised = []
    with contextlib.suppress(mx.MXNetError):
        loop.update(fault.spoil(good_batch(BAD_STEP)))
        loop.update(good_batch(4))
    for _ in range(2):
        try:
            MXNET[reader](loop)
        except mx.MXNetError:
            raised.append(True)
        else:
            raised.append(False)
    with contextlib.suppress(mx.MXNetError):
        mx.nd.waitall()
    return raised[0], raised[1], loop.everything() == before


def main() -> None:
    """Print a table, one row a fault."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # callbacks print their errors
        passed = {fault.name: [ours(fault, reader) for reader in READERS] for fault in FAULTS}
        theirs = {fault.name: [mxnets(fault, reader) for reader in MXNET] for fault in FAULTS}
    rows = []
    for name, found in passed.items():
        cells = np.array(theirs[name])
        rows.append(
            [
                name,
                f"{sum(found)} of {len(found)}",
                f"{int(cells.all(axis=1).sum())} of {len(cells)}",
                f"{int(cells[:, 0].sum())}, {int(cells[:, :2].all(axis=1).sum())}, {int(cells[:, 2].sum())}",
            ]
        )
    print(table(["fault", "mxtrainer passes", "MXNet passes", "MXNet raises, twice, arrays as before"], rows))
    ours_sum, all_ours = (sum(map(fold, passed.values())) for fold in (sum, len))
    both = np.array([cell for cells in theirs.values() for cell in cells]).all(axis=1)
    print(f"mxtrainer: {ours_sum} of {all_ours} cells; MXNet: {int(both.sum())} of {len(both)}")


if __name__ == "__main__":
    main()
