"""What lies where in a WebDataset tar: members grouped to samples by one pass over the headers.

Image bytes are not read here. A plain ustar or GNU header is read in place, which is about ten times as fast as
`tarfile`; a tar with anything else in it (long names, pax records) is left to `tarfile`.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from evals.errors import EvalError

_BLOCK = 512
_CHUNK = 1 << 20
_AHEAD = 1024
"""Read with a header: a class number behind it comes for free."""
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")
_META = re.compile(r"__[^/]*__($|/)")
IMAGES = ("webp", "png", "jpg", "jpeg")
"""Extensions of images, in the order in which CLIP_benchmark takes the first that a sample has."""
_NOTES = ("cls", "txt", "npy")
_MAX_NOTE = 1 << 20


class Place(NamedTuple):
    """Bytes of one member inside its tar."""

    offset: int
    size: int


@dataclass
class TarSample:
    """Neighbouring members with one key."""

    key: str
    places: dict[str, Place] = field(default_factory=dict)
    """By extension: all behind the first dot of the name, in lower case."""
    notes: dict[str, bytes] = field(default_factory=dict)
    """Contents of `cls` and `txt`."""

    @property
    def image(self) -> Place | None:
        """Where the image lies; None for a sample without one."""
        return next((self.places[extension] for extension in IMAGES if extension in self.places), None)


def read_samples(path: Path) -> list[TarSample]:
    """Return the samples of a tar in their order. Raises EvalError for a tar that is cut off, or no tar."""
    try:
        with path.open("rb", buffering=0) as file:
            return _grouped(path, file.fileno())
    except OSError as error:
        raise EvalError(f"{path}: cannot be read ({error.strerror})") from error


def _grouped(path: Path, handle: int) -> list[TarSample]:
    samples: list[TarSample] = []
    for name, place, begun in _members(path, handle):
        found = _NAME.fullmatch(name)
        if found is None or _META.match(name):
            continue
        key, extension = found.group(1), found.group(2).lower()
        if not samples or samples[-1].key != key:
            samples.append(TarSample(key))
        sample = samples[-1]
        if extension in sample.places:
            raise EvalError(f"{path}: two members {name}; write the tar anew")
        sample.places[extension] = place
        if extension in _NOTES:
            if place.size > _MAX_NOTE:
                raise EvalError(f"{path}: {name} has {place.size} bytes, which is no class number and no captions")
            sample.notes[extension] = begun if len(begun) == place.size else os.pread(handle, place.size, place.offset)
    return samples


def _members(path: Path, handle: int) -> Iterator[tuple[str, Place, bytes]]:
    """Yield name, place and, where it is short, content of every regular member."""
    members = _plain_members(path, handle)
    return iter(_tarfile_members(path, handle) if members is None else members)


def _plain_members(path: Path, handle: int) -> list[tuple[str, Place, bytes]] | None:
    """Return None for a tar that is more than plain headers of regular files and folders."""
    found: list[tuple[str, Place, bytes]] = []
    at, end = 0, os.fstat(handle).st_size
    while True:
        block = os.pread(handle, _AHEAD, at)
        header = block[:_BLOCK]
        if _is_end(path, handle, at, header):
            return found
        kind, prefix = header[156:157], header[345:500].rstrip(b"\0")
        size_field = header[124:136].strip(b" \0")
        if kind not in (b"0", b"\0", b"5") or prefix or header[257:262] != b"ustar" or not size_field.isdigit():
            return None
        size, start = _octal(size_field), at + _BLOCK
        if size is None:
            raise EvalError(_damaged(path, at, "a header there has no size"))
        if start + size > end:
            raise EvalError(_cut_off(path, at))
        if kind != b"5":
            name = header[:100].rstrip(b"\0").decode("utf-8", "surrogateescape").removeprefix("./")
            found.append((name, Place(start, size), block[_BLOCK : _BLOCK + size]))
        at = start + -(-size // _BLOCK) * _BLOCK


def _is_end(path: Path, handle: int, at: int, header: bytes) -> bool:
    """Return whether a tar ends with the block `header`, at byte `at`: one of zeros, behind which there are only zeros.

    Raises EvalError where the file ends without such a block, where more follows on it, and for a damaged header.
    """
    if len(header) < _BLOCK:
        raise EvalError(_cut_off(path, at))
    if header.strip(b"\0"):
        if not _sum_fits(header):
            raise EvalError(_damaged(path, at, "what should be a header there does not fit its checksum"))
        return False
    hole = at
    while rest := os.pread(handle, _CHUNK, at):
        if rest.strip(b"\0"):
            raise EvalError(_damaged(path, hole, "zeros there, as at a tar's end, and more behind them"))
        at += len(rest)
    return True


def _sum_fits(header: bytes) -> bool:
    told = _octal(header[148:156].partition(b"\0")[0].strip())
    if told is None:
        return False
    counted = header[:148] + b" " * 8 + header[156:]
    # Some old writers summed signed bytes.
    return told == sum(counted) or told == sum(counted) - 256 * sum(byte > 127 for byte in counted)


def _octal(digits: bytes) -> int | None:
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:
        return None


def _tarfile_members(path: Path, handle: int) -> list[tuple[str, Place, bytes]]:
    try:
        with tarfile.open(path, "r:") as tar:
            found = [
                (member.name.removeprefix("./"), Place(member.offset_data, member.size), b"")
                for member in tar
                if member.isreg() and not member.issparse()
            ]
            last = tar.offset
    except (tarfile.TarError, ValueError, LookupError) as error:  # the latter two from damaged pax records
        raise EvalError(f"{path}: no tar, or damaged ({error}); copy or make it anew") from error
    # `tarfile` takes whatever it cannot read behind the first header for the end.
    if not _is_end(path, handle, last, os.pread(handle, _BLOCK, last)):
        raise EvalError(_damaged(path, last, "a header there cannot be read"))
    return found


def _cut_off(path: Path, at: int) -> str:
    return (
        f"{path}: cut off behind byte {at}, without a tar's end marker; it may still be written, or its copy ended "
        "early: copy or make it anew"
    )


def _damaged(path: Path, at: int, what: str) -> str:
    return f"{path}: no tar, or damaged at byte {at} ({what}); copy or make it anew"
