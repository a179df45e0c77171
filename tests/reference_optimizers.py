"""Oracles of the optimizers: one step on one array, with the state as a value in and out."""

from __future__ import annotations

import numpy as np
from reference_core import Arrays, Real


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
