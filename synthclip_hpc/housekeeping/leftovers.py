"""What killed attempts left: half-written small files anywhere, and work in progress of phases that are finished."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from synthclip_hpc.housekeeping.ground import Ground
from synthclip_hpc.housekeeping.heap import Heap, files_below, heap_of

PARTIAL = "work in progress left in sealed phases"
TEMPORARY = "half-written files that a kill left"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


def partial(ground: Ground) -> Heap:
    """Return what old attempts left in the sealed phases' `partial/`: a straggler may write there after the seal."""
    found: list[Path] = []
    folders: list[Path] = []
    for link in ground.sealed:
        files, inner = files_below(link.directory(ground.run).path / "partial")
        found += _old(files, ground.old_before)
        folders += inner
    return heap_of(PARTIAL, found, folders)


def temporary(ground: Ground) -> Heap:
    """Return the old `.NAME.HEX.tmp` files of the run: each was to be renamed or linked within an instant."""
    files, _ = files_below(ground.run.path)
    partials = {link.directory(ground.run).path / "partial" for link in ground.sealed}
    mine = [path for path in files if _TEMPORARY.fullmatch(path.name) and not partials.intersection(path.parents)]
    return heap_of(TEMPORARY, _old(mine, ground.old_before))


def _old(paths: Iterable[Path], before: float) -> Iterator[Path]:
    for path in paths:
        try:
            if path.lstat().st_mtime < before:
                yield path
        except FileNotFoundError:
            continue  # whoever wrote it has done with it
