"""Where an evaluation keeps its files in a run."""

from __future__ import annotations

from pathlib import Path

from synthclip_hpc.run import Run

FEATURES = "features"
"""Below the stage's folder."""


def set_folder(run: Run, name: str) -> Path:
    """Return the folder of a built-in glyph set."""
    return run.path / "eval" / "sets" / name


def features_folder(run: Run) -> Path:
    """Return the folder of the features that tasks share."""
    return run.path / "eval" / FEATURES
