"""What makes two failures the same: the exception's type, the innermost frame of our own code, and the message without
what changes from one to the next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from synthclip_hpc.own_frames import frame_of_text

_PATTERN_LENGTH = 300
# The order counts: what is in a path must not become a number first.
_VARYING = (
    (re.compile(r"(?:\b[a-z][a-z0-9+.-]*:/|(?<![\w.)\]])~?)/[^\s'\"`,;:()<>\[\]{}|]+"), "<path>"),
    (re.compile(r"\b0x[0-9a-fA-F]+"), "<hex>"),
    (re.compile(r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "#"),
    (re.compile(r"\s+"), " "),
)


class Fingerprint(NamedTuple):
    """What failures of one group have in common."""

    type: str
    """The exception's class, or what stands for it where there was none (`GaveUp`, `Crash`)."""
    frame: str
    """`package/file.py:function` of the innermost frame in our own packages, empty where there is none."""
    pattern: str
    """The message, with `#` for numbers, `<hex>` and `<path>`; 300 characters at most."""


def fingerprint(error: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint of an error as a journal keeps it (`type`, `message`, `frame` or `traceback`, `where`)."""
    return Fingerprint(str(error.get("type", "")), own_frame(error), pattern_of(str(error.get("message", ""))))


def own_frame(error: Mapping[str, Any]) -> str:
    """Return the innermost own frame of an error in a journal; those of version 0.1 have it in their traceback only."""
    if "frame" in error:
        return str(error["frame"])
    return frame_of_text(str(error.get("traceback", ""))) or str(error.get("where", ""))


def pattern_of(message: str) -> str:
    """Return a message without its numbers, hexadecimal words and paths."""
    for varying, sign in _VARYING:
        message = varying.sub(sign, message)
    return message.strip()[:_PATTERN_LENGTH]
