"""Answers that take minutes to find and follow from files alone, kept between commands in the user's cache folder.

What is kept can be deleted at any time: it is found again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json, fingerprint
from sharding.files import make_directory, replace_file
from synthclip_hpc.paths import cache_folder


def remembered(kind: str, key: Any, find: Callable[[], Any]) -> Any:
    """Return what `find` returns, or returned for an equal key before; both must be JSON-able.

    `kind` names a folder, such as `tar-index`; `key` must hold everything that the answer follows from, the version of
    its form included. A damaged answer is found again, and a cache that cannot be written is done without.
    """
    try:
        folder = remembering_folder()
    except RuntimeError:  # a user without a home, as in some containers
        return find()
    path = folder / kind / f"{fingerprint(key)}.json"
    # Missing, torn or not to be read: all mean that it has to be found.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        if kept["sha256"] == fingerprint(kept["answer"]):
            return kept["answer"]
    answer = find()
    # A home that is full or read-only costs time at the next command, and is no reason to stop this one.
    with contextlib.suppress(OSError):
        make_directory(path.parent)
        replace_file(path, canonical_json({"answer": answer, "sha256": fingerprint(answer)}))
    return answer


def stamps(files: Iterable[Path]) -> list[list[Any]]:
    """Return what tells that files are those of before: [path, size in bytes, last change in ns] of each.

    Where a time may stay (a copy that keeps it, a file system that has none), samples of the content belong to the key.
    """
    found = ((file, file.stat()) for file in files)
    # A name that is no UTF-8 is no JSON either.
    return [[ascii(str(file)), stat.st_size, stat.st_mtime_ns] for file, stat in found]


def remembering_folder() -> Path:
    """Return the folder: in `$SYNTHCLIP_CACHE`, else in the user's cache folder."""
    return cache_folder() / "remembered"
