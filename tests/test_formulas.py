"""Formulas of optimizers: the same bits from arrays of numpy, of MXNet, and from kernels, and kernels found on disk."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from optimizer_cases import EVERY

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.compiling import carray, compiled
from mxtrainer.engine import formulas
from mxtrainer.engine.formulas import Formula
from mxtrainer.engine.move_block import COUNTS, GRADIENTS, PARAMETERS, RATE, SCALE, STATES, STRIDE, Arrays, Place
from mxtrainer.engine.move_block import words_of as block_words
from mxtrainer.engine.move_kernel import move_kernel
from mxtrainer.engine.move_operators import OperatorMove
from mxtrainer.engine.rules import Settings
from mxtrainer.executors.kernels import Task

SIZE = 5
KINDS = {kind: optimizer for kind, optimizer in EVERY.items() if kind != "LAMB"}  # its norms are sums, in another order
numbers_of_32 = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
vectors = arrays(np.float32, SIZE, elements=numbers_of_32)
counts = st.integers(0, 10**6).map(float)
rates = st.floats(2.0**-20, 8.0, width=32)
Vectors = dict[str, Any]


@st.composite
def moves(draw: Any) -> Vectors:
    """Draw arrays, states that can be roots of, and the numbers of a move."""
    states = [draw(vectors), draw(vectors), draw(vectors)]
    return {
        "w": draw(vectors),
        "g": draw(vectors),
        "states": np.stack([np.abs(states[0]), np.abs(states[1]), states[2]]),
        "count": draw(counts),
        "rate": draw(rates),
        "scale": draw(st.sampled_from([1.0, 0.25, 0.3])),
        "settings": Settings(draw(st.sampled_from([1.0, 0.5, -2.0])), draw(st.sampled_from([0.0, 0.1]))),
    }


def by_numpy(formula: Formula, constants: tuple[float, ...], move: Vectors) -> list[NDArray[Any]]:
    real, found = np.float32, move["settings"]
    rate, count = move["rate"] * found.learning_rate_multiplier, move["count"] + 1.0
    n = formula.numbers(real, constants, rate, found.weight_decay, count)
    decay = real(0.0 if formula.decoupled else found.weight_decay)
    with np.errstate(all="ignore"):
        y = formulas.raw_gradient(move["w"], move["g"], real(move["scale"]), real(math.inf), decay)
        states = formula.moments(move["w"], y, tuple(move["states"]), n)[: formula.states]
        return [move["w"] - formula.direction(move["w"], y, states, n), *states]


def by_kernel(formula: Formula, constants: tuple[float, ...], move: Vectors) -> list[NDArray[Any]]:
    w, g, states = move["w"].copy(), move["g"].copy(), move["states"].copy()
    scale, count = np.array([move["scale"]], np.float32), np.array([move["count"]])
    words = block_words((Place(0, 0, 0, SIZE, move["settings"]),), constants)
    words[[PARAMETERS, GRADIENTS, STATES, COUNTS, SCALE]] = [
        array.ctypes.data for array in (w, g, states, count, scale)
    ]
    words[STRIDE] = states.strides[0]
    words.view(np.float64)[RATE] = move["rate"]
    move_kernel(formula, "float32", False).ctypes(None, words.ctypes.data)
    assert count[0] == move["count"] + 1.0
    return [w, *states[: formula.states]]


def by_mxnet(formula: Formula, constants: tuple[float, ...], move: Vectors) -> list[NDArray[Any]]:
    w, g, scale, count = (
        mx.nd.array(found, dtype=dtype)
        for found, dtype in (
            (move["w"], "float32"),
            (move["g"], "float32"),
            ([move["scale"]], "float32"),
            ([move["count"]], "float64"),
        )
    )
    states = mx.nd.array(move["states"][: formula.states], dtype="float32") if formula.states else None
    place = Place(0, 0, 0, SIZE, move["settings"])
    made = OperatorMove(formula, constants, (place,), Arrays(w, g, states, count), scale)
    made.prepare(move["rate"], 0)
    queue = made.stage(0)
    assert not isinstance(queue, Task)
    queue()
    return [w.asnumpy(), *([] if states is None else states.asnumpy())]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(move=moves())
def test_a_formula_gives_the_same_bits_to_everyone(kind: str, move: Vectors) -> None:
    formula, constants = KINDS[kind].formula, KINDS[kind].constants
    if "centred" in kind:  # what it takes is the mean of squares, and the mean
        move["states"][0] += move["states"][1] ** 2
    expected = [found.tobytes() for found in by_numpy(formula, constants, move)]
    assert [found.tobytes() for found in by_kernel(formula, constants, move)] == expected
    assert [found.tobytes() for found in by_mxnet(formula, constants, move)] == expected


@pytest.mark.parametrize("scale", [0.0, math.nan, -1.0])
def test_a_scale_that_is_not_above_0_lets_nothing_move(scale: float) -> None:
    formula, constants = EVERY["Adam"].formula, EVERY["Adam"].constants
    move: Vectors = {
        "w": np.ones(SIZE, np.float32),
        "g": np.full(SIZE, math.nan, np.float32),
        "states": np.ones((3, SIZE), np.float32),
        "count": 3.0,
        "rate": 0.1,
        "scale": scale,
        "settings": Settings(),
    }
    with pytest.raises(AssertionError):  # the count stands still too
        by_kernel(formula, constants, move)
    assert [found.tobytes() for found in by_mxnet(formula, constants, move)] == [np.ones(SIZE, "f4").tobytes()] * 3


# Kernels on disk


def _store(_: Any, block: Any) -> None:
    carray(block, 1, np.float64)[0] = value()


value: Any = None


def _one() -> float:
    return 1.0


def _two() -> float:
    return 2.0


def test_a_kernel_that_was_compiled_before_is_found_on_disk_and_another_is_not() -> None:
    first, again, other = made = [compiled(_store, value=found) for found in (_one, _one, _two)]
    assert again.cache_hits == 1
    found = np.zeros(3)
    for place, kernel in enumerate(made):
        kernel.ctypes(None, found[place:].ctypes.data)
    assert found.tolist() == [1.0, 1.0, 2.0]
    assert first.cache_hits == other.cache_hits  # both were on disk before, or neither


SCRIPT = """
import sys
import numpy as np
from mxtrainer.engine import formulas, move_block as block
from mxtrainer.engine.move_kernel import move_kernel
from mxtrainer.engine.rules import Settings
for clips in map(int, sys.argv[1:]):
    w, g, state, count, scale = np.ones(5), np.ones(5), np.zeros((1, 5)), np.zeros(1), np.ones(1)
    words = block.words_of((block.Place(0, 0, 0, 5, Settings(clip_gradient=0.5)),), (0.9,))
    addresses = [array.ctypes.data for array in (w, g, state, count, scale)]
    words[[block.PARAMETERS, block.GRADIENTS, block.STATES, block.COUNTS, block.SCALE]] = addresses
    words.view(float)[block.RATE] = 0.1
    move_kernel(formulas.MOMENTUM, "float64", bool(clips)).ctypes(None, words.ctypes.data)
    print(clips, w[0])
"""


@pytest.mark.slow
def test_kernels_that_other_processes_have_compiled_run_their_own_code(tmp_path: Path) -> None:
    """Functions within them that have one name are one to the linker, whichever kernel they were compiled with."""
    expected = {"0": "0 0.9\n", "1": "1 0.95\n"}
    for order in ("0", "1", "01"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *order],
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            check=True,
        )
        assert done.stdout == "".join(expected[clips] for clips in order)


@pytest.mark.parametrize(
    ("states", "constants", "text"),
    [(4, (), "up to 3 states, got 4"), (-1, (), "up to 3 states, got -1"), (1, (0.0,) * 9, "up to 8 constants, got 9")],
)
def test_a_formula_that_a_move_has_no_room_for_is_refused(states: int, constants: Any, text: str) -> None:
    class Large(mxt.SGD):
        @property
        def formula(self) -> Formula:
            return formulas.MOMENTUM._replace(states=states)

        @property
        def constants(self) -> tuple[float, ...]:
            return tuple(constants)

    net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
    with pytest.raises(mxt.ArgumentError, match=f"Large: .*{text}"):
        mxt.Trainer(mxt.compile_plan(net), Large(0.1), batch_size=1)
