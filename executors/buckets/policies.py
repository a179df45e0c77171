"""Policies: from the lengths of a batch's longest example to the lengths of its bucket."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from ...arguments import is_integer, positive_int, real_number
from ...errors import ArgumentError, nearest
from ...mappings import FrozenMapping
from ...values import Value, register

Steps = Union[Sequence[int], Mapping[str, Sequence[int]]]


class Policy(Value):
    """The base of the policies. A bucket is a number of steps by length name, and is a function of lengths alone."""

    def steps_for(self, name: str, longest: int) -> int:
        """Return the smallest number of steps of a length that a bucket has for this many.

        Raises:
            ArgumentError: There is none.
        """
        raise TypeError(f"{type(self).__name__} does not define steps_for(name, longest)")

    def bucket(self, longest: Mapping[str, int]) -> dict[str, int]:
        """Return the smallest bucket that holds these lengths.

        Raises:
            ArgumentError: There is none.

        Example:
            >>> Multiple(8).bucket({"t": 11})
            {'t': 16}
        """
        return {name: self.steps_for(name, steps) for name, steps in longest.items()}

    def batch_size(self, bucket: Mapping[str, int]) -> int | None:
        """Return the number of rows of a bucket, None where it is not the policy's to say."""
        return None

    def has_batch_sizes(self) -> bool:
        """Tell whether every bucket has a number of rows of its own."""
        return False

    def known(self, names: Sequence[str]) -> tuple[dict[str, int], ...]:
        """Return all buckets of a plan with these length names, the largest first; none where there is no end."""
        return ()

    def check(self, names: Sequence[str]) -> None:
        """Check that it is for a plan with these length names.

        Raises:
            ArgumentError: It is not.
        """

    def plot(self, lengths: Sequence[int] | Mapping[str, Sequence[int]], ax: Any = None) -> Any:
        """Draw what the buckets would pad: a bar for each, of the true steps of its examples and of their padding.

        That is of examples one by one. A batch goes to the bucket of its longest, so a trainer pads more, unless
        batches hold similar lengths, as those of `Batches` do; ``trainer.buckets.report().plot()`` shows what it did.

        Args:
            lengths: The lengths of all examples; by length name where there are several.
            ax: Axes of matplotlib to draw into; None: those of a new figure.

        Returns:
            The axes.

        Raises:
            ArgumentError: A length is no positive integer, or fits into no bucket; or they are no axes.
            MissingExtraError: matplotlib is not installed (the extra ``plots``).
        """
        from .waste import plot_waste  # which has the checks of `fit`, above this file

        return plot_waste(self, lengths, ax)


@register
@dataclass(frozen=True, repr=False)
class Exact(Policy):
    """Every length is a bucket of its own: no padding, but for shorter examples of a batch.

    Example:
        >>> Exact().bucket({"t": 11})
        {'t': 11}
    """

    def steps_for(self, name: str, longest: int) -> int:
        """Return the number itself."""
        return longest


