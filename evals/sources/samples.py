"""What a source gives: images that are read when they are written, each with a class or captions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.errors import EvalError


@dataclass(frozen=True)
class Sample:
    """One image; `label` for classification, which has no `captions`."""

    name: str
    """What a message calls it."""
    read: Callable[[], Any]
    """Returns the bytes of a file, or a picture of Pillow's."""
    label: int = -1
    captions: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """A data set before it is written."""

    kind: str
    splits: Mapping[str, Sequence[Sample]]
    classes: tuple[str, ...] = ()
    """The source's own class names, in the order of numbers; empty for retrieval."""


def image_file(sample: Sample) -> tuple[str, bytes]:
    """Return (extension, bytes): JPEG, PNG and WebP files as they are, all else as PNG, which loses nothing.

    Raises EvalError for what is no image. The bytes of a new PNG are those of the installed Pillow.
    """
    content = sample.read()
    if isinstance(content, bytes):
        if extension := _extension(content):
            return extension, content
        content = _decoded(sample.name, content)
    buffer = io.BytesIO()
    content.save(buffer, "png")
    return "png", buffer.getvalue()


def _decoded(name: str, content: bytes) -> Any:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's decoders raise what they stumble over
        raise EvalError(f"{name}: no image, or a damaged one ({error}); get the source anew") from error


def _extension(content: bytes) -> str | None:
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return None
