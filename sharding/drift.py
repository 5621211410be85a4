"""What differs between a recorded and an asked JSON value, key by key."""

from __future__ import annotations

import re
from typing import Any

ABSENT = "(absent)"
Difference = tuple[str, Any, Any]
_MOST_LINES = 12
_MOST_CHARACTERS = 120
_INDEX = re.compile(r"\[\d+\]")


def differences(recorded: Any, asked: Any, key: str = "") -> list[Difference]:
    """(dotted key, recorded, asked) of every leaf that differs; `ABSENT` stands for a key that one side lacks.

    Lists of equal length are compared entry by entry, others as a whole.
    """
    if isinstance(recorded, dict) and isinstance(asked, dict):
        names = sorted(recorded.keys() | asked.keys())
        pairs = [
            (f"{key}.{name}" if key else name, recorded.get(name, ABSENT), asked.get(name, ABSENT)) for name in names
        ]
    elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        pairs = [(f"{key}[{n}]", *both) for n, both in enumerate(zip(recorded, asked, strict=True))]
    else:
        # 1 == 1.0 == True in Python; as JSON texts, and so in hashes, they differ.
        same = recorded == asked and repr(recorded) == repr(asked)
        return [] if same else [(key, recorded, asked)]
    return [one for inner, ours, theirs in pairs for one in differences(ours, theirs, inner)]


def explain(found: list[Difference]) -> str:
    """One line a difference, those alike in several entries of a list in one, and a dozen lines at most."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for key, recorded, asked in found:
        alike.setdefault((_INDEX.sub("[]", key), *_told(recorded, asked)), []).append(key)
    lines = []
    for (_, recorded, asked), keys in alike.items():
        others = f" (and {len(keys) - 1} more like it)" if len(keys) > 1 else ""
        lines.append(f"  {keys[0]}{others}: recorded {recorded}, asked {asked}")
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"  … and {len(lines) - _MOST_LINES} more"]
    return "\n".join(lines)


def _told(recorded: Any, asked: Any) -> tuple[str, str]:
    if isinstance(recorded, list) and isinstance(asked, list) and len(repr((recorded, asked))) > _MOST_CHARACTERS:
        return f"{len(recorded)} entries", f"{len(asked)} entries"
    return _clipped(repr(recorded)), _clipped(repr(asked))


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
