"""All the chance there is in a scene: numbers that follow from a seed alone, cheap to start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_THROWS = 64
"""More than a scene of three drawings takes (about 35); a block of the generator costs less than counting exactly."""


class Dice:
    """Philox (Salmon et al. 2011, counter-based) with the seed as its key: its raw output is fixed by its definition."""

    def __init__(self, seed: int) -> None:
        """`seed`: 0 to 2^64 - 1."""
        self._throws = iter(np.random.Philox(key=seed).random_raw(_THROWS).tolist())

    def share(self) -> float:
        """Return a number in [0, 1)."""
        number: int = next(self._throws)
        return (number >> 11) * 2.0**-53

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
