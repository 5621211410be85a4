"""What submitting leaves in a submission's folder: of no use once its jobs have ended. The records stay."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from synthclip_hpc.housekeeping.ground import Ground
from synthclip_hpc.housekeeping.heap import Heap, files_below, heap_of

KIND = "scratch of ended submissions"
DRAFTS = "claims that a killed command left half-made"
# submitit's: what was sent, what came back, the script; and what a kill left of writing one.
_SCRATCH = re.compile(
    r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh|\d+_submission\.sh"
    r"|\d+(_\d+){0,2}_(submitted|result)\.pkl(\.save_tmp)?"
)
_DRAFT = re.compile(r"\.\d{5,}-[a-z]+\.[0-9a-f]{16}")


def scratch(ground: Ground) -> Heap:
    """Return submitit's files of the submissions that are over.

    One that was never recorded as submitted keeps them: its sbatch may have got no answer and yet be heard later.
    """
    over = [one for one in ground.submissions if one.name not in ground.alive and one.record["state"] != "claimed"]
    return heap_of(KIND, [path for one in over for path in _matching(one.path, _SCRATCH)])


def drafts(ground: Ground) -> Heap:
    """Return the hidden folders of claims that were never finished, or withdrawn half-way, and are old."""
    found: list[Path] = []
    folders: list[Path] = []
    for draft in _matching(ground.run.submissions_path, _DRAFT):
        if _changed(draft) < ground.old_before:
            files, inner = files_below(draft)
            found += files
            folders += inner
    return heap_of(DRAFTS, found, folders)


def _matching(folder: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (folder / name for name in names if pattern.fullmatch(name))


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")  # its own command has just done with it
