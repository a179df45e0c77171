"""Steps that go wrong in every way, and everything that a loop may do next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.layers import Layer, Node, Ports
from mxtrainer.plans.layers.base import Symbol
from mxtrainer.values import register

ROWS, WIDTH, TOKENS = 3, 4, 5
Batch = dict[str, Any]
Optimizer = Union[mxt.Adam, mxt.SGD]


class _FaultOp(mx.operator.CustomOp):  # type: ignore[misc]  # mxnet has no types
    """The identity of its first input, which goes wrong in one way where its second is negative."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, is_train: bool, req: list[str], in_data: list[Any], out_data: list[Any], aux: list[Any]) -> None:
        bad = in_data[1].asnumpy().min() < 0
        if bad and self.way == "raises":
            raise RuntimeError("the callback of a user")
        self.assign(out_data[0], req[0], in_data[0] * np.nan if bad and self.way == "nan" else in_data[0])

    def backward(
        self,
        req: list[str],
        out_grad: list[Any],
        in_data: list[Any],
        out_data: list[Any],
        in_grad: list[Any],
        aux: list[Any],
    ) -> None:
        bad = in_data[1].asnumpy().min() < 0
        if bad and self.way == "raises backward":
            raise RuntimeError("the callback of a user, in its backward pass")
        wrong = bad and self.way == "nan backward"
        self.assign(in_grad[0], req[0], out_grad[0] * np.nan if wrong else out_grad[0])
        self.assign(in_grad[1], req[1], mx.nd.zeros_like(in_data[1]))


