"""What can be known to be wrong with the `glyphs` renderer before a job starts, in milliseconds."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from sharding.canonical import fingerprint
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.glyphs.named import read_emoji
from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS, RECIPE
from synthclip_hpc.rendering.glyphs.styles import INSTALL, Artwork, find_artwork

SIZES = (32, 2048)
"""Smallest and largest width of a picture, in pixels."""
_NEEDED = {"cv2": "opencv-python-headless", "resvg_py": "resvg_py", "PIL": "pillow"}


def preflight(style: str, size: int, redrawn: float) -> Artwork:
    """Return the artwork; raise UserError for a value or an installation that the renderer cannot work with.

    `size` in pixels, `redrawn` a share. Nothing is rasterised and no package imported.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"render.size={size}: render.renderer=glyphs draws {SIZES[0]} to {SIZES[1]} pixels; try 256")
    if not 0 <= redrawn <= 1:
        raise UserError(f"render.glyphs.redrawn={redrawn}: valid are shares from 0 to 1; the default is 0.5")
    artwork = find_artwork(style)
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise UserError(f"render.renderer=glyphs: {', '.join(missing)} must be installed: {INSTALL}")
    undrawn = [concept for concept, codepoint in read_emoji().items() if not artwork.path(codepoint).is_file()]
    if undrawn:
        raise UserError(
            f"render.style={style}: {artwork.style.package} {artwork.version} has no drawing of "
            f"{', '.join(undrawn[:3])}{' and others' if len(undrawn) > 3 else ''}; install it again or newer: {INSTALL}"
        )
    return artwork


def identity_of(style: str, size: int, redrawn: float, case: str) -> dict[str, Any]:
    """Return all that a picture depends on but its caption and seed, as JSON values. Raises UserError as `preflight`.

    Of the software that rasterises and composes only the own recipe is here: its versions are provenance.
    """
    artwork = preflight(style, size, redrawn)
    return {
        "renderer": "glyphs",
        "artwork": artwork.label,
        "bank": fingerprint(read_emoji())[:16],
        "size": size,
        "redrawn": redrawn,
        "num_redraws": NUM_REDRAWS,
        "case": case,
        "recipe": RECIPE,
    }
