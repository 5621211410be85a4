"""Drawings as pixels: an SVG and its redraws, each in a square that fits the drawing, with premultiplied alpha."""

from __future__ import annotations

from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt
import resvg_py

from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS
from synthclip_hpc.rendering.glyphs.redraw import Redraw, add_outline, redraw

Pixels = npt.NDArray[np.uint8]

_LOOK_PX = 144
"""Raster in which the bounding box is looked for."""
_MARGIN = 0.02
"""Free border on each side, as a share of the drawing: room for antialiasing, and for a turn without a hard edge."""


def rasterise_variants(svg: str, seed: int, size: int) -> list[Pixels]:
    """Return a drawing as it is and its `NUM_REDRAWS` redraws: each (size, size, 4) uint8 RGBA, premultiplied.

    The styles leave borders of different widths around their drawings; here all drawings fill their square, so that
    the scale of a scene means the same in each. `seed` is the drawing's own. Raises ValueError when it is not an SVG.
    """
    variants = [Redraw(ElementTree.fromstring(svg), 0.0), *(redraw(svg, seed, n) for n in range(NUM_REDRAWS))]
    x, y, side = _drawn_box(variants[0].root)
    pixels = []
    for variant in variants:
        outline = variant.outline * side
        if outline:
            add_outline(variant.root, outline)
        border = _MARGIN * side + outline / 2
        _show(variant.root, x - border, y - border, side + 2 * border)
        pixels.append(_rasterise(variant.root, size))
    return pixels


def _drawn_box(root: ElementTree.Element) -> tuple[float, float, float]:
    """Return (x, y, side) of the smallest square around what is drawn, in the units of the SVG."""
    left, top, width, height = (float(number) for number in root.attrib["viewBox"].replace(",", " ").split())
    whole = max(width, height)
    left, top = left - (whole - width) / 2, top - (whole - height) / 2
    _show(root, left, top, whole)
    alpha = _rasterise(root, _LOOK_PX)[..., 3]
    columns, rows = np.flatnonzero(alpha.any(axis=0)), np.flatnonzero(alpha.any(axis=1))
    if not len(columns):
        raise ValueError("the SVG draws nothing")
    unit = whole / _LOOK_PX
    across, down = (float(places[-1] + 1 - places[0]) for places in (columns, rows))
    side = max(across, down)
    first_x, first_y = float(columns[0]) - (side - across) / 2, float(rows[0]) - (side - down) / 2
    return left + first_x * unit, top + first_y * unit, side * unit


def _show(root: ElementTree.Element, x: float, y: float, side: float) -> None:
    root.set("viewBox", f"{x:.5f} {y:.5f} {side:.5f} {side:.5f}")


def _rasterise(root: ElementTree.Element, size: int) -> Pixels:
    # Without a size of its own an SVG has its view box's, which resvg_py rounds to whole pixels before it scales.
    root.attrib |= {"width": str(size), "height": str(size)}
    text = ElementTree.tostring(root, encoding="unicode")
    png = resvg_py.svg_to_bytes(svg_string=text, width=size, height=size, skip_system_fonts=True)
    decoded = cv2.imdecode(np.frombuffer(bytes(png), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.shape != (size, size, 4):
        raise ValueError(f"resvg_py gave no picture of {size} by {size} pixels with alpha")
    rgba = cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA)
    alpha = rgba[..., 3:].astype(np.uint16)
    rgba[..., :3] = (rgba[..., :3] * alpha + 127) // 255
    return np.asarray(rgba, np.uint8)
