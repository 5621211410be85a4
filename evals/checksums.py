"""`checksums.json` of a prepared data set: SHA-256 and size of each file, counts and licence; and its verification."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.errors import EvalError
from evals.folder import shorten

FILE = "checksums.json"


def record_checksums(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `checksums.json`: `facts`, and all files that belong to the data set. No time, host or path is in it."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in _files(folder)
    }
    text = json.dumps({**facts, "files": files}, indent=1, ensure_ascii=False, sort_keys=True)
    part = folder / f".{FILE}.part"
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(folder / FILE)


def read_checksums(folder: Path) -> dict[str, Any]:
    """Return what was recorded. Raises EvalError where nothing was, or no JSON of this form is."""
    path = folder / FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(entry["sha256"], str) for entry in found["files"].values()):
            raise ValueError("files have no sha256")
    except FileNotFoundError:
        raise EvalError(
            f"{folder}: no {FILE} in it, so nothing to check it by; record one with source={folder}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvalError(f"{path}: not what prepare writes ({error!r}); remove it and record anew") from error
    return found


def verify_checksums(folder: Path) -> int:
    """Return the number of files, all of which are as recorded. Raises EvalError which tells of missing and changed."""
    recorded = read_checksums(folder)["files"]
    present = set(_files(folder))
    if missing := sorted(set(recorded) - present):
        raise EvalError(f"{folder}: {len(missing)} files are missing: {shorten(missing)}; copy or prepare it anew")
    if more := sorted(present - set(recorded)):
        raise EvalError(f"{folder}: {len(more)} files are new since it was prepared: {shorten(more)}; remove them")
    changed = [name for name, entry in recorded.items() if _sha256(folder / name) != entry["sha256"]]
    if changed:
        raise EvalError(f"{folder}: {len(changed)} files have changed: {shorten(changed)}; copy or prepare it anew")
    return len(recorded)


def _files(folder: Path) -> list[str]:
    """Return the files of a data set; hidden ones, as those of version control, are none of it."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.as_posix() for path in found if path.name != FILE and not any(part.startswith(".") for part in path.parts)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
