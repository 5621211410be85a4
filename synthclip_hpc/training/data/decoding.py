"""Encoded images to pixels: decode, crop, resize.

Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where the crop still has as many pixels as are wanted, which
saves much of the work (sizes between these would take longer than the whole). Where an image is decoded in full, the
pixels are those of torchvision's `resized_crop` with Pillow.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from synthclip_hpc.training.data.cropping import Box

Pixels = npt.NDArray[np.uint8]
Choose = Callable[[int, int], Box]
"""(width, height) of an image -> the part of it to show."""


class BrokenSample(ValueError):
    """A sample that cannot be used: its bytes are no image, or it has no caption."""


def preload() -> None:
    """Import what decoding needs: before a fork, as a process forked amid an import may wait for its lock for ever."""
    import PIL.Image
    import simplejpeg  # noqa: F401

    PIL.Image.init()  # and the modules of its formats


def show(content: bytes, size: int, choose: Choose, interpolation: str) -> Pixels:
    """Return the chosen part of an image, resized: uint8 [size, size, 3], RGB whatever the image is.

    `interpolation` is `bilinear` or `bicubic`, both with antialiasing. Raises BrokenSample.
    """
    from PIL import Image

    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    found = _from_jpeg(content, size, choose) if content.startswith(b"\xff\xd8\xff") else None
    image, box = found or _from_any(content, choose)
    return np.asarray(image.resize((size, size), resample, box))


def _from_jpeg(content: bytes, size: int, choose: Choose) -> tuple[Any, tuple[float, ...] | None] | None:
    """Return an image and the part of it to resize; None for a JPEG that needs the more patient decoder."""
    import simplejpeg
    from PIL import Image

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content)
        if colorspace in ("CMYK", "YCCK"):
            return None
        box = choose(width, height)
        pixels = simplejpeg.decode_jpeg(
            content,
            "RGB",
            min_width=math.ceil(width * size / box.width),
            min_height=math.ceil(height * size / box.height),
            min_factor=2,
        )
    except ValueError:
        return None
    rows, columns = pixels.shape[:2]
    if (columns, rows) == (width, height):
        left, top, right, bottom = box.left, box.top, box.left + box.width, box.top + box.height
        inside = None
    else:
        across, down = columns / width, rows / height
        exact = box.left * across, box.top * down, (box.left + box.width) * across, (box.top + box.height) * down
        left, top = int(exact[0]), int(exact[1])
        right, bottom = min(columns, math.ceil(exact[2])), min(rows, math.ceil(exact[3]))
        inside = (exact[0] - left, exact[1] - top, min(exact[2], columns) - left, min(exact[3], rows) - top)
    # Only what the crop shows becomes an image: nothing outside may colour its edges, as with a crop before the resize.
    start = pixels.strides[0] * top + 3 * left
    view = pixels.reshape(-1)[start:]
    return Image.frombuffer("RGB", (right - left, bottom - top), view, "raw", "RGB", pixels.strides[0], 1), inside


def _from_any(content: bytes, choose: Choose) -> tuple[Any, None]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            box = choose(*image.size)
            cropped = image.convert("RGB").crop((box.left, box.top, box.left + box.width, box.top + box.height))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over: OSError, SyntaxError, struct.error
        raise BrokenSample(f"damaged image: {error or type(error).__name__}") from error
    return cropped, None
