"""What a caption says about the picture as a whole: its background, and words of style such as `a dark photo of`."""

from __future__ import annotations

import re
from typing import NamedTuple

BACKGROUNDS = {
    "white": (250, 250, 250),
    "gray": (168, 170, 174),
    "black": (58, 60, 66),
    "red": (214, 82, 76),
    "orange": (240, 154, 76),
    "yellow": (246, 220, 108),
    "green": (118, 178, 104),
    "blue": (104, 160, 220),
    "purple": (152, 116, 190),
    "pink": (244, 176, 196),
    "brown": (150, 112, 86),
}
"""RGB of the background colours, by the word that asks for each."""

_ALIASES = {"grey": "gray"}
_COLOUR = "|".join([*BACKGROUNDS, *_ALIASES])
_BACKGROUND = re.compile(
    rf"\b(?:on|against|over) (?:an? |the )?(?:plain |solid |bright |light |dark )?({_COLOUR})\b"
    rf"|\b({_COLOUR}) back(?:ground|drop)\b"
)
_PHOTO = re.compile(
    r"\b(black[ -]and[ -]white|dark|bright|blurry|pixelated|low resolution|close-up|cropped)"
    r" (?:photo|photograph|picture|image)\b"
)
_AMOUNT = re.compile(r"\bof (many|(?:an? |the )?(?:large|big|huge)|(?:an? |the )?(?:small|little|tiny))\b")


class Wording(NamedTuple):
    """What the words ask for."""

    background: str | None = None
    """A key of `BACKGROUNDS`."""
    effect: str | None = None
    """`gray`, `dark`, `bright`, `blurry`, `pixelated`."""
    scale: str | None = None
    """`large`, `small`."""
    many: bool = False


_EFFECTS = {
    "dark": "dark",
    "bright": "bright",
    "blurry": "blurry",
    "pixelated": "pixelated",
    "low resolution": "pixelated",
}
_CLOSE = ("close-up", "cropped")


def read_wording(caption: str) -> Wording:
    """Return what a caption asks for; upper and lower case are one.

    `on red`, `on a red background` and `red background` choose the background, while `a red bucket` does not: the
    artwork has the colours that it has.
    """
    text = caption.casefold()
    background = effect = scale = None
    many = False
    if found := _BACKGROUND.search(text):
        word = found[1] or found[2]
        background = _ALIASES.get(word, word)
    if found := _PHOTO.search(text):
        scale = "large" if found[1] in _CLOSE else None
        effect = None if scale else _EFFECTS.get(found[1], "gray")
    if found := _AMOUNT.search(text):
        many = found[1] == "many"
        if not many:
            scale = "large" if found[1].endswith(("large", "big", "huge")) else "small"
    return Wording(background, effect, scale, many)
