"""One kind of files that may go: how many, how large, and how they are removed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sharding.files import remove, remove_directory


@dataclass(frozen=True)
class Heap:
    """Files of one kind; only those that were there when it was made."""

    kind: str
    """What they are, in words."""
    num_files: int
    size_bytes: int
    clear: Callable[[], list[str]]
    """Removes them; returns what was left and why, a line each. Killed half-way it leaves the rest for the next."""


def heap_of(kind: str, paths: Iterable[Path], folders: Iterable[Path] = ()) -> Heap:
    """Return a heap of plain files; of `folders` those that are empty then go with them, the inner ones first."""
    sizes = {path: size for path in paths if (size := size_of(path)) is not None}
    inner_first = sorted(set(folders), key=lambda folder: -len(folder.parts))

    def clear() -> list[str]:
        left = []
        for path in sizes:
            try:
                remove(path)
            except OSError as error:
                left.append(f"{path}: {error.strerror}")
        for folder in inner_first:
            remove_directory(folder)
        return left

    return Heap(kind, len(sizes), sum(sizes.values()), clear)


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes; None where there is none (any more)."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return None


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return all files below a folder, and all folders, itself included; nothing of one that is not there.

    Links are files, whatever they point to.
    """
    found: list[Path] = []
    folders: list[Path] = []
    for place, inner, names in os.walk(folder):
        folders.append(Path(place))
        found += [Path(place, name) for name in names]
        found += [path for name in inner if (path := Path(place, name)).is_symlink()]
    return found, folders