@mx.operator.register("mxtrainer_test_fault")
class _FaultProperty(mx.operator.CustomOpProp):  # type: ignore[misc]  # mxnet has no types
    def __init__(self, way: str) -> None:
        super().__init__(need_top_grad=True)
        self.way = way

    def list_arguments(self) -> list[str]:
        return ["data", "trigger"]

    def infer_shape(self, shapes: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        return shapes, [shapes[0]], []

    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> _FaultOp:
        return _FaultOp(self.way)


@register
@dataclass(frozen=True, repr=False)
class Fault(Layer):
    """The identity of Input, which goes wrong in some way where Trigger is negative."""

    way: str

    def input_ports(self, connected: int = 0) -> tuple[str, ...]:
        return ("Input", "Trigger")

    def deduce(self, ports: Ports) -> None:
        if ports.inputs["Input"] is not None:
            ports.set_output("Output", ports.inputs["Input"])

    def lower(self, node: Node) -> dict[str, Symbol]:
        symbol, trigger = node.inputs["Input"], node.inputs["Trigger"]
        if self.way != "cholesky":
            return {"Output": mx.sym.Custom(symbol, trigger, op_type="mxtrainer_test_fault", way=self.way)}
        matrices = mx.sym.broadcast_mul(mx.sym.reshape(trigger, shape=(-1, 1, 1)), mx.sym.eye(2))
        factors = mx.sym.sum(mx.sym.linalg.potrf(matrices), axis=(1, 2))
        return {"Output": mx.sym.broadcast_add(symbol, 0 * mx.sym.expand_dims(factors, axis=1))}


BAD_STEP = 3


def plan_of(way: str) -> mxt.Plan:
    """Return a plan with parameters, moving statistics, indices and a state, and with one layer that may go wrong."""
    net = mxt.NetGraph(
        {
            "code": mxt.Embedding(WIDTH),
            "sum": mxt.Threading("plus"),
            "fault": Fault(way),
            "norm": mxt.BatchNorm(),
            "linear": mxt.Linear(WIDTH),
            "loss": mxt.MeanSquaredLoss(),
        },
        [
            ("Code", "code"),
            (["Input", "StateIn", "code"], "sum", "fault.Input"),
            ("Trigger", "fault.Trigger"),
            ("fault", "norm", "linear", "loss", "Loss"),
            ("linear", "StateOut"),
        ],
        inputs={
            "Input": mxt.Vector(WIDTH),
            "StateIn": mxt.Vector(WIDTH),
            "Code": mxt.Index(TOKENS),
            "Trigger": mxt.Scalar(),
        },
    )
    return mxt.compile_plan(net, losses={"StateOut": 0.0})


def good_batch(number: int = 0) -> Batch:
    generator = np.random.default_rng(number)
    return {
        "Input": generator.normal(size=(ROWS, WIDTH)),
        "StateIn": generator.normal(size=(ROWS, WIDTH)),
        "Code": generator.integers(0, TOKENS, ROWS),
        "Trigger": generator.uniform(1, 2, ROWS),
        "Target": generator.normal(size=(ROWS, WIDTH)),
    }


def _triggered(batch: Batch) -> Batch:
    return {**batch, "Trigger": -batch["Trigger"]}


def _out_of_range(batch: Batch) -> Batch:
    return {**batch, "Code": mx.nd.array([0, TOKENS, 1], dtype="int32")}


@dataclass(frozen=True)
class Faulty:
    """One way to go wrong.

    Attributes:
        name: What to call it.
        way: What the layer does.
        spoil: What makes a batch bad.
        node: The layer that is to be named.
    """

    name: str
    way: str
    spoil: Callable[[Batch], Batch]
    node: str | None


FAULTS = [
    Faulty("operator, forward", "cholesky", _triggered, "fault"),
    Faulty("callback, forward", "raises", _triggered, "fault"),
    Faulty("callback, backward", "raises backward", _triggered, "fault"),
    Faulty("NaN in the loss", "nan", _triggered, "fault"),
    Faulty("NaN in a gradient", "nan backward", _triggered, "fault"),
    Faulty("index in an NDArray", "none", _out_of_range, None),
]


def _wait_for_all(trainer: mxt.Trainer, _: Batch) -> None:
    with contextlib.suppress(mx.MXNetError):  # MXNet tells once, and this is it
        mx.nd.waitall()
    trainer.current_loss()


def _update(trainer: mxt.Trainer, batch: Batch) -> None:
    for _ in range(5):  # as often as there may be unfinished steps, and once more
        trainer.update(batch)


def _live_array(trainer: mxt.Trainer, _: Batch) -> None:
    with contextlib.suppress(mx.MXNetError):
        trainer.store.parameters.array.asnumpy()
    trainer.current_loss()


def _fed_back(trainer: mxt.Trainer, batch: Batch) -> None:
    _update(trainer, {**batch, "StateIn": trainer.outputs["StateOut"].copy()})


Reader = Callable[[mxt.Trainer, Batch], Any]
READERS: dict[str, Reader] = {
    "loss": lambda trainer, _: trainer.current_loss(),
    "loss_at": lambda trainer, _: trainer.loss_at(BAD_STEP),
    "gradient": lambda trainer, _: trainer.gradients["linear.Weights"][:],
    "output": lambda trainer, _: trainer.outputs["StateOut"].asnumpy(),
    "array": lambda trainer, _: trainer.arrays["linear.Weights"][:],
    "handle as input": _fed_back,
    "waitall": _wait_for_all,
    "live array": _live_array,
    "next update": _update,
    "evaluate": lambda trainer, batch: trainer.evaluate(batch),
    "close": lambda trainer, _: trainer.close(),
}


def everything(trainer: mxt.Trainer) -> list[NDArray[Any]]:
    """Return copies of parameters, auxiliary arrays and the optimizer's state, past whatever has been raised.

    A failure of a trainer that is gone may still be in MXNet's scratch memory, which binding a graph hands on to the
    arrays that it is bound to: it writes to nothing, and is queued as if it wrote to all.
    """
    with contextlib.suppress(mx.MXNetError):
        mx.nd.waitall()
    arrays = [trainer.store.parameters.array, trainer.store.auxiliary.array, *trainer._steps._moves.moved]
    return [array.asnumpy() for array in arrays if array is not None]
