"""What padding changes: every layer over random sets of lengths, against larger buckets and against the oracle.

Run: python benchmarks/padding.py [sets of lengths a row]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from layer_cases import Case, error  # noqa: E402 - the table lies beside the tests, which are no package
from ragged_cases import OVER_SEQUENCES, Ragged  # noqa: E402

from mxtrainer.tables import table  # noqa: E402


def compared(case: Case, sets: int, generator: np.random.Generator) -> list[float]:
    """Return how many arrays differ in a bit, and the largest differences: of these, of gradients, from the oracle."""
    other_bits, outputs, gradients, oracle = 0, 0.0, 0.0, 0.0
    for _ in range(sets):
        lengths = [int(length) for length in generator.integers(1, 9, generator.integers(1, 6))]
        ragged = Ragged(case, lengths, int(generator.integers(2**31)))
        small, large = (ragged.run(max(lengths) + more) for more in (1, int(generator.integers(2, 20))))
        least = max(1e-2, 0.1 * max(float(np.abs(head).max()) for head in ragged.heads.values()))
        for name, value in small.items():
            if name.startswith("gradient layer."):
                gradients = max(gradients, error(large[name], value, least))
            else:
                outputs = max(outputs, error(large[name], value, least))
                other_bits += value.tobytes() != large[name].tobytes()
        for name, value in ragged.oracle().items():
            oracle = max(oracle, error(small[name], value, least))
    return [other_bits, outputs, gradients, oracle]


def main() -> None:
    """Print the figures of each layer, over all of its rows."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    generator = np.random.default_rng(0)
    found: dict[str, list[list[float]]] = {}
    for case in OVER_SEQUENCES:
        found.setdefault(type(case.layer).__name__, []).append(compared(case, sets, generator))
    rows = []
    for layer, rows_of in found.items():
        bits, *largest = zip(*rows_of)
        rows.append([layer, len(rows_of) * sets, sum(bits), *(f"{max(one):.1e}" for one in largest)])
    header = ["layer", "sets of lengths", "arrays of other bits", "outputs", "gradients of arrays", "from the oracle"]
    print(table(header, rows))
    print(f"{sum(len(rows_of) for rows_of in found.values()) * sets} sets of lengths")


if __name__ == "__main__":
    main()
