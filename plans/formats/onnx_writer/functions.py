"""What the functions of Elementwise and Threading are in ONNX."""

from __future__ import annotations

import math
from typing import Any, Callable

from ...layers.elementwise import SELU_ALPHA, SELU_SCALE
from .graph import Place


def _gelu(place: Place, x: str) -> str:
    erf = place.operator("Erf", place.operator("Mul", x, place.number(math.sqrt(0.5))))
    half = place.operator("Mul", x, place.number(0.5))
    return place.operator("Mul", half, place.operator("Add", erf, place.number(1.0)))


def _expm1(place: Place, x: str) -> str:
    """Return ``tanh(x / 2) (exp(x) + 1)``, which keeps the digits of a small x."""
    half = place.operator("Tanh", place.operator("Mul", x, place.number(0.5)))
    return place.operator("Mul", half, place.operator("Add", place.operator("Exp", x), place.number(1.0)))


def _log1p(place: Place, x: str) -> str:
    """Return ``log(u) x / (u - 1)`` of ``u = 1 + x``, which keeps the digits of a small x; x itself where u is 1."""
    u = place.operator("Add", x, place.number(1.0))
    exact, log = place.operator("Sub", u, place.number(1.0)), place.operator("Log", u)
    corrected = place.operator("Mul", log, place.operator("Div", x, exact))
    tiny = place.operator("Where", place.operator("Equal", u, place.number(1.0)), x, corrected)
    return place.operator("Where", place.operator("Equal", exact, x), log, tiny)  # infinity, too


def _alone(kind: str, **attributes: Any) -> Callable[[Place, str], str]:
    return lambda place, x: place.operator(kind, x, **attributes)


FUNCTIONS: dict[str, Callable[[Place, str], str]] = {
    "tanh": _alone("Tanh"),
    "sigmoid": _alone("Sigmoid"),
    "relu": _alone("Relu"),
    "gelu": _gelu,
    "selu": _alone("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "softplus": _alone("Softplus"),
    "softsign": _alone("Softsign"),
    "swish": lambda place, x: place.operator("Mul", x, place.operator("Sigmoid", x)),
    "exp": _alone("Exp"),
    "expm1": _expm1,
    "log": _alone("Log"),
    "log1p": _log1p,
    "sqrt": _alone("Sqrt"),
    "square": lambda place, x: place.operator("Mul", x, x),
    "abs": _alone("Abs"),
    "negative": _alone("Neg"),
    "reciprocal": _alone("Reciprocal"),
    "sin": _alone("Sin"),
    "cos": _alone("Cos"),
    "erf": _alone("Erf"),
}
THREADED = {
    "plus": "Add",
    "times": "Mul",
    "subtract": "Sub",
    "divide": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "power": "Pow",
}
