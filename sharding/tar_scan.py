"""What a tar holds and where, found fast and checked: members, and the samples that they make up.

For tars of any common writer: ours, webdataset's, Python's, GNU tar's. Nothing is unpacked or decoded.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sharding.tar_extensions import EXTENSIONS, MAX_EXTENSION_BYTES, PLAIN, number
from sharding.ustar import BLOCK_BYTES, name_fault

# name, size, checksum, type, magic with version, prefix
_FIELDS = struct.Struct("100s24x12s12x8sc100x8s80x155s12x")
_CHECKSUM_AT, _KIND_AT = 148, 156
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_EIGHT_SPACES = 8 * ord(" ")
_ADLER_BASE = 65521
_POSIX, _GNU = b"ustar\x00" + b"00", b"ustar  \x00"
_META_FOLDER = re.compile(r"__[^/]*__(/|$)")
_FILE = b"0"
_ALSO_FILES = (b"\0", b"7")
_DIRECTORY = b"5"
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"K": "a link with a long target",
    b"M": "the rest of a file from another volume",
    b"S": "a sparse file",
    b"V": "a volume's label",
}


class TarError(ValueError):
    """What is wrong with a tar: the file, the byte, and what stands there."""

    def __init__(self, path: Path | str, offset: int, reason: str) -> None:
        super().__init__(f"{path}, byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class Member(NamedTuple):
    """A regular file in a tar."""

    name: str
    offset: int
    """Where its content begins, in bytes from the beginning of the tar."""
    size: int
    """Of its content, in bytes."""

    @property
    def end(self) -> int:
        """Where its last block ends, and what follows begins."""
        return self.offset + -(-self.size // BLOCK_BYTES) * BLOCK_BYTES


class Sample(NamedTuple):
    """The adjacent members of one key."""

    key: str
    members: dict[str, Member]
    """By extension: what follows the first dot of the last path component, in lower case (`jpg`, `seg.png`)."""


@contextmanager
def mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """The content of a file, mapped: for tars that may be larger than memory.

    Only for files that nobody shortens or removes on another host meanwhile (published ones): the process would die of
    SIGBUS. Raises OSError as it comes.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def scan(data: bytes | mmap.mmap, path: Path | str) -> Iterator[Member]:
    """Yield the members of the tar `data` in their order; `path` is only for messages. Directories are left out.

    Raises TarError where the tar is damaged or is not what it should be, after all members before that: a content
    that the end of the file cuts off, a bad checksum, magic or number, a link or device, an absolute name or one with
    `..`, no end of the archive (two blocks of zeros), something behind it.
    """
    position = 0
    extended = PLAIN
    while len(header := data[position : position + BLOCK_BYTES]) == BLOCK_BYTES:
        field, size_field, checksum, kind, magic, prefix = _FIELDS.unpack(header)
        if magic != _POSIX and magic != _GNU:
            if header != _ZERO_BLOCK:
                raise TarError(path, position, f"no tar header: its magic is {magic!r}")
            if extended is not PLAIN:
                raise TarError(path, position, "the archive ends behind an extended header, without its member")
            _check_end(data, position, path)
            return
        # An Adler-32's lower half is the sum of the bytes and one: the fastest way to it from Python. The checksum's
        # own field counts as eight spaces.
        wanted = number(checksum) + 1 - _EIGHT_SPACES
        found = zlib.adler32(header[_KIND_AT:], zlib.adler32(header[:_CHECKSUM_AT])) & 0xFFFF
        if wanted % _ADLER_BASE != found or wanted <= 0:
            raise TarError(path, position, "the header's checksum is wrong: it is damaged")
        offset = position + BLOCK_BYTES
        size = number(size_field)
        if kind != _FILE and kind in EXTENSIONS:
            end = offset + size
            if not 0 <= size <= MAX_EXTENSION_BYTES or end > len(data):
                raise TarError(path, position, f"an extended header of {size} bytes: damaged, or cut off")
            try:
                extended = extended.with_header(kind, data[offset:end])
            except ValueError as error:
                raise TarError(path, position, str(error)) from error
            position = end + -size % BLOCK_BYTES
            continue
        try:
            name = field.partition(b"\0")[0].decode()
            if prefix[0] and magic == _POSIX:
                name = prefix.partition(b"\0")[0].decode() + "/" + name
        except UnicodeDecodeError as error:
            raise TarError(path, position, f"a name that is not UTF-8: {field!r}") from error
        if extended is not PLAIN:
            name, size = extended.applied(name, size)
            extended = PLAIN
        if kind == _DIRECTORY or (kind == b"\0" and name.endswith("/")):
            position = offset
            continue
        if kind != _FILE and kind not in _ALSO_FILES:
            what = _REFUSED.get(kind, f"of the unknown type {kind!r}")
            raise TarError(path, position, f"{name!r} is {what}; only regular files are read")
        if fault := name_fault(name) or (not name and "empty"):
            raise TarError(path, position, f"a member's name must not be {fault}: {name!r}")
        if size < 0:
            raise TarError(path, position, f"the size of {name!r} is no number: {size_field!r}")
        if offset + size > len(data):
            left = len(data) - offset
            raise TarError(
                path, position, f"{name!r} has {size} bytes, the file ends after {left} of them: it is cut off"
            )
        # What Member(...) does, in a third of the time.
        yield tuple.__new__(Member, (name, offset, size))
        position = offset + size + -size % BLOCK_BYTES
    raise TarError(path, min(position, len(data)), "the file ends here, without an end of the archive: it is cut off")


def samples(members: Iterable[Member], path: Path | str, *, ordered: bool = True) -> Iterator[Sample]:
    """Group members into samples as webdataset does; names that `key_of` knows no key for are left out.

    Raises TarError for a member that occurs twice, a key whose members are not adjacent, and (`ordered`) a key that
    is not greater than the one before.
    """
    seen: set[str] = set()
    current: str | None = None
    parts: dict[str, Member] = {}
    for member in members:
        named = key_of(member.name)
        if named is None:
            continue
        key, extension = named
        if key != current:
            if current is not None:
                yield Sample(current, parts)
            if key in seen:
                raise TarError(path, member.offset, f"{member.name!r} is apart from the other members of {key!r}")
            if ordered and current is not None and key < current:
                raise TarError(path, member.offset, f"key {key!r} stands behind {current!r}: out of order")
            seen.add(key)
            current, parts = key, {}
        elif extension in parts:
            raise TarError(path, member.offset, f"{member.name!r} occurs twice (or twice but for its case)")
        parts[extension] = member
    if current is not None:
        yield Sample(current, parts)


def key_of(name: str) -> tuple[str, str] | None:
    """(key, extension) of a member's name; None if it belongs to no sample.

    The key is the name up to the first dot of its last component, folders included. Names without a dot there, hidden
    files, and what lies in a folder such as `__reject__/` belong to none.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not dot or not stem or (name[:2] == "__" and _META_FOLDER.match(name)):
        return None
    return folder + slash + stem, extension.lower()


def _check_end(data: bytes | mmap.mmap, position: int, path: Path | str) -> None:
    rest = data[position:]
    if len(rest) < 2 * BLOCK_BYTES:
        raise TarError(path, position, "one block of zeros ends the archive, two belong there: it is cut off")
    if filled := rest.lstrip(b"\0"):
        behind = position + len(rest) - len(filled)
        raise TarError(path, behind, "something stands behind the end of the archive: readers would miss it")
