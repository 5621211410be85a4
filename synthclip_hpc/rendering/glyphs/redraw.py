"""Redraws of an SVG: other fills and a black outline, made by changing its XML.

Randomised redraws carried a model trained on one emoji style over to another: 5 % to 24 % top-1 of 100 classes in
trials of this project, where a second style of artwork brought nothing. Which redraw a drawing's number gives is fixed.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

from synthclip_hpc.rendering.glyphs.dice import Dice

OUTLINED = 0.7
"""Share of the redraws with an outline; those whose fills alone would not tell shapes apart all have one."""
OUTLINE_WIDTHS = (0.018, 0.05)
"""As shares of the drawing's width."""

Rgb = tuple[float, float, float]
"""Each 0 to 1."""

RECOLOURINGS = ("none", "jitter", "hue", "random", "white", "gray")
_FLAT = ("none", "white")
_DARK = 0.3
"""Fills with no channel above this stay as they are where others turn white: eyes and mouths are filled shapes."""


@dataclass(frozen=True)
class Redraw:
    """A redraw of a drawing before it is rasterised."""

    root: ElementTree.Element
    outline: float
    """Width of the outline as a share of the drawing's width; half of it lies outside of the shapes. 0: none."""


def redraw(svg: str, seed: int, number: int) -> Redraw:
    """Return redraw `number`, from 0, of an SVG; `seed` is the drawing's own, so that no two are changed alike."""
    root = ElementTree.fromstring(svg)
    dice = Dice(seed * 1000 + number)
    recolouring = RECOLOURINGS[number % len(RECOLOURINGS)]
    _recolour(root, _changes(recolouring, dice))
    outlined = dice.chance(OUTLINED) or recolouring in _FLAT
    outline = dice.between(*OUTLINE_WIDTHS) if outlined else 0.0
    return Redraw(root, outline)


def add_outline(root: ElementTree.Element, width: float) -> None:
    """Give every shape a black stroke, `width` in the units of the drawing; strokes that are there get this width."""
    root.attrib |= {"stroke": "#000", "stroke-width": f"{width:.4f}", "stroke-linejoin": "round"}
    for element in root.iter():
        if element.get("stroke", "none") != "none":
            element.set("stroke", "#000")
        elif "stroke" in element.attrib:
            del element.attrib["stroke"]
        if "stroke-width" in element.attrib:
            element.set("stroke-width", f"{width:.4f}")


def _recolour(root: ElementTree.Element, change: Callable[[Rgb], Rgb]) -> None:
    """Change each distinct colour once, so that what had one colour still has."""
    changed: dict[str, str] = {}
    for element in root.iter():
        for attribute in ("fill", "stroke"):
            colour = element.get(attribute, "none").lower()
            if colour not in changed:
                rgb = _parse(colour)
                changed[colour] = _format(change(rgb)) if rgb else colour
            # Black lines are the drawing itself, in a style of lines.
            if changed[colour] != colour and not (attribute == "stroke" and colour in ("#000", "#000000")):
                element.set(attribute, changed[colour])


def _changes(recolouring: str, dice: Dice) -> Callable[[Rgb], Rgb]:
    turn = dice.between(0.15, 0.85)
    if recolouring == "none":
        return lambda rgb: rgb
    if recolouring == "jitter":
        return lambda rgb: _in_hls(rgb, dice.between(-0.06, 0.06), dice.between(-0.12, 0.12), dice.between(0.5, 1.3))
    if recolouring == "hue":
        return lambda rgb: _in_hls(rgb, turn, 0.0, 1.0)
    if recolouring == "random":
        return lambda rgb: (
            rgb
            if max(rgb) < _DARK
            else colorsys.hls_to_rgb(dice.share(), dice.between(0.35, 0.85), dice.between(0.2, 1.0))
        )
    if recolouring == "white":
        return lambda rgb: rgb if max(rgb) < _DARK else (1.0, 1.0, 1.0)
    return lambda rgb: (_luminance(rgb),) * 3


def _in_hls(rgb: Rgb, turn: float, lighter: float, saturation: float) -> Rgb:
    hue, lightness, saturated = colorsys.rgb_to_hls(*rgb)
    return colorsys.hls_to_rgb((hue + turn) % 1, _clamp(lightness + lighter), _clamp(saturated * saturation))


def _luminance(rgb: Rgb) -> float:
    # ITU-R BT.601, as grey levels of pictures usually are.
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))


def _parse(colour: str) -> Rgb | None:
    """Return the colour that `#rgb` or `#rrggbb` says; None for anything else (`none`, `url(#x)`)."""
    digits = colour[1:]
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    if not colour.startswith("#") or len(digits) != 6:
        return None
    red, green, blue = bytes.fromhex(digits)
    return red / 255, green / 255, blue / 255


def _format(rgb: Rgb) -> str:
    return "#" + bytes(round(_clamp(value) * 255) for value in rgb).hex()
