"""Random colours: how vivid and how bright a sample is shown, told by a seed.

The two changes are those of torchvision's ColorJitter called saturation and brightness, as one linear map of the
colours: a blend with the grey picture (ITU-R BT.601), and a factor on all.
"""

from __future__ import annotations

import numpy as np

from synthclip_hpc.training.data.cropping import Dice
from synthclip_hpc.training.data.decoding import Pixels

_LUMA = (0.299, 0.587, 0.114)


def recolored(pixels: Pixels, strength: float, seed: int) -> Pixels:
    """Return pixels, uint8 [height, width, 3] RGB, with saturation and brightness multiplied by random factors.

    Both factors lie evenly between 1 - `strength` and 1 + `strength`; what leaves 0 to 255 is cut off there. With
    strength 0 the pixels are given back as they are.
    """
    if not strength:
        return pixels
    from PIL import Image

    dice = Dice(seed)
    saturation, brightness = (1 + strength * (2 * dice.uniform() - 1) for _ in range(2))
    matrix: list[float] = []
    for channel in range(3):
        row = [(1 - saturation) * weight for weight in _LUMA]
        row[channel] += saturation
        matrix += [*(brightness * value for value in row), 0.0]
    return np.asarray(Image.fromarray(pixels).convert("RGB", tuple(matrix)))
