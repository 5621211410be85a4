"""The `glyphs` renderer: text to image with neither GPU nor weights, for trials and for teaching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synthclip_hpc.rendering.glyphs.named import NamedDrawings, read_emoji
from synthclip_hpc.rendering.glyphs.preflight import preflight
from synthclip_hpc.rendering.glyphs.recipe import raster_size
from synthclip_hpc.rendering.glyphs.scene import plan_scene
from synthclip_hpc.rendering.glyphs.wording import read_wording
from synthclip_hpc.rendering.renderer import Picture, Request


class GlyphsRenderer:
    """Draws the emoji that captions name; see `Renderer` for what the methods promise.

    A picture follows from caption, seed and the arguments alone, byte for byte, whatever batch it is drawn in. Facts of
    a picture: `drawn` (the concepts, list of str), `redrawn` (how many of the drawings were changed, int).
    """

    def __init__(self, style: str, size: int, redrawn: float, case: str) -> None:
        """Open the artwork of `render.style` for pictures of `size` pixels.

        `redrawn`: share of the drawings that are recoloured, outlined or reshaped. `case`: how captions match concepts,
        one of `MATCH_CASES`. Raises UserError for values that do not fit and packages that are missing.
        """
        artwork = preflight(style, size, redrawn)
        # Packages of the extra, which only now are known to be there.
        import cv2

        from synthclip_hpc.rendering.glyphs.compose import compose
        from synthclip_hpc.rendering.glyphs.store import ArtworkStore

        cv2.setNumThreads(1)
        self._compose = compose
        self._size, self._redrawn = size, redrawn
        self._codepoints = read_emoji()
        self._named = NamedDrawings(list(self._codepoints), case)
        self._store = ArtworkStore(artwork, raster_size(size))
        self.facts: Mapping[str, Any] = {
            "renderer": "glyphs",
            "model": artwork.label,
            "revision": "",
            "steps": 0,
            "guidance": 0.0,
        }

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        """Return (size, size, 3) uint8 RGB pictures; a caption without an emoji's name is rejected (`no_artwork`)."""
        named = self._named.find([request.caption for request in batch])
        return [self._draw_one(request, concepts) for request, concepts in zip(batch, named, strict=True)]

    def close(self) -> None:
        """Nothing is held but memory, which goes with the renderer."""

    def _draw_one(self, request: Request, concepts: Sequence[str]) -> Picture:
        if not concepts:
            return Picture(reject_reason="no_artwork", may_retry=False, facts={"drawn": [], "redrawn": 0})
        scene = plan_scene(request.seed, concepts, read_wording(request.caption), self._redrawn)
        pixels = self._compose(
            scene, self._size, lambda concept, variant: self._store.raster(self._codepoints[concept], variant)
        )
        redrawn = sum(placement.variant > 0 for placement in scene.placements)
        return Picture(pixels=pixels, facts={"drawn": list(concepts), "redrawn": redrawn})
