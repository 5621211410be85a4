"""Pixels to JPEG files."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from synthclip_hpc.config.render import RESAMPLES

if TYPE_CHECKING:
    import numpy as np

    from synthclip_hpc.config import RenderConfig

_PIL_NAMES = {"area": "BOX"}


def jpeg_encoder(config: RenderConfig) -> Callable[[np.ndarray], bytes]:
    """Return the function that turns (height, width, 3) uint8 RGB into the JPEG of a `render.size` square.

    Baseline JPEG with the standard's Huffman tables, without any metadata: its bytes follow from the pixels, the
    settings and the version of libjpeg-turbo. Resized as PIL does, antialiased.
    """
    from PIL import Image

    assert config.resample in RESAMPLES
    resample = Image.Resampling[_PIL_NAMES.get(config.resample, config.resample.upper())]
    size = (config.size, config.size)

    def encode(pixels: np.ndarray) -> bytes:
        image = Image.fromarray(pixels)
        if image.size != size:
            image = image.resize(size, resample)
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=config.jpeg_quality, subsampling=config.jpeg_subsampling)
        return buffer.getvalue()

    return encode
