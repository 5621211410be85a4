"""Random crops: which part of an image a sample shows, told by a seed.

The choice is the one of torchvision's RandomResizedCrop: an area between `crop_min` and all of the image, a ratio of
sides between 3/4 and 4/3, ten tries to fit the two in, then the largest middle part with a ratio in these bounds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_RATIOS = (3 / 4, 4 / 3)
_LOG_RATIOS = (math.log(_RATIOS[0]), math.log(_RATIOS[1]))
_TRIES = 10
_MASK = (1 << 64) - 1


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Dice:
    """Random numbers from a seed by SplitMix64: a sample needs five of them, and a seed must cost nothing."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def uniform(self) -> float:
        """Return a number from 0 on, below 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53


def random_box(width: int, height: int, crop_min: float, seed: int) -> Box:
    """Return the crop of an image of this size. Whole pixels, inside the image, one at least."""
    dice = Dice(seed)
    for _ in range(_TRIES):
        area = width * height * (crop_min + (1 - crop_min) * dice.uniform())
        ratio = math.exp(_LOG_RATIOS[0] + (_LOG_RATIOS[1] - _LOG_RATIOS[0]) * dice.uniform())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(dice.uniform() * (height - h + 1))
            return Box(int(dice.uniform() * (width - w + 1)), top, w, h)
    w, h = width, height
    if width < _RATIOS[0] * height:
        h = max(1, round(width / _RATIOS[0]))
    elif width > _RATIOS[1] * height:
        w = max(1, round(height * _RATIOS[1]))
    return Box((width - w) // 2, (height - h) // 2, w, h)
