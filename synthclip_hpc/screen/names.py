"""Paths in few characters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def short_paths(paths: Iterable[Path], width: int) -> dict[str, Path]:
    """Return paths by a name of at most `width` characters each: its end, as a beginning is shared by many.

    `~` is the home. Where two would have the same name both keep all of theirs.
    """
    whole = {path: _from_home(path) for path in paths}
    short = {path: name if len(name) <= width else f"…{name[1 - width :]}" for path, name in whole.items()}
    names = list(short.values())
    return {name if names.count(name) == 1 else str(path): path for path, name in short.items()}


def _from_home(path: Path) -> str:
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # not below it, or a user without one
        return str(path)
