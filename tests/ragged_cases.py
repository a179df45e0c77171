"""Rows of the table of layers with examples of different lengths, and what an oracle says of each example alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from layer_cases import CASES, SIZES, Case, Example, Extents, example
from numpy.typing import NDArray
from reference import ORACLES

OVER_SEQUENCES = [case for case in CASES if any(port.sequence for port in case.ports.values())]


class Ragged:
    """A row of the table with examples of different lengths."""

    def __init__(self, case: Case, lengths: list[int], seed: int) -> None:
        generator = np.random.default_rng(seed)
        sizes = {letter: int(generator.integers(low, high + 1)) for letter, (low, high) in SIZES.items()}
        self.case = case
        self.lengths = lengths
        self.drawn = example(case, Extents(len(lengths), len(lengths), max(lengths), sizes, seed))
        self.inputs = {port: self.cut(port, value) for port, value in self.drawn.inputs.items()}
        self.heads = {name: self.head(name, value) for name, value in self.drawn.heads.items()}

    def is_sequence(self, port: str) -> bool:
        ports = {**self.drawn.plan.inputs, **self.drawn.plan.outputs}
        return ports[port].length is not None

    def cut(self, port: str, value: NDArray[Any]) -> Any:
        """Return a list of the true steps of each example, for a sequence."""
        return [row[:n] for row, n in zip(value, self.lengths)] if self.is_sequence(port) else value

    def head(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        loss = self.drawn.plan.losses[name]
        if loss.is_loss:
            return np.full(value.shape, loss.weight / (len(self.lengths) if loss.length is None else sum(self.lengths)))
        if self.is_sequence(name):
            value = value * (np.arange(value.shape[1]) < np.array(self.lengths)[:, None]).reshape(
                *value.shape[:2], *(1 for _ in value.shape[2:])
            )
        return value

    def run(self, steps: int) -> dict[str, NDArray[Any]]:
        """Return outputs and gradients in a bucket of so many steps."""
        extents = replace(self.drawn.extents, steps=steps)
        drawn = Example(self.case, extents, self.drawn.plan, self.drawn.inputs, self.drawn.arrays, self.heads)
        executor = drawn.executor()
        executor.forward(self.inputs)
        found = {name: executor.outputs[name].asnumpy() for name in self.case.outputs}
        drawn.backward(executor)
        return {**found, **{f"gradient {name}": handle.asnumpy() for name, handle in executor.gradients.items()}}

    def evaluate(self, rows: Iterable[int], steps: int) -> dict[str, NDArray[Any]]:
        """Return the outputs of some examples in evaluation mode, in a bucket of so many steps."""
        drawn = replace(self.drawn, extents=replace(self.drawn.extents, steps=steps))
        executor = drawn.executor(training=False)
        executor.forward({port: [value[row] for row in rows] for port, value in self.inputs.items()})
        return {name: executor.outputs[name].asnumpy() for name in self.case.outputs}

    def oracle(self) -> dict[str, NDArray[Any]]:
        """Return what the oracle says of each example alone."""
        if self.case.oracle == "BatchNorm":
            return self.oracle_of_all_steps()
        found: dict[str, list[NDArray[Any]]] = {}
        for row in range(len(self.lengths)):
            inputs = {port: value[row][None] for port, value in self.inputs.items()}
            result = ORACLES[self.case.oracle](inputs, self.drawn.arrays, **self.case.fields)
            heads = {port: self.cut(name, self.heads[name])[row][None] for name, port in self.case.outputs.items()}
            gradients = result.backward(heads)
            for name, port in self.case.outputs.items():
                found.setdefault(name, []).append(self.padded(name, result.outputs[port]))
            for port in self.case.real_ports:
                found.setdefault(f"gradient {port}", []).append(self.padded(port, gradients.inputs[port]))
            for name, gradient in gradients.arrays.items():
                found.setdefault(f"gradient layer.{name}", []).append(gradient)
        whole = {name for name in found if not name.startswith("gradient layer.")}
        return {
            name: np.concatenate(parts) if name in whole else np.sum(parts, axis=0) for name, parts in found.items()
        }

    def oracle_of_all_steps(self) -> dict[str, NDArray[Any]]:
        """Return what the oracle of batch statistics says: all true steps are rows of one batch."""
        rows = np.concatenate(self.inputs["Input"])
        heads = np.concatenate(self.cut("Output", self.heads["Output"]))
        fields = {**self.case.fields, "sequence": False, "training": True}
        result = ORACLES["BatchNorm"]({"Input": rows}, self.drawn.arrays, **fields)
        gradients = result.backward({"Output": heads})
        places = np.cumsum(self.lengths)[:-1]
        split = {"Output": result.outputs["Output"], "gradient Input": gradients.inputs["Input"]}
        found = {
            name: np.concatenate([self.padded("Output", part[None]) for part in np.split(value, places)])
            for name, value in split.items()
        }
        return {**found, **{f"gradient layer.{name}": value for name, value in gradients.arrays.items()}}

    def padded(self, port: str, value: NDArray[Any]) -> NDArray[Any]:
        """Return one example with zeros up to the longest."""
        if not self.is_sequence(port):
            return value
        padded = np.zeros((1, max(self.lengths), *value.shape[2:]))
        padded[:, : value.shape[1]] = value
        return padded
