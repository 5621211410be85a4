"""What tests of probes share: features of classes that overlap, and a score that keeps a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def draw(seed: int, num: int, width: int = 12, classes: int = 6, apart: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 features (num, width), off the origin and of unequal variance, and labels; the classes stay."""
    centres = np.random.default_rng(1234).standard_normal((classes, width)) * apart
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, num - classes)])
    scales = np.arange(1, width + 1) ** -1.0
    features = (centres[labels] + rng.standard_normal((num, width))) * scales * 3 + 5
    return features.astype(np.float32), labels


def save(path: Path, arrays: dict[str, Any]) -> None:
    """Write an .npz file."""
    np.savez(path, **arrays)


def recorded(score: Callable[[float], float]) -> tuple[list[float], Callable[[float], float]]:
    """Return a list, and `score` so wrapped that it puts what it is asked for into the list."""
    asked: list[float] = []

    def wrapped(value: float) -> float:
        asked.append(value)
        return score(value)

    return asked, wrapped
