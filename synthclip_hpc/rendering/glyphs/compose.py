"""A scene as pixels. OpenCV does the work, with one thread, so the bytes do not depend on how many cores there are."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from synthclip_hpc.rendering.glyphs.raster import Pixels
from synthclip_hpc.rendering.glyphs.scene import Placement, Scene

_BLUR = 0.012
"""Standard deviation, as a share of the width."""
_COARSE_PX = 40
"""Width of a pixelated picture before it is enlarged."""
_CONTRAST = 0.55
"""What is left of the distance to black (dark pictures) or to white (bright ones)."""


def compose(scene: Scene, size: int, raster: Callable[[str, int], Pixels]) -> Pixels:
    """Return (size, size, 3) uint8 RGB; `raster(concept, variant)` gives a drawing's premultiplied RGBA, a square."""
    picture = _background(scene, size)
    for placement in scene.placements:
        _draw(picture, placement, raster(placement.concept, placement.variant))
    return _apply(scene.effect, picture)


def _background(scene: Scene, size: int) -> Pixels:
    if scene.start == scene.end:
        picture = np.empty((size, size * 3), np.uint8)
        picture[:] = np.array(scene.start * size, np.uint8)
        return picture.reshape(size, size, 3)
    steps = np.linspace(0, 1, size)[:, None]
    line = np.rint(np.array(scene.start) * (1 - steps) + np.array(scene.end) * steps).astype(np.uint8)
    picture = np.empty((size, size, 3), np.uint8)
    picture[:] = line[None, :, :] if scene.across else line[:, None, :]
    return picture


def _draw(picture: Pixels, placement: Placement, drawing: Pixels) -> None:
    """Draw within the box that the turned drawing takes, which is less than all of the picture."""
    size = len(picture)
    if placement.scale * size <= len(drawing) / 2:
        # Bilinear sampling looks at four pixels: of a drawing twice as fine, that would leave some out.
        half = len(drawing) // 2
        drawing = cv2.resize(drawing, (half, half), interpolation=cv2.INTER_AREA)
    (a, b), (c, d) = _matrix(placement, placement.scale * size / len(drawing))
    middle = len(drawing) / 2
    x, y = placement.x * size, placement.y * size
    reach_x, reach_y = middle * (abs(a) + abs(b)), middle * (abs(c) + abs(d))
    left, right = max(0, math.floor(x - reach_x)), min(size, math.ceil(x + reach_x))
    top, bottom = max(0, math.floor(y - reach_y)), min(size, math.ceil(y + reach_y))
    # Places are of pixels' corners, OpenCV's of their centres.
    inner = middle - 0.5
    shift_x, shift_y = x - left - 0.5 - (a + b) * inner, y - top - 0.5 - (c + d) * inner
    matrix = np.array([[a, b, shift_x], [c, d, shift_y]])
    turned = cv2.warpAffine(drawing, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    uncovered = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(turned, 3)), cv2.COLOR_GRAY2RGB)
    box = picture[top:bottom, left:right]
    below = cv2.multiply(box, uncovered, scale=1 / 255)
    box[:] = cv2.add(below, cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB))


def _matrix(placement: Placement, scale: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return rows of the matrix that flips, stretches, shears, turns and scales, in this order."""
    angle, wider = math.radians(placement.degrees), math.sqrt(placement.stretch)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    x = -wider if placement.flipped else wider
    y = 1 / wider
    shear = placement.shear * y
    return (cos * x, cos * shear - sin * y), (sin * x, sin * shear + cos * y)


def _apply(effect: str | None, picture: Pixels) -> Pixels:
    size = len(picture)
    if effect == "gray":
        changed = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    elif effect == "dark":
        changed = cv2.convertScaleAbs(picture, alpha=_CONTRAST)
    elif effect == "bright":
        changed = cv2.convertScaleAbs(picture, alpha=_CONTRAST, beta=255 * (1 - _CONTRAST))
    elif effect == "blurry":
        changed = cv2.GaussianBlur(picture, (0, 0), _BLUR * size)
    elif effect == "pixelated":
        coarse = cv2.resize(picture, (min(size, _COARSE_PX),) * 2, interpolation=cv2.INTER_AREA)
        changed = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_NEAREST)
    else:
        return picture
    return np.asarray(changed, np.uint8)
