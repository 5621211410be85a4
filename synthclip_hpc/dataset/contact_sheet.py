"""A contact sheet: images with their captions below, as one PNG. Looking at it says more than any figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from synthclip_hpc.errors import UserError

TILE_PX = 160
_MARGIN_PX, _LINE_PX, _LINES, _FONT_PX = 6, 14, 3, 11


def contact_sheet(samples: Sequence[tuple[bytes, str]], columns: int = 8) -> bytes:
    """Return a PNG of (encoded image, caption) in reading order; what cannot be decoded is a crossed box.

    Raises UserError when Pillow is not installed. Equal samples give equal bytes with one version of Pillow.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise UserError("a contact sheet needs Pillow: pip install 'synthclip-hpc[render]'") from error
    columns = max(1, min(columns, len(samples)))
    width, height = TILE_PX + 2 * _MARGIN_PX, TILE_PX + 2 * _MARGIN_PX + _LINES * _LINE_PX
    sheet = Image.new("RGB", (columns * width, max(1, -(-len(samples) // columns)) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=_FONT_PX)
    for place, (encoded, caption) in enumerate(samples):
        left, top = place % columns * width + _MARGIN_PX, place // columns * height + _MARGIN_PX
        box = (left, top, left + TILE_PX - 1, top + TILE_PX - 1)
        try:
            image = Image.open(io.BytesIO(encoded)).convert("RGB")
            image.thumbnail((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + (TILE_PX - image.width) // 2, top + (TILE_PX - image.height) // 2))
        except Exception:  # decoders raise whatever they like: SyntaxError, DecompressionBombError, OSError, ...
            draw.rectangle(box, outline="red")
            draw.line(box, fill="red")
        for line, text in enumerate(_lines(caption, draw, font)):
            draw.text((left, top + TILE_PX + 2 + line * _LINE_PX), text, fill="black", font=font)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=False, compress_level=6)
    return out.getvalue()


def _lines(caption: str, draw: Any, font: Any) -> list[str]:
    """Break a caption into lines that fit below its image; what is left over ends in an ellipsis."""
    lines: list[str] = []
    rest = " ".join(caption.split())[:400]
    while rest and len(lines) < _LINES:
        fits = len(rest)
        while fits > 1 and draw.textlength(rest[:fits], font=font) > TILE_PX:
            fits -= 1
        space = rest.rfind(" ", 0, fits + 1)
        end = fits if fits == len(rest) or space <= 0 else space
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    if rest:
        line = lines[-1]
        while line and draw.textlength(line + "…", font=font) > TILE_PX:
            line = line[:-1]
        lines[-1] = line + "…"
    return lines


def evenly(count: int, wanted: int) -> list[int]:
    """Return `wanted` numbers below `count` (or all of them), spread evenly, the first and the last among them."""
    if wanted >= count:
        return list(range(count))
    if wanted == 1:
        return [0]
    return [place * (count - 1) // (wanted - 1) for place in range(wanted)]
