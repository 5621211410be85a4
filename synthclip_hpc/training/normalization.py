"""Mean and standard deviation of pixels, by the names of `train.normalize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class PixelStatistics(NamedTuple):
    """Per channel (red, green, blue), of pixels in 0 … 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


PIXEL_STATISTICS: Mapping[str, PixelStatistics] = {
    "imagenet": PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "openai": PixelStatistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
