"""Layers that only tests need: one that waits until it is let through, one that fails on the device."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.layers.base import Node, Ports, Symbol
from mxtrainer.plans.layers.elementwise import ShapeKeeping
from mxtrainer.values import register

OPEN = threading.Event()
PATIENCE = 20.0  # seconds after which a closed gate opens, so that a broken test ends


class _GateOp(mx.operator.CustomOp):  # type: ignore[misc]  # mxnet has no types
    def forward(self, is_train: bool, req: list[str], in_data: list[Any], out_data: list[Any], aux: list[Any]) -> None:
        OPEN.wait(PATIENCE)
        self.assign(out_data[0], req[0], in_data[0])

    def backward(
        self,
        req: list[str],
        out_grad: list[Any],
        in_data: list[Any],
        out_data: list[Any],
        in_grad: list[Any],
        aux: list[Any],
    ) -> None:
        self.assign(in_grad[0], req[0], out_grad[0])


@mx.operator.register("mxtrainer_test_gate")
class _GateProperty(mx.operator.CustomOpProp):  # type: ignore[misc]  # mxnet has no types
    def __init__(self) -> None:
        super().__init__(need_top_grad=True)

    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> _GateOp:
        return _GateOp()


@register
@dataclass(frozen=True, repr=False)
class Gate(ShapeKeeping):
    """The identity, once `OPEN` is set."""

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        return mx.sym.Custom(symbol, op_type="mxtrainer_test_gate")


@register
@dataclass(frozen=True, repr=False)
class Cholesky(ShapeKeeping):
    """A Cholesky factor, which fails on the device where the matrix is not positive definite."""

    def deduce(self, ports: Ports) -> None:
        ports.set_input("Input", mxt.Array((2, 2)))
        ports.set_output("Output", mxt.Array((2, 2)))

    def lower_item(self, node: Node, symbol: Symbol) -> Symbol:
        return mx.sym.linalg.potrf(symbol)
