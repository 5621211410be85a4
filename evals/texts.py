"""Texts that users give: files of them, and names that are spelled in several ways."""

from __future__ import annotations

from pathlib import Path

from evals.errors import EvalError


def read_text(path: Path, told: str) -> str:
    """Return a file's text. Raises EvalError, which begins with `told`, for one that is not UTF-8; OSError."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise EvalError(f"{told}: no UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def plain_name(name: str) -> str:
    """Return what is the same for all spellings of a class's name: no case, no `_` and `-`, single spaces."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
