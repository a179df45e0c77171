"""Keras 3 on any of its backends: its layers, its optimizer, and the compiled step that its guides show for each.

Not by `train_on_batch`. Its LSTM has one vector of biases, which learns at the
rate of one; states are carried by `stateful=True`, which trains on TensorFlow alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from data import Batch
from families import Arrays, Dense, Images, Language, Series, Signals, Workload

from rivals import NotHereError

THREADS = int(os.environ["OMP_NUM_THREADS"])
BACKEND = os.environ["KERAS_BACKEND"]

if BACKEND == "tensorflow":
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
elif BACKEND == "torch":
    import torch

    torch.set_num_threads(THREADS)

import keras  # noqa: E402  # after its backend has its threads
from keras import layers  # noqa: E402  # likewise

Step = Callable[[Any, Any], Any]


@singledispatch
def model(workload: Workload) -> Any:
    """Return the model of a workload."""
    raise NotImplementedError(type(workload).__name__)


@model.register
def _(workload: Signals) -> Any:
    data = keras.Input((workload.steps, workload.width), batch_size=workload.rows)
    scores = layers.Dense(1)(layers.LSTM(workload.size, return_sequences=True)(data))
    return keras.Model(data, layers.Reshape((workload.steps,))(scores))


@model.register
def _(workload: Language) -> Any:
    data = keras.Input((workload.steps,), batch_size=workload.rows, dtype="int32")
    found = layers.Embedding(workload.words, workload.embedding)(data)
    for _ in range(workload.layers):
        found = layers.LSTM(workload.size, return_sequences=True, stateful=workload.carried)(found)
    return keras.Model(data, layers.Dense(workload.words)(found))


@model.register
def _(workload: Dense) -> Any:
    data = found = keras.Input((workload.widths[0],), batch_size=workload.rows)
    for size in workload.widths[1:-1]:
        found = layers.Dense(size, activation="relu")(found)
    return keras.Model(data, layers.Dense(workload.widths[-1])(found))


@model.register
def _(workload: Images) -> Any:
    data = keras.Input((1, workload.extent, workload.extent), batch_size=workload.rows)
    found = layers.Permute((2, 3, 1))(data)  # Keras on the CPU has channels last
    for channels in workload.channels:
        found = layers.MaxPool2D(2)(layers.Conv2D(channels, 3, padding="same", activation="relu")(found))
    found = layers.Flatten()(layers.Permute((3, 1, 2))(found))
    return keras.Model(data, layers.Dense(workload.classes)(found))


@model.register
def _(workload: Series) -> Any:
    data = keras.Input((None, workload.width), batch_size=workload.rows)
    share = keras.Input((None,), batch_size=workload.rows)
    hidden = layers.LSTM(workload.size, return_sequences=True)(data)
    mean = layers.Flatten()(layers.Dot(axes=1)([layers.Reshape((-1, 1))(share), hidden]))
    return keras.Model([data, share], layers.Dense(workload.classes)(mean))


def jax_step(net: Any, optimizer: Any, loss: Any) -> tuple[Step, Callable[[], None]]:
    """Return the step of Keras' guide for JAX, and what puts the arrays back into the model."""
    import jax

    def value(trainable: Any, others: Any, data: Any, target: Any) -> Any:
        scores, others = net.stateless_call(trainable, others, data, training=True)
        return loss(target, scores), others

    @jax.jit  # without donate_argnums: with it, the arrays of mlp come out wrong (Keras 3.15, jaxlib 0.7.1)
    def whole(state: Any, data: Any, target: Any) -> Any:
        trainable, others, moments = state
        (found, others), gradients = jax.value_and_grad(value, has_aux=True)(trainable, others, data, target)
        trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, others, moments), found

    held = [
        [
            [v.value for v in part]
            for part in (net.trainable_variables, net.non_trainable_variables, optimizer.variables)
        ]
    ]

    def step(data: Any, target: Any) -> Any:
        held[0], found = whole(held[0], data, target)
        return found

    def settle() -> None:
        for variable, array in zip(net.trainable_variables, held[0][0]):
            variable.assign(np.array(array))

    return step, settle


def tensorflow_step(net: Any, optimizer: Any, loss: Any) -> tuple[Step, Callable[[], None]]:
    """Return the step of Keras' guide for TensorFlow."""

    @tf.function(reduce_retracing=True)
    def step(data: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            found = loss(target, net(data, training=True))
        gradients = tape.gradient(found, net.trainable_variables)
        # an embedding's comes as slices, which Keras' Adam squares one by one before it adds those of the same row
        optimizer.apply([tf.convert_to_tensor(one) for one in gradients], net.trainable_variables)
        return found

    return step, lambda: None


def torch_step(net: Any, optimizer: Any, loss: Any) -> tuple[Step, Callable[[], None]]:
    """Return the step of Keras' guide for PyTorch."""

    def step(data: Any, target: Any) -> Any:
        net.zero_grad()
        found = loss(target, net(data, training=True))
        found.backward()
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in net.trainable_variables], net.trainable_variables)
        return found.detach()

    return step, lambda: None


STEPS = {"jax": jax_step, "tensorflow": tensorflow_step, "torch": torch_step}


class Keras:
    """A model behind the protocol."""

    def __init__(self, workload: Workload, weights: Arrays) -> None:
        if getattr(workload, "carried", False) and BACKEND != "tensorflow":
            raise NotHereError("Keras trains stateful layers on TensorFlow alone")
        self.workload = workload
        self.net = model(workload)
        self.net.set_weights([array for _, array in self.translated(weights)])
        optimizer = keras.optimizers.Adam(workload.learning_rate, epsilon=workload.epsilon)
        optimizer.build(self.net.trainable_variables)
        losses = keras.losses
        loss = (
            losses.MeanSquaredError()
            if isinstance(workload, Signals)
            else losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        self.compiled, self.settle = STEPS[BACKEND](self.net, optimizer, loss)

    def translated(self, weights: Arrays) -> list[tuple[str, Any]]:
        """Return name and array in Keras' order and layouts: matrices transposed, kernels with channels last."""
        found = []
        for name, array in weights.items():
            if name.endswith("StateBiases"):
                continue
            if array.ndim == 4:
                found.append((name, array.transpose(2, 3, 1, 0)))
            else:
                found.append((name, array if array.ndim == 1 or name.startswith("embedding") else array.T))
        return found

    def step(self, batch: Batch) -> None:
        """Do one step."""
        data = self.workload.padded(batch) if isinstance(self.workload, Series) else batch["Input"]
        if BACKEND == "tensorflow":  # a numpy array would be a constant, for which it traces anew
            data = tf.nest.map_structure(tf.convert_to_tensor, data)
            self.loss = self.compiled(data, tf.convert_to_tensor(batch["Target"]))
        else:
            self.loss = self.compiled(list(data) if isinstance(data, tuple) else data, batch["Target"])

    def finish(self) -> float:
        """Wait; return the loss."""
        return float(self.loss)

    def arrays(self) -> Arrays:
        """Return copies of all arrays."""
        self.settle()
        found = {name: np.zeros(shape, np.float32) for name, shape in self.workload.shapes().items()}
        for (name, _), array in zip(self.translated(found), self.net.get_weights()):
            turned = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            found[name] = array if name.startswith("embedding") else turned
        return found


def build(workload: Workload, weights: Arrays) -> Keras:
    """Return the net at its start."""
    return Keras(workload, weights)
