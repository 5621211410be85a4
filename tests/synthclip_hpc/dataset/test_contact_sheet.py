"""Contact sheets: what a decoder makes of damaged images must not end a merge."""

from __future__ import annotations

import io
import struct
import zlib

import pytest

from synthclip_hpc.dataset.contact_sheet import TILE_PX, contact_sheet, evenly
from tests.synthclip_hpc.dataset.rendered import jpeg


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


WHOLE = png(2, 1, zlib.compress(b"\0" + bytes(6)))
DAMAGED = {
    "no image": b"GIF89a",
    "a cut JPEG": jpeg(1)[:-100],
    "a wrong checksum in a PNG": WHOLE.replace(b"IDAT", b"IDAU"),
    "a PNG of 10,000 million pixels": png(100_000, 100_000, b""),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_cannot_be_decoded_is_a_crossed_box(damage):
    from PIL import Image

    sheet = Image.open(io.BytesIO(contact_sheet([(WHOLE, "whole"), (DAMAGED[damage], "damaged")])))
    red = [(place, sheet.getpixel((place, 6))) for place in range(sheet.width)]
    crossed = [place for place, colour in red if colour == (255, 0, 0)]
    assert len(crossed) == TILE_PX
    assert min(crossed) > sheet.width // 2


def test_chosen_places_are_spread_from_the_first_to_the_last():
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(7, 1) == [0]
