"""Values as JSON of one form only, so that equal values have equal bytes and equal hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, UTF-8, indented by one space, one newline at the end.

    Raises ValueError for NaN and infinities, and for mappings whose keys are not text (JSON would silently turn `1`
    into `"1"`); TypeError for what JSON cannot express.
    """
    _refuse_other_keys(value)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1, separators=(",", ": "))
    return text.encode() + b"\n"


def fingerprint(value: Any) -> str:
    """The sha256 of `canonical_json(value)`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _refuse_other_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"JSON keys must be text, got {key!r} ({type(key).__name__}); convert it where the mapping is made"
                )
            _refuse_other_keys(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _refuse_other_keys(inner)
