"""How exact every layer is: the table of tests/layer_cases.py over many random draws, against the numpy oracle.

Prints a Markdown table: the largest error of values and of gradients, relative to the largest number of the array
that it is in. No timing.

    python benchmarks/exactness.py [draws, by default 50] [a part of a layer's name]
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402 - the table lies beside the tests, which are no package
from layer_cases import CASES, Case, example, forward_errors, gradient_errors, random_extents  # noqa: E402

DTYPES = ("float32", "float64")


def family(case: Case) -> str:
    """Return what a line of the table stands for: a layer, with its function or form where it has one."""
    forms = [case.fields[name] for name in ("kind", "function", "activation", "target", "input") if name in case.fields]
    return " ".join([type(case.layer).__name__, *forms])


def measured(case: Case, dtype: str, draws: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return the largest errors of values and of gradients."""
    forward, gradient = [0.0], [0.0]
    for _ in range(draws):
        drawn = example(case, random_extents(generator), dtype)
        executor, result = drawn.executor(), drawn.oracle()
        executor.forward(drawn.inputs)
        forward += forward_errors(drawn, executor, result).values()
        drawn.backward(executor)
        gradient += gradient_errors(drawn, executor, result).values()
    return max(forward), max(gradient)


def main(draws: int = 50, part: str = "") -> None:
    """Print the table."""
    generator = np.random.default_rng(0)
    largest: dict[str, list[float]] = {}
    for case in CASES:
        if part not in family(case):
            continue
        found = [error for dtype in DTYPES for error in measured(case, dtype, draws, generator)]
        before = largest.setdefault(family(case), found)
        largest[family(case)] = [max(pair) for pair in zip(before, found)]
    print("| layer | float32 values | float32 gradients | float64 values | float64 gradients |")
    print("|---|---|---|---|---|")
    for name, errors in largest.items():
        print(f"| {name} | {' | '.join(f'{error:.1e}' if error else '0' for error in errors)} |")


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]  # as they come
