"""Numbers that the pictures and the cached artwork follow from."""

from __future__ import annotations

RECIPE = 2
"""To be raised when the same caption, seed and settings shall give another picture, or a drawing another raster."""
NUM_REDRAWS = 12
"""Stored redraws of a drawing, beside the drawing as it is."""
MAX_RASTER = 512
"""Widest raster of a drawing, in pixels; larger pictures enlarge it."""


def raster_size(size: int) -> int:
    """Return how wide drawings are rasterised for pictures of `size` pixels: no drawing is wider than its picture."""
    return min(size, MAX_RASTER)
