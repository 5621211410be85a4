"""Whether encoded images look whole, told from their first and last bytes: a look of less than a microsecond."""

from __future__ import annotations

_TAIL_BYTES = 32
_MAGIC = {"jpg": b"\xff\xd8\xff", "jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}


def image_fault(extension: str, content: bytes) -> str | None:
    """Return what is wrong with an image whose kind its extension tells, None where nothing is to be seen.

    A JPEG must end with its end marker; up to 30 bytes behind it, as some cameras and programs leave, do no harm.
    """
    if not content.startswith(_MAGIC[extension]):
        return f"no {extension}: it begins with {content[:4].hex(' ')}"
    if extension in ("jpg", "jpeg") and b"\xff\xd9" not in content[-_TAIL_BYTES:]:
        return "cut off: the end marker of a JPEG is missing"
    if extension == "png" and b"IEND" not in content[-_TAIL_BYTES:]:
        return "cut off: the end chunk of a PNG is missing"
    if extension == "webp" and len(content) < 8 + int.from_bytes(content[4:8], "little"):
        return "cut off: shorter than its header says"
    return None
