"""JAX: functions of arrays, one compiled step that takes over the memory of the old arrays."""

from __future__ import annotations

from functools import partial, singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from costs import numbered
from data import Batch
from families import Arrays, Dense, Images, Language, Series, Signals, Workload
from jax import lax

Tree = Any
UNROLLED = 8  # so many steps or fewer are written out; a longer loop is faster as a loop, of one step a turn


def lstm(arrays: Tree, name: str, steps: Any, state: Any) -> tuple[Any, Any]:
    """Return the hidden states ``(t, batch, size)`` over ``(t, batch, width)``, and the states at the end."""
    own = {part: arrays[f"{name}.{part}"] for part in ("InputWeights", "StateWeights", "InputBiases", "StateBiases")}
    inputs = steps @ own["InputWeights"].T + own["InputBiases"] + own["StateBiases"]
    weights = own["StateWeights"].T

    def turn(states: Any, given: Any) -> Any:
        hidden, cell = states
        enter, forget, candidate, leave = jnp.split(given + hidden @ weights, 4, axis=-1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
        return (hidden, cell), hidden

    last, hidden = lax.scan(turn, state, inputs, unroll=len(steps) <= UNROLLED)
    return hidden, last


def linear(arrays: Tree, values: Any, number: int = 1) -> Any:
    """Return a linear layer over the last axis."""
    name = numbered("linear", number)
    return values @ arrays[f"{name}.Weights"].T + arrays[f"{name}.Biases"]


def cross_entropy(scores: Any, labels: Any) -> Any:
    """Return the mean cross-entropy."""
    logarithms = jax.nn.log_softmax(scores)
    return -jnp.take_along_axis(logarithms, labels[..., None], axis=-1).mean()


@singledispatch
def loss(workload: Workload, arrays: Tree, batch: Tree, states: Tree) -> tuple[Any, Tree]:
    """Return the mean loss, and the states at the end."""
    raise NotImplementedError(type(workload).__name__)


@loss.register
def _(_: Signals, arrays: Tree, batch: Tree, states: Tree) -> tuple[Any, Tree]:
    hidden, _ = lstm(arrays, "lstm", batch["Input"].swapaxes(0, 1), states[0])
    return jnp.square(linear(arrays, hidden)[..., 0] - batch["Target"].T).mean(), states


@loss.register
def _(workload: Language, arrays: Tree, batch: Tree, states: Tree) -> tuple[Any, Tree]:
    steps = arrays["embedding.Weights"][batch["Input"].T]
    last = []
    for layer, state in enumerate(states, 1):
        steps, state = lstm(arrays, numbered("lstm", layer), steps, state)  # noqa: PLW2901  # each layer's own
        last.append(state)
    return cross_entropy(linear(arrays, steps), batch["Target"].T), last if workload.carried else states


@loss.register
def _(_: Series, arrays: Tree, batch: Tree, states: Tree) -> tuple[Any, Tree]:
    hidden, _ = lstm(arrays, "lstm", batch["Input"].swapaxes(0, 1), states[0])
    mean = (hidden * batch["Share"].T[..., None]).sum(axis=0)
    return cross_entropy(linear(arrays, mean), batch["Target"]), states


@loss.register
def _(workload: Dense, arrays: Tree, batch: Tree, states: Tree) -> tuple[Any, Tree]:
    found = batch["Input"]
    for number in range(1, len(workload.widths)):
        found = linear(arrays, found if number == 1 else jax.nn.relu(found), number)
    return cross_entropy(found, batch["Target"]), states


@loss.register
def _(workload: Images, arrays: Tree, batch: Tree, states: Tree) -> tuple[Any, Tree]:
    found = batch["Input"]
    for number in range(1, len(workload.channels) + 1):
        name = numbered("convolution", number)
        found = lax.conv_general_dilated(found, arrays[f"{name}.Weights"], (1, 1), "SAME")
        found = jax.nn.relu(found + arrays[f"{name}.Biases"][:, None, None])
        found = lax.reduce_window(found, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return cross_entropy(linear(arrays, found.reshape(workload.rows, -1)), batch["Target"]), states


def adam(workload: Workload, arrays: Tree, gradients: Tree, moments: Tree, count: Any) -> tuple[Tree, Tree]:
    """Return arrays and moments after one step of Adam."""
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradients)
    squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradients)
    first, second = 1 - 0.9**count, 1 - 0.999**count

    def moved(w: Any, m: Any, v: Any) -> Any:
        return w - workload.learning_rate * (m / first) / (jnp.sqrt(v / second) + workload.epsilon)

    return jax.tree.map(moved, arrays, means, squares), (means, squares)


class Jax:
    """Arrays, moments and a compiled step behind the protocol."""

    def __init__(self, workload: Workload, weights: Arrays) -> None:
        self.workload = workload
        arrays = {name: jnp.array(array) for name, array in weights.items()}
        zeros = partial(jax.tree.map, jnp.zeros_like)
        shape = workload.rows, getattr(workload, "size", 0)
        states = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(getattr(workload, "layers", 1))]
        self.held = arrays, (zeros(arrays), zeros(arrays)), jnp.float32(0), states

        def whole(held: Tree, batch: Tree) -> tuple[Tree, Any]:
            arrays, moments, count, states = held
            gradient = jax.value_and_grad(partial(loss, workload), has_aux=True)
            (value, states), gradients = gradient(arrays, batch, states)
            arrays, moments = adam(workload, arrays, gradients, moments, count + 1)
            return (arrays, moments, count + 1, states), value

        self.compiled = jax.jit(whole, donate_argnums=0)

    def step(self, batch: Batch) -> None:
        """Queue one step."""
        if isinstance(self.workload, Series):
            data, share = self.workload.padded(batch)
            batch = {"Input": data, "Share": share, "Target": batch["Target"]}
        self.held, self.loss = self.compiled(self.held, batch)

    def finish(self) -> float:
        """Wait; return the loss."""
        return float(jax.block_until_ready((self.held, self.loss))[1])

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        return {name: np.array(array) for name, array in self.held[0].items()}


def build(workload: Workload, weights: Arrays) -> Jax:
    """Return the net at its start."""
    return Jax(workload, weights)
