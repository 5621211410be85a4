"""How much two drawings look alike, by shape and colour, without any trained model; and a sheet to check it by eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def shape_features(pictures: Sequence[Image.Image], cell: int = 8, num_directions: int = 9) -> np.ndarray:
    """Return histograms of oriented gradients, one row of length 1 a picture: shape without colour.

    Source: Dalal and Triggs, 2005.
    """
    import numpy as np

    rows = []
    for picture in pictures:
        gray = np.asarray(picture.convert("L"), dtype=np.float64) / 255
        down, right = np.gradient(gray)
        strength = np.hypot(down, right)
        direction = np.floor((np.arctan2(down, right) % np.pi) / np.pi * num_directions).astype(int) % num_directions
        per_direction = np.stack([strength * (direction == d) for d in range(num_directions)], axis=-1)
        cells = gray.shape[0] // cell
        histogram = per_direction.reshape(cells, cell, cells, cell, num_directions).sum(axis=(1, 3))
        last = cells - 1
        corners = [histogram[y : last + y, x : last + x] for y in (0, 1) for x in (0, 1)]
        blocks = np.concatenate(corners, axis=-1)
        blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True) + 0.1
        rows.append(blocks.ravel() / np.linalg.norm(blocks))
    return np.stack(rows)


def colour_features(pictures: Sequence[Image.Image], side: int = 8) -> np.ndarray:
    """Return each picture shrunk to `side` times `side` pixels, less white, one row of length 1 a picture."""
    import numpy as np
    from PIL import Image

    small = [picture.resize((side, side), Image.Resampling.BOX) for picture in pictures]
    rows = np.stack([np.asarray(picture, dtype=np.float64).ravel() / 255 - 1 for picture in small])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def features(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Return shape and colour, weighing the same, as one row of length 1 a picture."""
    import numpy as np

    return np.concatenate([shape_features(pictures), colour_features(pictures)], axis=1) / np.sqrt(2)


def contact_sheet(pairs: Sequence[tuple[str, Image.Image, Image.Image]], columns: int = 10) -> Image.Image:
    """Return one picture of all pairs, each with its name, for a person to look at."""
    from PIL import Image, ImageDraw

    size = pairs[0][1].width
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * (2 * size + 12), rows * (size + 18)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (name, left, right) in enumerate(pairs):
        x, y = (place % columns) * (2 * size + 12), (place // columns) * (size + 18)
        sheet.paste(left, (x, y))
        sheet.paste(right, (x + size, y))
        pen.text((x + 2, y + size + 2), name, fill="black")
    return sheet
