"""Which classes an image may be given: all of a data set, those with images, or a list."""

from __future__ import annotations

import json
from pathlib import Path

from evals.errors import EvalError, nearest
from evals.folder import DataFolder, Split
from evals.texts import read_text


def choose_classes(text: str, folder: DataFolder, split: Split) -> list[int]:
    """Return class numbers, rising.

    `text`: `all`, `present`, or a file: a JSON list, or one a line, of class numbers or class names. In a JSON list 3
    is a number; "3" in it, and a line 3, is the class that is called so, or else number 3. Images of other classes do
    not take part. Raises EvalError for what is no class, for a name that several have, and for a list without an image.
    """
    labels = set(split.labels.tolist())
    if text == "all":
        return list(range(len(folder.classnames)))
    if text == "present":
        return sorted(labels)
    chosen = sorted({_number(entry, text, folder) for entry in _entries(text)})
    if not labels.intersection(chosen):
        raise EvalError(
            f"classes={text}: no image of {split.name} is of these {len(chosen)} classes; give another list"
        )
    return chosen


def _entries(text: str) -> list[int | str]:
    path = Path(text).expanduser()
    if not path.is_file():
        raise EvalError(
            f"classes={text}{nearest(text, ['all', 'present'])}: no such file; valid are all, present, or a file"
        )
    content = read_text(path, f"classes={text}")
    found: list[int | str]
    if path.suffix == ".json":
        try:
            found = json.loads(content)
        except ValueError as error:
            raise EvalError(f"classes={text}: no JSON ({error})") from error
        if not isinstance(found, list) or any(type(entry) not in (int, str) for entry in found):
            raise EvalError(f"classes={text}: no JSON list of class numbers or names")
    else:
        found = [line.strip() for line in content.splitlines() if line.strip()]
    if not found:
        raise EvalError(f"classes={text}: an empty list")
    return found


def _number(entry: int | str, text: str, folder: DataFolder) -> int:
    names = folder.classnames
    if isinstance(entry, str):
        same = [number for number, name in enumerate(names) if name == entry]
        if len(same) == 1:
            return same[0]
        if same:
            raise EvalError(f"classes={text}: {len(same)} classes are called {entry!r}; give their numbers: {same}")
        if entry.isascii() and entry.isdigit() and int(entry) < len(names):
            return int(entry)
    elif 0 <= entry < len(names):
        return entry
    raise EvalError(
        f"classes={text}: {entry!r}{nearest(str(entry), names)} is no class; valid are names of classnames.txt and 0 "
        f"to {len(names) - 1}"
    )
