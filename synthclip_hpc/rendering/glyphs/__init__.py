"""The `glyphs` renderer: emoji artwork of the concepts that a caption names, composed into a scene."""
