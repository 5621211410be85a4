"""What a picture will show, as numbers: all of it follows from the seed, the caption's words and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from synthclip_hpc.rendering.glyphs.dice import Dice
from synthclip_hpc.rendering.glyphs.named import MAX_DRAWINGS
from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS
from synthclip_hpc.rendering.glyphs.wording import BACKGROUNDS, Wording

Colour = tuple[int, int, int]

GRADIENTS = 0.25
"""Share of backgrounds that go from one colour to another."""
RESHAPED = 0.5
"""Share of the redrawn drawings that are sheared and stretched."""
ROTATION_DEGREES = 15.0
_COLOURS = tuple(BACKGROUNDS.values())
_COLOUR_JITTER = 12
_SHEAR = 0.25
_STRETCH = 1.3

# Widths of drawings as shares of the picture's, by how many there are, and by the caption's word for the size.
_SCALES = {
    1: {None: (0.60, 0.95), "large": (0.82, 1.0), "small": (0.40, 0.60)},
    2: {None: (0.40, 0.55), "large": (0.48, 0.58), "small": (0.30, 0.40)},
    3: {None: (0.34, 0.45), "large": (0.40, 0.47), "small": (0.27, 0.34)},
}
# Centres of drawings as shares of the picture, so that neighbours of the sizes above overlap little.
_LAYOUTS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    2: (((0.27, 0.5), (0.73, 0.5)), ((0.5, 0.27), (0.5, 0.73)), ((0.3, 0.3), (0.7, 0.7)), ((0.7, 0.3), (0.3, 0.7))),
    3: (
        ((0.26, 0.27), (0.74, 0.27), (0.5, 0.73)),
        ((0.5, 0.27), (0.26, 0.73), (0.74, 0.73)),
        ((0.22, 0.22), (0.5, 0.5), (0.78, 0.78)),
        ((0.26, 0.26), (0.26, 0.74), (0.74, 0.5)),
    ),
}
_CENTRE_JITTER = 0.04


class Placement(NamedTuple):
    """One drawing in a scene; lengths are shares of the picture's width."""

    concept: str
    variant: int
    """0: as it is; from 1: the stored redraw of this number."""
    x: float
    y: float
    scale: float
    degrees: float
    flipped: bool
    shear: float
    stretch: float
    """Width over height that a square becomes."""


class Scene(NamedTuple):
    """A picture before it is composed."""

    start: Colour
    end: Colour
    """The background's colours on two opposite sides: equal for a plain one."""
    across: bool
    """Whether a gradient goes from left to right, not from top to bottom."""
    placements: tuple[Placement, ...]
    effect: str | None
    """As in `Wording`."""


def plan_scene(seed: int, concepts: Sequence[str], wording: Wording, redrawn: float) -> Scene:
    """Return the scene of 1 to 3 concepts; `redrawn` is the share of drawings that are changed."""
    dice = Dice(seed)
    start, end, across = _background(dice, wording.background)
    if wording.many and len(concepts) == 1:
        concepts = [concepts[0]] * MAX_DRAWINGS
    centres = _centres(dice, len(concepts))
    low, high = _SCALES[len(concepts)][wording.scale]
    placements = []
    for concept, centre in zip(concepts, centres, strict=True):
        scale = dice.between(low, high)
        # One alone moves as far as its box leaves room; one of several keeps to its place.
        room = (1 - scale) / 2 if len(concepts) == 1 else _CENTRE_JITTER
        placements.append(_place(dice, concept, centre, room, scale, redrawn))
    return Scene(start, end, across, tuple(placements), wording.effect)


def _background(dice: Dice, word: str | None) -> tuple[Colour, Colour, bool]:
    start = BACKGROUNDS[word] if word else dice.one_of(_COLOURS)
    start = _shifted(start, [round(dice.between(-_COLOUR_JITTER, _COLOUR_JITTER)) for _ in range(3)])
    if not dice.chance(GRADIENTS):
        return start, start, False
    across = dice.chance(0.5)
    if word:
        # The colour that was asked for stays the colour of both sides.
        towards = dice.between(-45, 45)
        return start, _shifted(start, [round(towards)] * 3), across
    return start, dice.one_of(_COLOURS), across


def _shifted(colour: Colour, by: Sequence[int]) -> Colour:
    red, green, blue = (min(255, max(0, value + shift)) for value, shift in zip(colour, by, strict=True))
    return red, green, blue


def _centres(dice: Dice, count: int) -> Sequence[tuple[float, float]]:
    return ((0.5, 0.5),) if count == 1 else dice.one_of(_LAYOUTS[count])


def _place(
    dice: Dice, concept: str, centre: tuple[float, float], room: float, scale: float, redrawn: float
) -> Placement:
    x, y = (middle + dice.between(-room, room) for middle in centre)
    degrees = dice.between(-ROTATION_DEGREES, ROTATION_DEGREES)
    flipped = dice.chance(0.5)
    variant, shear, stretch = 0, 0.0, 1.0
    if dice.chance(redrawn):
        variant = 1 + dice.below(NUM_REDRAWS)
        if dice.chance(RESHAPED):
            shear, stretch = dice.between(-_SHEAR, _SHEAR), _STRETCH ** dice.between(-1, 1)
    return Placement(concept, variant, x, y, scale, degrees, flipped, shear, stretch)
