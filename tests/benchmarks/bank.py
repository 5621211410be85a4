"""A generated concept bank of any size."""

from __future__ import annotations

from pathlib import Path

_HEADS = ("red", "old", "wooden", "Saint", "upper", "côte", "são", "great", "northern", "wild")
_TAILS = ("river", "engine", "fern", "theatre", "Straße", "beetle", "bridge", "pottery", "of the sea", "harbour")


def write_bank(path: Path, num_concepts: int) -> Path:
    """Write so many distinct concepts, of one to four words as in a list of titles, some of them not ASCII."""
    lines = (f"{_HEADS[i % 10]} {_TAILS[i // 10 % 10]} {i // 100}" for i in range(num_concepts))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
