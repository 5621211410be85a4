"""The members of a render tar found fast: it is known what stands where, but for the sizes and who was rejected.

A tar that is just as the stage `render` writes it needs no parsing: each header is compared with what must stand there.
A tar that is not, damaged or of another writer, is for `sharding.tar_scan`, which finds out what is wrong, and where.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Sequence

from sharding import ustar
from sharding.tar_scan import Member, Sample

REJECT = "__reject__/"
PARTS = {"jpg", "txt", "json"}
_SIZE, _CHECKSUM, _KIND = 124, 148, 156
"""Where in a header these fields begin; between name and size, and from the kind on, all headers are the same."""
_PLAIN = ustar.header("plain", 0)
_OWNER, _REST = _PLAIN[100:_SIZE], _PLAIN[_KIND:]
_NAME_BYTES = 100

Members = tuple[list[Sample], list[Member], tuple[list[int], list[int]]]
"""(samples, rejects, (places of the samples' keys, places of the rejects' keys))."""


def as_written(content: bytes | mmap.mmap, keys: Sequence[str]) -> Members | None:
    """Return what a tar holds for these keys, in their order; None unless it is exactly of the form that is written."""
    kept: list[Sample] = []
    rejects: list[Member] = []
    places: tuple[list[int], list[int]] = ([], [])
    position = 0
    for place, key in enumerate(keys):
        parts: dict[str, Member] = {}
        for part in ("jpg", "txt", "json"):
            name = f"{key}.{part}"
            size = _size(content, position, name)
            if size is None:
                break
            parts[part] = Member(name, position + 512, size)
            position += 512 + size + -size % 512
        if len(parts) == 3:
            kept.append(Sample(key, parts))
            places[0].append(place)
            continue
        name = REJECT + key
        size = None if parts else _size(content, position, name)
        if size is None:
            return None
        rejects.append(Member(name, position + 512, size))
        places[1].append(place)
        position += 512 + size + -size % 512
    whole = content[position:] == ustar.END
    return (kept, rejects, places) if whole else None


def _size(content: bytes | mmap.mmap, position: int, name: str) -> int | None:
    """Return the size in the header at `position`; None unless it is the header of a member of this name."""
    header = content[position : position + 512]
    field = name.encode()
    if not (
        header.startswith(field)
        and header[_KIND:] == _REST
        and header[_NAME_BYTES:_SIZE] == _OWNER
        and header[len(field) : _NAME_BYTES].count(0) == _NAME_BYTES - len(field)
    ):
        return None
    # The lower half of an Adler-32 is the sum of the bytes and one.
    total = zlib.adler32(_REST, zlib.adler32(header[:_CHECKSUM])) & 0xFFFF
    try:
        matches = int(header[_CHECKSUM : _CHECKSUM + 6], 8) == total - 1 + 8 * 32
        return int(header[_SIZE : _SIZE + 11], 8) if matches else None
    except ValueError:
        return None
