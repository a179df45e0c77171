"""Oracles of the optimizers: one step on one array, with the state as a value in and out; and whole courses."""

# ruff: noqa: ARG001 - every oracle takes the same arguments, so that one table can call them all

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from reference_core import Arrays, Real

Fields = Mapping[str, Any]  # of an optimizer, by name


def adam(
    w: Real,
    g: Real,
    state: Arrays,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[Real, Arrays]:
    """Take one Adam step: Kingma and Ba (2015), Algorithm 1.

    Args:
        w: The array.
        g: Its gradient.
        state: "m" and "v", the moments after the step before; empty at the start.
        step: The number of this step, from 1.
        learning_rate: The step size alpha.
        beta1: The decay of the first moment.
        beta2: The decay of the second moment.
        epsilon: Added to the root of the corrected second moment.

    Returns:
        The new array and the new state.
    """
    m = beta1 * state.get("m", np.zeros(w.shape)) + (1 - beta1) * g
    v = beta2 * state.get("v", np.zeros(w.shape)) + (1 - beta2) * g**2
    m_corrected, v_corrected = m / (1 - beta1**step), v / (1 - beta2**step)
    return w - learning_rate * m_corrected / (np.sqrt(v_corrected) + epsilon), {"m": m, "v": v}


def sgd(w: Real, g: Real, state: Arrays, learning_rate: float, momentum: float) -> tuple[Real, Arrays]:
    """Take one step of gradient descent with momentum: m = momentum m - learning_rate g, w = w + m.

    Args:
        w: The array.
        g: Its gradient.
        state: "m", the last change; empty at the start.
        learning_rate: The step size.
        momentum: How much of the last change stays.

    Returns:
        The new array and the new state.
    """
    m = momentum * state.get("m", np.zeros(w.shape)) - learning_rate * g
    return w + m, {"m": m}


# The others, each with what it takes: the array, its gradient, its state, how often it has moved, the rate, the fields


def sgd_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one step of gradient descent: Polyak (1964); Sutskever et al. (2013), rewritten for the point looked at.

    m = momentum m + rate g; w = w - m, or, by Nesterov, w = w - (momentum m + rate g).
    """
    momentum = fields["momentum"]
    m = momentum * state.get("m", np.zeros(w.shape)) + rate * g
    return w - (momentum * m + rate * g if fields["nesterov"] else m), {"m": m}


def adam_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one Adam step."""
    return adam(w, g, state, count, rate, fields["beta1"], fields["beta2"], fields["epsilon"])


def adamw_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one AdamW step: Loshchilov and Hutter (2019), Algorithm 2, where the rate multiplies the decay too."""
    moved, state = adam_of(w, g, state, count, rate, fields)
    return moved - rate * fields["weight_decay"] * w, state


def lamb_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one LAMB step: You et al. (2020), Algorithm 2, phi the identity, and a ratio of 1 where a norm is 0."""
    moved, state = adam_of(w, g, state, count, 1.0, fields)
    update = (w - moved) + fields["weight_decay"] * w
    of_array, of_update = float(np.linalg.norm(w)), float(np.linalg.norm(update))
    ratio = of_array / of_update if of_array > 0 and of_update > 0 else 1.0
    return w - rate * ratio * update, state


def rmsprop_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one RMSProp step: Tieleman and Hinton (2012); centred as Graves (2013), epsilon beside the root."""
    beta = fields["beta"]
    v = beta * state.get("v", np.zeros(w.shape)) + (1 - beta) * g**2
    a = beta * state.get("a", np.zeros(w.shape)) + (1 - beta) * g
    root = np.sqrt(np.maximum(v - a**2, 0.0) if fields["centred"] else v)
    m = fields["momentum"] * state.get("m", np.zeros(w.shape)) + rate * g / (root + fields["epsilon"])
    return w - m, {"v": v, "a": a, "m": m}


def signsgd_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one step of signSGD or Signum: Bernstein et al. (2018), Algorithms 1 and 2."""
    m = fields["momentum"] * state.get("m", np.zeros(w.shape)) + (1 - fields["momentum"]) * g
    return w - rate * np.sign(m), {"m": m}


def adagrad_of(w: Real, g: Real, state: Arrays, count: int, rate: float, fields: Fields) -> tuple[Real, Arrays]:
    """Take one Adagrad step: Duchi, Hazan and Singer (2011), the diagonal form."""
    v = state.get("v", np.zeros(w.shape)) + g**2
    return w - rate * g / (np.sqrt(v) + fields["epsilon"]), {"v": v}


RULES: dict[str, Callable[[Real, Real, Arrays, int, float, Fields], tuple[Real, Arrays]]] = {
    "SGD": sgd_of,
    "Adam": adam_of,
    "AdamW": adamw_of,
    "LAMB": lamb_of,
    "RMSProp": rmsprop_of,
    "SignSGD": signsgd_of,
    "Adagrad": adagrad_of,
}
DECOUPLED = ("AdamW", "LAMB")


class Course:
    """The course of some arrays under an optimizer, in float64, from the gradients that it is told.

    Args:
        kind: The optimizer's name.
        fields: Its fields, "learning_rate", "weight_decay" and the limits among them.
        arrays: Where they start.
        otherwise: Fields that are others for an array, by path, with "multiplier" and "frozen".
    """

    def __init__(
        self, kind: str, fields: Fields, arrays: Arrays, otherwise: Mapping[str, Fields] | None = None
    ) -> None:
        self.kind = kind
        self.arrays = {path: np.array(array, np.float64) for path, array in arrays.items()}
        own = {path: dict((otherwise or {}).get(path, {})) for path in arrays}
        self.fields: dict[str, Fields] = {path: {"multiplier": 1.0, **fields, **own[path]} for path in arrays}
        self.clip_norm = fields.get("clip_norm")
        self.state: dict[str, Arrays] = {path: {} for path in arrays}
        self.counts = dict.fromkeys(arrays, 0)

    def step(self, gradients: Arrays, only: Collection[str] | None = None, rate: float | None = None) -> None:
        """Take one step: scale, clip elements, decay, apply, clip weights."""
        frozen = {path for path, fields in self.fields.items() if fields.get("frozen")}
        moving = [path for path in self.arrays if path not in frozen and (only is None or path in only)]
        exact = {path: np.asarray(gradients[path], np.float64) for path in moving}
        norm = float(np.sqrt(sum(float((found**2).sum()) for found in exact.values())))
        scale = 1.0 if not self.clip_norm or norm <= self.clip_norm else self.clip_norm / norm
        for path, found in exact.items():
            self._move(path, found * scale, rate)

    def _move(self, path: str, g: Real, rate: float | None) -> None:
        fields, w = self.fields[path], self.arrays[path]
        if fields.get("clip_gradient") is not None:
            g = np.clip(g, -fields["clip_gradient"], fields["clip_gradient"])
        if self.kind not in DECOUPLED:
            g = g + fields["weight_decay"] * w
        self.counts[path] += 1
        full = (fields["learning_rate"] if rate is None else rate) * fields["multiplier"]
        moved, self.state[path] = RULES[self.kind](w, g, self.state[path], self.counts[path], full, fields)
        if fields.get("clip_weights") is not None:
            moved = np.clip(moved, -fields["clip_weights"], fields["clip_weights"])
        self.arrays[path] = moved