@register
@dataclass(frozen=True, repr=False)
class Multiple(Policy):
    """Lengths are rounded up to a multiple.

    Args:
        of: The number of which they are multiples.

    Raises:
        ArgumentError: It is no positive integer.

    Example:
        >>> Multiple(of=8).bucket({"t": 17})
        {'t': 24}
    """

    of: int

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "of", positive_int(self.of, "Multiple: of"))

    def steps_for(self, name: str, longest: int) -> int:
        """Return the next multiple."""
        return -(-longest // self.of) * self.of


@register
@dataclass(frozen=True, repr=False)
class Geometric(Policy):
    """Each bucket is longer than the one before by a factor, so that padding is at most that share.

    Args:
        ratio: The factor, above 1.
        first: The number of steps of the smallest bucket.

    Raises:
        ArgumentError: A number is outside of its range.

    Example:
        >>> [Geometric(1.5, first=4).bucket({"t": steps})["t"] for steps in (3, 5, 7, 10)]
        [4, 6, 9, 14]
    """

    ratio: float = 1.3
    first: int = 8

    def __post_init__(self) -> None:
        """Check the numbers."""
        object.__setattr__(self, "ratio", real_number(self.ratio, "Geometric: ratio"))
        object.__setattr__(self, "first", positive_int(self.first, "Geometric: first"))
        if self.ratio <= 1.0:
            raise ArgumentError(f"Geometric: ratio must be above 1, got {self.ratio}")

    def steps_for(self, name: str, longest: int) -> int:
        """Return the first of the series that is as large."""
        steps = self.first
        while steps < longest:
            steps = max(steps + 1, math.ceil(steps * self.ratio))
        return steps


@register
@dataclass(frozen=True, repr=False)
class Fixed(Policy):
    """Buckets that are given; an example longer than the last is refused.

    Args:
        steps: Numbers of steps, increasing; by length name where a plan has several, whose buckets are all
            combinations.

    Raises:
        ArgumentError: They are no increasing positive integers.

    Example:
        >>> Fixed([8, 16, 32]).bucket({"t": 11})
        {'t': 16}
        >>> Fixed({"s": [8, 16], "t": [8, 32]}).bucket({"s": 3, "t": 9})
        {'s': 8, 't': 32}
    """

    steps: Steps

    def __post_init__(self) -> None:
        """Check the numbers."""
        if isinstance(self.steps, Mapping):
            if not self.steps:
                raise ArgumentError("Fixed: there are no buckets")
            checked: Steps = FrozenMapping(
                {name: _increasing(steps, f' of "{name}"') for name, steps in self.steps.items()}
            )
        else:
            checked = _increasing(self.steps, "")
        object.__setattr__(self, "steps", checked)

    def of(self, name: str) -> Sequence[int]:
        """Return the numbers of steps of a length."""
        return self.steps[name] if isinstance(self.steps, Mapping) else self.steps

    def steps_for(self, name: str, longest: int) -> int:
        """Return the first that is as large."""
        steps = self.of(name)
        if longest > steps[-1]:
            raise ArgumentError(f'{longest} steps (length "{name}"), more than the {steps[-1]} of the largest bucket')
        return steps[bisect_left(steps, longest)]

    def known(self, names: Sequence[str]) -> tuple[dict[str, int], ...]:
        """Return all combinations."""
        if not names:
            return ()
        found = [dict(zip(names, steps)) for steps in itertools.product(*(self.of(name) for name in names))]
        return tuple(sorted(found, key=lambda bucket: -sum(bucket.values())))

    def check(self, names: Sequence[str]) -> None:
        """Require steps for every length."""
        if not isinstance(self.steps, Mapping):
            if len(names) > 1:
                example = {name: [8, 16] for name in names}
                raise ArgumentError(f"buckets: the plan has the lengths {', '.join(names)}: write Fixed({example})")
            return
        for name in self.steps:
            if name not in names:
                raise ArgumentError(f'buckets: the plan has no length "{name}"{nearest(name, names)}')
        for name in names:
            if name not in self.steps:
                raise ArgumentError(f'buckets: there are no steps for the length "{name}"')


def _increasing(steps: object, whose: str) -> tuple[int, ...]:
    listed = steps.tolist() if isinstance(steps, np.ndarray) else steps
    found = tuple(listed) if isinstance(listed, Sequence) and not isinstance(listed, (str, bytes)) else ()
    if not found or not all(is_integer(step) and step > 0 for step in found):
        raise ArgumentError(f"Fixed: the steps{whose} must be positive integers, as in [8, 16, 32], got {steps!r}")
    for before, after in zip(found, found[1:]):
        if after <= before:
            raise ArgumentError(f"Fixed: the steps{whose} must increase, but {after} comes after {before}")
    return tuple(int(step) for step in found)


@register
@dataclass(frozen=True, repr=False)
class Tokens(Policy):
    """The buckets of another policy, each with as many rows as fit into a number of steps, and at least one.

    A trainer of such buckets has ``batch_size=None``.

    Args:
        tokens: The largest number of steps of a batch, padding included; with several length names, of their sum.
        policy: The policy.

    Raises:
        ArgumentError: The number is no positive integer, or it is no policy.

    Example:
        >>> policy = Tokens(1024, Multiple(8))
        >>> policy.batch_size(policy.bucket({"t": 30}))
        32
    """

    tokens: int
    policy: Policy

    def __post_init__(self) -> None:
        """Check both."""
        object.__setattr__(self, "tokens", positive_int(self.tokens, "Tokens: tokens"))
        if not isinstance(self.policy, Policy):
            raise ArgumentError(f"Tokens: takes a policy such as Geometric(1.3), got {self.policy!r}")

    def steps_for(self, name: str, longest: int) -> int:
        """Return what the policy does."""
        return self.policy.steps_for(name, longest)

    def has_batch_sizes(self) -> bool:
        """Return True."""
        return True

    def batch_size(self, bucket: Mapping[str, int]) -> int | None:
        """Return how many rows fit."""
        return max(1, self.tokens // sum(bucket.values()))

    def known(self, names: Sequence[str]) -> tuple[dict[str, int], ...]:
        """Return the policy's."""
        return self.policy.known(names)

    def check(self, names: Sequence[str]) -> None:
        """Ask the policy."""
        if not names:
            raise ArgumentError("buckets: Tokens needs a plan with sequences")
        self.policy.check(names)
