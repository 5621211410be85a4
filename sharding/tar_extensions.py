"""What other writers put before a member whose name or size does not fit a `ustar` header: pax and GNU extensions."""

from __future__ import annotations

from typing import NamedTuple

EXTENSIONS = (b"x", b"g", b"L")
"""The types of such headers: pax for the next member, pax for all that follow, GNU's long name."""
MAX_EXTENSION_BYTES = 1 << 20
"""Paths are far shorter: a header that claims more is damaged."""


class Extended(NamedTuple):
    """What extended headers say of the next member; None where they say nothing."""

    name: str | None = None
    size: int | None = None

    def with_header(self, kind: bytes, content: bytes) -> Extended:
        """What is known after one more extended header. Raises ValueError, saying what is wrong with it."""
        if kind == b"L":
            return self._replace(name=_text(content.rstrip(b"\0")))
        known = _pax_records(content)
        if any(key.startswith("GNU.sparse.") for key in known):
            raise ValueError("a sparse file; only regular files are read")
        if kind == b"g":
            # Comments, such as the commit that git archives. A name or size for all members makes no sense.
            if "path" in known or "size" in known:
                raise ValueError("a global header that gives all members one name or size")
            return self
        name, size = known.get("path"), known.get("size")
        if size is not None and not (size.isascii() and size.isdigit()):
            raise ValueError(f"an extended header with a size that is no number: {size!r}")
        return Extended(self.name if name is None else name, self.size if size is None else int(size))

    def applied(self, name: str, size: int) -> tuple[str, int]:
        """The true name and size of the member whose own header says `name` and `size`."""
        return name if self.name is None else self.name, size if self.size is None else self.size


PLAIN = Extended()
"""Nothing is said; of a member without extended headers it is this very object."""


def number(field: bytes) -> int:
    """A header's number: octal digits between spaces and NULs (none are 0), or GNU's base 256; -1 if neither."""
    digits = field.strip(b" \0")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            return -1
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return -1 if digits else 0


def _pax_records(content: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header; the length counts the whole record."""
    known: dict[str, str] = {}
    position = 0
    while position < len(content):
        digits = content[position : position + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = content[position : position + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) != length or not record.endswith(b"\n"):
            raise ValueError(f"a damaged extended header: {content[position : position + 40]!r}")
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            known[_text(key)] = _text(value)
        position += length
    return known


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"a name that is not UTF-8: {data!r}") from error
