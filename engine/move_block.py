"""What a move is told: which arrays move, where they are, and how; laid out in memory as the kernel reads it.

Words of 64 bits: the header, then `ROW` words for each array that moves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rules import Settings

# Header
ARRAYS = 0  # the number of arrays
PARAMETERS, GRADIENTS, STATES = 1, 2, 3  # addresses
STRIDE = 4  # bytes from a state of a number to the next
COUNTS, SCALE = 5, 6  # addresses: how often each array has moved; the factor of gradients, 0 or NaN where nothing moves
RATE = 7  # the learning rate, float64
CONSTANTS = 8  # float64, up to 8 of them
HEADER = 16
MOST_CONSTANTS = HEADER - CONSTANTS
# Row
NUMBER = 0  # which of the counts is the array's
PARAMETER, GRADIENT, SIZE = 1, 2, 3  # where it begins among parameters, and among gradients and states; in elements
MULTIPLIER, DECAY, CLIP_GRADIENT, CLIP_WEIGHTS = 4, 5, 6, 7  # float64
ROW = 8


class Place(NamedTuple):
    """Where an array that moves is.

    Attributes:
        number: Its number among all that may move.
        parameter: Where it begins among the parameters, in elements.
        gradient: Where it begins among the gradients, in elements.
        size: Its number of elements.
        settings: What is done with it.
    """

    number: int
    parameter: int
    gradient: int
    size: int
    settings: Settings


class Arrays(NamedTuple):
    """The arrays of a trainer that moves read and write, NDArrays.

    Attributes:
        parameters: ``(elements,)``.
        gradients: ``(elements,)``, of those that are not frozen.
        states: ``(states, elements)``, laid out as the gradients; None where the formula has none.
        counts: ``(arrays,)`` float64: how often each array has moved.
    """

    parameters: Any
    gradients: Any
    states: Any
    counts: Any


def words_of(places: tuple[Place, ...], constants: tuple[float, ...]) -> NDArray[np.int64]:
    """Return a block without addresses and rate."""
    words = np.zeros(HEADER + ROW * len(places), np.int64)
    reals = words.view(np.float64)
    words[ARRAYS] = len(places)
    reals[CONSTANTS : CONSTANTS + len(constants)] = constants
    for row, place in enumerate(places):
        begin = HEADER + ROW * row
        words[begin : begin + MULTIPLIER] = place[:4]
        reals[begin + MULTIPLIER : begin + ROW] = place.settings[:4]
    return words
