"""Where the members of a render tar lie: it is known what stands where, but for the sizes and who was rejected.

A tar that is just as the stage `render` writes it needs no parsing, only a look at each name and size: whether all its
other bytes are right, its checksum says. A tar that is not is for `sharding.tar_scan`, which finds out what is wrong.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.tar_scan import Member, Sample, TarError, samples, scan
from sharding.ustar import BLOCK_BYTES, END
from synthclip_hpc.rendering.samples import REJECT_FOLDER

REJECT = f"{REJECT_FOLDER}/"
PARTS = ("jpg", "txt", "json")
_SIZE, _SIZE_DIGITS = 124, 11
"""Where in a header the size of the content stands, and how many octal digits it has."""


def _empty() -> dict[str, list[int]]:
    return {part: [] for part in PARTS}


@dataclass
class Places:
    """What a tar holds: of each sample and each reject, which of the captions it is of, and where its members lie."""

    samples: list[int] = field(default_factory=list)
    offsets: dict[str, list[int]] = field(default_factory=_empty)
    """Part -> where its content begins in the tar, in bytes; one entry a sample."""
    sizes: dict[str, list[int]] = field(default_factory=_empty)
    rejects: list[int] = field(default_factory=list)
    reject_members: list[Member] = field(default_factory=list)

    def contents(self, content: bytes | mmap.mmap, part: str) -> list[bytes]:
        """Return the content of one part of all samples."""
        return [
            content[offset : offset + size] for offset, size in zip(self.offsets[part], self.sizes[part], strict=True)
        ]


def as_written(content: bytes | mmap.mmap, keys: Sequence[str]) -> Places | None:
    """Return what a tar holds for these keys, in their order; None when a name or the end is not where it must be."""
    places = Places()
    # Of all members of samples, one after the other: this loop is most of what a tar costs beside its checksum.
    offsets: list[int] = []
    sizes: list[int] = []
    position, width = 0, -1
    try:
        for place, key in enumerate(keys):
            name = key.encode()
            if len(name) != width:
                width = len(name)
                parts = [_part(width, part) for part in PARTS]
            for ending, unpack in parts:
                found, digits = unpack(content, position)
                if found != name + ending:
                    break
                size = int(digits, 8)
                position += BLOCK_BYTES
                offsets.append(position)
                sizes.append(size)
                position += -(-size // BLOCK_BYTES) * BLOCK_BYTES
            else:
                places.samples.append(place)
                continue
            if len(offsets) != len(PARTS) * len(places.samples):
                return None
            name = REJECT.encode() + name
            found, digits = _name_and_size(len(name) + 1).unpack_from(content, position)
            if found != name + b"\0":
                return None
            member = Member(name.decode(), position + BLOCK_BYTES, int(digits, 8))
            places.rejects.append(place)
            places.reject_members.append(member)
            position = member.end
    except (ValueError, struct.error):  # a size that is no number; no room for a header
        return None
    for first, part in enumerate(PARTS):
        places.offsets[part] = offsets[first :: len(PARTS)]
        places.sizes[part] = sizes[first :: len(PARTS)]
    return places if content[position:] == END else None


def _part(width: int, part: str) -> tuple[bytes, Callable[[bytes | mmap.mmap, int], tuple[Any, ...]]]:
    """Return what follows a key of `width` bytes in the name of its part, and how to read such a header."""
    ending = f".{part}\0".encode()
    return ending, _name_and_size(width + len(ending)).unpack_from


def _name_and_size(name_bytes: int) -> struct.Struct:
    """Return how to read the first bytes of a header's name, and the digits of its size."""
    return struct.Struct(f"{name_bytes}s{_SIZE - name_bytes}x{_SIZE_DIGITS}s")


def scanned(content: bytes | mmap.mmap, path: Path, keys: Sequence[str]) -> Places:
    """Return what a tar by whatever writer holds for these keys. Raises TarError for whatever is wrong with it."""
    rejects: list[Member] = []

    def members() -> Iterator[Member]:
        for member in scan(content, path):
            if member.name.startswith(REJECT):
                rejects.append(member)
            elif "." not in member.name:
                raise TarError(path, member.offset, f"member {member.name!r} is neither of a sample nor a reject")
            else:
                yield member

    found, left = Places(), {key: place for place, key in enumerate(keys)}
    for sample in samples(members(), path):
        found.samples.append(_place(left, sample.key, _first(sample), path))
        if sample.members.keys() != set(PARTS):
            raise TarError(
                path, _first(sample).offset, f"sample {sample.key} has {sorted(sample.members)}, not jpg, txt, json"
            )
        for part in PARTS:
            found.offsets[part].append(sample.members[part].offset)
            found.sizes[part].append(sample.members[part].size)
    for member in rejects:
        found.rejects.append(_place(left, member.name.removeprefix(REJECT), member, path))
    found.reject_members = rejects
    if left:
        raise TarError(path, 0, f"{len(left)} of {len(keys)} items are missing, the first is {next(iter(left))}")
    return found


def _place(left: dict[str, int], key: str, member: Member, path: Path) -> int:
    place = left.pop(key, None)
    if place is None:
        raise TarError(path, member.offset, f"{key} is there twice, or is no position of this shard")
    return place


def _first(sample: Sample) -> Member:
    return next(iter(sample.members.values()))
