"""Tar members as bytes: the POSIX `ustar` format, with every field fixed that is no content.

Equal names and contents give equal bytes, whoever writes them, when and where: no time, no owner. Each member stands
for itself, so the bytes of a tar are its members one after the other and then `END`.
"""

from __future__ import annotations

from collections.abc import Iterable

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
"""What stands behind the last member."""
MAX_NAME_BYTES = 100
MAX_SIZE_BYTES = 8**11 - 1
"""One byte less than 8 GiB: what eleven octal digits hold."""

_OWNER = b"0000644\0" + 2 * b"0000000\0"
_TIME = 11 * b"0" + b"\0"
# Type "regular file", no link, magic and version; neither user, group, device nor prefix.
_REST = b"0" + bytes(100) + b"ustar\00000" + bytes(64 + 16 + 155 + 12)
# The checksum is the sum of all bytes with its own field taken as eight spaces; only name and size differ.
_FIXED_SUM = sum(_OWNER) + sum(_TIME) + sum(_REST) + 8 * ord(" ")
_PADDING = [bytes(-size % BLOCK_BYTES) for size in range(BLOCK_BYTES)]


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a regular file of `size` bytes.

    Raises ValueError for a name that is empty, longer than 100 bytes in UTF-8, absolute, a directory's, or that holds
    a NUL, a lone surrogate or the component `..`; and for a size below 0 or from 8 GiB on.
    """
    field = name.encode()
    if not 0 < len(field) <= MAX_NAME_BYTES:
        raise ValueError(f"a member's name has 1 to {MAX_NAME_BYTES} bytes in UTF-8, got {len(field)}: {name!r}")
    if fault := name_fault(name):
        raise ValueError(f"a member's name must not be {fault}, got {name!r}")
    if not 0 <= size <= MAX_SIZE_BYTES:
        raise ValueError(f"a member has 0 to {MAX_SIZE_BYTES} bytes, {name!r} has {size}")
    digits = b"%011o" % size
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(field) + sum(digits))
    return b"".join((field.ljust(MAX_NAME_BYTES, b"\0"), _OWNER, digits, b"\0", _TIME, checksum, _REST))


def padding(size: int) -> bytes:
    """The zeros behind a content of `size` bytes, up to the next whole block."""
    return _PADDING[size % BLOCK_BYTES]


def members(contents: Iterable[tuple[str, bytes]]) -> bytes:
    """The bytes of members given as (name, content), in their order; each content is copied once.

    Several in one call cost less than as many calls. Raises ValueError as `header` does.
    """
    parts: list[bytes] = []
    for name, content in contents:
        size = len(content)
        parts += (header(name, size), content, _PADDING[size % BLOCK_BYTES])
    return b"".join(parts)


def name_fault(name: str) -> str | None:
    """What would make a member of this name dangerous to unpack or no file; None for a good name."""
    # Slices, because this is asked of every member of a data set: a method costs twice as much.
    if name[:1] == "/":
        return "absolute"
    if ".." in name and ".." in name.split("/"):
        return "one that leads out of its folder ('..')"
    if name[-1:] == "/":
        return "a directory's"
    if "\0" in name:
        return "one with a NUL in it"
    return None
