"""What differs between a recorded and an asked JSON value, key by key."""

from __future__ import annotations

from typing import Any

ABSENT = "(absent)"
Difference = tuple[str, Any, Any]


def differences(recorded: Any, asked: Any, key: str = "") -> list[Difference]:
    """(dotted key, recorded, asked) of every leaf that differs; `ABSENT` stands for a key that one side lacks."""
    if not (isinstance(recorded, dict) and isinstance(asked, dict)):
        # 1 == 1.0 == True in Python; as JSON texts, and so in hashes, they differ.
        same = recorded == asked and repr(recorded) == repr(asked)
        return [] if same else [(key, recorded, asked)]
    found = []
    for name in sorted(recorded.keys() | asked.keys()):
        inner = f"{key}.{name}" if key else name
        found += differences(recorded.get(name, ABSENT), asked.get(name, ABSENT), inner)
    return found


def explain(found: list[Difference]) -> str:
    """One line a difference."""
    return "\n".join(f"  {key}: recorded {recorded!r}, asked {asked!r}" for key, recorded, asked in found)
