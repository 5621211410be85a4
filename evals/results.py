"""The record that a task leaves: strict JSON (RFC 8259: no NaN, no Infinity), printed, and written in one piece."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.files import write_whole

REQUIRED_KEYS = ("task", "protocol", "metrics")


def write_result(record: Mapping[str, Any], out: Path | None) -> None:
    """Print `record` on stdout and, if `out` is given, put it there by rename, so that no reader sees half of it.

    Raises ValueError for a record without one of REQUIRED_KEYS, TypeError for what JSON has no form for, OSError.
    """
    text = to_json(record) + "\n"
    try:
        print(text, end="", flush=True)
    finally:
        # Whatever becomes of one of the two, the other still has what may have taken hours.
        if out is not None:
            write_whole(out, lambda file: file.write(text.encode()))


def to_json(record: Mapping[str, Any]) -> str:
    """Return `record` as strict JSON; what is not finite becomes null, numpy's scalars and arrays plain."""
    if missing := [key for key in REQUIRED_KEYS if key not in record]:
        raise ValueError(f"a result needs {', '.join(REQUIRED_KEYS)}; missing: {', '.join(missing)}")
    return json.dumps(_plain(record), allow_nan=False, indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return value
