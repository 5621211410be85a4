"""All the chance there is in a scene: numbers that follow from a seed alone, cheap to start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 64
"""Numbers taken from the generator at a time; a scene of three drawings takes at most 35."""


class Dice:
    """Philox (Salmon et al. 2011, counter-based) with the seed as its key: its definition fixes its raw output."""

    def __init__(self, seed: int) -> None:
        """`seed`: 0 to 2^64 - 1."""
        self._throws = _throws(np.random.Philox(key=seed))

    def share(self) -> float:
        """Return a number in [0, 1)."""
        return (next(self._throws) >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.share()

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to limit - 1."""
        return int(self.share() * limit)

    def chance(self, share: float) -> bool:
        """Return True in `share` of all throws."""
        return self.share() < share

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of the choices, each as likely."""
        return choices[self.below(len(choices))]


def _throws(generator: np.random.Philox) -> Iterator[int]:
    while True:
        yield from generator.random_raw(_BLOCK).tolist()
