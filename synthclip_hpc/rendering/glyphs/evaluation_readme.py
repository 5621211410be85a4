"""The README of a glyph test set: what it is, what it is good for, and whose drawings it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthclip_hpc.rendering.glyphs.styles import Style

_TEXT = """\
# {name}

A test set of emoji pictures, made at run time by synthclip-hpc in the folder layout of CLIP_benchmark.

- {classes} classes, {size} x {size} pixels, seed {seed}: {counts}.
- Artwork: {artwork} ({source_url}). In this set no drawing is recoloured, outlined or reshaped: each is scaled, turned
  by at most 15 degrees and mirrored in half of the pictures, on one or two of 11 colours.
- There is one drawing a class. So in the style that a model was trained on these pictures test new places and
  backgrounds, and only in the other style new drawings.
- The classes were chosen with a look at how alike both styles draw them: figures here are higher than those of classes
  drawn at random.

## Licence and attribution

{attribution}
{licence}: <{licence_url}>. The pictures are for testing models; to pass them on, keep to this licence.
"""


def readme(told: Mapping[str, Any], style: Style) -> str:
    """Return the text in Markdown; `told` is what `write_glyph_set` returns, less its files."""
    counts = ", ".join(
        f"{split} {facts['images']:,} pictures" + (f" with {facts['captions']:,} captions" if facts["captions"] else "")
        for split, facts in told["splits"].items()
    )
    return _TEXT.format(
        name=told["name"],
        classes=told["classes"],
        counts=counts,
        size=told["recipe"]["size"],
        seed=told["recipe"]["seed"],
        artwork=told["artwork"],
        source_url=style.source_url,
        attribution=style.attribution,
        licence=style.licence,
        licence_url=style.licence_url,
    )
